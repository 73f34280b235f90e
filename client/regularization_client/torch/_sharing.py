"""Parameters in memory that is shared with the server, so that no step moves them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._client import Client
from .._errors import ArgumentError
from .._transport.shared_memory import Shared
from ._arrays import data_type
from ._page_locking import lock_pages
from ._trained import without_wrappers


class SharedParameters:
    """The memory that a model's parameters live in: what ``share_parameters`` returns.

    It is a context manager; or ``release`` it; or leave it to ``Client.close``. After that the parameters
    stay what they are, as ordinary memory of this process.
    """

    def __init__(self, memory: list[Shared[dict[str, Any]]]) -> None:
        self._memory = memory

    def __enter__(self) -> SharedParameters:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Share the memory no longer. Releasing again does nothing."""
        for each in self._memory:
            each.release()


@torch.no_grad()  # type: ignore[untyped-decorator] # PyTorch is not looked into
def share_parameters(model: nn.Module, client: Client) -> SharedParameters:
    """Move a model's parameters into memory that is shared with the server, which must be on this host.

    From then on a ``ProximalStep`` on all of them sends no elements: the server works on them where they are.
    The parameters stay the same objects, tied ones tied, so an optimizer may be made before or after. What
    requires no gradient stays where it is. Whatever moves them, such as ``model.to``, or loads them with
    ``assign=True``, takes them out again; then steps work as without. Where there is a GPU, the memory is
    page-locked, so that copies from and to it with ``non_blocking=True`` run beside the host's work.

    Processes forked from this one write to the same memory, not to copies. Where a step fails, parameters may
    be those before it or after it.

    Args:
        model: The model, in the host's memory.
        client: Whose server it is.

    Raises:
        ArgumentError: If a parameter is elsewhere, or no plain dense tensor, or there are none.
        SharedMemoryError: If the target is not one Unix socket, or the server has no room.
        UnavailableError: If no server is there.

    Example:
        >>> import torch
        >>> from regularization_client import Client, L1Norm
        >>> from regularization_client.torch import ProximalStep, share_parameters
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> with Client() as client, share_parameters(model, client):
        ...     prox = ProximalStep(client, model, optimizer, L1Norm(strength=2.0))
        ...     optimizer.step()
        >>> prox.last.nonzeros
        0
    """
    by_type: dict[torch.dtype, dict[str, Tensor]] = {}
    for name, parameter in without_wrappers(model).named_parameters():
        if parameter.requires_grad:
            _check(parameter, name)
            by_type.setdefault(parameter.dtype, {})[name] = parameter
    if not by_type:
        raise ArgumentError("model must have parameters that require a gradient, and has none")
    shared = SharedParameters([])
    try:
        for parameters in by_type.values():
            shared._memory.append(_moved(parameters, client))
    except BaseException:
        shared.release()
        raise
    return shared


def _check(parameter: Tensor, name: str) -> None:
    data_type(parameter, name)
    plain = type(parameter) in (nn.Parameter, Tensor) and parameter.layout == torch.strided
    if not plain or parameter.device.type != "cpu":
        kind = f"{type(parameter).__name__} on {parameter.device}"
        text = f"{name!r} must be a dense tensor in the host's memory to be shared, got a {kind}"
        raise ArgumentError(text, segment=name)


def _moved(parameters: dict[str, Tensor], client: Client) -> Shared[dict[str, Any]]:
    """Return the memory that parameters of one data type were moved to."""
    first = next(iter(parameters))
    kind = data_type(parameters[first], first)
    shapes = {name: tuple(each.shape) for name, each in parameters.items()}
    shared = client.shared_arrays(shapes, kind)
    # All arrays are views of one memory.
    whole = next((array.base for array in shared.arrays.values() if array.size), None)
    if whole is not None:
        lock_pages(whole)
    for name, parameter in parameters.items():
        array = shared.arrays[name]
        bits = torch.from_numpy(array.view("int16") if parameter.dtype == torch.bfloat16 else array)
        home = bits.view(parameter.dtype)
        home.copy_(parameter)
        parameter.data = home
    return shared
