"""Where the elements of an array are, and which of them this process has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from numpy.typing import NDArray

from .._errors import ArgumentError, DataTypeError

_DATA_TYPES = ("float64", "float32", "bfloat16", "float16")

_Rows = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """An array's elements that this process has: all of them, or some rows."""

    elements: NDArray[Any]
    """In the host's memory, not to be written to."""

    shape: tuple[int, ...]
    """Of the whole array."""

    first_row: int | None
    """The first of the rows; None where all processes that have any have all elements."""

    is_apart: bool
    """Whether no other process has any of these rows."""

    restored: Callable[[NDArray[Any]], Any]
    """Makes of new elements an array that is placed like the old one."""


def placed(leaf: Any, name: str) -> Placed:
    """Return what this process has of a leaf.

    Raises:
        DataTypeError: If its elements are no floating-point numbers that calls take.
        ArgumentError: If it is spread over processes in another way than by rows.
    """
    array = leaf if isinstance(leaf, jax.Array | np.ndarray) else jnp.asarray(leaf)
    if array.dtype.name not in _DATA_TYPES:
        known = ", ".join(_DATA_TYPES)
        raise DataTypeError(f"{name!r} must be of {known}, or exempt, got {array.dtype}", segment=name)
    if isinstance(array, np.ndarray):
        return Placed(array, array.shape, None, True, np.asarray)
    if array.is_fully_addressable:
        return Placed(np.asarray(array), array.shape, None, True, _placing(array))
    if array.is_fully_replicated:
        return Placed(np.asarray(array.addressable_data(0)), array.shape, None, False, _spreading(array, 0))
    return _placed_rows(array, name)


def all_gather(statistics: bytes) -> list[bytes]:
    """Give the bytes of every process to all."""
    lengths = np.asarray(multihost_utils.process_allgather(np.array([len(statistics)], np.int32))).reshape(-1)
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(statistics)] = np.frombuffer(statistics, np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(padded)).reshape(lengths.size, -1)
    return [row[:length].tobytes() for row, length in zip(gathered, lengths.tolist(), strict=True)]


def _placing(like: jax.Array) -> Callable[[NDArray[Any]], jax.Array]:
    def place(elements: NDArray[Any]) -> jax.Array:
        # What was never put on a device may go to any.
        return jax.device_put(elements, like.sharding) if like.committed else jnp.asarray(elements)

    return place


def _spreading(like: jax.Array, first_row: int) -> Callable[[NDArray[Any]], jax.Array]:
    def spread(elements: NDArray[Any]) -> jax.Array:
        def rows(index: tuple[slice, ...] | None) -> NDArray[Any]:
            if not index:
                return elements
            begin, end, _ = index[0].indices(like.shape[0])
            return elements[begin - first_row : end - first_row]

        return jax.make_array_from_callback(like.shape, like.sharding, rows)

    return spread


def _placed_rows(array: jax.Array, name: str) -> Placed:
    """Return the rows of an array of several processes that are here."""
    held = _rows_by_process(array, name)
    own = held.get(jax.process_index(), [])
    others = [rows for process, each in held.items() if process != jax.process_index() for rows in each]
    _check_joined(own, name)
    shards = {_rows(shard.index, array.shape): shard.data for shard in array.addressable_shards}
    parts = [np.asarray(shards[rows]) for rows in own]
    elements = np.concatenate(parts) if parts else np.empty((0, *array.shape[1:]), array.dtype)
    first = own[0][0] if own else 0
    is_apart = not any(begin < last and start < end for begin, end in own for start, last in others)
    return Placed(elements, array.shape, first, is_apart, _spreading(array, first))


def _rows_by_process(array: jax.Array, name: str) -> dict[int, list[_Rows]]:
    """Return which rows each process has, in their order."""
    held: dict[int, set[_Rows]] = {}
    for device, index in array.sharding.devices_indices_map(array.shape).items():
        places = zip(index[1:], array.shape[1:], strict=True)
        if any(place.indices(length)[:2] != (0, length) for place, length in places):
            text = (
                "must be spread over processes by rows, along its first axis alone: reshard it, or gather it"
            )
            raise ArgumentError(f"{name!r} {text}", segment=name)
        held.setdefault(device.process_index, set()).add(_rows(index, array.shape))
    return {process: sorted(rows) for process, rows in held.items()}


def _rows(index: tuple[slice, ...], shape: Sequence[int]) -> _Rows:
    begin, end, _ = index[0].indices(shape[0])
    return begin, end


def _check_joined(rows: Sequence[_Rows], name: str) -> None:
    for one, other in pairwise(rows):
        if one[1] != other[0]:
            text = f"one stretch of rows must be here, got {one[0]} to {one[1]} and {other[0]} to {other[1]}"
            raise ArgumentError(f"{name!r}: {text}", segment=name)
