"""Parameters in memory that is shared with the server, so that no step moves them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from .._client import Client
from .._errors import ArgumentError
from .._transport.shared_memory import Shared
from ._arrays import data_type
from ._landing import Landing, set_landing
from ._page_locking import lock_pages
from ._trained import without_wrappers


class SharedParameters:
    """The memory that a model's parameters live in: what ``share_parameters`` returns.

    It is a context manager; or ``release`` it; or leave it to ``Client.close``. After that the parameters
    stay what they are, as ordinary memory of this process.
    """

    def __init__(self) -> None:
        self._memory: list[Shared[dict[str, Any]]] = []
        self._landing: list[weakref.ref[Tensor]] = []

    def __enter__(self) -> SharedParameters:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Share the memory no longer. Releasing again does nothing."""
        for each in self._memory:
            each.release()
        for reference in self._landing:
            if (parameter := reference()) is not None:
                set_landing(parameter, None)
        self._landing.clear()

    def _take(self, parameters: dict[str, Tensor], client: Client) -> None:
        """Give parameters of one data type a place in memory of their own."""
        first = next(iter(parameters))
        kind = data_type(parameters[first], first)
        shapes = {name: tuple(each.shape) for name, each in parameters.items()}
        shared = client.shared_arrays(shapes, kind)
        self._memory.append(shared)
        # All arrays are views of one memory.
        whole = next((array.base for array in shared.arrays.values() if array.size), None)
        if whole is not None:
            lock_pages(whole)
        for name, parameter in parameters.items():
            array = shared.arrays[name]
            bits = torch.from_numpy(array.view("int16") if parameter.dtype == torch.bfloat16 else array)
            home = bits.view(parameter.dtype)
            if _is_elsewhere(parameter):
                set_landing(parameter, Landing(home))
                self._landing.append(weakref.ref(parameter))
            else:
                home.copy_(parameter)
                parameter.data = home


@torch.no_grad()  # type: ignore[untyped-decorator] # PyTorch is not looked into
def share_parameters(model: nn.Module, client: Client) -> SharedParameters:
    """Move a model's parameters into memory that is shared with the server, which must be on this host.

    From then on a ``ProximalStep`` on all of them sends no elements: the server works on them where they are.
    The parameters stay the same objects, tied ones tied, so an optimizer may be made before or after. What
    requires no gradient stays where it is. Whatever moves them, such as ``model.to``, or loads them with
    ``assign=True``, takes them out again; then steps work as without. Where there is a GPU, the memory is
    page-locked, so that copies from and to it with ``non_blocking=True`` run beside the host's work.

    Parameters on a GPU stay there, and have a place in such memory: a step copies them straight to where the
    server works, and back. It is theirs as long as they keep shape and data type.

    Processes forked from this one write to the same memory, not to copies. Where a step fails, parameters may
    be those before it or after it.

    Args:
        model: The model.
        client: Whose server it is.

    Raises:
        ArgumentError: If a parameter is no plain dense tensor, or has no elements yet, or there are none.
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
    shared = SharedParameters()
    try:
        for parameters in by_type.values():
            shared._take(parameters, client)
    except BaseException:
        shared.release()
        raise
    return shared


def _is_elsewhere(parameter: Tensor) -> bool:
    """Whether a parameter lies where neither the host nor the server can work on it."""
    return str(parameter.device.type) != "cpu"


def _check(parameter: Tensor, name: str) -> None:
    data_type(parameter, name)
    plain = type(parameter) in (nn.Parameter, Tensor) and parameter.layout == torch.strided
    if not plain or parameter.device.type == "meta":
        kind = f"{type(parameter).__name__} on {parameter.device}"
        raise ArgumentError(f"{name!r} must be a dense tensor to be shared, got a {kind}", segment=name)
