"""The program of a compiler's process: requests come over standard input, and machine code goes back there.

It has no other use, and ends with whoever started it.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from .code_folder import name_of, packed
from .compiler_process import receive, send

_FIRST_TO_GO = "1000"
"""Of all processes, where memory is short: without this one, its starter compiles by itself."""


def main() -> None:
    """Compile one loop after the other, until nobody asks any more."""
    # Whoever started it may have to finish its calls first, though the signal goes to all of a service.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    line, requests = socket.socket(fileno=os.dup(sys.stdin.fileno())), SimpleQueue[bytes]()
    Thread(target=_receive_all, args=(line, requests), daemon=True).start()
    while True:
        send(line, _machine_code(requests.get()))


def _receive_all(line: socket.socket, requests: SimpleQueue[bytes]) -> None:
    """Take requests until the other end is closed, then end the process, whatever it compiles."""
    with suppress(OSError):
        while (request := receive(line)) is not None:
            requests.put(request)
    os._exit(0)


def _machine_code(request: bytes) -> bytes:
    """A loop's machine code, packed; nothing where there is none."""
    try:
        compile_loop, variant = pickle.loads(request)  # noqa: S301 - of the process that started this one
        name = name_of(variant)
        return b"" if name is None else packed(compile_loop.__wrapped__(variant), name)
    except Exception:
        return b""


if __name__ == "__main__":
    main()
