"""The three methods on whole arrays, in-process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import (
    Call,
    Chunk,
    FigureChoice,
    Layout,
    MemoryBudget,
    Method,
    Rounding,
    Segment,
    Summary,
    run_whole,
)

if TYPE_CHECKING:
    from .arrays import ElementArray
    from .regularizer import Regularizer

_UNBOUNDED = 1 << 62


def penalty(
    parameters: ElementArray, regularizer: Regularizer | None, *, threads: int = 1, **options: Any
) -> Summary:
    """The figures of ``parameters``, among them the penalty.

    Args:
        parameters: Of any shape and any of the data types, C-contiguous; integers are fixed point.
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
        parameters: Of any shape and any of the data types, C-contiguous; integers are fixed point.
        regularizer: None for none.
        out: Where the gradient goes; it may be ``parameters``.
        threads: How many work at once, where the regularizer may be cut.
        **options: As of ``penalty``, ``rounding`` as in ``Call``, and ``loss_gradients``.

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
        parameters: Of any shape and any of the data types, C-contiguous; integers are fixed point.
        regularizer: None for none.
        step_size: Finite, >= 0.
        out: Where the new parameters go; it may be ``parameters``.
        threads: How many work at once, where the regularizer may be cut.
        **options: As of ``penalty``, ``rounding`` as in ``Call``, and ``loss_gradients`` and ``step_scales``.

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
    rounding = options.pop("rounding", Rounding())
    whole = Chunk(0, parameters.reshape(-1), **{name: array.reshape(-1) for name, array in options.items()})
    flat_out = None if out is None else out.reshape(-1)

    call = Call(method, layout, None, step_size, choice, propagate, rounding)
    return run_whole(call, whole, flat_out, MemoryBudget(_UNBOUNDED), threads)
