"""What is to be augmented, and how: everything that must be known before the first element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...engine import DATA_TYPES, MAX_AXES, Layout, Segment
from ...engine.specifications import MAX_ELEMENTS
from ...errors import (
    DataTypeUnsupported,
    ElementRangeInvalid,
    FieldOutOfRange,
    LayoutInvalid,
    RegularizationError,
)
from .transformations import Mixing

if TYPE_CHECKING:
    from ...arrays import DataType
    from .transformations import Transformation

MAX_TRANSFORMATIONS = 16
"""Transformations of a call."""

SAMPLES = "samples"
"""What errors call the vector of all samples."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Samples of one shape, side by side in a flat vector, and what is done with them.

    Args:
        data_type: One of ``DATA_TYPES``, in the machine's byte order.
        sample_shape: Lengths along a sample's axes, each >= 1.
        samples: How many there are in all, >= 0.
        seed: 0 <= seed < 2^64.
        epoch: 0 <= epoch < 2^64.
        transformations: In their order; at most one of them mixes samples.
        sample_range: The samples at hand, ``(begin, end)``; None for all.
        propagate_non_finite: Whether to compute with NaN and infinity instead of rejecting them.

    Raises:
        DataTypeUnsupported: If the data type is another.
        LayoutInvalid: If shape or number are negative or too large, or do not fit a transformation.
        FieldOutOfRange: If there are too many transformations, or several that mix.
        ElementRangeInvalid: If the range leaves the samples, or cuts a block of those that are mixed.
    """

    data_type: DataType
    sample_shape: tuple[int, ...]
    samples: int
    seed: int
    epoch: int = 0
    transformations: tuple[Transformation, ...] = ()
    sample_range: tuple[int, int] | None = None
    propagate_non_finite: bool = False

    def __post_init__(self) -> None:
        """Check it."""
        if self.data_type not in DATA_TYPES:
            known = ", ".join(map(str, DATA_TYPES))
            raise DataTypeUnsupported(f"must be one of {known}, got {self.data_type}", field="data_type")
        self._check_shape()
        for name, value in (("seed", self.seed), ("epoch", self.epoch)):
            if not 0 <= value < 1 << 64:
                raise FieldOutOfRange(f"must be >= 0 and < 2^64, got {value}", field=name)
        self._check_transformations()
        self._check_range()

    @property
    def sample_size(self) -> int:
        """Elements of a sample."""
        return math.prod(self.sample_shape)

    @property
    def begin(self) -> int:
        """The first sample at hand."""
        return 0 if self.sample_range is None else self.sample_range[0]

    @property
    def end(self) -> int:
        """One past the last."""
        return self.samples if self.sample_range is None else self.sample_range[1]

    @property
    def block(self) -> int | None:
        """How many samples wait for each other; None where none does."""
        mixing = [each for each in self.transformations if isinstance(each, Mixing)]
        return mixing[0].block if mixing else None

    @property
    def layout(self) -> Layout:
        """The vector of all samples."""
        return Layout(self.data_type, (Segment(SAMPLES, (self.samples, *self.sample_shape)),))

    def _check_shape(self) -> None:
        shape = self.sample_shape
        if len(shape) >= MAX_AXES:
            text = f"must have at most {MAX_AXES - 1} axes, got {len(shape)}"
            raise LayoutInvalid(text, field="sample_shape")
        for axis, length in enumerate(shape):
            if length < 1:
                raise LayoutInvalid(f"must be >= 1, got {length}", field=f"sample_shape[{axis}]")
        if self.sample_size > MAX_ELEMENTS:
            text = f"must have a product of at most {MAX_ELEMENTS}, got {self.sample_size}"
            raise LayoutInvalid(text, field="sample_shape")
        if not 0 <= self.samples <= MAX_ELEMENTS // self.sample_size:
            text = f"must be >= 0 and at most {MAX_ELEMENTS // self.sample_size}, got {self.samples}"
            raise LayoutInvalid(text, field="samples")

    def _check_transformations(self) -> None:
        if len(self.transformations) > MAX_TRANSFORMATIONS:
            text = f"must be at most {MAX_TRANSFORMATIONS}, got {len(self.transformations)}"
            raise FieldOutOfRange(text, field="transformations")
        mixes = False
        for index, transformation in enumerate(self.transformations):
            if isinstance(transformation, Mixing):
                if mixes:
                    text = "must be the only one that mixes samples, got another before it"
                    raise FieldOutOfRange(text, field=f"transformations[{index}]")
                mixes = True
            try:
                transformation.check_shape(self.sample_shape)
            except RegularizationError as error:
                error.metadata["transformation"] = index
                raise

    def _check_range(self) -> None:
        if self.sample_range is None:
            return
        begin, end = self.sample_range
        if not 0 <= begin <= self.samples:
            text = f"must be within [0, {self.samples}], got {begin}"
            raise ElementRangeInvalid(text, field="sample_range.begin")
        if not begin <= end <= self.samples:
            text = f"must be within [{begin}, {self.samples}], got {end}"
            raise ElementRangeInvalid(text, field="sample_range.end")
        block = self.block
        for name, at in (("begin", begin), ("end", end)):
            if block is not None and at % block and at != self.samples:
                text = f"must lie between blocks of {block} samples, which are mixed, got {at}"
                raise ElementRangeInvalid(text, field=f"sample_range.{name}")
