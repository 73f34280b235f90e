"""The parameters of a model that an optimizer trains, by name and each once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import ArgumentError

_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel)
_FLAT = "fully_shard (FSDP2) keeps parameters and their names"


class Trained:
    """The parameters that a model and an optimizer have in common, under the names of the model.

    Args:
        model: The model; wrappers that put a prefix before every name are looked through.
        optimizer: The optimizer.

    Raises:
        ArgumentError: If they have none in common, or one is on the meta device.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model = without_wrappers(model)
        self._optimizer = optimizer
        self._of_optimizer = 0
        self.tensors: dict[str, Tensor] = {}
        """The parameters by name, in the model's order."""
        self.others: dict[str, str] = {}
        """Why other names of the model are none of these, by name."""
        self.update()

    def update(self) -> bool:
        """Look again whether the optimizer was given parameters; return whether it was.

        Raises:
            ArgumentError: See the class.
        """
        groups = {id(each) for group in self._optimizer.param_groups for each in group["params"]}
        if len(groups) == self._of_optimizer:
            return False
        self._of_optimizer = len(groups)
        tensors: dict[str, Tensor] = {}
        names: dict[int, str] = {}
        self.others = {name: "a buffer" for name, _ in self._model.named_buffers(remove_duplicate=False)}
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if id(parameter) in names:
                self.others[name] = f"another name of {names[id(parameter)]!r}"
            elif id(parameter) in groups:
                names[id(parameter)] = name
                tensors[name] = parameter
            else:
                self.others[name] = "no parameter of the optimizer"
        self._check(tensors)
        self.tensors = tensors
        return True

    def groups(self) -> dict[str, dict[str, Any]]:
        """Return the optimizer's group of each parameter, by name."""
        # Loading a checkpoint puts other groups in the place of these.
        of_tensor = {id(each): group for group in self._optimizer.param_groups for each in group["params"]}
        return {name: of_tensor[id(tensor)] for name, tensor in self.tensors.items()}

    def told(self, error: ArgumentError, patterns: Mapping[str, object]) -> ArgumentError:
        """Return the error about names that are not found, with what a rule may have meant."""
        for name in patterns:
            if name in self.others:
                return ArgumentError(f"{error}; {name!r} is {self.others[name]}", segment=name)
        return error

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        if not tensors:
            raise ArgumentError(
                "the optimizer must have parameters of the model, and has none: it is another model's, or it "
                f"has flat partitions, as DeepSpeed makes them, which have no names; {_FLAT}"
            )
        for name, tensor in tensors.items():
            if tensor.is_meta:
                text = f"{name!r} is on the meta device: materialize it, and make the optimizer anew"
                raise ArgumentError(text, segment=name)


def without_wrappers(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers that put a prefix before its parameters' names.

    Raises:
        ArgumentError: If a wrapper has flat parameters in the place of the model's own.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    flat = sys.modules.get("torch.distributed.fsdp")
    if flat is not None and any(isinstance(each, flat.FullyShardedDataParallel) for each in model.modules()):
        raise ArgumentError(f"FullyShardedDataParallel keeps flat partitions of parameters: {_FLAT}")
    while True:
        compiled = getattr(model, "_orig_mod", None)  # what torch.compile makes of a module
        if isinstance(compiled, nn.Module):
            model = compiled
        elif isinstance(model, _WRAPPERS):
            model = model.module
        else:
            return model
