"""Block sparsity: of a matrix, a given count or share of its blocks stays."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from ...errors import LayoutInvalid
from ...regularizer import Description, Locality, Range, Traits, parameter, register
from ..vectors.counts import CountOrFraction
from .base import PartitionedRegularizer
from .counted import CountedGroups
from .partitions import EvenRuns, Partition
from .tiles import Tiles

_LENGTH = Range(">= 1", lambda length: length >= 1, whole=True)


@register("block_sparsity")
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSparsity(CountedGroups):
    """0 where at most ``count`` blocks of a matrix, or a fraction of them, are not zero, infinite otherwise.

    The matrix has a row for each slice along the first axis: of a kernel (out, in, height, width) those of
    its outputs, and a column for each element of a slice. Cost: O(n). Source: Gray, Radford and Kingma
    (2017), GPU kernels for block-sparse weights; Blumensath and Davies (2009), Iterative hard thresholding
    for compressed sensing.
    """

    count: int | None = parameter(
        None, "how many may stay, k; >= 0, at most the number of blocks; this or fraction", default=None
    )
    fraction: float | None = parameter(
        None,
        "which part of the n blocks may stay, from 0 to 1, k = floor(fraction * n + 1/2); in place of count",
        default=None,
    )
    rows: int = parameter(_LENGTH, "divides the length of the first axis", symbol="rows of a block")
    columns: int = parameter(
        _LENGTH, "divides the product of the other axes' lengths", symbol="columns of a block"
    )

    groups_words: ClassVar[str] = "blocks"
    traits: ClassVar[Traits] = Traits(positively_homogeneous=True, indicator=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description.of_set(
        title="block-sparse weights, for kernels that skip blocks of zeros",
        penalty="0 if at most k blocks of the matrix have an element that is not 0, infinity otherwise",
        prox="the k blocks of largest norm, of equal ones the first; 0 elsewhere",
        source="Gray, Radford and Kingma 2017; Blumensath and Davies 2009",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        CountOrFraction.__post_init__(self)
        PartitionedRegularizer.__post_init__(self)

    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """The blocks of the matrix, row by row.

        Raises:
            LayoutInvalid: If there are not two axes, or the matrix is not made of whole blocks.
        """
        if len(shape) < 2:
            raise LayoutInvalid(
                f"must have two axes or more for {self.name}, got {list(shape)}", field="shape"
            )
        height, width = shape[0], prod(shape[1:])
        if height % self.rows or width % self.columns:
            text = (
                f"must be a matrix, the first axis by all others, of whole blocks of {self.rows} by "
                f"{self.columns}, got {list(shape)}"
            )
            raise LayoutInvalid(text, field="shape")
        if not height * width:
            return EvenRuns(0, 1)
        return Tiles(height // self.rows, width // self.columns, 1, (self.rows, self.columns))
