"""The work in the caller's own process: NumPy, PyTorch where it is installed, the fused kernel, a copy."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from regularization_kernels import L1Norm, penalty, proximal_step
from regularization_kernels.engine import FigureChoice

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH, THRESHOLD, Vector
from benchmarks.harness.cases import Case

COPY = "plain copy"
ONE_LINER = "NumPy one-liner"
REUSED = "one-liner, reused memory"
TORCH = "PyTorch softshrink"
TORCH_PENALTY = "PyTorch abs().sum()"
CORES = len(os.sched_getaffinity(0))
NO_FIGURES = FigureChoice(penalty=False, nonzeros=False, squared_distance=False)


def fused(threads: int, *, figures: bool) -> str:
    """The name of the fused kernel's case."""
    words = f"fused, {threads} thread{'s' * (threads > 1)}"
    return f"{words}, figures" if figures else words


def step_cases(parameters: Vector, out: Vector, expected: Vector) -> dict[str, Case]:
    """The proximal step."""
    size = parameters.nbytes
    magnitudes, signs = np.empty_like(parameters), np.empty_like(parameters)
    cases = {
        COPY: Case(lambda: np.copyto(out, parameters), size, result=out, expected=parameters),
        ONE_LINER: Case(lambda: one_liner(parameters), size, expected=expected),
        REUSED: Case(
            lambda: one_liner_in(parameters, magnitudes, signs), size, result=magnitudes, expected=expected
        ),
    }
    if find_spec("torch"):
        torch: Any = importlib.import_module("torch")
        tensor, shrink = torch.from_numpy(parameters), torch.nn.functional.softshrink
        cases[TORCH] = Case(lambda: shrink(tensor, float(THRESHOLD)).numpy(), size, expected=expected)
    for threads in sorted({1, CORES}):
        for figures in (False, True):
            call = fused_step(parameters, out, threads, figures=figures)
            cases[fused(threads, figures=figures)] = Case(call, size, result=out, expected=expected)
    return cases


def penalty_cases(parameters: Vector, expected: float) -> dict[str, Case]:
    """The penalty."""
    size = parameters.nbytes
    buffer = np.empty_like(parameters)
    cases = {
        ONE_LINER: Case(lambda: STRENGTH * float(np.abs(parameters).sum()), size, expected=expected),
        REUSED: Case(lambda: STRENGTH * float(np.abs(parameters, out=buffer).sum()), size, expected=expected),
    }
    if find_spec("torch"):
        torch: Any = importlib.import_module("torch")
        tensor = torch.from_numpy(parameters)
        cases[TORCH_PENALTY] = Case(lambda: STRENGTH * tensor.abs().sum().item(), size, expected=expected)
    for threads in sorted({1, CORES}):
        call = _fused_penalty(parameters, threads)
        cases[fused(threads, figures=False)] = Case(call, size, expected=expected)
    return cases


def one_liner(parameters: Vector) -> Vector:
    """The proximal step of L1 as one writes it."""
    return np.sign(parameters) * np.maximum(np.abs(parameters) - THRESHOLD, 0)


def one_liner_in(parameters: Vector, magnitudes: Vector, signs: Vector) -> None:
    """The same operations with memory that is used again; the result is in the magnitudes."""
    np.abs(parameters, out=magnitudes)
    np.subtract(magnitudes, THRESHOLD, out=magnitudes)
    np.maximum(magnitudes, 0, out=magnitudes)
    np.sign(parameters, out=signs)
    np.multiply(magnitudes, signs, out=magnitudes)


def fused_step(
    parameters: Vector, out: Vector, threads: int, *, figures: bool, step_size: float = STEP_SIZE
) -> Callable[[], object]:
    """The fused kernel's proximal step."""
    regularizer, choice = L1Norm(strength=STRENGTH), FigureChoice() if figures else NO_FIGURES
    return lambda: proximal_step(parameters, regularizer, step_size, out=out, figures=choice, threads=threads)


def _fused_penalty(parameters: Vector, threads: int) -> Callable[[], float]:
    regularizer, choice = L1Norm(strength=STRENGTH), FigureChoice(nonzeros=False, squared_distance=False)

    def call() -> float:
        total = penalty(parameters, regularizer, figures=choice, threads=threads).total.penalty
        return float("nan") if total is None else total.value

    return call
