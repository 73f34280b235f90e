"""The metric of Adam, element by element, as multipliers of a step size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._errors import ArgumentError
from ._rows import local

_SECOND_MOMENTS = "an optimizer with second moments element by element, such as Adam or AdamW"


def check_has_metric(optimizer: torch.optim.Optimizer) -> None:
    """Check that an optimizer is of Adam's kind.

    Raises:
        ArgumentError: If it is not.
    """
    if any(not {"betas", "eps"} <= set(group) for group in optimizer.param_groups):
        raise ArgumentError(f'metric="adam" needs {_SECOND_MOMENTS}, got {type(optimizer).__name__}')


def adam_scales(optimizer: torch.optim.Optimizer, tensor: Tensor, group: dict[str, Any], name: str) -> Tensor:
    """Return 1 / (√v̂ + ε) of each element that this rank has.

    v̂ is its mean squared gradient, corrected for its start at 0. Adam's step is lr times the mean gradient
    times this. So a proximal step whose step size is multiplied by it goes as far, in units of the loss, as
    the forward step did. Of a parameter that Adam has not moved yet it is 0, so that the proximal step does
    not move it either.

    Args:
        optimizer: The optimizer, after its step.
        tensor: A parameter of it.
        group: The parameter's group.
        name: Its name, for errors.

    Raises:
        ArgumentError: If the optimizer keeps no such moments of it.

    Source: Kingma and Ba (2015), Adam: a method for stochastic optimization; Yun, Lozano and Yang (2021),
    Adaptive proximal gradient methods for structured neural networks.
    """
    state = optimizer.state.get(tensor)
    if not state:
        return torch.zeros_like(local(tensor))
    squares = state.get("max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq")
    if squares is None or "step" not in state:
        text = f'metric="adam" needs {_SECOND_MOMENTS}: there are none of {name!r}'
        raise ArgumentError(text, segment=name)
    squares = local(squares)
    wide = squares if squares.dtype == torch.float64 else squares.to(torch.float32)
    correction = 1.0 - float(group["betas"][1]) ** float(state["step"])
    # In one new tensor: of long ones, finding the memory takes longer than computing.
    scales = wide.sqrt().div_(correction**0.5).add_(float(group["eps"])).reciprocal_()
    return scales.clamp_(max=torch.finfo(tensor.dtype).max).to(tensor.dtype)
