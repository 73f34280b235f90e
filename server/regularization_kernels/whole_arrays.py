"""The three methods on whole arrays, in-process: the engine without a stream.

The work is cut into element ranges, each a call of its own, as one vector is cut over several
replicas; so the bits do not depend on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import Call, Chunk, FigureChoice, Layout, MemoryBudget, Method, Run, Segment, Summary
from .summation import BLOCK

if TYPE_CHECKING:
    from .engine.call import ElementArray
    from .regularizer import Regularizer

_UNBOUNDED = 1 << 62


def penalty(
    parameters: ElementArray, regularizer: Regularizer | None, *, threads: int = 1, **options: Any
) -> Summary:
    """The figures of ``parameters``, among them the penalty.

    Args:
        parameters: Of any shape, float32 or float64, C-contiguous.
        regularizer: None for none.
        threads: How many work at once, where the regularizer may be cut.
        **options: ``figures``, ``propagate_non_finite`` as in ``Call``; ``reference`` and
            ``weights`` as in ``Chunk``, of the parameters' shape.

    Raises:
        RegularizationError: If an argument breaks a rule.
    """
    return _run(Method.PENALTY, parameters, regularizer, None, None, threads, options)


def gradient(
    parameters: ElementArray,
    regularizer: Regularizer | None,
    *,
    out: ElementArray | None = None,
    threads: int = 1,
    **options: Any,
) -> tuple[ElementArray, Summary]:
    """The minimum-norm subgradient at ``parameters``, in ``out``, and the figures.

    Args:
        parameters: Of any shape, float32 or float64, C-contiguous.
        regularizer: None for none.
        out: Where the gradient goes; it may be ``parameters``.
        threads: How many work at once, where the regularizer may be cut.
        **options: As of ``penalty``, and ``loss_gradients``.

    Raises:
        RegularizationError: If an argument breaks a rule.
    """
    out = np.empty_like(parameters) if out is None else out
    return out, _run(Method.GRADIENT, parameters, regularizer, None, out, threads, options)


def proximal_step(
    parameters: ElementArray,
    regularizer: Regularizer | None,
    step_size: float,
    *,
    out: ElementArray | None = None,
    threads: int = 1,
    **options: Any,
) -> tuple[ElementArray, Summary]:
    """The proximal step from ``parameters``, in ``out``, and the figures at the new parameters.

    Args:
        parameters: Of any shape, float32 or float64, C-contiguous.
        regularizer: None for none.
        step_size: Finite, >= 0.
        out: Where the new parameters go; it may be ``parameters``.
        threads: How many work at once, where the regularizer may be cut.
        **options: As of ``penalty``, and ``loss_gradients`` and ``step_scales``.

    Raises:
        RegularizationError: If an argument breaks a rule.
    """
    out = np.empty_like(parameters) if out is None else out
    return out, _run(Method.PROXIMAL_STEP, parameters, regularizer, step_size, out, threads, options)


def _run(
    method: Method,
    parameters: ElementArray,
    regularizer: Regularizer | None,
    step_size: float | None,
    out: ElementArray | None,
    threads: int,
    options: dict[str, Any],
) -> Summary:
    layout = Layout(parameters.dtype, (Segment("", parameters.shape, regularizer),))
    choice = options.pop("figures", FigureChoice())
    propagate = options.pop("propagate_non_finite", False)
    whole = Chunk(0, parameters.reshape(-1), **{name: array.reshape(-1) for name, array in options.items()})
    flat_out = None if out is None else out.reshape(-1)

    def part(begin: int, end: int) -> Summary:
        call = Call(method, layout, (begin, end), step_size, choice, propagate)
        target = None if flat_out is None else flat_out[begin:end]
        with Run(call, MemoryBudget(_UNBOUNDED), target) as run:
            for first in range(begin, end, BLOCK):
                run.feed(whole.part(first, min(first + BLOCK, end)))
            return run.finish()

    ranges = list(pairwise(layout.cuts(threads)))
    if len(ranges) == 1:
        return part(*ranges[0])
    with ThreadPoolExecutor(threads) as pool:
        return Summary.combined(list(pool.map(lambda ends: part(*ends), ranges)), choice, method)
