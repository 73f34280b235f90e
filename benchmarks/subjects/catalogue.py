"""The proximal step of every regularizer, beside that of L1 and beside what others compute it with.

Run it with ``python -m benchmarks.subjects.catalogue``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import regularization_kernels as kernels
from regularization_kernels import Groups, L1Norm, compilation, proximal_step
from regularization_kernels.engine import FigureChoice
from scipy.linalg import svd
from threadpoolctl import threadpool_limits

from benchmarks.harness.measure import Spread, heading, print_table, timed
from benchmarks.harness.report import Aim, run_alone
from benchmarks.rivals import alternatives

ELEMENTS = 1 << 22
QUICK_ELEMENTS = 1 << 20
SIDE = 1024
QUICK_SIDE = 512
RADIUS_SHARE = 0.01
"""Radius of a ball, as a share of the vector's L1 norm: few elements remain."""
NO_FIGURES = FigureChoice(penalty=False, nonzeros=False, squared_distance=False)
L1 = "l1_norm"
SVD = "scipy.linalg.svd"

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a row is measured against, and how many times as long it may take."""

    baseline: str
    times: float


@dataclass(frozen=True, slots=True)
class Rows:
    """What came out: the times of every case, and the bounds of some."""

    times: Mapping[str, Spread]
    bounds: Mapping[str, Bound]

    @property
    def aims(self) -> list[Aim]:
        """The rows that have a bound."""
        return [
            Aim(
                f"time: {name} / {bound.baseline}",
                bound.times,
                self.times[name] / self.times[bound.baseline],
                False,
                self.times[name].best / self.times[bound.baseline].best,
            )
            for name, bound in self.bounds.items()
        ]


def run(*, quick: bool = False) -> Rows:
    """Measures the rows and prints the table."""
    elements, side, rounds = (QUICK_ELEMENTS, QUICK_SIDE, 3) if quick else (ELEMENTS, SIDE, 5)
    heading(
        "Catalogue: the proximal step of every regularizer",
        f"""
        {elements:,} normally distributed float32 numbers, or a matrix of {side} by {side}, in process, on one
        thread, into an array that is reused. Sums over elements and groups with all figures of the summary,
        beside L1 with the same; rows that need a whole segment without figures, beside the textbook's way by
        sorting, one singular value decomposition by SciPy, skglm and proxTV (its fastest exact method), where
        they are installed. All take and give float32; all but top_k by sorting compute in float64.
        """,
        rounds,
    )
    x = np.random.default_rng(0).standard_normal(elements, dtype=np.float32)
    matrix = np.random.default_rng(1).standard_normal((side, side), dtype=np.float32)
    groups = [
        ("elements", *_elements(x)),
        ("wholes", *_wholes(x)),
        ("matrices", *_matrices(matrix)),
    ]
    times: dict[str, Spread] = {}
    bounds: dict[str, Bound] = {}
    for _, cases, limits in groups:
        for case in cases.values():
            case()
        compilation.wait_until_compiled()
        found = timed(rounds, cases)
        _name_fastest(found)
        times |= found
        bounds |= {name: bound for name, bound in limits.items() if bound.baseline in times}
    found_rows = Rows(times, bounds)
    print_table(
        ["Proximal step", "ms", "ns / element", "beside", "times as long"], _table(found_rows, elements)
    )
    return found_rows


def _table(found: Rows, elements: int) -> list[list[str]]:
    rows = []
    for name, time in found.times.items():
        bound = found.bounds.get(name)
        beside = ["", ""]
        if bound is not None:
            beside = [bound.baseline, (time / found.times[bound.baseline]).text()]
        rows.append(
            [name, time.map(lambda s: s * 1e3).text(), f"{time.median / elements * 1e9:.1f}", *beside]
        )
    return rows


FASTEST_TV = "proxTV, fastest"


def _name_fastest(times: dict[str, Spread]) -> None:
    theirs = [name for name in times if name.startswith("proxTV")]
    if theirs:
        times[FASTEST_TV] = times[min(theirs, key=lambda name: times[name].median)]


Cases = dict[str, Callable[[], object]]
Bounds = dict[str, Bound]


def _step(
    x: Vector, regularizer: Any, figures: FigureChoice = NO_FIGURES, out: Any = None
) -> Callable[[], object]:
    result = np.empty_like(x) if out is None else out
    return lambda: proximal_step(x, regularizer, 1.0, out=result, figures=figures)


def _without_loops(step: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        smallest, compilation.SMALLEST = compilation.SMALLEST, 1 << 62
        try:
            return step()
        finally:
            compilation.SMALLEST = smallest

    return run


def _elements(x: Vector) -> tuple[Cases, Bounds]:
    out = np.empty_like(x)
    plain = {
        L1: L1Norm(strength=0.5),
        "squared_l2_norm": kernels.SquaredL2Norm(strength=0.5),
        "elastic_net": kernels.ElasticNet(l1_strength=0.5, l2_strength=0.5),
        "box": kernels.Box(lower=-0.5, upper=0.5),
        "huber": kernels.Huber(strength=0.5, delta=0.3),
        "l0_norm": kernels.L0Norm(strength=0.5),
        "mcp": kernels.Mcp(strength=0.5, concavity=3.0),
        "scad": kernels.Scad(strength=0.5, concavity=3.7),
        "hinge": kernels.Hinge(strength=0.5),
        "grid": kernels.Grid(levels=kernels.Levels(step=0.25)),
        "quantization": kernels.Quantization(strength=0.5, levels=kernels.Levels(step=0.25)),
    }
    transcendental = {
        "l_half": kernels.LHalf(strength=0.5),
        "l_two_thirds": kernels.LTwoThirds(strength=0.5),
        "log_sum": kernels.LogSum(strength=0.2, epsilon=0.5),
        "negative_entropy": kernels.NegativeEntropy(strength=0.5),
    }
    grouped: dict[str, Any] = {}
    for size in (16, 256):
        groups = Groups(size=size)
        grouped |= {
            f"group_lasso, groups of {size}": kernels.GroupLasso(strength=2.0, groups=groups),
            f"sparse_group_lasso, groups of {size}": kernels.SparseGroupLasso(
                l1_strength=0.2, group_strength=2.0, groups=groups
            ),
            f"exclusive_lasso, groups of {size}": kernels.ExclusiveLasso(strength=0.1, groups=groups),
            f"group_linf, groups of {size}": kernels.GroupLinf(strength=2.0, groups=groups),
            f"group_mcp, groups of {size}": kernels.GroupMcp(strength=2.0, concavity=3.0, groups=groups),
            f"group_scad, groups of {size}": kernels.GroupScad(strength=2.0, concavity=3.7, groups=groups),
            f"max_norm, groups of {size}": kernels.MaxNorm(radius=2.0, groups=groups),
            f"l1_ball, groups of {size}": kernels.L1Ball(radius=2.0, groups=groups),
            f"simplex, groups of {size}": kernels.Simplex(radius=2.0, groups=groups),
            f"top_k, groups of {size}": kernels.TopK(fraction=0.25, groups=groups),
            f"tree_group_lasso, groups of {size}": kernels.TreeGroupLasso(
                strength=1.0, nested_groups=(groups, Groups(size=4 * size))
            ),
            f"unit_norm, groups of {size}": kernels.UnitNorm(groups=groups),
            f"top_k_groups, groups of {size}": kernels.TopKGroups(fraction=0.1, groups=groups),
            f"min_max_norm, groups of {size}": kernels.MinMaxNorm(lower=1.0, upper=2.0, groups=groups),
        }
    grouped["n_of_m, 2:4"] = kernels.NOfM(n=2, m=4)
    grouped["n_of_m, 8:16"] = kernels.NOfM(n=8, m=16)
    cases = {
        name: _step(x, row, FigureChoice(), out) for name, row in (plain | transcendental | grouped).items()
    }
    cases["dropout"] = _step(x, kernels.Dropout(rate=0.5, seed=7), FigureChoice(), out)
    cases["l1_norm, NumPy alone"] = _without_loops(cases[L1])
    bounds = {name: Bound(L1, 3.0) for name in plain if name != L1}
    bounds |= {name: Bound(L1, 20.0) for name in transcendental}
    # Some have to find a threshold in each group.
    searching = ("exclusive_lasso", "group_linf", "n_of_m")
    by_numpy = ("unit_norm", "tree_group_lasso", "min_max_norm", "top_k", "l1_ball", "simplex")
    bounds |= {
        name: Bound(L1, 6.0 if name.startswith(searching) else 2.0)
        for name in grouped
        if not name.startswith(by_numpy)
    }
    return cases, bounds


def _wholes(x: Vector) -> tuple[Cases, Bounds]:
    out, total = np.empty_like(x), float(np.abs(x).sum(dtype=np.float64))
    radius, count = RADIUS_SHARE * total, x.size // 20
    strengths = np.linspace(1.0, 0.1, x.size)
    rows = {
        "l1_ball": kernels.L1Ball(radius=radius),
        "simplex": kernels.Simplex(radius=radius),
        "top_k": kernels.TopK(count=count),
        "l2_ball": kernels.L2Ball(radius=10.0),
        "l2_norm": kernels.L2Norm(strength=10.0),
        "linf_norm": kernels.LinfNorm(strength=radius),
        "slope": kernels.Slope(strengths=tuple(strengths.tolist())),
        "isotonic": kernels.Isotonic(),
        "total_variation": kernels.TotalVariation(strength=2.0),
        "fused_lasso": kernels.FusedLasso(l1_strength=0.1, tv_strength=2.0),
    }
    cases: Cases = {name: _step(x, row, NO_FIGURES, out) for name, row in rows.items()}
    others: dict[str, alternatives.Step] = {
        "l1_ball, by sorting": lambda wide: alternatives.projection_onto_l1_ball(wide, radius),
        "simplex, by sorting": lambda wide: alternatives.projection_onto_simplex(wide, radius),
        **alternatives.total_variation_of_prox_tv(2.0),
    }
    if (theirs := alternatives.slope_of_skglm(strengths)) is not None:
        others["skglm"] = theirs
    cases |= {name: _by(step, x) for name, step in others.items()}
    cases["top_k, by sorting"] = lambda: alternatives.largest_by_sorting(x, count)
    cases["top_k, by argsort"] = lambda: alternatives.largest_by_argsort(x, count)
    bounds = {name: Bound(f"{name}, by sorting", 0.5) for name in ("l1_ball", "simplex", "top_k")}
    return cases, bounds | {"total_variation": Bound(FASTEST_TV, 1.2), "slope": Bound("skglm", 1.0)}


def _by(step: alternatives.Step, x: Vector) -> Callable[[], object]:
    return lambda: step(x.astype(np.float64)).astype(np.float32)


def _matrices(matrix: npt.NDArray[np.float32]) -> tuple[Cases, Bounds]:
    rows = {
        "nuclear_norm": kernels.NuclearNorm(strength=10.0),
        "spectral_norm": kernels.SpectralNorm(strength=100.0),
        "spectral_ball": kernels.SpectralBall(radius=20.0),
        "nuclear_ball": kernels.NuclearBall(radius=500.0),
        "rank_ball": kernels.RankBall(rank=16),
        "orthogonality": kernels.Orthogonality(strength=0.1),
        "stiefel": kernels.Stiefel(),
        "spectral_normalization": kernels.SpectralNormalization(target=1.0),
        "positive_semidefinite": kernels.PositiveSemidefinite(),
        "total_variation_2d": kernels.TotalVariation2d(strength=0.1),
        "block_sparsity": kernels.BlockSparsity(fraction=0.1, rows=16, columns=16),
    }

    def decomposed() -> object:
        with threadpool_limits(1):
            return svd(matrix.astype(np.float64), full_matrices=False)

    cases: Cases = {SVD: decomposed}
    cases |= {name: _step(matrix, row) for name, row in rows.items()}
    bounds = {"nuclear_norm": 0.5, "spectral_ball": 0.75, "rank_ball": 0.5}
    return cases, {name: Bound(SVD, times) for name, times in bounds.items()}


if __name__ == "__main__":
    run_alone(run, __doc__)
