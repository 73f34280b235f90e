"""Compiled loops over groups and NumPy give the same bits: results and sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    ExclusiveLasso,
    GroupLasso,
    GroupLinf,
    GroupMcp,
    Groups,
    GroupScad,
    MaxNorm,
    NOfM,
    SparseGroupLasso,
    compilation,
    penalty,
    proximal_step,
)
from regularization_kernels.engine import FigureChoice
from regularization_kernels.errors import GroupsInvalid
from regularization_kernels.regularizer import REGULARIZERS
from regularization_kernels.regularizers.groups.base import PartitionedRegularizer
from regularization_kernels.regularizers.groups.compiled_loop import LONGEST, runs_of
from regularization_kernels.regularizers.groups.partitions import RaggedRuns
from regularization_kernels.summation import BLOCK

SIZE = BLOCK + 69_920
SHORT = tuple(int(size) for size in np.random.default_rng(8).integers(1, 300, 500))
RAGGED = (*SHORT, 40_000, *SHORT, SIZE - 40_000 - 2 * sum(SHORT))
GROUPS = {
    "threes": Groups(size=3),
    "eights": Groups(size=8, sqrt_size=True),
    "hundreds": Groups(size=288),
    "ragged": Groups(sizes=RAGGED, weights=tuple(0.5 + 0.25 * (k % 5) for k in range(len(RAGGED)))),
}
ROWS: dict[str, Callable[[Groups], Any]] = {
    "group_lasso": lambda groups: GroupLasso(strength=0.3, groups=groups),
    "sparse_group_lasso": lambda groups: SparseGroupLasso(l1_strength=0.2, group_strength=0.3, groups=groups),
    "group_mcp": lambda groups: GroupMcp(strength=0.8, concavity=2.5, groups=groups),
    "group_scad": lambda groups: GroupScad(strength=0.8, concavity=3.7, groups=groups),
    "max_norm": lambda groups: MaxNorm(radius=1.5, groups=groups),
    "group_linf": lambda groups: GroupLinf(strength=0.3, groups=groups),
    "exclusive_lasso": lambda groups: ExclusiveLasso(strength=0.3, groups=groups),
    "n_of_m": lambda groups: NOfM(n=(groups.size or 4) // 2, m=groups.size or 4),
}
every_row = pytest.mark.parametrize("row", ROWS)
every_grouping = pytest.mark.parametrize("grouping", GROUPS)
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
# Compiling takes all the time: one row has every kind of loop compiled, the others one of each kind.
STEPS = [("group_lasso", FLOAT64), *((row, FLOAT32) for row in ROWS)]
# How a loop steps along loss gradients is alike for all: rows that take longest to compile are left out.
FORWARD_STEPS = [("group_lasso", FLOAT32)] + [
    (row, FLOAT64) for row in ROWS if row not in {"exclusive_lasso", "group_linf", "group_scad", "group_mcp"}
]
every_step = pytest.mark.parametrize(("row", "dtype"), STEPS, ids=str)
every_forward_step = pytest.mark.parametrize(("row", "dtype"), FORWARD_STEPS, ids=str)


def vector(dtype: Any, seed: int = 0) -> NDArray[Any]:
    """Elements whose groups are zero, small and large; in float64 so small and large that squares are not."""
    random = np.random.default_rng(seed)
    powers = np.repeat(random.integers(-3, 3, SIZE // 96 + 1), 96)[:SIZE].astype(np.float64)
    if dtype == np.float64:
        powers += np.where(np.arange(SIZE) // 9000 % 7 == 3, 170.0, 0.0)
        powers -= np.where(np.arange(SIZE) // 9000 % 7 == 5, 175.0, 0.0)
    x = random.normal(size=SIZE) * 10.0**powers
    x[np.repeat(random.random(SIZE // 96 + 1) < 0.3, 96)[:SIZE]] = 0.0
    return x.astype(dtype)


def both_ways(compute: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """What is computed by loops, which are compiled by then, and by NumPy."""
    compute()
    compilation.wait_until_compiled()
    by_loops = compute()
    with monkeypatch.context() as patch:
        patch.setattr(compilation, "SMALLEST", 1 << 62)
        return by_loops, compute()


def assert_same_bits(one: NDArray[Any], other: NDArray[Any]) -> None:
    """Assert that two arrays are alike to the bit, signs of zeros included."""
    np.testing.assert_array_equal(one.view(np.uint8), other.view(np.uint8))


def test_every_row_with_a_loop_is_tried() -> None:
    """Whatever regularizer of groups says that it has one."""
    looped = {
        name
        for name, kind in REGULARIZERS.items()
        if issubclass(kind, PartitionedRegularizer) and kind.formulas is not None
    }
    assert looped == set(ROWS)


@every_step
@every_grouping
def test_steps_have_the_same_bits(
    row: str, grouping: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New parameters and all figures, also written over the parameters."""
    regularizer, x = ROWS[row](GROUPS[grouping]), vector(dtype)
    (by_loops, figures), (by_numpy, same) = both_ways(lambda: proximal_step(x, regularizer, 0.7), monkeypatch)
    assert_same_bits(by_loops, by_numpy)
    assert repr(figures) == repr(same)
    over = x.copy()
    assert repr(proximal_step(over, regularizer, 0.7, out=over)[1]) == repr(same)
    assert_same_bits(over, by_numpy)


@every_forward_step
@pytest.mark.parametrize("grouping", ["ragged"])
def test_forward_steps_have_the_same_bits(
    row: str, grouping: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Along loss gradients first, also written over these."""
    regularizer, x, g = ROWS[row](GROUPS[grouping]), vector(dtype), vector(dtype, 1)
    (by_loops, figures), (by_numpy, same) = both_ways(
        lambda: proximal_step(x, regularizer, 0.7, loss_gradients=g), monkeypatch
    )
    assert_same_bits(by_loops, by_numpy)
    assert repr(figures) == repr(same)
    assert repr(proximal_step(x, regularizer, 0.7, out=g, loss_gradients=g)[1]) == repr(same)
    assert_same_bits(g, by_numpy)


@every_row
@every_grouping
def test_penalties_have_the_same_bits(row: str, grouping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum and its expansion, and the count of nonzeros."""
    regularizer, x = ROWS[row](GROUPS[grouping]), vector(FLOAT32)
    by_loops, by_numpy = both_ways(lambda: penalty(x, regularizer), monkeypatch)
    assert repr(by_loops) == repr(by_numpy)


@pytest.mark.parametrize("row", [row for row in ROWS if row != "n_of_m"])
def test_groups_of_every_short_size_have_the_same_bits(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one size that are taken several at once, those that are not, and the last few of a piece."""
    for size in (1, 2, 4, 7, 8, 12, 16, 23, 24, 63, 64, 65, 128, 136):
        x = vector(FLOAT32, size)[: (1 << 16) // size * size]
        x[: 1 << 15] = np.round(x[: 1 << 15], 1)
        regularizer = ROWS[row](Groups(size=size))
        (by_loops, figures), (by_numpy, same) = both_ways(
            lambda x=x, regularizer=regularizer: proximal_step(x, regularizer, 0.7), monkeypatch
        )
        assert_same_bits(by_loops, by_numpy)
        assert repr(figures) == repr(same)


@pytest.mark.parametrize("m", [5, 16, 17])
def test_runs_of_every_length_have_the_same_bits(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for whose length a network is compiled, and longer ones; with ties, and with what is unknown."""
    x = vector(FLOAT64, m)[: (1 << 16) // m * m]
    x[: 1 << 15] = np.round(np.random.default_rng(m).normal(size=1 << 15))
    for n in {0, 1, m // 2, m}:
        regularizer = NOfM(n=n, m=m)
        (by_loops, figures), (by_numpy, same) = both_ways(
            lambda regularizer=regularizer: proximal_step(x, regularizer, 0.7), monkeypatch
        )
        assert_same_bits(by_loops, by_numpy)
        assert repr(figures) == repr(same)
    x[[3, 40_000, x.size - 1]] = np.nan, np.inf, -np.inf
    (by_loops, figures), (by_numpy, same) = both_ways(
        lambda: proximal_step(x, NOfM(n=m // 2, m=m), 0.7, propagate_non_finite=True), monkeypatch
    )
    np.testing.assert_array_equal(by_loops, by_numpy)
    assert repr(figures) == repr(same)


@every_step
def test_what_is_not_finite_spreads_alike(row: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over its group, and no further."""
    regularizer, x = ROWS[row](GROUPS["ragged"]), vector(dtype)
    x[[5, 2000, SIZE - 1]] = np.nan, np.inf, -np.inf
    (by_loops, figures), (by_numpy, same) = both_ways(
        lambda: proximal_step(x, regularizer, 0.7, propagate_non_finite=True), monkeypatch
    )
    np.testing.assert_array_equal(by_loops, by_numpy)
    assert repr(figures) == repr(same)


def test_threads_and_steps_without_figures_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many work at once, and whatever is counted."""
    regularizer, x = ROWS["group_lasso"](GROUPS["eights"]), vector(FLOAT32)
    choice = FigureChoice(penalty=False, nonzeros=False, squared_distance=False)
    (alone, none), (by_numpy, also) = both_ways(
        lambda: proximal_step(x, regularizer, 0.7, figures=choice, threads=2), monkeypatch
    )
    counted, _ = proximal_step(x, regularizer, 0.7)
    assert_same_bits(alone, by_numpy)
    assert_same_bits(alone, counted)
    assert none == also


def test_elements_that_stand_askew_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they do in a message, behind fields of any length."""
    regularizer, x = ROWS["group_lasso"](GROUPS["eights"]), vector(FLOAT32)
    askew = np.frombuffer(b"\0\0\0" + x.tobytes(), np.uint8)[3:].view(np.float32)
    straight = proximal_step(x, regularizer, 0.7)
    for new, figures in both_ways(lambda: proximal_step(askew, regularizer, 0.7), monkeypatch):
        assert_same_bits(new, straight[0])
        assert figures == straight[1]


@pytest.mark.parametrize(
    "sizes",
    [(2**63 - 1, 2**63 - 1, 8), (2**62, 2**62, 2**62, 2**62, 6), (4, 2**63 - 1, 2**63 - 1, 4), (2**64, 6)],
    ids=str,
)
def test_sizes_that_add_up_only_modulo_a_power_of_two_are_refused(sizes: tuple[int, ...]) -> None:
    """They are added exactly: six elements cannot be so many, whatever 64 bits make of the sum."""
    with pytest.raises(GroupsInvalid, match="must add up to the segment's 6 elements") as caught:
        Groups(sizes=sizes).partition((6,))
    assert str(sum(sizes)) in str(caught.value)


@pytest.mark.parametrize("edges", [(), (1, 6), (0, 3, 3), (0, 5, 4, 6), (0, 2**62, -(2**62), 6)], ids=str)
def test_edges_that_do_not_increase_from_0_are_no_runs(edges: tuple[int, ...]) -> None:
    """Whatever made them: loops without bounds rely on it."""
    with pytest.raises(ValueError, match="increase from 0"):
        RaggedRuns(np.array(edges, np.int64))


def test_runs_have_a_loop_only_over_elements_that_they_fill() -> None:
    """One more, or one fewer, and there are no edges to loop over."""
    for partition in (Groups(size=2).partition((6,)), Groups(sizes=(1, 5)).partition((6,))):
        for elements in (0, 5, 7):
            with pytest.raises(ValueError, match=f"fill 6 elements, not {elements}"):
                runs_of(partition, elements)


def test_which_groups_have_a_loop() -> None:
    """Runs do, unless one is too long for the cache; slices along a later axis do not."""
    assert loop_runs(Groups(size=2), 6) == ([0, 6], 2, [1.0])
    assert loop_runs(Groups(sizes=(1, 5)), 6) == ([0, 1, 6], 0, [1.0])
    assert loop_runs(Groups(size=2, weights=(1.0, 0.5, 0.0)), 6) == ([0, 6], 2, [1.0, 0.5, 0.0])
    assert loop_runs(Groups(size=3, sqrt_size=True), 6) == ([0, 6], 3, [3.0**0.5])
    assert loop_runs(Groups(axis=1), 2, 3) is None
    assert loop_runs(Groups(size=LONGEST + 1), LONGEST + 1) is None
    assert loop_runs(Groups(sizes=(1, LONGEST + 1)), LONGEST + 2) is None


def loop_runs(groups: Groups, *shape: int) -> tuple[list[int], int, list[float]] | None:
    """Ends, size and weights that a loop over these groups takes."""
    runs = runs_of(groups.partition(shape), int(np.prod(shape)))
    return None if runs is None else (runs[0].tolist(), runs[1], runs[2].tolist())
