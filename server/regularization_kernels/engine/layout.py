"""What a flat vector is made of, and where it may be cut."""

from __future__ import annotations

from bisect import bisect_right
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..arrays import DataType
from ..errors import (
    DataTypeUnsupported,
    ElementRangeInvalid,
    JointInvalid,
    LayoutInvalid,
    MethodUnsupported,
    ModifierUnsupported,
    RegularizationError,
)
from ..formats import DATA_TYPES
from ..modifiers import modified
from ..regularizer import Locality
from ..summation import BLOCK
from .joint import check_alone, prepared_joint
from .specifications import (
    MAX_ELEMENTS,
    MAX_SEGMENTS,
    Joint,
    Segment,
    check_segment,
    joints_by_name,
    require_zeros_kept,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..prepared import Prepared
    from ..regularizer import Regularizer
    from .joint import PreparedJoint

_WHOLE = {
    Locality.SEGMENT: "it is needed whole",
    Locality.REDUCTION: "it is needed whole without a measurement",
}
"""Why a segment may not be cut, by its locality."""


@dataclass(frozen=True, slots=True)
class PreparedSegment:
    """A segment in its place, made ready: what the engine computes with.

    Args:
        specification: The segment as the layout was given it.
        start: Position of its first element in the vector.
        size: Number of its elements.
        regularizer: Its regularizer with its modifiers, for what is known of it; None where it is exempt.
        prepared: The same made ready for shape and data type, for what is computed.
        is_resolved: Whether all is known of its elements together, so that each can be computed by itself.
        joint: What it shares with other segments, whose regularizer is then its own; None where it is alone.
        forward: Whether that was measured after a forward step; None where it makes no difference.
        penalty: Of a resolved one, the doubles whose exact sum is what is known of its penalty.
    """

    specification: Segment
    start: int
    size: int
    regularizer: Regularizer | None
    prepared: Prepared | None
    is_resolved: bool = False
    joint: PreparedJoint | None = None
    forward: bool | None = None
    penalty: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Its name."""
        return self.specification.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths along its axes."""
        return self.specification.shape

    @property
    def end(self) -> int:
        """One past its last element, in the vector."""
        return self.start + self.size

    @property
    def has_map(self) -> bool:
        """Whether its regularizer is no penalty but a map."""
        return self.regularizer is not None and self.regularizer.traits.map

    @property
    def convex(self) -> bool | None:
        """Whether its regularizer is a convex function; None where that is a map."""
        if self.regularizer is None:
            return True
        return None if self.has_map else self.regularizer.traits.convex

    @property
    def locality(self) -> Locality:
        """How far it may be cut: anywhere where it is exempt or resolved, not at all if it must be whole."""
        if self.regularizer is None or self.is_resolved:
            return Locality.ELEMENT
        locality = self.regularizer.locality
        if locality is Locality.REDUCTION and (self.prepared is None or self.prepared.reduction() is None):
            return Locality.SEGMENT
        return locality

    @property
    def waiting_for(self) -> PreparedJoint | None:
        """What its elements have to wait for, beside themselves."""
        return self.joint if self.size and not self.is_resolved else None

    def resolved(
        self, prepared: Prepared, penalty: tuple[float, ...], forward: bool | None = None
    ) -> PreparedSegment:
        """The same segment with what computes each of its elements by itself, and what is known already."""
        return replace(self, prepared=prepared, is_resolved=True, penalty=penalty, forward=forward)

    def step_size_in(self, step_size: float | None) -> float | None:
        """Its step size in a call with this one."""
        own = (self.joint or self).specification.step_size
        return step_size if own is None else own

    def require_penalty(self, method: str) -> None:
        """Check that it has a penalty, which this method needs.

        Raises:
            MethodUnsupported: If its regularizer is a map.
        """
        if self.regularizer is not None and self.has_map:
            text = f"must have a penalty for {method}, and {self.regularizer.name} is a map"
            raise MethodUnsupported(text, field="regularizer", segment=self.name)

    def require_proximal_step(self) -> None:
        """Check that it has a proximal step.

        Raises:
            ModifierUnsupported: If it is smoothed, and not convex.
        """
        if self.regularizer is not None and self.specification.smoothing is not None and not self.convex:
            text = f"has a proximal step of convex regularizers only, which {self.regularizer.name} is not"
            raise ModifierUnsupported(text, field="smoothing", segment=self.name)

    def cut(self, position: int) -> int:
        """The largest place at or before ``position`` where a piece of it may end."""
        return position if self.prepared is None else self.prepared.cut(position)

    def workspace(self, elements: int) -> int:
        """Float64 numbers that computing so many elements at once needs, apart from input and result."""
        return 0 if self.prepared is None else self.prepared.workspace(elements)

    def may_be_cut(self, position: int) -> bool:
        """Whether an element range may begin or end at this position inside the segment."""
        if self.is_resolved or position in (0, self.size):
            return True
        return self.locality not in _WHOLE and self.cut(position) == position

    def require_cut(self, position: int) -> None:
        """Check that an element range may begin or end at this position inside the segment.

        Raises:
            ElementRangeInvalid: If it may not. The error's element is that of the vector.
        """
        if self.may_be_cut(position):
            return
        cuts = f"cuts are where groups end, such as at {self.cut(position)}"
        rule = _WHOLE.get(self.locality, cuts)
        text = f"must not cut segment {self.name!r} (locality {self.locality.name}) at its element {position}"
        raise ElementRangeInvalid(f"{text}: {rule}", segment=self.name, element=self.start + position)


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

    __slots__ = ("data_type", "joints", "segments", "starts")

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

    def with_resolved(self, resolved: Mapping[str, PreparedSegment]) -> Layout:
        """The same layout with some segments, by their names, in a resolved form."""
        layout = copy(self)
        layout.segments = tuple(resolved.get(segment.name, segment) for segment in self.segments)
        # These hold nothing together any more.
        done = {segment.joint.name for segment in resolved.values() if segment.joint is not None}
        layout.joints = tuple(joint for joint in self.joints if joint.name not in done)
        return layout

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
