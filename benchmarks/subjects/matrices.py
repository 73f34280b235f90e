"""The proximal step of rows that need singular values, beside one singular value decomposition.

Run it with ``python -m benchmarks.subjects.matrices``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import regularization_kernels as kernels
from regularization_kernels import proximal_step
from regularization_kernels.engine import FigureChoice
from scipy.linalg import svd
from threadpoolctl import threadpool_limits

from benchmarks.harness.measure import Spread, heading, print_table, timed
from benchmarks.harness.report import Aim, run_alone

SIDES, QUICK_SIDES = (1024, 2048), (512,)
RANK = 16
SVD = "scipy.linalg.svd"
NUCLEAR_NORM, SPECTRAL_BALL, RANK_BALL = "nuclear_norm", "spectral_ball", f"rank_ball, {RANK}"
AIMS = {(1024, NUCLEAR_NORM): 0.5, (2048, NUCLEAR_NORM): 0.45, (2048, RANK_BALL): 0.15}
NO_FIGURES = FigureChoice(penalty=False, nonzeros=False, squared_distance=False)


@dataclass(frozen=True, slots=True)
class Matrices:
    """What came out: the seconds of every case, by side and name."""

    times: dict[tuple[int, str], Spread]

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        return [
            Aim(f"time: {name} / {SVD}, {side} by {side}", bound, *self._beside(side, name))
            for (side, name), bound in AIMS.items()
            if (side, name) in self.times
        ]

    def _beside(self, side: int, name: str) -> tuple[Spread, bool, float]:
        mine, theirs = self.times[side, name], self.times[side, SVD]
        return mine / theirs, False, mine.best / theirs.best


def run(*, quick: bool = False) -> Matrices:
    """Measures the rows and prints the table."""
    rounds = 3 if quick else 5
    heading(
        "Matrices: rows that need singular values",
        f"""
        A square matrix of normally distributed float32 numbers, in process and on one thread, without
        figures. The strength of nuclear_norm is that singular value above which half of them are, and so is
        the radius of spectral_ball; rank_ball keeps {RANK}. SciPy decomposes the matrix in float64, in which
        all compute, and puts nothing together again.
        """,
        rounds,
    )
    times: dict[tuple[int, str], Spread] = {}
    for side in QUICK_SIDES if quick else SIDES:
        cases = _cases(side)
        cases[RANK_BALL]()
        times |= {(side, name): spread for name, spread in timed(rounds, cases).items()}
    print_table(["Rows and columns", "Proximal step", "ms", f"/ {SVD}"], _table(times))
    return Matrices(times)


def _table(times: dict[tuple[int, str], Spread]) -> list[list[str]]:
    return [
        [
            f"{side:,}",
            name,
            time.map(lambda seconds: seconds * 1e3).text(),
            "" if name == SVD else (time / times[side, SVD]).text(),
        ]
        for (side, name), time in times.items()
    ]


def _cases(side: int) -> dict[str, Callable[[], object]]:
    matrix = np.random.default_rng(1).standard_normal((side, side), dtype=np.float32)
    out, middle = np.empty_like(matrix), float(np.median(np.linalg.svd(matrix, compute_uv=False)))
    rows = {
        NUCLEAR_NORM: kernels.NuclearNorm(strength=middle),
        SPECTRAL_BALL: kernels.SpectralBall(radius=middle),
        RANK_BALL: kernels.RankBall(rank=RANK),
    }

    def decomposed() -> object:
        with threadpool_limits(1):
            return svd(matrix.astype(np.float64), full_matrices=False)

    def step(row: kernels.Regularizer) -> Callable[[], object]:
        return lambda: proximal_step(matrix, row, 1.0, out=out, figures=NO_FIGURES)

    return {SVD: decomposed, **{name: step(row) for name, row in rows.items()}}


if __name__ == "__main__":
    run_alone(run, __doc__)
