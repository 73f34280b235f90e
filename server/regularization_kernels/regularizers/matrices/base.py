"""What penalties on the singular values of a matrix share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined, LayoutInvalid
from ...expansions import Exponents
from ...folding import Folding, axis_parameter
from ...formats import Grid, limits, spacings
from ...preparation import PreparedRegularizer, Unprepared
from .linear_algebra import EPSILON, singular_value_decomposition, singular_values

if TYPE_CHECKING:
    from ...summation import BlockSum


class MatrixRegularizer(Unprepared):
    """A penalty on a matrix's singular values: one term, which is told to the precision of a data type."""

    __slots__ = ()

    axis: int | None

    @abstractmethod
    def term(self, x: Float64Array, data_type: DataType) -> float:
        """The term of a matrix that is not empty, before scale."""

    @abstractmethod
    def slope(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential at x."""

    @abstractmethod
    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write the proximal step from x."""

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedMatrix:
        """The penalty as a matrix of this data type tells it.

        Raises:
            LayoutInvalid: If there are fewer than two axes.
            FieldOutOfRange: If there is no such axis as the rows'.
        """
        return PreparedMatrix(self, data_type, self.folding_of(shape))

    def folding_of(self, shape: tuple[int, ...]) -> Folding:
        """The segment as a matrix.

        Raises:
            LayoutInvalid: If there are fewer than two axes.
            FieldOutOfRange: If there is no such axis as the rows'.
        """
        return folded(shape, self.axis, self.name)

    def workspace(self, elements: int) -> int:
        """A copy of the matrix, the factors, the same as LAPACK writes them, and what it works with."""
        return 9 * elements


@dataclass(frozen=True, slots=True)
class PreparedMatrix(PreparedRegularizer):
    """A penalty of a matrix, the data type of its elements, and how they lie."""

    regularizer: MatrixRegularizer
    data_type: DataType
    folding: Folding

    def workspace(self, elements: int) -> int:
        """As of all matrices; and the elements as they lie in one."""
        return self.regularizer.workspace(elements) + elements * self.folding.copies

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """One term is one double, and so is its product with the scale."""
        del x, weights, size
        return 1

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the term, at the place of the matrix's first element."""
        if x.size:
            term = self.regularizer.term(self.folding.matrix(x), self.data_type)
            sums.add_at(np.array([position]), np.array([term]))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        regularizer, data_type = self.regularizer, self.data_type
        self.folding.write(lambda x, out: regularizer.slope(x, data_type, out), x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        regularizer, data_type = self.regularizer, self.data_type
        self.folding.write(lambda x, out: regularizer.step(x, step_size, data_type, out), x, out)


class MatrixSet(MatrixRegularizer):
    """A set of matrices: a penalty that is 0 inside and infinite outside."""

    __slots__ = ()

    @abstractmethod
    def contains(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> bool:
        """Whether a finite matrix that is not empty is inside.

        Args:
            x: The matrix.
            data_type: Of its elements.
            share: Of what is granted to their rounding.
        """

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedMatrix:
        """The set as a matrix of this data type can tell who is inside.

        Raises:
            LayoutInvalid: If there are fewer than two axes.
            FieldOutOfRange: If there is no such axis as the rows'.
        """
        return PreparedMatrixSet(self, data_type, self.folding_of(shape))

    def term(self, x: Float64Array, data_type: DataType) -> float:
        """0 inside, infinity outside, NaN where an element is not finite."""
        if not np.isfinite(x).all():
            return np.nan
        return 0.0 if self.contains(x, data_type) else np.inf

    def slope(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write 0, or NaN where x is not finite.

        Raises:
            GradientUndefined: If the matrix is outside.
        """
        term = self.term(x, data_type) if x.size else 0.0
        if np.isinf(term):
            raise GradientUndefined(f"must be inside {self.name} to have a gradient")
        out.fill(term)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where it is at random; to nearest, rounding takes half of what counts as inside."""
        return grid.reference is not None or (at_random and grid.data_type != FLOAT64)

    def moved_inside(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set; None where ``numbers`` are, or there are none."""
        finite = grid.finite(numbers)
        # A half is what a step leaves as it is, so that another one changes no bit.
        if not self.contains(grid.points(finite), grid.data_type, 0.5):
            return self.rounded(exact, finite, grid)
        return None if np.array_equal(finite, numbers) else finite

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers near a matrix in the set, inside if there are such; those that are given are not."""
        del numbers
        return grid.nearest(exact)


@dataclass(frozen=True, slots=True)
class PreparedMatrixSet(PreparedMatrix):
    """A set of matrices, the data type of their elements, and how they lie."""

    regularizer: MatrixSet

    def workspace(self, elements: int) -> int:
        """As of all matrices; and the matrix as rounded, and less a reference, which is decomposed, too."""
        looks = 5 + 3 * self.folding.copies
        return PreparedMatrix.workspace(self, elements) + looks * elements * (self.data_type != FLOAT64)

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set."""
        if not (exact.size and np.isfinite(exact).all()):
            return None
        matrix = self.folding.matrix
        moved = self.regularizer.moved_inside(matrix(exact), matrix(numbers), self.folding.grid(grid))
        return None if moved is None else self.folding.segment(moved)


class SpectralSet(MatrixSet):
    """A set of matrices that is defined by their singular values, or by other values of theirs."""

    __slots__ = ()

    def values(self, x: Float64Array) -> Float64Array:
        """The values of a finite matrix."""
        return singular_values(x)

    def factors(self, x: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """U, the values and Vᵀ; all NaN where x is not finite."""
        return singular_value_decomposition(x)

    @abstractmethod
    def excess(self, x: Float64Array, values: Float64Array, data_type: DataType) -> Excess:
        """How far a matrix with these values is outside."""

    @abstractmethod
    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the nearest matrix inside, from the factors of one outside."""

    def contains(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> bool:
        """Whether the values are inside."""
        excess = self.excess(x, self.values(x), data_type)
        slack = excess.slack(share)
        if 0.5 * slack < excess.got < 2.0 * slack:
            # Without vectors LAPACK has another algorithm. So near the border its last bits would count:
            # those that the step goes by do.
            excess = self.excess(x, self.factors(x)[1], data_type)
        return excess.got <= excess.slack(share)

    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write the nearest matrix inside: x itself where it is."""
        del step_size
        if not x.size:
            return
        factors = self.factors(x)
        excess = self.excess(x, factors[1], data_type)
        # Half of what rounding may do is left for rounding the result.
        if excess.got <= excess.slack(0.5):
            np.copyto(out, x)
        else:
            self.nearest(x, factors, out)


class SpectralCone(SpectralSet):
    """A set that has all multiples of its matrices: what leaves a data type's range is made smaller."""

    __slots__ = ()

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Wherever there is an end of the range, past which elements are cut off."""
        del at_random
        return grid.reference is not None or grid.data_type != FLOAT64

    def moved_inside(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding left the set or the range."""
        if grid.reference is None:
            near = grid.nearest(exact)
            if np.any(np.abs(near - exact) > 0.5 * spacings(near, grid.data_type)):
                return grid.nearest(exact * (grid.largest / float(np.max(np.abs(exact)))))
            if np.array_equal(near, numbers):
                return None  # rounding to nearest takes half of what counts as inside
        return SpectralSet.moved_inside(self, exact, numbers, grid)


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


def axis_of_rows() -> Any:
    """The parameter that says which axis's slices are the rows."""
    return axis_parameter(
        "the first unless given; the other axes in their order are the columns",
        "whose slices are the matrix's rows",
    )


def folded(shape: tuple[int, ...], axis: int | None, name: str) -> Folding:
    """A segment as a matrix, for the regularizer of a name.

    Raises:
        LayoutInvalid: If there are fewer than two axes.
        FieldOutOfRange: If there is no such axis as the rows'.
    """
    if len(shape) < 2:
        raise LayoutInvalid(f"must have 2 axes or more for {name}, got {list(shape)}", field="shape")
    return Folding.rows_along(shape, axis)


def rank_tolerance(shape: tuple[int, ...], singular_values: Float64Array, data_type: DataType) -> float:
    """Up to where singular values may be rounding errors of the largest; NaN where that is."""
    of = limits(data_type)
    errors = max(of.eps, EPSILON) * float(np.max(singular_values, initial=0.0))
    # In fixed point the error of an element is the same for all, however small the matrix.
    return max(shape) * max(errors, of.spacing)


def rounding(x: Float64Array, data_type: DataType) -> float:
    """How far a step of the data type in every element may take a matrix, in the norm of all elements."""
    return float(np.sqrt(np.add.reduce(np.square(spacings(x, data_type)).reshape(-1))))
