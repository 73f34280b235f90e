"""What matrix regularizers share: LAPACK, on one thread, so that neither bits nor its share of cores vary."""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import GradientUndefined, LayoutInvalid
from ..expansions import Exponents
from ..formats import Grid, limits, spacings
from ..interruption import turn
from ..regularizer import FLOAT64, DataType, Float64Array, Regularizer, StepSize
from .lapack import INDEXABLE, slow_svd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadpoolctl import ThreadpoolController

    from ..summation import BlockSum

EPSILON = float(np.finfo(np.float64).eps)
"""Of what is computed with."""

_POWERS = 4
_MANY = 1 << 28
"""Multiplications that take a few hundredths of a second."""
_PRODUCTS_OF_SVD = 16
"""In a decomposition, about, for each one in the product of the matrix with its transpose."""


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


def singular_value_decomposition(x: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """U, σ (descending) and Vᵀ of a matrix; all NaN where x is not finite.

    Args:
        x: ``(m, n)``; either may be 0.

    Returns:
        ``(m, k)``, ``(k,)`` and ``(k, n)`` with k = min(m, n).
    """
    rows, columns = x.shape
    k = min(rows, columns)
    if not np.isfinite(x).all():
        return np.full((rows, k), np.nan), np.full(k, np.nan), np.full((k, columns), np.nan)
    # LAPACK reads columns first, which is how the transpose lies.
    v, values, ut = _lapack_svd(x.T, vectors=True)
    return ut.T, values, v.T


def singular_values(x: Float64Array) -> Float64Array:
    """σ of a matrix, descending; all NaN where x is not finite. It takes less than half the time."""
    if not np.isfinite(x).all():
        return np.full(min(x.shape), np.nan)
    values: Float64Array = _lapack_svd(x.T, vectors=False)
    return values


def lapack_error(shape: tuple[int, ...]) -> float:
    """What a matrix that is put together, and decomposed again, may be off by, relative to its norm.

    The worst of 60,000 small random matrices had a fifth of it; large ones have a hundredth.
    """
    return 4.0 * (max(shape) + 4) * EPSILON


def put_together(u: Float64Array, values: Float64Array, vt: Float64Array, out: Float64Array) -> None:
    """Write U·diag(values)·Vᵀ, using up U; the values do not increase, and zeros cost nothing."""
    kept = int(np.count_nonzero(values))
    u[:, :kept] *= values[:kept]
    with single_threaded_blas(out.size * kept):
        np.matmul(u[:, :kept], vt[:kept], out=out)
        out += 0.0  # no negative zeros


def largest_at_most(x: Float64Array, bound: float) -> bool:
    """Whether the largest singular value is at most a bound, as far as is told without decomposing x.

    It is at most the norm of all elements. Its square is the Gram matrix's largest singular value, and so on:
    the root of that of a power of the Gram matrix is at most the root of the norm, and the nearer to it.
    """
    norm = float(np.max(np.abs(x), initial=0.0))
    if not norm or not bound:
        return norm <= bound
    power, exponent = x / norm, 1.0
    for _ in range(_POWERS):
        if norm * np.add.reduce(np.square(power).reshape(-1)) ** (0.5 / exponent) <= bound:
            return True
        power, exponent = gram(power), 2.0 * exponent
    return False


def gram(x: Float64Array) -> Float64Array:
    """XᵀX, or XXᵀ where that is the smaller one; the same eigenvalues but for zeros."""
    rows, columns = x.shape
    with single_threaded_blas(_products(x.shape)):
        return x @ x.T if rows < columns else x.T @ x


def _lapack_svd(x: Float64Array, *, vectors: bool) -> Any:
    # NumPy's and not SciPy's, which would hold the interpreter's lock meanwhile.
    try:
        with single_threaded_blas(_PRODUCTS_OF_SVD * _products(x.shape)):
            return np.linalg.svd(x, full_matrices=False) if vectors else np.linalg.svdvals(x)
    except np.linalg.LinAlgError:  # the quick algorithm does not converge on a few matrices
        if x.size >= INDEXABLE:
            raise
    _find_blas_of_scipy()
    with single_threaded_blas(_PRODUCTS_OF_SVD * _products(x.shape)):
        factors = slow_svd(x)
    return factors if vectors else factors[1]


def _products(shape: tuple[int, ...]) -> int:
    """What a matrix takes to be multiplied by its transpose."""
    return math.prod(shape) * min(shape)


class _Limiter:
    """Holds BLAS to one thread while anyone needs it."""

    def __init__(self) -> None:
        self._changing = Lock()
        self._holders = 0
        self._limit = ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let BLAS have one thread meanwhile."""
        with self._changing:
            if not self._holders:
                self._limit.enter_context(_blas().limit(limits=1))
            self._holders += 1
        try:
            yield
        finally:
            with self._changing:
                self._holders -= 1
                if not self._holders:
                    self._limit.close()


_limiter = _Limiter()


@contextmanager
def single_threaded_blas(products: int = 0) -> Iterator[None]:
    """Hold BLAS to one thread meanwhile.

    Args:
        products: How many multiplications it is asked for, about. Where these are many it waits for a turn
            first, as they cannot be stopped: so such contexts do not stand in one another.

    Raises:
        Exception: What the thread's check raises: whoever is given up does not begin.
    """
    with turn(products > _MANY), _limiter.held():
        yield


@cache
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController  # only these rows need it

    return ThreadpoolController().select(user_api="blas")


@cache
def _find_blas_of_scipy() -> None:
    """SciPy has a BLAS of its own, which is not found before it is loaded."""
    import scipy.linalg  # noqa: F401

    _blas.cache_clear()
