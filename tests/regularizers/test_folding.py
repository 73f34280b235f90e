"""A segment of several axes is the matrix whose rows are its slices along one: to the bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    NuclearBall,
    NuclearNorm,
    Orthogonality,
    RankBall,
    SpectralBall,
    SpectralNorm,
    SpectralNormalization,
    Stiefel,
    gradient,
    penalty,
    proximal_step,
)
from regularization_kernels.engine import Rounding, RoundingMode
from regularization_kernels.errors import FieldOutOfRange, GradientUndefined

from tests.support.engine_streams import elements_of
from tests.support.oracles.matrices import as_matrix

PENALTIES = (
    NuclearNorm(strength=0.3),
    SpectralNorm(strength=3.0),
    SpectralBall(radius=0.5),
    NuclearBall(radius=0.7),
    RankBall(rank=1),
    Orthogonality(strength=0.4),
    Stiefel(),
)
NORMALIZATION = SpectralNormalization(target=0.5)
SHAPES = ((6, 2, 1, 2), (2, 6, 1, 2), (2, 1, 6), (4, 6), (1, 5), (5, 1))
TYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int16]

every_penalty = pytest.mark.parametrize("regularizer", PENALTIES, ids=lambda r: r.name)
every_type = pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)


def folds(regularizer: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """The regularizer along each axis of each shape that it takes."""
    found = []
    for shape in SHAPES:
        for axis in (None, *range(len(shape))):
            along = dataclasses.replace(regularizer, axis=axis)
            rows, columns = as_matrix(along, np.zeros(shape)).shape
            if not (isinstance(regularizer, Stiefel) and rows < columns):
                found.append((along, shape))
    return found


def drawn(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> NDArray[Any]:
    """Random elements."""
    return elements_of(np.random.default_rng(seed).normal(size=shape) * 0.4, np.dtype(dtype))


def plain(regularizer: Any) -> Any:
    """The regularizer of a matrix as it lies."""
    return dataclasses.replace(regularizer, axis=None)


@pytest.mark.parametrize("regularizer", [*PENALTIES, NORMALIZATION], ids=lambda r: r.name)
@every_type
@pytest.mark.parametrize("mode", RoundingMode, ids=lambda mode: mode.value)
def test_a_step_is_that_of_the_matrix(regularizer: Any, dtype: Any, mode: RoundingMode) -> None:
    """New elements to nearest to the bit, and its figures; at random an element's place counts as well."""
    for along, shape in folds(regularizer):
        x = drawn(shape, dtype)
        rounding = Rounding(mode, 5)
        new, summary = proximal_step(x, along, 0.6, rounding=rounding)
        expected, of_matrix = proximal_step(as_matrix(along, x), plain(along), 0.6, rounding=rounding)
        if mode is RoundingMode.NEAREST_EVEN or dtype is np.float64:
            assert as_matrix(along, new).tobytes() == expected.tobytes()
            assert summary.total.penalty == of_matrix.total.penalty
            assert summary.total.nonzeros == of_matrix.total.nonzeros
        elif regularizer.traits.indicator:
            assert summary.total.penalty is not None
            assert summary.total.penalty.value == 0.0


@every_penalty
@every_type
def test_a_set_around_a_reference_is_that_of_the_matrix(regularizer: Any, dtype: Any) -> None:
    """The reference is folded as the elements are."""
    for along, shape in folds(regularizer):
        x, reference = drawn(shape, dtype), drawn(shape, dtype, 1)
        new, _ = proximal_step(x, along, 0.6, reference=reference)
        folded = [as_matrix(along, each) for each in (x, reference)]
        expected, _ = proximal_step(folded[0], plain(along), 0.6, reference=folded[1])
        assert as_matrix(along, new).tobytes() == expected.tobytes()


@every_penalty
def test_penalty_and_gradient_are_those_of_the_matrix(regularizer: Any) -> None:
    """Inside of sets too, and outside with the same refusal."""
    for along, shape in folds(regularizer):
        for x in (drawn(shape, np.float64), proximal_step(drawn(shape, np.float64), along, 0.6)[0]):
            matrix = as_matrix(along, x)
            expected = penalty(matrix, plain(along)).total.penalty
            assert penalty(x, along).total.penalty == expected
            if expected is not None and expected.value == np.inf:
                with pytest.raises(GradientUndefined):
                    gradient(x, along)
                continue
            slope, _ = gradient(x, along)
            assert as_matrix(along, slope).tobytes() == gradient(matrix, plain(along))[0].tobytes()


@pytest.mark.parametrize("regularizer", [*PENALTIES, NORMALIZATION], ids=lambda r: r.name)
def test_the_input_stays_as_it_is(regularizer: Any) -> None:
    """Also where a view of it would be the matrix; and the result may lie over it."""
    for along, shape in folds(regularizer):
        x = drawn(shape, np.float64)
        before, out = x.copy(), np.empty_like(x)
        ready = along.on(shape)
        ready.prox(x, 0.6, out)
        np.testing.assert_array_equal(x, before)
        ready.prox(x, 0.6, x)
        np.testing.assert_array_equal(x, out)


@pytest.mark.parametrize("regularizer", [*PENALTIES, NORMALIZATION], ids=lambda r: r.name)
@pytest.mark.parametrize("shape", [(6, 0, 2), (0, 0, 1), (3, 0)], ids=str)
def test_a_kernel_without_elements_has_an_answer(regularizer: Any, shape: tuple[int, ...]) -> None:
    """Whichever of its lengths is 0."""
    if isinstance(regularizer, RankBall):
        regularizer = RankBall(rank=0)
    empty = np.empty(shape)
    assert proximal_step(empty, regularizer, 1.0)[0].shape == shape


def test_orthonormal_outputs_are_had_along_another_axis() -> None:
    """With two axes, ``axis=1`` makes the rows orthonormal in place of the columns."""
    x = np.random.default_rng(2).normal(size=(3, 5))
    p, _ = proximal_step(x, Stiefel(axis=1), 1.0)
    np.testing.assert_allclose(p @ p.T, np.eye(3), rtol=0, atol=1e-14)


@pytest.mark.parametrize("axis", [-1, -(2**63), 2**63])
def test_an_axis_is_checked_before_anything_is_made_of_it(axis: int) -> None:
    """Of any size."""
    with pytest.raises(FieldOutOfRange, match=r"below the") as caught:
        NuclearNorm(strength=1.0, axis=axis).on((2, 3))
    assert caught.value.field == "axis"
