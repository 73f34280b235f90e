"""The bounds that nanopb is given beside the schema are those that the schema's comments give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default
from regularization.training.v1 import augmentation_pb2
from regularization.v1 import regularization_service_pb2

from tests.support.sources import ROOT

PROTOS = ROOT / "protos"
FILES = sorted(PROTOS.glob("*/v1/*.options"))
LINE = re.compile(r"([\w.]+)\.(\w+) +(max_size|max_count|type):(\w+)")
LOADED = (augmentation_pb2, regularization_service_pb2)
"""What the pool has by being imported."""
LAYOUT, SUMMARY = PROTOS / "regularization/v1/layout.proto", PROTOS / "regularization/v1/summary.proto"
ELSEWHERE = {
    "regularization.v1.Segment.joint": (LAYOUT, "JointRegularizer", "name"),
    "regularization.v1.SegmentSummary.name": (LAYOUT, "Segment", "name"),
    "regularization.v1.PlanAtStep.digest": (SUMMARY, "Summary", "plan_digest"),
    "regularization.v1.HeldPlan.digest": (SUMMARY, "Summary", "plan_digest"),
}
"""Fields that repeat another one, whose comment has the bound."""


def entries() -> list[tuple[Path, str, str, str, str]]:
    """File, message, field, option and value of every line that is no comment."""
    found = []
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                match = LINE.fullmatch(line)
                assert match is not None, line
                found.append((path, *match.groups()))
    return found


def commented(path: Path, message: str, field: str) -> str:
    """What is said of a field in the comment before it, or before the one that it repeats."""
    path, message, field = ELSEWHERE.get(f"{message}.{field}", (path, message, field))
    text = path.with_suffix(".proto").read_text(encoding="utf-8")
    body = text[text.index(f"message {message.rpartition('.')[2]} {{") :]
    (comment,) = re.findall(rf"((?: +//.*\n)+) +[\w ]+ {field} = \d+;", body[: body.index("\n}")])
    return str(comment)


@pytest.mark.parametrize(("path", "message", "field", "option", "value"), entries())
def test_a_bound_is_the_comments(path: Path, message: str, field: str, option: str, value: str) -> None:
    """The field is there, is of a kind that has such a bound, and its comment says the number."""
    of: Descriptor = Default().FindMessageTypeByName(message)
    described: FieldDescriptor = of.fields_by_name[field]
    if option == "type":
        assert (described.type, value) == (FieldDescriptor.TYPE_BYTES, "FT_CALLBACK")
    elif option == "max_size":
        # A text of C ends with a byte of its own.
        assert described.type == FieldDescriptor.TYPE_STRING
        assert re.search(rf"\b{int(value) - 1}\b", commented(path, message, field))
    else:
        assert described.is_repeated
        assert re.search(rf"\b{value}\b", commented(path, message, field))


def test_there_are_such_bounds() -> None:
    """Of every schema that has texts or lists with one."""
    assert {path.stem for path in FILES} == {"augmentation", "layout", "plan", "summary", "tensor"}
