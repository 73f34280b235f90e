"""Where a call's elements lie in shared memory, if all of them do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from regularization.v1 import shared_memory_pb2

from .._request.arrays import AnyArray, WholeArrays
from .._request.call import Call
from .._request.stores import ArrayStore, Sink, Source
from .shared_memory import Location, SharedMemory

_RESULT = "result"
_log = logging.getLogger("regularization_client")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the elements of a call lie, and its results will."""

    stretches: shared_memory_pb2.SharedTensor
    """Where, as the header says it."""

    regions: frozenset[bytes]
    """The handles of the memory."""

    in_place: bool
    """Whether the results take the place of what they are computed from."""


def placement_of(call: Call, memory: SharedMemory) -> Placement | None:
    """Return where a call's elements lie; None where they must travel.

    For a placement, the parameters, every operand that is given and the result each have to be all in one
    region, array after array as in the layout. The result may lie where an operand does, or apart from all.
    """
    if memory.empty or not call.elements:
        return None
    places: dict[str, Location] = {}
    for name, arrays in _arrays(call).items():
        place = None if arrays is None else memory.locate(arrays, call.data_type)
        if place is None:
            _log.debug("in chunks, for %s is not all in one piece of shared memory", name)
            return None
        places[name] = place
    result = places.get(_RESULT)
    inputs = [place for name, place in places.items() if name != _RESULT]
    if result is not None and any(place != result and place.overlaps(result) for place in inputs):
        _log.debug("in chunks, for out lies partly where the parameters or an operand do")
        return None
    regions = frozenset(place.region for place in places.values())
    return Placement(_message(places), regions, in_place=result in inputs)


def _arrays(call: Call) -> dict[str, list[AnyArray] | None]:
    """Return what elements come from and results go to, by field of ``SharedTensor``; None if not arrays."""
    whole = call.stretches.arrays(_RESULT) if isinstance(call.stretches, WholeArrays) else None
    if whole is not None:
        return {**whole}
    names = dict.fromkeys(name for stretch in call.stretches for name in stretch.sources)
    stores: dict[str, list[Source | Sink | None]] = {
        name: [stretch.sources.get(name) for stretch in call.stretches] for name in names
    }
    if call.method.has_results:
        stores[_RESULT] = [stretch.sink for stretch in call.stretches]
    return {name: _if_all_arrays(each) for name, each in stores.items()}


def _if_all_arrays(stores: Sequence[Source | Sink | None]) -> list[AnyArray] | None:
    arrays = [store.array for store in stores if isinstance(store, ArrayStore)]
    return arrays if len(arrays) == len(stores) else None


def _message(places: dict[str, Location]) -> shared_memory_pb2.SharedTensor:
    message = shared_memory_pb2.SharedTensor()
    for name, place in places.items():
        stretch: shared_memory_pb2.SharedStretch = getattr(message, name)
        stretch.region, stretch.byte_offset = place.region, place.offset
    return message
