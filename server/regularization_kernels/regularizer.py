"""What a regularizer is: the protocol that every file in ``regularizers`` fulfils.

Everything here is about one segment of a vector. The arrays are float64, whatever the data type in
which elements come and go, and C-contiguous: the segment's own shape for locality SEGMENT, one axis
for the others. Inputs are never modified; ``out`` has the input's shape and may be
the input itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from .arrays import FLOAT64, DataType, Float64Array, StepSize
from .errors import FieldOutOfRange
from .expansions import ANY, Exponents, exponents_of
from .summation import BlockSum, ExactSum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .formats import Grid
    from .prepared import FusedLoop, Pass
    from .reductions.reduction import Reduction


SETTLING = 16
"""Float64 numbers an element that rounding a point inwards takes: neighbours, costs, and their order."""


class Locality(Enum):
    """The stretches of a segment on which a regularizer can be computed by itself."""

    ELEMENT = "element"
    """Any stretch."""
    GROUP = "group"
    """Stretches that end where a group ends."""
    SEGMENT = "segment"
    """Only the whole segment."""
    REDUCTION = "reduction"
    """Any stretch, once a few figures of the whole segment are known (``reduction``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is known of a penalty as a function. A test checks what each trait implies."""

    convex: bool = False
    """A convex function; its proximal step is unique."""
    separable: bool = False
    """A sum over elements."""
    smooth: bool = False
    """It has a gradient everywhere."""
    positively_homogeneous: bool = False
    """Ω(c·x) = c·Ω(x) for c ≥ 0."""
    indicator: bool = False
    """0 on a set and +∞ off it, so it has no strength."""
    keeps_zeros: bool = False
    """An element that is 0 is 0 in its step and in its gradient, too, whatever the others are."""
    map: bool = False
    """No penalty at all: its step is a map, and it has no other method."""
    locality: Locality = Locality.ELEMENT
    """How far it may be cut."""

    @property
    def takes_reference(self) -> bool:
        """Whether it may be of the parameters less a reference."""
        return not self.map

    @property
    def takes_weights(self) -> bool:
        """Whether the strength may differ from element to element."""
        return self.separable and not self.indicator


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A regularizer in words, for the catalogue."""

    title: str
    """One line that says what it is for."""
    penalty: str
    """The penalty's formula."""
    terms: str
    """The terms that the contract's sum adds, and its scale where that is not 1."""
    gradient: str
    """The minimum-norm subgradient's formula."""
    prox: str
    """The proximal step's formula."""
    source: str
    """Where the formulas come from."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Meaning, range and units of those fields that do not say it themselves, by name."""

    @classmethod
    def of_set(
        cls,
        *,
        title: str,
        penalty: str,
        prox: str,
        source: str,
        terms: str = "0 inside, infinity outside, at the first element",
    ) -> Self:
        """A set in words, whose gradient is that of all sets."""
        gradient = "0 inside, undefined outside"
        return cls(title=title, penalty=penalty, terms=terms, gradient=gradient, prox=prox, source=source)


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a parameter may be.

    Args:
        words: What it must be, after "finite and ".
        holds: Whether a finite number is one of them.
        whole: Whether it is a whole number, of which nobody needs to be told that it is finite.
    """

    words: str
    holds: Callable[[float], bool]
    whole: bool = False

    @property
    def told(self) -> str:
        """The same in a description."""
        return self.words if self.whole else f"finite, {self.words}"

    def check(self, value: float, name: str) -> None:
        """Check a parameter.

        Raises:
            FieldOutOfRange: If it is none of these numbers.
        """
        if self.whole:
            if not self.holds(value):
                raise FieldOutOfRange(f"must be {self.words}, got {value!r}", field=name)
        elif not (math.isfinite(value) and self.holds(value)):
            raise FieldOutOfRange(f"must be finite and {self.words}, got {value!r}", field=name)


NOT_NEGATIVE = Range(">= 0", lambda value: value >= 0)
POSITIVE = Range("> 0", lambda value: value > 0)
COUNT = Range(">= 0", lambda value: value >= 0, whole=True)


def parameter(numbers: Range | None, words: str, symbol: str = "", default: Any = MISSING) -> Any:
    """A field of a regularizer with all that is known of it: constructor, catalogue and errors read it here.

    Args:
        numbers: What it may be; None where that is more than a range, or nothing is checked.
        words: Meaning and units.
        symbol: What formulas call it, or what it is, where its name does not tell.
        default: What it is where it is not given.
    """
    told = "" if numbers is None else f"{symbol}, {numbers.told}; " if symbol else f"{numbers.told}; "
    return field(default=default, metadata={"range": numbers, "words": told + words})


class Parameters:
    """What checks those of its fields that say their range."""

    __slots__ = ()

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        """Check the parameters."""
        for name, numbers, optional in _ranges(type(self)):  # type: ignore[arg-type] # classes are hashable
            value = getattr(self, name)
            if value is not None or not optional:
                numbers.check(value, name)


class Regularizer(Parameters, ABC):
    """A penalty Ω with its parameters; an immutable value."""

    __slots__ = ()

    name: ClassVar[str]
    """The name it is registered by: its file, its field in the contract."""
    family: ClassVar[str]
    """What it looks at: the folder of its file."""
    traits: ClassVar[Traits]
    """What is known of it as a function."""
    description: ClassVar[Description]
    """The same in words."""
    scaled: ClassVar[bool] = False
    """Whether the terms leave the strength out, so that their sum is multiplied by it."""
    takes_orthant: ClassVar[bool] = False
    """Whether a box may bind its elements to one sign although it is no sum over them: it is convex, depends
    on magnitudes alone, and is no smaller where one is larger."""
    weighs_terms: ClassVar[bool] = False
    """Whether it takes weights of its terms although it is no sum over elements; it is then prepared
    as a ``PreparedWeighing``."""
    weighing: ClassVar[int] = 0
    """Float64 numbers an element that such weights take beside the workspace."""
    steps_in_metric: ClassVar[bool] = False
    """Whether its step is known where each element has a step size of its own, although it is no sum over
    them."""
    scaling: ClassVar[int] = 16
    """Float64 numbers an element that such a step takes beside the workspace."""
    strength: float

    @classmethod
    def parameters(cls) -> dict[str, str]:
        """Meaning, range and units of each field, by name."""
        told = {field.name: field.metadata["words"] for field in fields(cls) if "words" in field.metadata}
        return {**told, **cls.description.parameters}

    @property
    def locality(self) -> Locality:
        """How far it may be cut with these parameters."""
        return self.traits.locality

    @property
    def takes_reference(self) -> bool:
        """Whether it may be of the parameters less a reference."""
        return self.traits.takes_reference

    @property
    def takes_weights(self) -> bool:
        """Whether the strength may differ from element to element."""
        return self.traits.takes_weights or self.weighs_terms

    @property
    def takes_step_scales(self) -> bool:
        """Whether the step size may differ from element to element."""
        return self.traits.separable or self.steps_in_metric

    @property
    def scale(self) -> float:
        """What the sum of the terms is multiplied by to give the penalty: the strength, or 1."""
        return self.strength if self.scaled else 1.0

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Regularizer:
        """What computes on a segment of this shape and data type in this regularizer's place.

        Raises:
            LayoutInvalid: If the shape does not fit.
            GroupsInvalid: If its groups do not fit the shape.
        """
        del shape, data_type
        return self

    def cut(self, position: int) -> int:
        """The largest place at or before ``position`` where the segment may be cut."""
        return position

    def restricted(self, begin: int, end: int) -> Self:
        """The regularizer of the elements begin..end alone, where it may be cut there."""
        del begin, end
        return self

    def workspace(self, elements: int) -> int:
        """Float64 numbers that a call on so many elements needs at once, apart from input and result."""
        del elements
        return 0

    def term_exponents(self, x: Exponents) -> Exponents:
        """Where finite terms lie, before weights and scale, of elements in ``x``; anywhere by default."""
        del x
        return ANY

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """The most doubles that the exact sum of the penalty may need.

        Args:
            x: Where the elements lie, less their reference.
            weights: Where their weights lie.
            size: Their number.
        """
        if self.traits.indicator:
            return 1  # infinity
        terms = self.term_exponents(x)
        if self.takes_weights:
            terms = terms.times(weights)
        return terms.added(size).times(exponents_of(self.scale)).longest_expansion

    @abstractmethod
    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the terms of the penalty to ``sums``; x starts at ``position`` of its segment."""

    @abstractmethod
    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""

    @abstractmethod
    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Whether rounding a point of a set to this grid may leave the set, so that ``settled`` is needed."""
        del grid, at_random
        return False

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Where a point of a set is to come to lie, if what it was rounded to is outside.

        Args:
            exact: What ``prox`` gave.
            numbers: What that, plus the grid's reference, was rounded to; of the same shape.
            grid: The data type's numbers, less the reference.

        Returns:
            Numbers of the data type that, less the reference, are inside; None where ``numbers`` are, or
            where the data type has no such point.
        """
        del exact, numbers, grid
        return None

    def reduction(self) -> Reduction | None:
        """How a long segment is computed by statistics of its parts, if it can be."""
        return None

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """A compiled loop that does all of a pass over so many elements, if it is there."""
        del wanted, elements
        return None

    def value(self, x: Float64Array) -> float:
        """The penalty Ω(x), by the contract's rule of summation."""
        sums = BlockSum(self.scale)
        self.add_terms(x, sums)
        return ExactSum.of(sums.partials()).value


@cache
def _ranges(cls: Any) -> tuple[tuple[str, Range, bool], ...]:
    ranges = ((field.name, field.metadata.get("range"), field.default is None) for field in fields(cls))
    return tuple((name, numbers, optional) for name, numbers, optional in ranges if numbers is not None)


REGULARIZERS: dict[str, type[Regularizer]] = {}
"""Every regularizer class by its registered name, in the order of the names."""


R = TypeVar("R", bound=Regularizer)


def register(name: str) -> Callable[[type[R]], type[R]]:
    """Enter a class in ``REGULARIZERS``; the name is also its file's and its field's in the contract."""

    def enter(cls: type[R]) -> type[R]:
        cls.name = name
        cls.family = cls.__module__.split(".")[-2]
        REGULARIZERS[name] = cls
        return cls

    return enter
