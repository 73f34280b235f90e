"""Tensors as arrays that a call reads and writes, of whatever type, strides and device."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._errors import ArgumentError, DataTypeError
from ._landing import Landing

DATA_TYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float64: np.dtype(np.float64),
    torch.float32: np.dtype(np.float32),
    torch.float16: np.dtype(np.float16),
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
}
"""What the service knows of PyTorch's data types."""


def data_type(tensor: Tensor, name: str) -> np.dtype[Any]:
    """Return NumPy's data type for a tensor's.

    Raises:
        DataTypeError: If it is none that calls take.
    """
    found = DATA_TYPES.get(tensor.dtype)
    if found is None:
        known = ", ".join(str(each) for each in DATA_TYPES)
        raise DataTypeError(f"{name!r} must be of {known}, got {tensor.dtype}", segment=name)
    return found


def view(tensor: Tensor, name: str) -> NDArray[Any]:
    """Return the array that shares a tensor's memory, of the same shape and strides.

    Args:
        tensor: In the host's memory.
        name: Its name, for errors.

    Raises:
        DataTypeError: If its data type is none that calls take.
        ArgumentError: If it is no plain tensor.
    """
    kind = data_type(tensor, name)
    plain = tensor.detach()
    try:
        # NumPy has no bfloat16 of its own; as 16-bit integers the elements would be fixed point.
        bits = plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain
        array: NDArray[Any] = bits.numpy().view(kind)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        text = f"{name!r} must be a plain tensor, got {type(tensor).__name__}: {error}"
        raise ArgumentError(text, segment=name) from error
    return array


class OnHost:
    """Tensors as arrays in the host's memory: their own where it is there, else copies that are put back.

    Copies from and to a GPU go on beside each other, in page-locked memory: ``wait`` for those to the host.
    """

    def __init__(self) -> None:
        self._copies: list[tuple[Tensor, Tensor]] = []
        self._read: set[torch.device] = set()
        self._landings: list[tuple[torch.device, Landing]] = []

    def array(self, tensor: Tensor, name: str) -> NDArray[Any]:
        """Return the array of a tensor's elements, which it has after ``wait``.

        Raises:
            ArgumentError: See ``view``.
        """
        if tensor.device.type == "cpu":
            return view(tensor, name)
        data_type(tensor, name)
        copy = _copy_on_host(tensor.detach())
        self._read.add(tensor.device)
        self._copies.append((tensor, copy))
        return view(copy, name)

    def land(self, tensor: Tensor, landing: Landing) -> None:
        """Copy a tensor to its place in the host's memory, where it is after ``wait``."""
        self.copy(tensor, landing.home)
        self._copies.append((tensor, landing.home))
        self._landings.append((tensor.device, landing))

    def copy(self, tensor: Tensor, home: Tensor) -> None:
        """Copy a tensor to memory on the host, where it is after ``wait``, and stays."""
        home.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
        self._read.add(tensor.device)

    def wait(self) -> None:
        """Wait until the copies are there."""
        for device in self._read:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()

    def put_back(self) -> None:
        """Write what is in the copies to the tensors that they are of; whatever reads these comes after."""
        for tensor, copy in self._copies:
            tensor.detach().copy_(copy, non_blocking=tensor.is_cuda)
        for device in {device for device, _ in self._landings if device.type == "cuda"}:
            left = torch.cuda.current_stream(device).record_event()
            for place, landing in self._landings:
                if place == device:
                    landing.left = left


def _copy_on_host(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor; of a GPU's it is there once the current stream has come so far."""
    if not tensor.is_cuda:
        return tensor.to("cpu")
    # PyTorch keeps such memory for the next step, and gives it to nobody before copies from it are done.
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)
