"""A client under test: a program that carries calls out, one after the other, over its input and output."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, Any

import grpc

from .calls import DEADLINE, Outcome
from .report import Unusable
from .vectors import framed, messages

PATIENCE = 15.0
"""Seconds beyond a call's deadline after which the program is ended."""
RESTARTS = 10
"""Times that a program which ended is started again."""
LONGEST_LINE = 1 << 20
CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class Broken(Exception):
    """The program ended, or wrote what no answer is."""


class Program:
    """A program under test.

    Args:
        command: What starts it; the target is its last argument.
        target: Where the server listens.
        deadline: Seconds for a call.
        patience: Seconds beyond that.
    """

    def __init__(
        self, command: Sequence[str], target: str, deadline: float = DEADLINE, patience: float = PATIENCE
    ) -> None:
        self._command = [*command, target]
        self._deadline = deadline
        self._patience = patience
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, name: str, method: str, requests: Sequence[bytes]) -> Outcome:
        """Have it make a call. Whatever it does wrong is the outcome, too."""
        process = self._running()
        guard = threading.Timer(self._deadline + self._patience, process.kill)
        guard.daemon = True
        guard.start()
        try:
            return self._asked(process, name, method, framed(list(requests)))
        except (Broken, OSError, ValueError) as error:
            self.close()
            return Outcome([], "no answer", b"", f"the program under test: {error}")
        finally:
            guard.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            if self._starts > RESTARTS:
                raise Unusable(f"the program under test ended {self._starts} times")
            self._starts += 1
            try:
                self._process = subprocess.Popen(  # noqa: S603 - whoever runs the check says what is checked
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            except OSError as error:
                raise Unusable(f"{self._command[0]}: {error.strerror}") from error
        return self._process

    def _asked(self, process: subprocess.Popen[bytes], name: str, method: str, request: bytes) -> Outcome:
        to, back = _pipes(process)
        job = {
            "name": name,
            "method": method,
            "deadline_seconds": self._deadline,
            "request_bytes": len(request),
        }
        to.write(json.dumps(job).encode() + b"\n" + request)
        to.flush()
        answer = self._answer(back.readline(LONGEST_LINE))
        size = answer.get("response_bytes", 0)
        response = back.read(size)
        if len(response) != size:
            raise Broken(f"wrote {len(response)} of {size} bytes of responses")
        code = answer["code"]
        details = base64.b64decode(answer.get("details", ""), validate=True)
        return Outcome(messages(response), CODES.get(code, code), details, str(answer.get("message", "")))

    def _answer(self, line: bytes) -> dict[str, Any]:
        if not line.endswith(b"\n"):
            raise Broken(f"ended, or wrote no line: {line[:80]!r}")
        answer = json.loads(line)
        if not isinstance(answer, dict) or not isinstance(answer.get("code"), str | int):
            raise Broken(f"wrote {line[:80]!r} in place of a line of JSON with a code")
        size = answer.get("response_bytes", 0)
        if not isinstance(size, int) or size < 0:
            raise Broken(f"says that its responses have {size!r} bytes")
        return answer

    def close(self) -> None:
        """Close its input, which ends it, and wait."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in _pipes(process):
            try:
                pipe.close()
            except OSError:
                continue  # it has ended, and does not take what was still to be written
        try:
            process.wait(self._patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise Broken("has no input and output")
    return process.stdin, process.stdout
