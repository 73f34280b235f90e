"""From a header's bytes to its messages: how much memory they may take is known before they are made.

Protobuf may take a hundred bytes for two. So a header that is not small is scanned first: its segments and
their values are counted, and then read a part at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from regularization.fields import BYTES, Field, fields, has_unknown_fields, unknown_fields
from regularization.v1.layout_pb2 import JointRegularizer, ParameterLayout, Segment
from regularization.v1.plan_pb2 import Plan, PlanAtStep, PlanRule
from regularization.v1.regularization_service_pb2 import CombineHeader, MeasureHeader
from regularization_kernels.engine import MAX_SEGMENTS
from regularization_kernels.errors import LayoutInvalid

from ..units import KIB
from .binding import within
from .header_memory import MOST_FIELDS, memory_of, refuse_group
from .known_layouts import LARGEST, size_of
from .plans import MAX_RULES
from .refusals import FieldUnknown, MessageUnreadable

if TYPE_CHECKING:
    from regularization.fields import Unknown
    from regularization_kernels.engine import Layout

    from .known_layouts import KnownLayouts

    HeaderMessage = Any
    """Any header of the contract: those of all methods have the fields of one name in common."""

SMALL = 4 * KIB
"""Bytes of a header that is read at once, and not charged: it cannot take much, whatever it says."""

_MEASUREMENT_BYTES = 32
"""Measured, rounded up: what is known of a segment takes twenty bytes there, and becomes a few objects."""

_ASKED_BYTES = 512
"""Likewise: of a segment that is measured."""

PART = 64 * KIB
"""Bytes of segments that are read at once, unless one segment has more."""


@dataclass(frozen=True, slots=True)
class ReadHeader:
    """A header, its segments and joint regularizers still to be read."""

    message: HeaderMessage
    """All but these."""
    segments: Iterable[Segment]
    """The segments, to iterate once. Bytes that are no segments raise an error on the way."""
    joints: Iterable[JointRegularizer]
    """The joint regularizers, likewise."""
    memory: int = 0
    """Bytes that it may take until a call is made of it; 0 for a small header."""
    memory_kept: int = 0
    """Bytes of these that the call may take."""
    layout: Layout | None = None
    """The layout, where it is known: there are no segments to be read then."""
    layout_bytes: bytes | None = None
    """What the layout is known by, once it is; None where it cannot be."""


def read_header(raw: memoryview, kind: type[HeaderMessage], known: KnownLayouts | None = None) -> ReadHeader:
    """Read a header.

    Args:
        raw: Its bytes.
        kind: The method's.
        known: Layouts that need not be read; None for none.

    Raises:
        MessageUnreadable: If the bytes are no such message.
        FieldUnknown: If it has a field that the schema does not have.
        LayoutInvalid: If it has too many segments.
    """
    with within("header"):
        try:
            layout_bytes = None if known is None else _layout_bytes(raw, kind)
            layout = None if known is None or layout_bytes is None else known.find(layout_bytes)
            if layout is not None and layout_bytes is not None:
                header = _beside(layout, layout_bytes, raw, kind)
                if header is not None:
                    return header
            header = _read_at_once(raw, kind) if len(raw) <= SMALL else _read(raw, kind)
            # What a plan makes of the segments is another at every step.
            is_planned = header.message.layout.HasField("planned")
            return replace(header, layout_bytes=None if is_planned else layout_bytes)
        except DecodeError as error:
            raise _unreadable(error) from error


def _layout_bytes(raw: memoryview, kind: type[HeaderMessage]) -> bytes | None:
    """The bytes of the layout's field, where it comes first, as everybody writes it, and is not too large."""
    first = next(fields(raw, 0, len(raw), MOST_FIELDS), None)
    if first is None or first.number != kind.LAYOUT_FIELD_NUMBER or first.wire_type != BYTES:
        return None
    return None if first.end > LARGEST else bytes(raw[: first.end])


def _beside(
    layout: Layout, layout_bytes: bytes, raw: memoryview, kind: type[HeaderMessage]
) -> ReadHeader | None:
    """The header with this layout; None where what stands behind it has to be read with it."""
    rest = raw[len(layout_bytes) :]
    if len(rest) > SMALL:
        return None
    message = kind.FromString(bytes(rest))
    if message.HasField("layout") or has_unknown_fields(message) or getattr(message, "measurement", b""):
        return None
    memory = 0 if len(raw) <= SMALL else size_of(layout_bytes, layout)
    return ReadHeader(message, (), (), memory, memory, layout)


def _read_at_once(raw: memoryview, kind: type[HeaderMessage]) -> ReadHeader:
    message = kind.FromString(bytes(raw))
    if has_unknown_fields(message):
        whole = kind.FromString(bytes(raw))
        _forget_unknown_kinds(whole.layout.segments)
        _forget_unknown_kinds(whole.layout.joints)
        _forget_unknown_kinds_of_rules(whole.layout.planned.plan.rules)
        _refuse(unknown_fields(whole))
    return ReadHeader(message, message.layout.segments, message.layout.joints)


def _read(raw: memoryview, kind: type[HeaderMessage]) -> ReadHeader:
    layouts, others = _apart(raw, 0, len(raw), kind.LAYOUT_FIELD_NUMBER, MOST_FIELDS)
    message = kind.FromString(_bytes_of(raw, others))
    if has_unknown_fields(message):
        _refuse(unknown_fields(kind.FromString(_bytes_of(raw, others))))
    if not layouts:
        return ReadHeader(message, (), ())
    # To protobuf, a message that is there twice is one with the fields of both.
    if len(layouts) > 1:
        # Each must be one: no field goes on in the next.
        for layout in layouts:
            for _ in fields(raw, layout.content, layout.end, MAX_SEGMENTS + MOST_FIELDS):
                pass
        raw = memoryview(b"".join(raw[field.content : field.end] for field in layouts))
        layouts = [Field(0, BYTES, 0, 0, len(raw))]
    with within("layout"):
        return _with_layout(message, raw, layouts[0].content, layouts[0].end)


def _with_layout(message: HeaderMessage, raw: memoryview, begin: int, end: int) -> ReadHeader:
    number = ParameterLayout.SEGMENTS_FIELD_NUMBER
    segments, others = _apart(raw, begin, end, number, MAX_SEGMENTS + MOST_FIELDS, MAX_SEGMENTS)
    joints = [field for field in others if _is_joint(field)]
    others = [field for field in others if not _is_joint(field)]
    rules = _rules(raw, others)
    message.layout.SetInParent()
    message.layout.MergeFromString(_bytes_of(raw, others))
    if has_unknown_fields(message.layout):
        whole = ParameterLayout.FromString(_bytes_of(raw, others))
        _forget_unknown_kinds_of_rules(whole.planned.plan.rules)
        _refuse(unknown_fields(whole))
    memory = memory_of(raw, segments, Segment.DESCRIPTOR, "segments").plus(
        memory_of(raw, joints, JointRegularizer.DESCRIPTOR, "joints")
    )
    if rules:
        memory = memory.plus(memory_of(raw, rules, PlanRule.DESCRIPTOR, "planned.plan.rules"))
    measuring = _MEASUREMENT_BYTES * len(message.measurement)
    if isinstance(message, MeasureHeader | CombineHeader):
        measuring += _ASKED_BYTES * len(segments)
    return ReadHeader(
        message,
        _entries(raw, segments, "segments"),
        _entries(raw, joints, "joints"),
        memory.at_first + measuring,
        memory.kept + measuring,
    )


def _is_joint(field: Field) -> bool:
    return field.wire_type == BYTES and field.number == ParameterLayout.JOINTS_FIELD_NUMBER


def _rules(raw: memoryview, others: list[Field]) -> list[Field]:
    """The rules of a layout's plan."""
    rules: list[Field] = []
    for planned in _numbered(others, ParameterLayout.PLANNED_FIELD_NUMBER):
        inner = list(fields(raw, planned.content, planned.end, MOST_FIELDS))
        for plan in _numbered(inner, PlanAtStep.PLAN_FIELD_NUMBER):
            of_plan = list(fields(raw, plan.content, plan.end, MAX_RULES + MOST_FIELDS))
            rules += _numbered(of_plan, Plan.RULES_FIELD_NUMBER)
    return rules


def _numbered(found: list[Field], number: int) -> list[Field]:
    return [field for field in found if field.wire_type == BYTES and field.number == number]


def _entries(raw: memoryview, places: list[Field], name: str) -> Iterator[Any]:
    """The segments, or the joint regularizers, at these places, read a part at a time."""
    first = 0
    while first < len(places):
        last = first
        while last + 1 < len(places) and places[last + 1].end - places[first].begin <= PART:
            last += 1
        part = bytes(raw[places[first].begin : places[last].end])
        try:
            layout = ParameterLayout.FromString(part)
            if has_unknown_fields(layout):
                _refuse_in(getattr(ParameterLayout.FromString(part), name), name, first)
        except DecodeError as error:
            raise _unreadable(error) from error
        yield from getattr(layout, name)
        first = last + 1


def _apart(
    raw: memoryview, begin: int, end: int, number: int, most: int, most_of_these: int | None = None
) -> tuple[list[Field], list[Field]]:
    """The fields of this number, which are messages, and all others."""
    these: list[Field] = []
    others: list[Field] = []
    for field in fields(raw, begin, end, most):
        if field.wire_type == BYTES and field.number == number:
            if len(these) == most_of_these:
                raise LayoutInvalid(f"must be at most {most_of_these}, got more", field="segments")
            these.append(field)
        else:
            refuse_group(field, "")
            others.append(field)
    return these, others


def _bytes_of(raw: memoryview, places: Iterable[Field]) -> bytes:
    return b"".join(raw[field.begin : field.end] for field in places)


def _refuse_in(entries: Any, name: str, first: int) -> None:
    _forget_unknown_kinds(entries)
    for index, entry in enumerate(entries, first):
        _refuse(unknown_fields(entry, f"{name}[{index}]"))


def _forget_unknown_kinds(entries: Iterable[Segment | JointRegularizer | PlanRule]) -> None:
    """Drop the regularizers of newer clients: that they are unknown is an error of its own."""
    for entry in entries:
        if entry.regularizer.WhichOneof("kind") is None:
            entry.regularizer.DiscardUnknownFields()


def _forget_unknown_kinds_of_rules(rules: Sequence[PlanRule]) -> None:
    """Likewise, and the schedules of newer clients, too."""
    _forget_unknown_kinds(rules)
    for rule in rules:
        for schedule in rule.schedules:
            if schedule.WhichOneof("kind") is None:
                schedule.DiscardUnknownFields()


def _refuse(found: Iterator[Unknown]) -> None:
    for unknown in found:
        raise FieldUnknown.at(unknown.message, unknown.number)


def _unreadable(error: DecodeError) -> MessageUnreadable:
    return MessageUnreadable(f"must be what the method takes: {error}")
