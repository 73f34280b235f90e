"""The page for operators knows every reason that is not a mistake in a request."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
from regularization.v1.errors_pb2 import ErrorReason
from regularization_server.contract.statuses import INTERNAL, STATUSES

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
PREFIX = "ERROR_REASON_"


def test_every_reason_of_the_server_is_told_with_its_status() -> None:
    """In the table of reasons, and no other."""
    section = PAGE[PAGE.index("## Reasons") :].split("\n## ", 1)[0]
    told = {
        (name, status)
        for names, status in re.findall(r"^\| (.*?) \| (\w+) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    known = {
        (ErrorReason.Name(reason).removeprefix(PREFIX), code.name)
        for code, reason in (*STATUSES.values(), INTERNAL)
        if code is not grpc.StatusCode.INVALID_ARGUMENT
    }
    assert told == known
