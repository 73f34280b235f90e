"""A segment in its place: what is known of it, and where it may be cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ElementRangeInvalid, MethodUnsupported, ModifierUnsupported
from ..regularizer import Locality

if TYPE_CHECKING:
    from ..prepared import Prepared
    from ..regularizer import Regularizer
    from .joint import PreparedJoint
    from .specifications import Segment

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

    def lies_in(self, begin: int, end: int) -> bool:
        """Whether it has elements in a range of the vector, or has none at all and lies in it."""
        return self.start < end and begin < self.end if self.size else begin <= self.start <= end

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
