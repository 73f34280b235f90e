"""Shows that what was built serves and stops, and compiles loops where WARM names regularizers.

Run by the image's build in the image itself, by root, who owns what is compiled: others may read it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from trim import USED

SERVER = "regularization-server"
SECONDS_TO_START = 30


def serve(target: str) -> None:
    """Start a server, ask for its health until it serves, and stop it."""
    with subprocess.Popen([SERVER, "--listen", target]) as server:  # noqa: S603
        until = time.monotonic() + SECONDS_TO_START
        while subprocess.run([SERVER, "probe", "--target", target], stderr=subprocess.DEVNULL).returncode:  # noqa: S603
            if time.monotonic() > until or server.poll() is not None:
                server.kill()
                sys.exit("the server that was built does not serve")
            time.sleep(0.1)
        server.terminate()
    if server.returncode:
        sys.exit(f"the server that was built stops with {server.returncode}")


def warm(regularizers: str, cache: Path) -> None:
    """Compile what these regularizers need, for all to read; nothing where none is named."""
    cache.mkdir(parents=True, exist_ok=True)
    if regularizers:
        subprocess.run([SERVER, "warm", regularizers], check=True)  # noqa: S603
    for path in [cache, *cache.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def main() -> None:
    """Try what was built."""
    for name in USED:
        import_module(name)
    with TemporaryDirectory() as folder:
        serve(f"unix:{folder}/socket")
    warm(os.environ.get("WARM", ""), Path(os.environ["REGULARIZATION_CACHE"]))


if __name__ == "__main__":
    main()
