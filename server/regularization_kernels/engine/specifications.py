"""What a layout is made of, as a caller says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..arrays import FLOAT64
from ..errors import FieldOutOfRange, JointInvalid, LayoutInvalid, ModifierUnsupported
from ..modifiers import modified

if TYPE_CHECKING:
    from ..regularizer import Regularizer
    from ..regularizers.elements.box import Box

MAX_SEGMENTS = 10_000
"""Segments of a layout."""

MAX_AXES = 32
"""Axes of a segment."""

MAX_ELEMENTS = (1 << 63) // 8 - 1
"""Elements of a vector: its bytes must be countable in an int64, whatever the data type."""

MAX_JOINTS = 64
"""Joint regularizers of a layout."""

MAX_NAME_BYTES = 256
"""UTF-8 bytes of a segment's or a joint regularizer's name."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The specification of a named, shaped stretch of the vector with its regularizer.

    Args:
        name: Any text, unique in its layout.
        shape: Lengths along the axes, each >= 0; ``()`` is a scalar.
        regularizer: None where the segment is exempt.
        step_size: Its own, where it differs from the call's: finite, >= 0.
        box: Bounds on every element, on top of the regularizer.
        smoothing: Of the Moreau envelope that takes the place of the regularizer with its box: finite, > 0.
        joint: Name of the joint regularizer that it has in place of one of its own, and of a step size.
        keeps_zeros: Whether an element that is 0 stays 0, wherever a loss gradient leads.
    """

    name: str
    shape: tuple[int, ...]
    regularizer: Regularizer | None = None
    step_size: float | None = None
    box: Box | None = None
    smoothing: float | None = None
    joint: str | None = None
    keeps_zeros: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Joint:
    """The specification of a regularizer that several segments share.

    Args:
        name: Any text, unique among the layout's joint regularizers.
        regularizer: What it is; its segments' elements are to it one vector, in the layout's order.
        step_size: Its own, where it differs from the call's: finite, >= 0.
    """

    name: str
    regularizer: Regularizer
    step_size: float | None = None


def check_segment(segment: Segment, path: str) -> None:
    """Check what can be said of a segment by itself.

    Raises:
        LayoutInvalid: If its name is too long, or its shape negative or too large.
        FieldOutOfRange: If its step size is not in its range.
    """
    name_bytes = len(segment.name.encode())
    if name_bytes > MAX_NAME_BYTES:
        text = f"must have at most {MAX_NAME_BYTES} bytes, got {name_bytes}"
        raise LayoutInvalid(text, field=f"{path}.name", segment=segment.name)
    if len(segment.shape) > MAX_AXES:
        text = f"must have at most {MAX_AXES} axes, got {len(segment.shape)}"
        raise LayoutInvalid(text, field=f"{path}.shape", segment=segment.name)
    for axis, length in enumerate(segment.shape):
        if length < 0:
            text = f"must be >= 0, got {length}"
            raise LayoutInvalid(text, field=f"{path}.shape[{axis}]", segment=segment.name)
    if segment.size > MAX_ELEMENTS:
        text = f"must have a product of at most {MAX_ELEMENTS}, got {segment.size}"
        raise LayoutInvalid(text, field=f"{path}.shape", segment=segment.name)
    if segment.step_size is not None:
        check_step_size(segment.step_size, f"{path}.step_size", segment.name)


def require_zeros_kept(segment: Segment, field: str = "keeps_zeros") -> None:
    """Check that a segment's regularizer, with its modifiers, leaves zeros at 0.

    Args:
        segment: The segment.
        field: What asks for it.

    Raises:
        ModifierUnsupported: If it does not.
    """
    regularizer, _ = modified(segment.regularizer, None, segment.box, segment.smoothing, FLOAT64)
    if regularizer is not None and not regularizer.traits.keeps_zeros:
        text = f"is only for regularizers that leave zeros at 0, alone and with a box; not {regularizer.name}"
        raise ModifierUnsupported(text, field=field, segment=segment.name or None)


def joints_by_name(joints: Sequence[Joint]) -> dict[str, Joint]:
    """Joint regularizers by their names.

    Raises:
        JointInvalid: If there are too many, or a name is taken or too long.
        FieldOutOfRange: If a step size is not in its range.
    """
    if len(joints) > MAX_JOINTS:
        raise JointInvalid(f"must be at most {MAX_JOINTS}, got {len(joints)}", field="joints")
    known: dict[str, Joint] = {}
    for index, joint in enumerate(joints):
        path, name_bytes = f"joints[{index}]", len(joint.name.encode())
        if joint.name in known:
            text = f"must be unique among joint regularizers, got {joint.name!r} again"
            raise JointInvalid(text, field=f"{path}.name")
        if name_bytes > MAX_NAME_BYTES:
            text = f"must have at most {MAX_NAME_BYTES} bytes, got {name_bytes}"
            raise JointInvalid(text, field=f"{path}.name")
        if joint.step_size is not None:
            check_step_size(joint.step_size, f"{path}.step_size")
        known[joint.name] = joint
    return known


def check_step_size(value: float, path: str, segment: str | None = None) -> None:
    """Reject a step size that is negative or not finite.

    Raises:
        FieldOutOfRange: In that case.
    """
    if not (math.isfinite(value) and value >= 0):
        raise FieldOutOfRange(f"must be finite and >= 0, got {value!r}", field=path, segment=segment)
