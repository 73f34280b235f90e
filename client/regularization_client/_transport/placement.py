"""Where a call's arrays lie in shared memory, if all of them do."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from regularization.v1 import shared_memory_pb2

from .._request.arrays import AnyArray
from .._request.call import ArrayCall
from .._request.job import PENALTY, SharedJob
from .shared_memory import Location, SharedMemory

_RESULT = "result"
_log = logging.getLogger("regularization_client")


def shared_job(call: ArrayCall, memory: SharedMemory) -> SharedJob | None:
    """Return the call as one that moves no elements; None where it has to.

    That takes the parameters, every operand that is given and the result each to be all in one region, array
    after array as in the layout. The result may lie where an operand does, or apart from all of them.
    """
    if memory.empty or not any(array.size for array in call.structure.arrays.values()):
        return None
    fields = {name: arrays for name, arrays in call.inputs.items() if arrays}
    if call.header.method != PENALTY:
        fields[_RESULT] = call.out if call.given_out else {}
    places: dict[str, Location] = {}
    for name, arrays in fields.items():
        place = _place(call, arrays, memory)
        if place is None:
            _log.debug("in chunks, for %s is not all in one piece of shared memory", name)
            return None
        places[name] = place
    result = places.get(_RESULT)
    inputs = [place for name, place in places.items() if name != _RESULT]
    if result is not None and any(place != result and place.overlaps(result) for place in inputs):
        _log.debug("in chunks, for out lies partly where the parameters or an operand do")
        return None
    return SharedJob(
        method=call.header.method,
        header=call.header.to_bytes(call.structure.element_range, _message(places)),
        expected=call.expected(),
        regions=frozenset(place.region for place in places.values()),
        in_place=result in inputs,
    )


def _place(call: ArrayCall, arrays: Mapping[str, AnyArray], memory: SharedMemory) -> Location | None:
    """Return where the arrays of all parameters lie, in the order of the layout."""
    named = [(name, array) for name, array in call.structure.arrays.items() if array.size]
    if not all(name in arrays for name, _ in named):
        return None
    return memory.locate((arrays[name] for name, _ in named), call.structure.data_type)


def _message(places: Mapping[str, Location]) -> shared_memory_pb2.SharedTensor:
    message = shared_memory_pb2.SharedTensor()
    for name, place in places.items():
        stretch: shared_memory_pb2.SharedStretch = getattr(message, name)
        stretch.region, stretch.byte_offset = place.region, place.offset
    return message
