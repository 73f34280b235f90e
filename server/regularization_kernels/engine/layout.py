"""What a flat vector is made of, and where it may be cut."""

from __future__ import annotations

from bisect import bisect_right
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from ..arrays import DataType
from ..errors import (
    DataTypeUnsupported,
    ElementRangeInvalid,
    JointInvalid,
    LayoutInvalid,
    RegularizationError,
)
from ..formats import DATA_TYPES
from ..modifiers import modified
from ..summation import BLOCK
from .joint import check_alone, prepared_joint
from .methods import Method
from .prepared_segment import PreparedSegment
from .specifications import (
    MAX_ELEMENTS,
    MAX_SEGMENTS,
    Joint,
    Segment,
    check_segment,
    joints_by_name,
    require_zeros_kept,
)
from .units import Unit, units_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..prepared import Prepared
    from .joint import PreparedJoint


class Layout:
    """Data type and segments of a vector.

    Args:
        data_type: One of ``DATA_TYPES``, in the machine's byte order.
        segments: In the order of their elements.
        joints: The joint regularizers that segments name.

    Attributes:
        data_type: That of the elements.
        segments: The segments made ready, each with the specification that was given.
        joints: The joint regularizers, likewise.
        starts: Position of each segment's first element, and at last the vector's length.

    Raises:
        DataTypeUnsupported: If the data type is another.
        LayoutInvalid: If a name is taken, or a shape is negative, overflows or does not fit its regularizer.
        GroupsInvalid: If groups do not fit their segment.
        FieldOutOfRange: If a step size or a modifier is not in its range.
        ModifierUnsupported: If a regularizer does not take a modifier.
        JointInvalid: If a joint regularizer, or a segment that names one, breaks a rule.
    """

    __slots__ = ("_having", "_units", "data_type", "joints", "segments", "starts")

    def __init__(
        self, data_type: DataType, segments: tuple[Segment, ...], joints: tuple[Joint, ...] = ()
    ) -> None:
        if data_type not in DATA_TYPES:
            known = ", ".join(map(str, DATA_TYPES))
            raise DataTypeUnsupported(f"must be one of {known}, got {data_type}", field="data_type")
        if len(segments) > MAX_SEGMENTS:
            text = f"must be at most {MAX_SEGMENTS}, got {len(segments)}"
            raise LayoutInvalid(text, field="segments")
        self.data_type = data_type
        self.segments, self.joints = _joined(tuple(_prepared(segments, data_type)), joints, data_type)
        self.starts = (0, *(segment.end for segment in self.segments))
        # Found out when first asked for: a layout is kept for the steps to come.
        self._having: frozenset[Method] = frozenset()
        self._units: tuple[Unit, ...] | None = None

    def with_resolved(self, resolved: Mapping[str, PreparedSegment]) -> Layout:
        """The same layout with some segments, by their names, in a resolved form."""
        layout = copy(self)
        layout.segments = tuple(resolved.get(segment.name, segment) for segment in self.segments)
        # These hold nothing together any more.
        done = {segment.joint.name for segment in resolved.values() if segment.joint is not None}
        layout.joints = tuple(joint for joint in self.joints if joint.name not in done)
        layout._units = None
        return layout

    @property
    def units(self) -> tuple[Unit, ...]:
        """The segments in their order, those together that one run of the engine is for."""
        if self._units is None:
            self._units = units_of(self.segments)
        return self._units

    @property
    def size(self) -> int:
        """Number of elements of the vector."""
        return self.starts[-1]

    def segment_at(self, element: int) -> int:
        """Index of the segment that has this element of the vector."""
        return bisect_right(self.starts, element) - 1

    def name_at(self, element: int) -> str:
        """Name of the segment that has this element of the vector."""
        return self.segments[self.segment_at(element)].name

    def cuts(self, begin: int, end: int, parts: int) -> list[int]:
        """Ends of at most so many element ranges, about equally long, from ``begin`` to ``end``.

        Inside a segment they are ends of blocks, so that their sums combine to the bits of one range.
        """
        if begin == end:
            return [begin, end]
        inner = {self._cut_before(begin + (end - begin) * part // parts) for part in range(1, parts)}
        return [begin, *sorted(cut for cut in inner if begin < cut < end), end]

    def _cut_before(self, element: int) -> int:
        segment = self.segments[self.segment_at(element)]
        start = segment.start
        for position in range((element - start) // BLOCK * BLOCK, 0, -BLOCK):
            if segment.may_be_cut(position):
                return start + position
        return start

    def require(self, method: Method) -> None:
        """Check that every segment has a method.

        Raises:
            MethodUnsupported: If a segment's regularizer does not have it.
            ModifierUnsupported: If it does not take a segment's modifier.
        """
        if method in self._having:
            return
        for index, segment in enumerate(self.segments):
            try:
                if method is Method.PROXIMAL_STEP:
                    segment.require_proximal_step()
                else:
                    segment.require_penalty(method.value)
            except RegularizationError as error:
                error.within(f"segments[{index}]")
                raise
        self._having |= {method}

    def check_within(self, begin: int, end: int) -> None:
        """Check that a range of elements is one of the vector.

        Raises:
            ElementRangeInvalid: If it leaves the layout.
        """
        if not 0 <= begin <= self.size:
            raise ElementRangeInvalid(
                f"must be within [0, {self.size}], got {begin}", field="begin", element=begin
            )
        if not begin <= end <= self.size:
            text = f"must be within [{begin}, {self.size}], got {end}"
            raise ElementRangeInvalid(text, field="end", element=end)

    def check_range(self, begin: int, end: int) -> None:
        """Check an element range.

        Raises:
            ElementRangeInvalid: If it leaves the layout, or cuts where it must not.
        """
        self.check_within(begin, end)
        for name, position in (("begin", begin), ("end", end)):
            if position == self.size:
                continue
            self._check_joints(name, position)
            segment = self.segments[self.segment_at(position)]
            try:
                segment.require_cut(position - segment.start)
            except ElementRangeInvalid as error:
                error.within(name)
                raise

    def _check_joints(self, name: str, position: int) -> None:
        """Check that a range does not leave a joint regularizer, whose elements go together."""
        for joint in self.joints:
            if joint.is_cut_at(position):
                text = (
                    f"must not cut joint {joint.name!r}, whose elements lie from {joint.begin} to "
                    f"{joint.end}, got {position}"
                )
                raise ElementRangeInvalid(text, field=name, element=position)


def _prepared(segments: Iterable[Segment], data_type: DataType) -> Iterator[PreparedSegment]:
    names: set[str] = set()
    start = 0
    for index, segment in enumerate(segments):
        path = f"segments[{index}]"
        if segment.name in names:
            text = f"must be unique in the layout, got {segment.name!r} again"
            raise LayoutInvalid(text, field=f"{path}.name", segment=segment.name)
        names.add(segment.name)
        check_segment(segment, path)
        try:
            prepared = _prepared_segment(segment, start, data_type)
        except RegularizationError as error:
            error.segment = segment.name
            error.within(path)
            raise
        if prepared.end > MAX_ELEMENTS:
            text = f"must keep the vector's length at most {MAX_ELEMENTS}, got {prepared.end}"
            raise LayoutInvalid(text, field=f"{path}.shape", segment=segment.name)
        yield prepared
        start = prepared.end


def _prepared_segment(segment: Segment, start: int, data_type: DataType) -> PreparedSegment:
    regularizer, prepared = modified(
        segment.regularizer,
        _prepared_regularizer(segment, data_type),
        segment.box,
        segment.smoothing,
        data_type,
    )
    if segment.keeps_zeros:
        require_zeros_kept(segment)
    return PreparedSegment(segment, start, segment.size, regularizer, prepared)


def _prepared_regularizer(segment: Segment, data_type: DataType) -> Prepared | None:
    regularizer = segment.regularizer
    if regularizer is None:
        return None
    try:
        return regularizer.on(segment.shape, data_type)
    except RegularizationError as error:
        if error.field != "shape":
            error.within(f"regularizer.{regularizer.name}")
        raise


def _joined(
    segments: tuple[PreparedSegment, ...], joints: tuple[Joint, ...], data_type: DataType
) -> tuple[tuple[PreparedSegment, ...], tuple[PreparedJoint, ...]]:
    """The segments with the joint regularizers that they name, and these."""
    members = _members(segments, joints_by_name(joints))
    prepared: dict[str, PreparedJoint] = {}
    for index, joint in enumerate(joints):
        path, there = f"joints[{index}]", members[joint.name]
        if not there:
            raise JointInvalid(f"must have a segment that names it, {joint.name!r} has none", field=path)
        size = sum(segment.size for segment in there)
        filled = [segment for segment in there if segment.size] or there
        place = (filled[0].start, filled[-1].end, size)
        prepared[joint.name] = prepared_joint(joint, *place, data_type, path)
    if not prepared:
        return segments, ()
    return tuple(_with_joint(segment, prepared) for segment in segments), tuple(prepared.values())


def _members(
    segments: Iterable[PreparedSegment], joints: dict[str, Joint]
) -> dict[str, list[PreparedSegment]]:
    """The segments of each joint regularizer."""
    members: dict[str, list[PreparedSegment]] = {name: [] for name in joints}
    for index, segment in enumerate(segments):
        name = segment.specification.joint
        if name is None:
            continue
        try:
            if name not in joints:
                known = ", ".join(map(repr, joints)) or "there are none"
                raise JointInvalid(f"must name a joint regularizer ({known}), got {name!r}", field="joint")
            check_alone(segment.specification, joints[name])
        except RegularizationError as error:
            error.segment = segment.name
            error.within(f"segments[{index}]")
            raise
        members[name].append(segment)
    return members


def _with_joint(segment: PreparedSegment, joints: dict[str, PreparedJoint]) -> PreparedSegment:
    if segment.specification.joint is None:
        return segment
    joint = joints[segment.specification.joint]
    return replace(segment, regularizer=joint.specification.regularizer, prepared=joint.prepared, joint=joint)
