"""Masks of dropout: a function of seed, step and index, the same in every language."""

from __future__ import annotations

import math
import shutil
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import ArgumentError, dropout_mask

from tests.support.messages import TIMEOUT
from tests.support.oracles.number_formats import random_word

SOURCE = Path(__file__).parents[1] / "support" / "dropout_mask.c"
LAST = (1 << 64) - 1
RATES = (0.0, 5e-324, 2.0**-64, 0.1, 0.3, 0.5, 0.9, 1 - 2.0**-53)


def documented(size: int, rate: float, seed: int, step: int, offset: int = 0) -> list[bool]:
    """The mask by the schema's words, in exact rationals, element by element."""
    of_step = random_word(seed, step)
    return [Fraction(random_word(of_step, offset + i), 1 << 64) >= Fraction(rate) for i in range(size)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("seed", "step", "offset"), [(0, 0, 0), (7, 3, 12_345), (LAST, LAST, (1 << 62) + 5)])
def test_masks_are_the_documented_function(rate: float, seed: int, step: int, offset: int) -> None:
    """An element stays where its random bits, as a share of 2^64, are not below the rate."""
    mask = dropout_mask(300, rate, seed, step, offset)
    assert (mask.dtype, mask.shape) == (np.bool_, (300,))
    assert mask.tolist() == documented(300, rate, seed, step, offset)


def test_a_mask_may_be_made_in_parts() -> None:
    """Any split of a tensor gives the same bits, across the stretches that are made at once too."""
    whole = dropout_mask(200_000, 0.4, seed=11, step=5)
    random = np.random.default_rng(0)
    for _ in range(5):
        cuts = [0, *sorted(random.integers(0, whole.size, 6).tolist()), whole.size]
        parts = [dropout_mask(end - begin, 0.4, 11, 5, begin) for begin, end in pairwise(cuts)]
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.75, 0.99])
def test_the_rate_is_kept(rate: float) -> None:
    """Of a million elements the share that is dropped is within four standard deviations, at five steps."""
    size = 1_000_000
    deviation = math.sqrt(rate * (1 - rate) / size)
    for step in range(5):
        dropped = 1 - dropout_mask(size, rate, seed=2026, step=step).mean()
        assert abs(dropped - rate) <= 4 * deviation


def test_masks_of_other_seeds_and_steps_have_nothing_in_common() -> None:
    """Of near seeds, near steps and near elements, as many agree as of coins: within four deviations."""
    size = 100_000
    mask = dropout_mask(size, 0.5, seed=3, step=4)
    others = {
        "seed": dropout_mask(size, 0.5, seed=4, step=4),
        "step": dropout_mask(size, 0.5, seed=3, step=5),
        "exchanged": dropout_mask(size, 0.5, seed=4, step=3),
        "neighbour": dropout_mask(size, 0.5, seed=3, step=4, offset=1),
    }
    for name, other in others.items():
        assert abs(np.mean(mask == other) - 0.5) <= 4 * 0.5 / math.sqrt(size), name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate": 1.0}, "rate must be >= 0 and < 1, got 1.0"),
        ({"rate": -0.5}, "rate must be >= 0 and < 1"),
        ({"rate": math.nan}, "rate must be >= 0 and < 1, got nan"),
        ({"seed": -1}, r"seed must be >= 0 and < 2\^64, got -1"),
        ({"seed": LAST + 1}, r"seed must be >= 0 and < 2\^64"),
        ({"step": -1}, r"step must be >= 0 and < 2\^64"),
        ({"step": LAST + 1}, r"step must be >= 0 and < 2\^64"),
        ({"size": -1}, r"size must be >= 0"),
        ({"size": 1 << 200}, r"size must be >= 0 and < 2\^63"),
        ({"offset": -1}, r"offset must be >= 0"),
        ({"offset": (1 << 63) - 1}, r"offset \+ size must be at most 2\^63"),
    ],
)
def test_arguments_out_of_range_are_named(changed: dict[str, Any], message: str) -> None:
    """Before any memory is taken."""
    arguments: dict[str, Any] = {"size": 3, "rate": 0.5, "seed": 0, "step": 0, **changed}
    with pytest.raises(ArgumentError, match=message):
        dropout_mask(**arguments)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mask in C, compiled."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (gcc) to compile the mask with")
    program = tmp_path_factory.mktemp("c") / "dropout_mask"
    arguments = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]
    subprocess.run([compiler, *arguments, str(program), str(SOURCE), "-lm"], check=True, timeout=TIMEOUT)
    return program


def in_c(program: Path, *arguments: float) -> NDArray[np.bool_]:
    """The mask that C gives."""
    told = [repr(argument) for argument in arguments]
    done = subprocess.run([program, *told], capture_output=True, text=True, check=True, timeout=TIMEOUT)
    return np.array([character == "1" for character in done.stdout.strip()])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("seed", "step", "offset"), [(0, 0, 0), (7, 3, 12_345), (LAST, LAST, (1 << 62) + 5)])
def test_a_page_of_c_gives_the_same_mask(
    program: Path, rate: float, seed: int, step: int, offset: int
) -> None:
    """Written from the schema's comment alone."""
    mask = dropout_mask(5_000, rate, seed, step, offset)
    assert np.array_equal(in_c(program, 5_000, rate, seed, step, offset), mask)
