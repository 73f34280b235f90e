"""Carry calls over arrays out: in shared memory where all of a call lies there, else in chunks."""

from __future__ import annotations

import logging

from .._errors import SharedMemoryError
from .._modified import without_modifiers
from .._request.call import ArrayCall
from .._request.header import regularizers_by_name
from .._results import ResultFields, combined_fields, result_fields
from . import status
from .chunked import exchange, exchange_shared
from .connection import Connection
from .placement import shared_job
from .replay import Conditions
from .sharded import Streams
from .shared_memory import SharedMemory

_FORGOTTEN = (status.REGION_UNKNOWN, status.SHARED_MEMORY_UNAVAILABLE)
_log = logging.getLogger("regularization_client")


class Carrier:
    """Carries out the calls of one client.

    Args:
        connection: To where.
        memory: What client and server share.
    """

    def __init__(self, connection: Connection, memory: SharedMemory) -> None:
        self._connection = connection
        self._memory = memory
        self._streams = Streams(connection)

    def carry_out(self, call: ArrayCall, conditions: Conditions, streams: int) -> ResultFields:
        """Carry out a call, and return the figures of its answer.

        Raises:
            RegularizationError: If it fails.
        """
        shared = shared_job(call, self._memory)
        if shared is not None:
            try:
                summary = exchange_shared(self._connection, shared, conditions, self._memory.server_gone)
                return result_fields(summary, shared=True)
            except SharedMemoryError as error:
                if error.reason not in _FORGOTTEN:
                    raise
                # It was started anew, or another thread has released the memory. It has touched nothing.
                self._memory.forget(shared.regions)
                _log.warning("the server knows the shared memory no longer: its arrays now go in chunks")
        return self._in_chunks(call, conditions, streams)

    def _in_chunks(self, call: ArrayCall, conditions: Conditions, streams: int) -> ResultFields:
        job, results = call.job()
        if streams == 1:
            fields = result_fields(exchange(self._connection, job, conditions))
        else:
            shapes = call.structure.shapes
            regularizers = regularizers_by_name(call.regularizer, shapes)
            segments = {
                name: (shape, without_modifiers(regularizers[name])) for name, shape in shapes.items()
            }
            fields = combined_fields(self._streams.exchange(job, call.header, segments, streams, conditions))
        for name, array in call.out.items():
            if array is not results[name]:
                array[...] = results[name]
        return fields
