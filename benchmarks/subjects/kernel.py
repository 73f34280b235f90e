"""The fused in-process pass of the kernels against the NumPy one-liner and a plain copy.

Run it with ``python -m benchmarks.subjects.kernel``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from regularization_kernels import L1Norm, compilation, proximal_step
from regularization_kernels.engine import FigureChoice

from benchmarks.harness.measure import heading, print_table, rate, timed
from benchmarks.harness.report import run_alone

ELEMENTS = 1 << 26
QUICK_ELEMENTS = 1 << 24
THRESHOLDS = {"float32": 0.5, "float64": 0.1}
"""0.5 is a float32 number, 0.1 lies between two: float32 arithmetic must not round it first."""
NO_FIGURES = FigureChoice(penalty=False, nonzeros=False, squared_distance=False)
ONE_LINER = "NumPy one-liner"

Vector = npt.NDArray[np.float32]


def run(*, quick: bool = False) -> None:
    """Measures the kernel and prints the table."""
    elements, rounds = (QUICK_ELEMENTS, 3) if quick else (ELEMENTS, 5)
    heading(
        "Kernel: fused L1 proximal step in process",
        f"""
        {elements:,} normally distributed float32 numbers, regularization_kernels.proximal_step of L1 into
        an array that is reused, without figures and with all (penalty, nonzeros, squared distance), on
        one thread and on two, at a threshold that float32 can represent (0.5) and at one that it cannot
        (0.1); against np.sign(x)*np.maximum(np.abs(x)-t,0), which makes fresh arrays, and against
        np.copyto. The fresh arrays of the one-liner take a time that varies with what else the machine
        does, so the ratio of the best rounds is given beside that of the same round.
        """,
        rounds,
    )
    parameters = np.random.default_rng(0).standard_normal(elements, dtype=np.float32)
    cases = _cases(parameters)
    for case in cases.values():
        case()
    compilation.wait_until_compiled()
    times = timed(rounds, cases)
    one_liner = times[ONE_LINER]
    rows = [
        [name, rate(t, parameters.nbytes), (t / one_liner).text(), f"{t.best / one_liner.best:.2f}"]
        for name, t in times.items()
    ]
    print_table(["Pass", "GiB/s of input", "time / one-liner", "best / best"], rows)


def _cases(parameters: Vector) -> dict[str, Callable[[], object]]:
    out = np.empty_like(parameters)
    threshold = np.float32(THRESHOLDS["float64"])
    cases: dict[str, Callable[[], object]] = {
        "plain copy": lambda: np.copyto(out, parameters),
        ONE_LINER: lambda: np.sign(parameters) * np.maximum(np.abs(parameters) - threshold, 0),
    }
    for strength in THRESHOLDS.values():
        for words, figures in (("no figures", NO_FIGURES), ("all figures", FigureChoice())):
            for threads in (1, 2):
                name = f"fused, t={strength}, {words}, {threads} thread{'s' * (threads > 1)}"
                cases[name] = _fused(parameters, out, strength, figures, threads)
    return cases


def _fused(
    parameters: Vector, out: Vector, strength: float, figures: FigureChoice, threads: int
) -> Callable[[], object]:
    regularizer = L1Norm(strength=strength)
    return lambda: proximal_step(parameters, regularizer, 1.0, out=out, figures=figures, threads=threads)


if __name__ == "__main__":
    run_alone(run, __doc__)
