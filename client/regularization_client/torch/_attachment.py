"""Where an optimizer's step can be followed by a proximal one."""

from __future__ import annotations

from typing import Any

import torch

from .._errors import ArgumentError

_BY_HAND = "give attach=False, and call step() of the ProximalStep after the optimizer's"


def inner_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """Return the optimizer that takes the steps, inside of what trainers wrap around it.

    Raises:
        ArgumentError: If it is no optimizer of PyTorch, or one of which no step is a forward step.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ArgumentError(
            f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__} (DeepSpeed's is "
            "none: its flat partitions have no names for parameters)"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ArgumentError(
            "optimizer must take one forward step at a time: LBFGS takes several in one, with a line search, "
            "and a proximal step after them is no proximal method"
        )
    return optimizer


def check_hooked(optimizer: torch.optim.Optimizer) -> None:
    """Check that the optimizer's step calls its hooks.

    Raises:
        ArgumentError: If something has taken the place of the step that does.
    """
    if not getattr(type(optimizer).step, "hooked", False):
        text = f"the step of {type(optimizer).__name__} calls no hooks: {_BY_HAND}"
        raise ArgumentError(text)
    own = vars(optimizer).get("step")
    # A scheduler's wrapper calls the step of the class; a compiled one leaves the hooks out.
    if own is not None and not hasattr(own, "_wrapped_by_lr_sched"):
        raise ArgumentError(
            f"the step of this {type(optimizer).__name__} was replaced, by torch.compile for instance, and "
            f"may call no hooks: {_BY_HAND}"
        )


def was_skipped(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step that just ended changed nothing, for a gradient had overflown.

    A scaler does not call the step then, unless the optimizer is a fused one, which looks for itself.
    """
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
