"""The answer over one segment: operands and modifiers around its regularizer, by the schema's comments."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from mpmath import mpf
from regularization.v1.layout_pb2 import Segment

from .numbers import FLOAT64, DataType, Real, exact, is_short, uniform
from .rows import Row, row_of
from .rows.row import Message, Shape, Vector
from .sums import Terms

UNROUNDED = 2.0**-48
"""What float64 results may be off by, of the largest, where their exact values are no numbers of binary64."""
SUMS_OF_UNSURE = 2.0**10
"""How much more their sums may be off by: squared distances are of differences."""


@dataclass(frozen=True)
class Operands:
    """Elements and operands of a stretch of the vector, as numbers of its data type."""

    parameters: list[float]
    loss_gradients: list[float] | None = None
    reference: list[float] | None = None
    weights: list[float] | None = None
    step_scales: list[float] | None = None

    def __getitem__(self, stretch: slice) -> Operands:
        """The same of a part."""
        parts: dict[str, Any] = {n: None if v is None else v[stretch] for n, v in vars(self).items()}
        return Operands(**parts)

    def real(self, name: str, otherwise: float) -> Vector:
        """An operand as exact numbers; where it is not sent, a number for each element."""
        values = getattr(self, name)
        return [mpf(each) for each in ([otherwise] * len(self.parameters) if values is None else values)]


@dataclass
class Part:
    """What comes of a segment's elements.

    Attributes:
        values: The results, rounded; None for Penalty.
        terms: The penalty's.
        convex: As a summary says it.
        value_error: What values may be off by, of the largest.
        sum_error: What sums may be off by, relatively.
    """

    values: list[float] | None
    terms: list[Terms]
    convex: bool | None
    value_error: float = 0.0
    sum_error: float = 0.0


@dataclass(frozen=True)
class Rounding:
    """How results become numbers of the data type.

    Attributes:
        data_type: The layout's.
        seed: Of stochastic rounding; None for rounding to nearest.
        first: Index in the whole vector of the first element.
    """

    data_type: DataType
    seed: int | None = None
    first: int = 0

    def __call__(self, values: list[Any], error: float) -> tuple[list[float], float]:
        """The rounded values, and what they may be off by; Python's floats, such as signed zeros, stay."""
        data_type = self.data_type
        results: list[float] = []
        for index, value in enumerate(values, self.first):
            if isinstance(value, float):
                results.append(value)
            elif error:
                results.append(data_type.nearest(exact(value)))
            elif data_type is FLOAT64:
                results.append(data_type.nearest(exact(value)))
                error = error if is_short(exact(value)) else UNROUNDED
            elif self.seed is not None:
                results.append(data_type.stochastic(exact(value), uniform(self.seed, index)))
            else:
                results.append(data_type.rounded(exact(value)))
        if error and data_type is not FLOAT64:
            error += 2.0 ** (data_type.least if data_type.fixed else 1 - data_type.precision)
        return results, error


def in_type(segment: Segment, data_type: DataType) -> Segment:
    """A segment whose bounds and explicit levels are numbers of the data type, at most its largest."""
    result = Segment()
    result.CopyFrom(segment)
    kind = segment.regularizer.WhichOneof("kind") if segment.HasField("regularizer") else ""
    boxes = [result.box] * segment.HasField("box") + [result.regularizer.box] * (kind == "box")
    for box in boxes:
        for bound in [name for name in ("lower", "upper") if box.HasField(name)]:
            setattr(box, bound, within(getattr(box, bound), data_type))
    if kind == "grid" and segment.regularizer.grid.levels.WhichOneof("spacing") == "explicit":
        levels = result.regularizer.grid.levels.explicit.values
        levels[:] = [within(each, data_type) for each in levels]
    return result


def within(number: float, data_type: DataType) -> float:
    """A number rounded to nearest, and to the largest number of the data type at most."""
    largest = float(data_type.largest)
    return min(
        max(data_type.nearest(exact(mpf(number))), -largest - data_type.fixed * 2.0**data_type.least), largest
    )


@dataclass(frozen=True)
class Regularized:
    """A segment's regularizer with its modifiers, at a stretch of the segment."""

    segment: Segment
    shape: Shape
    operands: Operands
    first: int = 0
    row: Row | None = field(init=False)
    message: Message = field(init=False)

    def __post_init__(self) -> None:
        """Look the regularizer up, and give it the weights that it has itself."""
        row, message = (
            (None, None) if not self.segment.HasField("regularizer") else row_of(self.segment.regularizer)
        )
        if row and row.weighted and self.operands.weights is not None:
            row = row.weighted(self.operands.weights)
            object.__setattr__(self, "operands", replace(self.operands, weights=None))
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "message", message)

    @property
    def gamma(self) -> Real | None:
        """The smoothing."""
        return mpf(self.segment.smoothing) if self.segment.HasField("smoothing") else None

    def part(self, values: list[float] | None, point: list[float], value_error: float) -> Part:
        """The part with the penalty's terms at a point."""
        row_error = self.row.sum_error if self.row else 0.0
        terms, rounded = self.terms(point)
        sum_error = max(row_error, value_error * SUMS_OF_UNSURE, *(each.error for each in terms))
        return Part(
            values, terms, self.row.convex if self.row else True, value_error, max(sum_error, rounded)
        )

    def terms(self, point: list[float]) -> tuple[list[Terms], float]:
        """The penalty's terms at new parameters, and what they may be off by."""
        reference = self.operands.reference
        off = [
            a - (b if self.row else 0.0) for a, b in zip(point, reference or [0.0] * len(point), strict=True)
        ]
        if self.gamma is None:
            return [*self._own_terms(off), *self._box_terms(point)], 0.0
        near = self._inner_step([mpf(each) for each in off], [self.gamma] * len(off))
        unrounded = any(not is_short(exact(each)) for each in near)
        floats = [float(each) for each in near]
        distances = [(a - b) * (a - b) for a, b in zip(off, floats, strict=True)]
        smooth = Terms(0.5 / self.segment.smoothing, distances, self.first)
        return [*self._own_terms(floats), smooth], UNROUNDED if unrounded else 0.0

    def _own_terms(self, x: list[float]) -> list[Terms]:
        if self.row is None:
            return []
        sums = self.row.sums(self.message, self.shape, x)
        weights = self.operands.weights
        return [
            Terms(
                each.scale,
                each.values
                if weights is None
                else [t * w for t, w in zip(each.values, weights, strict=True)],
                self.first,
                each.error,
            )
            for each in sums
        ]

    def _box_terms(self, point: list[float]) -> list[Terms]:
        outside = any(self._clip(mpf(each)) != each for each in point)
        return [Terms(1.0, [math.inf])] if outside else []

    def _clip(self, x: Real) -> Real:
        box = self.segment.box
        x = max(x, mpf(box.lower)) if box.HasField("lower") else x
        return min(x, mpf(box.upper)) if box.HasField("upper") else x

    def _inner_step(self, x: Vector, sizes: Vector) -> Vector:
        """The step of the penalty with its weights and its box, of parameters less the reference."""
        scaled = [s * w for s, w in zip(sizes, self.operands.real("weights", 1.0), strict=True)]
        y = self.row.step(self.message, self.shape, x, scaled) if self.row else x
        reference = self.operands.real("reference", 0.0)
        if not self.segment.HasField("box"):
            return y
        return [self._clip(each + r) - r for each, r in zip(y, reference, strict=True)]

    def step(self, step_size: float, rounding: Rounding) -> Part:
        """The proximal step."""
        operands = self.operands
        sizes = [mpf(step_size) * scale for scale in operands.real("step_scales", 1.0)]
        reference = operands.real("reference", 0.0) if self.row else [mpf(0)] * len(sizes)
        theta = operands.real("parameters", 0.0)
        moves = [
            self._kept(g, p) * s
            for g, p, s in zip(operands.real("loss_gradients", 0.0), theta, sizes, strict=True)
        ]
        x = [p - move - r for p, move, r in zip(theta, moves, reference, strict=True)]
        if self.gamma is None:
            y = self._inner_step(x, sizes)
        else:
            far = self._inner_step(x, [s + self.gamma for s in sizes])
            y = [a + s / (s + self.gamma) * (b - a) for a, b, s in zip(x, far, sizes, strict=True)]
        values, error = rounding([a + r for a, r in zip(y, reference, strict=True)], self._error)
        return self.part(values, values, error)

    @property
    def _error(self) -> float:
        return self.row.value_error if self.row else 0.0

    def _kept(self, gradient: Real, parameter: Real) -> Real:
        return mpf(0) if self.segment.keeps_zeros and parameter == 0 else gradient

    def gradient(self, rounding: Rounding) -> Part:
        """The gradient, with the loss gradient where there is one."""
        operands = self.operands
        theta = operands.real("parameters", 0.0)
        x = [p - r for p, r in zip(theta, operands.real("reference", 0.0), strict=True)]
        if self.row is None:
            slopes = [mpf(0)] * len(x)
        elif self.gamma is not None:
            near = self._inner_step(x, [self.gamma] * len(x))
            slopes = [(a - b) / self.gamma for a, b in zip(x, near, strict=True)]
        else:
            own = self.row.gradient(self.message, self.shape, x) if self.row.gradient else []
            slopes = [w * slope for w, slope in zip(operands.real("weights", 1.0), own, strict=True)]
            slopes = [self._held(slope, p) for slope, p in zip(slopes, theta, strict=True)]
        losses = operands.real("loss_gradients", 0.0)
        sums = [self._kept(g, p) + slope for g, p, slope in zip(losses, theta, slopes, strict=True)]
        values, error = rounding(sums, self._error)
        return self.part(values, operands.parameters, error)

    def _held(self, slope: Real, parameter: Real) -> Real:
        """At a bound of the box 0, where the gradient's descent would lead out."""
        box = self.segment.box
        out_below = box.HasField("lower") and parameter == box.lower and slope > 0
        out_above = box.HasField("upper") and parameter == box.upper and slope < 0
        return mpf(0) if out_below or out_above else slope
