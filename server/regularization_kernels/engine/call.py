"""What is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..errors import ElementRangeInvalid, FieldMissing, FieldOutOfRange, RegularizationError
from .layout import Layout
from .methods import Method
from .prepared_segment import PreparedSegment
from .specifications import check_step_size
from .units import Unit


class RoundingMode(Enum):
    """How numbers become elements of the layout's data type."""

    NEAREST_EVEN = "nearest_even"
    """To nearest, ties to even."""
    STOCHASTIC = "stochastic"
    """To one of the two neighbours at random, so that the mean is exact."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """The rounding of a call's results.

    Args:
        mode: How.
        seed: Where stochastic rounding takes its bits from, 0 <= seed < 2^64; not used otherwise.

    Raises:
        FieldMissing: If stochastic rounding has no seed.
        FieldOutOfRange: If the seed does not fit 64 bits.
    """

    mode: RoundingMode = RoundingMode.NEAREST_EVEN
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check it."""
        if self.seed is not None and not 0 <= self.seed < 1 << 64:
            raise FieldOutOfRange(f"must be >= 0 and < 2^64, got {self.seed}", field="seed")
        if self.mode is RoundingMode.STOCHASTIC and self.seed is None:
            raise FieldMissing("is required for stochastic rounding and unset", field="seed")

    @property
    def stochastic_seed(self) -> int | None:
        """The seed where rounding is stochastic; else None."""
        return self.seed if self.mode is RoundingMode.STOCHASTIC else None


@dataclass(frozen=True, slots=True)
class FigureChoice:
    """Which figures a summary has."""

    penalty: bool = True
    nonzeros: bool = True
    squared_distance: bool = True
    """Of proximal steps only."""
    segments: bool = True
    """Those of each segment, beside the total."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: everything that must be known before the first element.

    Args:
        method: The verb.
        layout: The whole vector's.
        element_range: The part of it that is computed here, ``(begin, end)``; None for all.
        step_size: Of proximal steps: finite, >= 0; None where every segment has its own.
        figures: What the summary has.
        propagate_non_finite: Whether to compute with NaN and infinity instead of rejecting them.
        rounding: How results become elements of the layout's data type.

    Raises:
        FieldMissing: If a segment of a proximal step has no step size, nor has the call.
        FieldOutOfRange: If the step size is negative or not finite.
        MethodUnsupported: If a segment's regularizer does not have the method.
        ModifierUnsupported: If the method does not take a segment's modifier.
        ElementRangeInvalid: If the range leaves the layout, or cuts where it must not.
    """

    method: Method
    layout: Layout
    element_range: tuple[int, int] | None = None
    step_size: float | None = None
    figures: FigureChoice = FigureChoice()
    propagate_non_finite: bool = False
    rounding: Rounding = Rounding()

    def __post_init__(self) -> None:
        """Check it."""
        if self.step_size is not None:
            check_step_size(self.step_size, "step_size")
        if self.method is Method.PROXIMAL_STEP and self.step_size is None:
            for segment in self.layout.segments:
                if segment.step_size_in(None) is None:
                    text = f"must be set: segment {segment.name!r} has none of its own"
                    raise FieldMissing(text, field="step_size", segment=segment.name)
        try:
            self.layout.require(self.method)
        except RegularizationError as error:
            error.within("layout")
            raise
        if self.element_range is not None:
            try:
                self.layout.check_range(*self.element_range)
            except ElementRangeInvalid as error:
                error.within("element_range")
                raise

    @property
    def begin(self) -> int:
        """First element of the vector that is computed here."""
        return 0 if self.element_range is None else self.element_range[0]

    @property
    def end(self) -> int:
        """One past the last."""
        return self.layout.size if self.element_range is None else self.element_range[1]

    def segments_in_range(self) -> list[PreparedSegment]:
        """The segments that have elements in the range, or have none at all and lie in it."""
        return [segment for unit in self.units_in_range() for segment in unit]

    def units_in_range(self) -> list[Unit]:
        """The same, those together that one run of the engine is for."""
        begin, end = self.begin, self.end
        units = []
        for unit in self.layout.units:
            first, last = unit[0].start, unit[-1].end
            if begin <= first and last <= end:
                units.append(unit)
            elif first <= end and begin <= last:
                inside = Unit([segment for segment in unit if segment.lies_in(begin, end)])
                units += [inside] if inside else []
        return units
