"""Parameters in memory that is shared with the server, so that no step moves them."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._client import Client
from .._errors import ArgumentError
from ._arrays import data_type
from ._landing import Landing, set_landing
from ._shared_tensors import shared_tensors
from ._trained import without_wrappers


class SharedParameters:
    """The memory that a model's parameters live in: what ``share_parameters`` returns.

    It is a context manager; or ``release`` it; or leave it to ``Client.close``. After that the parameters
    stay what they are, as ordinary memory of this process.
    """

    def __init__(self, release: Callable[[], None], landing: list[Tensor]) -> None:
        self._release = release
        self._landing = list(map(weakref.ref, landing))

    def __enter__(self) -> SharedParameters:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Share the memory no longer. Releasing again does nothing."""
        self._release()
        for reference in self._landing:
            if (parameter := reference()) is not None:
                set_landing(parameter, None)
        self._landing.clear()


@torch.no_grad()  # type: ignore[untyped-decorator] # PyTorch is not looked into
def share_parameters(model: nn.Module, client: Client) -> SharedParameters:
    """Move a model's parameters into memory that is shared with the server, which must be on this host.

    From then on a ``ProximalStep`` on all of them sends no elements: the server works on them where they are.
    The parameters stay the same objects, tied ones tied, so an optimizer may be made before or after. What
    requires no gradient stays where it is. Whatever moves them, such as ``model.to``, or loads them with
    ``assign=True``, takes them out again; then steps work as without. Where there is a GPU, the memory is
    page-locked, so that copies from and to it with ``non_blocking=True`` run beside the host's work.

    Parameters on a GPU stay there, and have a place in such memory: a step copies them straight to where the
    server works, and back. It is theirs as long as they keep shape and data type. With ``metric="adam"`` a
    ``ProximalStep`` shares the step sizes of the elements as well, and takes as much memory again.

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
    parameters = {
        name: parameter
        for name, parameter in without_wrappers(model).named_parameters()
        if parameter.requires_grad
    }
    if not parameters:
        raise ArgumentError("model must have parameters that require a gradient, and has none")
    for name, parameter in parameters.items():
        _check(parameter, name)
    homes, release = shared_tensors(parameters, client)
    landing = [parameter for parameter in parameters.values() if _is_elsewhere(parameter)]
    for name, parameter in parameters.items():
        if _is_elsewhere(parameter):
            set_landing(parameter, Landing(homes[name]))
        else:
            homes[name].copy_(parameter)
            parameter.data = homes[name]
    return SharedParameters(release, landing)


def _is_elsewhere(parameter: Tensor) -> bool:
    """Whether a parameter lies where neither the host nor the server can work on it."""
    return str(parameter.device.type) != "cpu"


def _check(parameter: Tensor, name: str) -> None:
    data_type(parameter, name)
    plain = type(parameter) in (nn.Parameter, Tensor) and parameter.layout == torch.strided
    if not plain or parameter.device.type == "meta":
        kind = f"{type(parameter).__name__} on {parameter.device}"
        raise ArgumentError(f"{name!r} must be a dense tensor to be shared, got a {kind}", segment=name)
