from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from regularization_server import Server, Settings

SCRIPT = Path(__file__).parents[2] / "examples" / "any_language.py"


def test_the_worked_example_needs_only_the_schema(tmp_path: Path) -> None:
    """Generated code and gRPC are enough to get the penalty 0.16 and the step from (0.8, -0.3, 0.5)."""
    with Server(Settings(listen=(f"unix:{tmp_path / 's'}",))) as server:
        done = subprocess.run(
            [sys.executable, SCRIPT, server.addresses[0]], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "penalty         0.16",
        "new parameters  (0.7, -0.2, 0.4)",
        "new penalty     0.13",
        "nonzeros        3 of 3",
        "distance²       0.03",
    ]


def test_the_example_imports_neither_client_nor_server() -> None:
    """What the example needs is gRPC and the generated code, nothing else of the project."""
    source = SCRIPT.read_text()
    assert "regularization_client" not in source
    assert "regularization_server" not in source
    assert "numpy" not in source
