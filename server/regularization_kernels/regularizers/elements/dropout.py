"""Dropout: elements that become 0 by a seed, the step of training and their place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import MethodUnsupported
from ...formats import random_bits
from ...preparation import PreparedRegularizer, Unprepared
from ...regularizer import Description, Range, Traits, parameter, register
from ...summation import BlockSum

_STRETCH = 1 << 14
"""Elements at once: their random bits stay in the cache."""

_SHARE = Range(">= 0 and < 1", lambda value: 0 <= value < 1)
_WORD = Range(">= 0 and < 2^64", lambda value: 0 <= value < 1 << 64, whole=True)


@register("dropout")
@dataclass(frozen=True, slots=True)
class Dropout(Unprepared):
    """No penalty but a map: each element becomes 0 with probability ``rate``, or x / (1 - rate).

    Which ones is a function of ``seed``, ``step`` and the element's index in its segment, and of nothing
    else. Random bits are those of stochastic rounding (docs/numerics.md): index ``step`` of ``seed`` gives
    the seed of the step's mask, and an element becomes 0 where its bits of that, as a whole number, are below
    ceil(rate * 2^64). A zero is positive. NaN stays NaN.

    Prox: there is none, for there is no penalty; ProximalStep applies the map, whatever the step size.
    Penalty and Gradient are refused, and in a sum of penalties it counts as 0.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014), Dropout: a simple way to
    prevent neural networks from overfitting.
    """

    rate: float = parameter(_SHARE, "probability that an element becomes 0")
    seed: int = parameter(_WORD, "segments with the same seed have the same mask, so give each its own")
    step: int = parameter(_WORD, "of training; each has another mask; unset: 0", default=0)
    rescale: bool = parameter(
        None,
        "whether elements that stay are divided by 1 - rate, so that the mean stays; unset: true",
        default=True,
    )

    traits: ClassVar[Traits] = Traits(map=True)
    description: ClassVar[Description] = Description(
        title="elements that become 0 by seed, step and place: a map, not a penalty",
        penalty="none: the method Penalty is refused, and a sum of penalties has 0 for it",
        terms="none",
        gradient="none: the method Gradient is refused",
        prox="none; the map 0 where dropped, else x / (1 - rate), or x without rescale",
        source="Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedDropout:
        """The map of a segment, whose elements count from 0."""
        del shape, data_type
        return PreparedDropout(self, int(random_bits(self.seed, self.step, 1)[0]))


@dataclass(frozen=True, slots=True)
class PreparedDropout(PreparedRegularizer):
    """The map of the elements of a segment from some position on.

    Args:
        regularizer: What it was made of.
        seed_of_step: What the mask's random bits come from.
        position: Of the first element in its segment.
    """

    regularizer: Dropout
    seed_of_step: int
    position: int = 0

    def restricted(self, begin: int, end: int) -> Self:
        """The map of the elements begin..end alone."""
        del end
        return replace(self, position=begin)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add nothing: there is no penalty."""

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Refuse.

        Raises:
            MethodUnsupported: Always.
        """
        raise MethodUnsupported(f"has no gradient: {self.name} is a map, not a penalty")

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write 0 where an element is dropped, and what is left of the others."""
        del step_size
        flat, target = x.reshape(-1), out.reshape(-1)
        threshold = np.uint64(math.ceil(math.ldexp(self.regularizer.rate, 64)))
        share = 1.0 - self.regularizer.rate if self.regularizer.rescale else 1.0
        scratch = np.empty((2, min(flat.size, _STRETCH)), np.uint64)
        for begin in range(0, flat.size, _STRETCH):
            some = target[begin : begin + _STRETCH]
            bits = random_bits(self.seed_of_step, self.position + begin, some.size, scratch[:, : some.size])
            np.divide(flat[begin : begin + _STRETCH], share, out=some)
            some[(bits < threshold) & (some == some)] = 0.0
