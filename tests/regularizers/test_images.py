"""Total variation of images: certificates on larger ones, ties to the bit, and its two special cases."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import TotalVariation, TotalVariation2d, compilation, proximal_step
from regularization_kernels.regularizers.sequences import images
from scipy.optimize import linprog

from tests.support.oracles.sequences import image_differences

Image = NDArray[np.float64]


def blocks_and_noise(side: int) -> Image:
    """Squares of a few levels, with noise."""
    random = np.random.default_rng(1)
    squares = np.kron(random.integers(0, 4, (side // 4, side // 4)), np.ones((4, 4)))
    return np.asarray(squares + 0.3 * random.normal(size=squares.shape))


def slopes(side: int) -> Image:
    """Smooth, so that almost everything is a border."""
    return np.add.outer(np.linspace(0, 1, side) ** 2, np.linspace(0, 2, side + 3))


def few_levels(side: int) -> Image:
    """Many ties."""
    return np.random.default_rng(2).integers(-1, 2, (side, side + 1)).astype(np.float64)


KINDS = (blocks_and_noise, slopes, few_levels)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def step(regularizer: Any, x: Image, step_size: float = 1.0) -> Image:
    """The kernel's own step."""
    out = np.empty_like(x)
    regularizer.on(x.shape).prox(x, step_size, out)
    return out


def slope(regularizer: Any, x: Image) -> Image:
    """The kernel's own gradient."""
    out = np.empty_like(x)
    regularizer.on(x.shape).gradient(x, out)
    return out


def variation(x: Image) -> float:
    """The sum of all jumps."""
    return float(np.abs(image_differences(*x.shape) @ x.ravel()).sum())


def support(x: Image, pull: Image, t: float) -> float:
    """How far a pull is outside of what jumps can pull that have at most t each: a linear program tells."""
    matrix = image_differences(*x.shape)
    count = len(matrix)
    bound = np.zeros(count + 1)
    bound[-1] = 1.0
    ones = np.ones((count, 1))
    found = linprog(
        bound,
        A_ub=np.vstack((np.hstack((np.eye(count), -ones)), np.hstack((-np.eye(count), -ones)))),
        b_ub=np.zeros(2 * count),
        A_eq=np.hstack((matrix.T, np.zeros((x.size, 1)))),
        b_eq=pull.ravel(),
        bounds=[(None, None)] * count + [(0, None)],
    )
    return float(found.fun) - t


@every_kind
@pytest.mark.parametrize("t", [1e-3, 0.1, 1.0, 10.0, 1e6])
def test_a_step_is_certified_by_its_pull(kind: Any, t: float) -> None:
    """What it takes off is a pull of jumps of at most t, which all jumps of the answer pull along."""
    x = kind(12)
    p = step(TotalVariation2d(strength=t), x)
    pull = x - p
    assert support(x, pull, t) <= 1e-7 * (1.0 + t)
    objective = t * variation(p) + 0.5 * float(np.sum(pull * pull))
    gap = t * variation(p) - float(np.sum((p - p.mean()) * pull))
    assert abs(gap) <= 1e-12 * objective


@pytest.mark.parametrize("kind", [blocks_and_noise, slopes], ids=lambda kind: kind.__name__)
def test_equal_neighbours_are_equal_to_the_bit(kind: Any) -> None:
    """Not apart by rounding errors, along rows or along columns, where regions do not meet by chance."""
    x = kind(40)
    for t in (0.3, 3.0, 1e3):
        p = step(TotalVariation2d(strength=t), x)
        jumps = np.abs(image_differences(*p.shape) @ p.ravel())
        assert not np.any((jumps > 0) & (jumps <= 1e-12))
    np.testing.assert_allclose(step(TotalVariation2d(strength=1e3), x), x.mean(), rtol=0, atol=1e-14 * 3)


@every_kind
def test_the_gradient_is_what_small_steps_take_off(kind: Any) -> None:
    """The shortest subgradient is the limit of (x - step) / size, and is reached where the step is small."""
    x = np.round(kind(20) * 4) / 4
    regularizer = TotalVariation2d(strength=0.7)
    size = 1 / 64
    expected = (x - step(regularizer, x, size)) / size
    np.testing.assert_allclose(slope(regularizer, x), expected, rtol=0, atol=1e-11)


def test_the_gradient_is_a_sum_of_signs_where_nothing_is_equal() -> None:
    """To the bit."""
    x = np.random.default_rng(3).normal(size=(9, 7))
    matrix = image_differences(9, 7)
    expected = (matrix.T @ np.sign(matrix @ x.ravel())).reshape(9, 7)
    np.testing.assert_array_equal(slope(TotalVariation2d(strength=0.5), x), 0.5 * expected)


@pytest.mark.parametrize("shape", [(1, 50), (50, 1)], ids=str)
def test_an_image_of_one_line_is_a_row(shape: tuple[int, int]) -> None:
    """With the bits of the one-dimensional total variation."""
    x = np.random.default_rng(4).normal(size=shape)
    line = step(TotalVariation(strength=0.6), x.ravel())
    np.testing.assert_array_equal(step(TotalVariation2d(strength=0.6), x).ravel(), line)


def test_images_are_independent_of_each_other() -> None:
    """To the bit, whatever their sizes are."""
    x = np.stack([blocks_and_noise(12), 1e6 * blocks_and_noise(12).T, np.zeros((12, 12))])
    whole = step(TotalVariation2d(strength=0.5), x)
    for image, result in zip(x, whole, strict=True):
        np.testing.assert_array_equal(step(TotalVariation2d(strength=0.5), image), result)


def test_a_transposed_image_has_the_transposed_step() -> None:
    """To rounding errors, though columns come after rows."""
    x = blocks_and_noise(24)
    regularizer = TotalVariation2d(strength=0.8)
    turned = step(regularizer, np.ascontiguousarray(x.T)).T
    np.testing.assert_allclose(turned, step(regularizer, x), rtol=0, atol=1e-13)


def test_a_step_that_is_given_up_is_still_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few iterations the objective is within a thousandth of the least, and nothing fails."""
    x = blocks_and_noise(24)
    best = step(TotalVariation2d(strength=1.0), x)
    monkeypatch.setattr(images, "ITERATIONS", 10)
    near = step(TotalVariation2d(strength=1.0), x)

    def objective(y: Image) -> float:
        return variation(y) + 0.5 * float(np.sum((y - x) ** 2))

    assert objective(best) <= objective(near) <= objective(best) * (1 + 1e-2)


def test_single_precision_is_rounded_once() -> None:
    """Through the engine."""
    x = blocks_and_noise(16).astype(np.float32)
    new, _ = proximal_step(x, TotalVariation2d(strength=0.5), 1.0)
    wide = step(TotalVariation2d(strength=0.5), x.astype(np.float64))
    np.testing.assert_array_equal(new, wide.astype(np.float32))


@every_kind
def test_workspace_is_what_is_allocated(kind: Any) -> None:
    """Penalty, slope and step allocate no more than they say, for one image of several too."""
    for x in (kind(100), np.stack([kind(60)] * 3)):
        ready, out = TotalVariation2d(strength=0.5).on(x.shape), np.empty(x.shape)
        for compute in (
            ready.value,
            partial(ready.gradient, out=out),
            partial(ready.prox, step_size=1.0, out=out),
        ):
            compute(x)  # what is imported or compiled stays
            compilation.wait_until_compiled()
            tracemalloc.start()
            compute(x)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert most <= 8 * ready.workspace(x.size) + (1 << 16)
