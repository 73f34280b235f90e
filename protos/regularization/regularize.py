"""The command ``regularize``, begun before gRPC is loaded, which writes lines of its own to the terminal."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command of the client's package."""
    # What is wrong with a connection, the command says itself. GRPC_VERBOSITY=info shows gRPC's words, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from regularization_client.command import main as regularize

    regularize()
