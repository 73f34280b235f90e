"""Tensors in memory that is shared with the server."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from .._client import Client
from .._errors import RegularizationError
from .._transport.shared_memory import Shared
from ._arrays import OnHost, data_type, view
from ._page_locking import lock_pages

Tensors: TypeAlias = Mapping[str, Tensor]
"""Tensors by name."""

_log = logging.getLogger("regularization_client")


def shared_tensors(likes: Tensors, client: Client) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Return tensors of zeros that are shared, those of one data type side by side, and what gives them back.

    Where there is a GPU, their memory is page-locked.

    Args:
        likes: Tensors of their shapes and data types, wherever those are.
        client: Whose server it is.

    Raises:
        RegularizationError: If there is no such memory: see ``Client.shared_arrays``.
    """
    by_type: dict[torch.dtype, dict[str, Tensor]] = {}
    for name, like in likes.items():
        by_type.setdefault(like.dtype, {})[name] = like
    found: dict[str, Tensor] = {}
    memory: list[Shared[dict[str, Any]]] = []

    def release() -> None:
        for each in memory:
            each.release()

    try:
        for kind, own in by_type.items():
            first = next(iter(own))
            shapes = {name: tuple(like.shape) for name, like in own.items()}
            memory.append(client.shared_arrays(shapes, data_type(own[first], first)))
            arrays = memory[-1].arrays
            # All arrays are views of one memory.
            whole = next((array.base for array in arrays.values() if array.size), None)
            if whole is not None:
                lock_pages(whole)
            for name, array in arrays.items():
                bits = torch.from_numpy(array.view("int16") if kind == torch.bfloat16 else array)
                found[name] = bits.view(kind)
    except BaseException:
        release()
        raise
    return {name: found[name] for name in likes}, release


def shared_views(tensors: Tensors, client: Client) -> dict[str, NDArray[Any]] | None:
    """Return tensors as arrays, if those of each data type lie side by side in shared memory; else None."""
    arrays = {name: view(tensor, name) for name, tensor in tensors.items()}
    for kind in {array.dtype for array in arrays.values()}:
        own = [array for array in arrays.values() if array.dtype == kind]
        if any(array.size for array in own) and client._memory.locate(own, kind) is None:
            return None
    return arrays


class SharedScales:
    """Multipliers of step sizes beside parameters that are shared; their memory is given back with this."""

    def __init__(self) -> None:
        self._homes: dict[str, Tensor] = {}
        self._is_refused = False
        self._release: Callable[[], object] = _nothing

    def filled(
        self, scales: Tensors, parameters: Tensors, host: OnHost, client: Client
    ) -> dict[str, NDArray[Any]] | None:
        """Return shared arrays with the scales of some parameters; None where the server has no room.

        Those of the others are what they were, at first 0.

        Args:
            scales: Multipliers, by name of parameter.
            parameters: All parameters that are shared.
            host: What copies the scales; they are there once it has waited.
            client: Whose server it is.
        """
        arrays = None
        if _likes(self._homes) == _likes(parameters):
            arrays = shared_views(self._homes, client)
        if arrays is None and not self._is_refused:
            self._share(parameters, client)
            arrays = shared_views(self._homes, client)
        if not self._homes:
            return None
        for name, each in scales.items():
            host.copy(each, self._homes[name])
        return arrays

    def _share(self, parameters: Tensors, client: Client) -> None:
        self._release()
        self._homes = {}
        try:
            self._homes, release = shared_tensors(parameters, client)
            self._release = weakref.finalize(self, release)
        except RegularizationError as error:
            self._is_refused = True
            _log.warning("step scales go to the server by the socket, for they cannot be shared: %s", error)


def _likes(tensors: Tensors) -> list[tuple[str, torch.Size, torch.dtype]]:
    return [(name, each.shape, each.dtype) for name, each in tensors.items()]


def _nothing() -> None:
    """Give nothing back."""
