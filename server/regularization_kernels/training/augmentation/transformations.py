"""Transformations of samples, each a function of the sample and of its own random numbers.

The schema, training/v1/augmentation.proto, has each in words, with its source.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import FieldOutOfRange, LayoutInvalid
from ...interruption import go_on
from ...regularizer import COUNT, NOT_NEGATIVE, Parameters, Range, parameter
from .normal import normal_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import Float64Array
    from .randomness import Draws

LONGEST_SIDE = 1 << 31
"""Of the height and the width of a sample in which places are drawn."""

LARGEST_BLOCK = 4096
"""Samples that wait for each other."""

FINITE = Range("a number", lambda value: True)
_SHARE = Range("from 0 to 1", lambda value: 0 <= value <= 1)
_BLOCK = Range(f"from 2 to {LARGEST_BLOCK}", lambda value: 2 <= value <= LARGEST_BLOCK, whole=True)
_MOVE = Range(">= 0 and < 2^31", lambda value: 0 <= value < LONGEST_SIDE, whole=True)

_WORDS_AT_ONCE = 1 << 16
"""Random words of elements that are made at once: they stay in the cache."""


class Transformation(Parameters, ABC):
    """What is done with samples; an immutable value."""

    __slots__ = ()

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check that it can be done with samples of this shape.

        Raises:
            LayoutInvalid: If not.
        """


class OwnTransformation(Transformation):
    """One that looks at each sample by itself."""

    __slots__ = ()

    @abstractmethod
    def apply(self, samples: Float64Array, draws: Draws) -> None:
        """Transform samples, ``(count, *shape)``, in place."""


class Mixing(Transformation):
    """One that takes something from the samples' partners."""

    __slots__ = ()

    lowest: float
    highest: float
    block: int

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            FieldOutOfRange: If one is not in its range, or the lowest share is above the highest.
        """
        super().__post_init__()
        _check_order(self.lowest, self.highest, "lowest", "highest")

    @abstractmethod
    def apply(self, samples: Float64Array, partners: npt.NDArray[np.int64], draws: Draws) -> Float64Array:
        """Transform a block's samples, ``(count, *shape)``, in place.

        Returns:
            How much of itself each sample keeps, ``(count,)``.
        """

    def shares(self, draws: Draws) -> Float64Array:
        """How much each sample is to keep, before anything is made whole."""
        return self.lowest + (self.highest - self.lowest) * draws.shares(0)


@dataclass(frozen=True, slots=True)
class Noise(OwnTransformation):
    """A normal number on every element."""

    standard_deviation: float = parameter(NOT_NEGATIVE, "in units of the samples")

    def apply(self, samples: Float64Array, draws: Draws) -> None:
        """Add the noise."""
        rows = samples.reshape(len(samples), -1)
        length = rows.shape[1]
        columns = min(length, _WORDS_AT_ONCE)
        stride = _WORDS_AT_ONCE // columns
        for begin, first in product(range(0, len(rows), stride), range(0, length, columns)):
            go_on()
            some = rows[begin : begin + stride, first : first + columns]
            noise = normal_numbers(draws.all_words(begin, first, some.shape))
            noise *= self.standard_deviation
            some += noise


@dataclass(frozen=True, slots=True)
class Scaling(OwnTransformation):
    """Every sample times a number of its own."""

    lower: float = parameter(FINITE, "least factor")
    upper: float = parameter(FINITE, "largest factor")

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            FieldOutOfRange: If one is not finite, the lower is above the upper, or too far below it.
        """
        Parameters.__post_init__(self)
        _check_order(self.lower, self.upper, "lower", "upper")
        if math.isinf(self.upper - self.lower):
            text = f"must exceed lower, {self.lower!r}, by a finite number, got {self.upper!r}"
            raise FieldOutOfRange(text, field="upper")

    def apply(self, samples: Float64Array, draws: Draws) -> None:
        """Multiply."""
        rows = samples.reshape(len(samples), -1)
        rows *= (self.lower + (self.upper - self.lower) * draws.shares(0))[:, np.newaxis]


@dataclass(frozen=True, slots=True)
class Cutout(OwnTransformation):
    """A square of every sample to one value.

    Source: DeVries and Taylor (2017), Improved regularization of convolutional neural networks with cutout.
    """

    size: int = parameter(COUNT, "rows and columns of the square")
    fill: float = parameter(FINITE, "in units of the samples", default=0.0)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check that there are height and width."""
        check_sides(shape, "cutout")

    def apply(self, samples: Float64Array, draws: Draws) -> None:
        """Fill the squares."""
        sizes = [self.size] * len(samples)
        for sample, (rows, columns) in zip(samples, rectangles(samples, draws, 0, sizes, sizes), strict=True):
            sample[..., rows, columns] = self.fill


@dataclass(frozen=True, slots=True)
class Shift(OwnTransformation):
    """Every sample moved along its last two axes."""

    rows: int = parameter(_MOVE, "most rows, up or down")
    columns: int = parameter(_MOVE, "most columns, to the left or to the right")
    fill: float = parameter(FINITE, "in units of the samples", default=0.0)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check that there are height and width."""
        check_sides(shape, "shift")

    def apply(self, samples: Float64Array, draws: Draws) -> None:
        """Move the samples."""
        down = draws.below(0, 2 * self.rows + 1) - self.rows
        right = draws.below(1, 2 * self.columns + 1) - self.columns
        height, width = samples.shape[-2:]
        for sample, by_rows, by_columns in zip(samples, down.tolist(), right.tolist(), strict=True):
            old = sample.copy()
            sample[...] = self.fill
            to_rows, from_rows = _moved(height, by_rows)
            to_columns, from_columns = _moved(width, by_columns)
            sample[..., to_rows, to_columns] = old[..., from_rows, from_columns]


@dataclass(frozen=True, slots=True)
class Mixup(Mixing):
    """Every sample averaged with another.

    Source: Zhang, Cisse, Dauphin and Lopez-Paz (2018), mixup: beyond empirical risk minimization.
    """

    lowest: float = parameter(_SHARE, "least share that a sample keeps", default=0.0)
    highest: float = parameter(_SHARE, "largest share", default=1.0)
    block: int = parameter(_BLOCK, "samples that wait for each other", default=256)

    def apply(self, samples: Float64Array, partners: npt.NDArray[np.int64], draws: Draws) -> Float64Array:
        """Average."""
        shares = self.shares(draws)
        rows = samples.reshape(len(samples), -1)
        theirs = rows[partners]
        theirs *= (1.0 - shares)[:, np.newaxis]
        rows *= shares[:, np.newaxis]
        rows += theirs
        return shares


@dataclass(frozen=True, slots=True)
class Cutmix(Mixing):
    """Every sample with a rectangle from another.

    Source: Yun, Han, Oh, Chun, Choe and Yoo (2019), CutMix: regularization strategy to train strong
    classifiers with localizable features.
    """

    lowest: float = parameter(_SHARE, "least share that a sample keeps", default=0.0)
    highest: float = parameter(_SHARE, "largest share", default=1.0)
    block: int = parameter(_BLOCK, "samples that wait for each other", default=256)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check that there are height and width."""
        check_sides(shape, "cutmix")

    def apply(self, samples: Float64Array, partners: npt.NDArray[np.int64], draws: Draws) -> Float64Array:
        """Copy the rectangles."""
        height, width = samples.shape[-2:]
        sides = np.sqrt(1.0 - self.shares(draws))
        heights, widths = (np.floor(side * sides).astype(np.int64).tolist() for side in (height, width))
        theirs = samples[partners]
        kept = np.empty(len(samples))
        places = rectangles(samples, draws, 1, heights, widths)
        for index, (rows, columns) in enumerate(places):
            samples[index][..., rows, columns] = theirs[index][..., rows, columns]
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            kept[index] = 1.0 - area / (height * width)
        return kept


def rectangles(
    samples: Float64Array, draws: Draws, number: int, heights: Sequence[int], widths: Sequence[int]
) -> list[tuple[slice, slice]]:
    """Rows and columns of a rectangle in each sample, as far as they are inside.

    Args:
        samples: ``(count, *shape)``.
        draws: Their random words.
        number: Of the word that chooses the row; the next one chooses the column.
        heights: Rows of each rectangle.
        widths: Columns of each.
    """
    sides = zip(samples.shape[-2:], (heights, widths), strict=True)
    ends = [
        [_around(at, length, side) for at, length in zip(places.tolist(), lengths, strict=True)]
        for axis, (side, lengths) in enumerate(sides)
        for places in [draws.below(number + axis, side)]
    ]
    return list(zip(*ends, strict=True))


def check_sides(shape: tuple[int, ...], name: str) -> None:
    """Check that samples have height and width, in which places can be drawn.

    Raises:
        LayoutInvalid: If not.
    """
    if len(shape) < 2:
        text = f"must have two axes or more for {name}, height and width the last, got {len(shape)}"
        raise LayoutInvalid(text, field="sample_shape")
    if max(shape[-2:]) > LONGEST_SIDE:
        text = f"must have a height and a width of at most {LONGEST_SIDE} for {name}, got {max(shape[-2:])}"
        raise LayoutInvalid(text, field="sample_shape")


def _around(place: int, length: int, side: int) -> slice:
    begin = place - length // 2
    first, last = max(begin, 0), min(begin + length, side)
    return slice(first, max(first, last))


def _moved(side: int, by: int) -> tuple[slice, slice]:
    """Where what stays inside goes to, and where it comes from."""
    length = max(side - abs(by), 0)
    to = min(max(by, 0), side)
    begin = min(max(-by, 0), side)
    return slice(to, to + length), slice(begin, begin + length)


def _check_order(lower: float, upper: float, lower_name: str, upper_name: str) -> None:
    if lower > upper:
        raise FieldOutOfRange(f"must be <= {upper_name}, {upper!r}, got {lower!r}", field=lower_name)
