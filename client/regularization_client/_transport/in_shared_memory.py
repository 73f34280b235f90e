"""A call whose elements stay where they are: in memory that client and server share."""

from __future__ import annotations

import logging
from dataclasses import replace

from regularization import wire
from regularization.v1 import summary_pb2

from .._errors import ProtocolError, RegularizationError, SharedMemoryError, UnavailableError
from .._request.call import Call
from .._results import Summary, combined_summary, summary_from
from . import status
from .answers import read
from .base import Conditions, Transport
from .chunked import Chunked
from .connection import Connection
from .lane import Lane
from .placement import Placement, placement_of
from .replay import replayed
from .shared_memory import SharedMemory
from .statistics import StatisticsReader

_FORGOTTEN = (status.REGION_UNKNOWN, status.SHARED_MEMORY_UNAVAILABLE)
_REFUSED = (status.SHUTTING_DOWN, status.TOO_MANY_CALLS)
_log = logging.getLogger("regularization_client")


class InSharedMemory:
    """Carries out calls whose arrays all lie in shared memory; no elements travel.

    Args:
        connection: To where.
        memory: What client and server share.
        otherwise: Carries out all other calls.
    """

    def __init__(self, connection: Connection, memory: SharedMemory, otherwise: Transport) -> None:
        self._connection = connection
        self._memory = memory
        self._otherwise = otherwise

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """See ``Transport``."""
        if not call.scattered:
            return self._carry_out_run(call, placement_of(call, self._memory), conditions)
        runs = [(run, placement_of(run, self._memory)) for run in call.runs()]
        if any(placement is None for _, placement in runs):
            return self._otherwise.carry_out(call, conditions)
        left = replace(conditions, progress=None).timed()
        summary = combined_summary([self._carry_out_run(*run, left()) for run in runs])
        if conditions.progress is not None:
            conditions.progress(call.elements, call.elements)
        return summary

    def _carry_out_run(self, call: Call, placement: Placement | None, conditions: Conditions) -> Summary:
        if placement is not None:
            try:
                return self._carry_out(call, placement, conditions)
            except SharedMemoryError as error:
                if error.reason not in _FORGOTTEN:
                    raise
                # It was started anew, or another thread has released the memory. It has touched nothing.
                self._memory.forget(placement.regions)
                _log.warning("the server knows the shared memory no longer: its arrays now go in chunks")
        return self._otherwise.carry_out(call, conditions)

    def measure(self, call: Call, conditions: Conditions) -> bytes:
        """Return the statistics of a call's elements, wherever they are."""
        measuring = call.measuring()
        placement = placement_of(measuring, self._memory)
        if placement is None:
            return Chunked(self._connection).measure(call, conditions)
        header = measuring.header_bytes(placement.stretches)

        def attempt(lane: Lane, timeout: float | None) -> bytes:
            reader = StatisticsReader()
            reader.take(lane.ask(measuring.method.name, wire.encode_request(header), timeout))
            return reader.answer()

        return replayed(
            lambda timeout: attempt(self._connection.lane(0), timeout),
            conditions,
            harmless=lambda error: not self._connection.closed,
        )

    def _carry_out(self, call: Call, placement: Placement, conditions: Conditions) -> Summary:
        """Let the server work where the elements are, and again where that can do no harm.

        Of a call that broke nobody knows how far it came, nor whether it goes on: a server that is still
        there may write to the result after a replay has returned. So there is a replay only where that server
        refused the call, or is gone and has not written over what the call began with.
        """
        header = call.header_bytes(placement.stretches)

        def untouched(error: RegularizationError) -> bool:
            return error.reason in _REFUSED or not call.method.has_results

        def harmless(error: RegularizationError) -> bool:
            if self._connection.closed:
                return False
            if untouched(error):
                return True
            # What the server refuses with its own words is over.
            is_over = error.retry_after is not None or self._memory.server_gone()
            return is_over and not placement.in_place

        try:
            summary = replayed(
                lambda timeout: _ask(self._connection.lane(0), call, header, timeout),
                conditions,
                harmless=harmless,
            )
        except UnavailableError as error:
            if untouched(error):
                raise
            text = f"{error.message}; shared out may hold old elements, new ones, or some of each"
            raise UnavailableError(text, code=error.code, reason=error.reason) from error
        if conditions.progress is not None:
            conditions.progress(call.elements, call.elements)
        return summary_from(summary, shared=True)


def _ask(lane: Lane, call: Call, header: bytes, timeout: float | None) -> summary_pb2.Summary:
    response = read(call.method, lane.ask(call.method.name, wire.encode_request(header), timeout))
    if response.chunk is not None:
        raise ProtocolError("the answer has a chunk, where its elements are in shared memory")
    return call.expected.check(response.summary)
