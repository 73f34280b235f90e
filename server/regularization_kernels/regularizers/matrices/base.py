"""What penalties on the singular values of a matrix share."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined, LayoutInvalid
from ...expansions import Exponents
from ...formats import Grid, limits, spacings
from ...regularizer import Regularizer
from .linear_algebra import EPSILON, singular_value_decomposition, singular_values

if TYPE_CHECKING:
    from ...summation import BlockSum


class MatrixRegularizer(Regularizer):
    """A penalty on a matrix's singular values."""

    __slots__ = ("_data_type",)

    _data_type: DataType

    @property
    def data_type(self) -> DataType:
        """What results are rounded to."""
        return getattr(self, "_data_type", FLOAT64)

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The regularizer made ready for a matrix of this shape and data type."""
        if len(shape) != 2:
            raise LayoutInvalid(f"must have 2 axes for {self.name}, got {list(shape)}", field="shape")
        ready = copy(self)
        object.__setattr__(ready, "_data_type", data_type)
        return ready

    def workspace(self, elements: int) -> int:
        """A copy of the matrix, the factors, the same as LAPACK writes them, and what it works with."""
        return 9 * elements

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """One term is one double, and so is its product with the scale."""
        del x, weights, size
        return 1

    def rank_tolerance(self, shape: tuple[int, ...], singular_values: Float64Array) -> float:
        """Up to where singular values may be rounding errors of the largest; NaN where that is."""
        of = limits(self.data_type)
        errors = max(of.eps, EPSILON) * float(np.max(singular_values, initial=0.0))
        # In fixed point the error of an element is the same for all, however small the matrix.
        return max(shape) * max(errors, of.spacing)

    def rank_of(self, x: Float64Array, singular_values: Float64Array) -> int:
        """How many singular values are not 0, as far as the elements' data type can tell; NaN counts."""
        tolerance = self.rank_tolerance(x.shape, singular_values)
        return int(np.count_nonzero(~(singular_values <= tolerance)))


class MatrixSet(MatrixRegularizer):
    """A set of matrices: a penalty that is 0 inside and infinite outside."""

    __slots__ = ()

    @property
    def scale(self) -> float:
        """1: a set has no strength."""
        return 1.0

    @abstractmethod
    def contains(self, x: Float64Array, share: float = 1.0) -> bool:
        """Whether a finite matrix that is not empty is inside.

        Args:
            x: The matrix.
            share: Of what is granted to rounding.
        """

    def workspace(self, elements: int) -> int:
        """As of all matrices; and the matrix as rounded, and less a reference, which is decomposed, too."""
        return MatrixRegularizer.workspace(self, elements) + 5 * elements * (self.data_type != FLOAT64)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where it is at random; to nearest, rounding takes half of what counts as inside."""
        return grid.reference is not None or (at_random and grid.data_type != FLOAT64)

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set."""
        if not (exact.size and np.isfinite(exact).all()):
            return None
        finite = grid.finite(numbers)
        # A half is what a step leaves as it is, so that another one changes no bit.
        if not self.contains(grid.points(finite), 0.5):
            return self.rounded(exact, finite, grid)
        return None if np.array_equal(finite, numbers) else finite

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers near a matrix in the set, inside if there are such; those that are given are not."""
        del numbers
        return grid.nearest(exact)

    def rounding(self, x: Float64Array) -> float:
        """How far a step of the data type in every element may take a matrix, in the norm of all elements."""
        return float(np.sqrt(np.add.reduce(np.square(spacings(x, self.data_type)).reshape(-1))))

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 or infinity, at the place of the matrix's first element."""
        if x.size:
            sums.add_at(np.array([position]), np.array([self._term(x)]))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x is not finite.

        Raises:
            GradientUndefined: If the matrix is outside.
        """
        term = self._term(x) if x.size else 0.0
        if np.isinf(term):
            raise GradientUndefined(f"must be inside {self.name} to have a gradient")
        out.fill(term)

    def _term(self, x: Float64Array) -> float:
        if not np.isfinite(x).all():
            return np.nan
        return 0.0 if self.contains(x) else np.inf


class SpectralSet(MatrixSet):
    """A set of matrices that is defined by their singular values."""

    __slots__ = ()

    @abstractmethod
    def excess(self, x: Float64Array, singular_values: Float64Array) -> Excess:
        """How far a matrix with these singular values is outside."""

    @abstractmethod
    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the nearest matrix inside, from the factors of one outside."""

    def contains(self, x: Float64Array, share: float = 1.0) -> bool:
        """Whether the singular values are inside."""
        excess = self.excess(x, singular_values(x))
        slack = excess.slack(share)
        if 0.5 * slack < excess.got < 2.0 * slack:
            # Without vectors LAPACK has another algorithm. So near the border its last bits would count:
            # those that the step goes by do.
            excess = self.excess(x, singular_value_decomposition(x)[1])
        return excess.got <= excess.slack(share)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the nearest matrix inside: x itself where it is."""
        del step_size
        if not x.size:
            return
        factors = singular_value_decomposition(x)
        excess = self.excess(x, factors[1])
        # Half of what rounding may do is left for rounding the result.
        if excess.got <= excess.slack(0.5):
            np.copyto(out, x)
        else:
            self.nearest(x, factors, out)


@dataclass(frozen=True, slots=True)
class Excess:
    """How far a matrix is outside a set, and what of that is overlooked."""

    got: float
    """By how much it is outside; at most 0 inside."""
    rounding: float
    """What its data type is granted."""
    errors: float
    """What LAPACK's own errors may be."""

    def slack(self, share: float = 1.0) -> float:
        """What is overlooked, with a share of what the data type is granted."""
        return share * self.rounding + self.errors
