"""Masks of dropout in JAX: the bits of NumPy's, also inside ``jit``."""

from __future__ import annotations

import importlib
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import regularization_client
from regularization_client import ArgumentError

jax = pytest.importorskip("jax", reason="JAX is not installed: it is the extra 'jax'")
dropout_mask: Any = importlib.import_module("regularization_client.jax").dropout_mask

enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

LAST = (1 << 64) - 1
RATES = (0.0, 5e-324, 2.0**-64, 0.1, 0.5, 0.9, 1 - 2.0**-53)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("seed", "step", "offset"),
    [(0, 0, 0), (7, 3, 12_345), (1 << 40, 1, (1 << 32) - 100), (LAST, LAST, (1 << 62) + 5)],
)
def test_masks_have_the_bits_of_numpys(rate: float, seed: int, step: int, offset: int) -> None:
    """For numbers of any length, and stretches across 2^32 elements."""
    mask = dropout_mask((30, 10), rate, seed, step, offset)
    expected = regularization_client.dropout_mask(300, rate, seed, step, offset)
    assert (mask.dtype, mask.shape) == (np.bool_, (30, 10))
    assert np.array_equal(np.asarray(mask).reshape(-1), expected)


def test_step_seed_and_offset_may_be_traced() -> None:
    """One compiled function gives the mask of every step, of every shard, and of every seed."""
    compiled = jax.jit(lambda seed, step, offset: dropout_mask(500, 0.3, seed, step, offset))
    for seed, step, offset in ((0, 0, 0), (5, 17, 1000), (2**31 - 1, 2**31 - 1, 2**31 - 1)):
        expected = regularization_client.dropout_mask(500, 0.3, seed, step, offset)
        assert np.array_equal(np.asarray(compiled(seed, step, offset)), expected)


def test_long_integers_are_taken_where_they_are_enabled() -> None:
    """With ``jax_enable_x64`` numbers that are traced have 64 bits."""
    with enable_x64(True):
        compiled = jax.jit(lambda step, offset: dropout_mask(500, 0.3, 9, step, offset))
        for step, offset in ((3, 4), ((1 << 40) + 1, (1 << 50) + 3)):
            expected = regularization_client.dropout_mask(500, 0.3, 9, step, offset)
            assert np.array_equal(np.asarray(compiled(step, offset)), expected)


def test_a_mask_may_be_made_in_parts() -> None:
    """Any split of an array gives the same bits."""
    whole = np.asarray(dropout_mask(2000, 0.4, seed=11, step=5))
    cuts = [0, 1, 777, 2000]
    parts = [dropout_mask(end - begin, 0.4, 11, 5, begin) for begin, end in pairwise(cuts)]
    assert np.array_equal(np.concatenate([np.asarray(part) for part in parts]), whole)


@pytest.mark.parametrize("shape", [0, 5, (), (1,), (2, 0, 3), (2, 3, 4)])
def test_masks_have_any_shape(shape: Any) -> None:
    """A length, no axis, or several."""
    lengths = (shape,) if isinstance(shape, int) else shape
    mask = dropout_mask(shape, 0.5, 1, 2)
    expected = regularization_client.dropout_mask(math.prod(lengths), 0.5, 1, 2)
    assert np.array_equal(np.asarray(mask), expected.reshape(lengths))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate": 1.0}, "rate must be >= 0 and < 1, got 1.0"),
        ({"rate": math.nan}, "rate must be >= 0 and < 1, got nan"),
        ({"seed": -1}, r"seed must be >= 0 and < 2\^64, got -1"),
        ({"step": LAST + 1}, r"step must be >= 0 and < 2\^64"),
        ({"offset": -1}, r"offset must be >= 0"),
        ({"shape": (3, -1)}, r"shape must have lengths >= 0"),
        ({"shape": (1 << 20, 1 << 20)}, r"fewer than 2\^32 elements"),
    ],
)
def test_arguments_out_of_range_are_named(changed: dict[str, Any], message: str) -> None:
    """Before anything is computed."""
    arguments: dict[str, Any] = {"shape": 3, "rate": 0.5, "seed": 0, "step": 0, **changed}
    with pytest.raises(ArgumentError, match=message):
        dropout_mask(**arguments)


def test_what_is_traced_must_be_a_whole_number() -> None:
    """A step that is a fraction, or several, has no mask."""
    for step in (jax.numpy.float32(1.0), jax.numpy.arange(3)):
        with pytest.raises(ArgumentError, match="step must be one whole number"):
            dropout_mask(3, 0.5, 0, step)
