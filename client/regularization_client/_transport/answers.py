"""What the messages of an answer hold, against what was asked."""

from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError
from regularization import wire
from regularization.sparse import SparseElements
from regularization.v1 import catalogue_pb2, summary_pb2
from regularization.v1 import regularization_service_pb2 as service

from .._errors import ProtocolError
from .._request.job import Job, chunks
from .._request.stores import Elements


def read_response(message: bytes) -> wire.Response:
    """Return what a message of the answer to Gradient or ProximalStep holds.

    Raises:
        ProtocolError: If the bytes are no such message.
    """
    try:
        return wire.decode_response(message)
    except DecodeError as error:
        raise ProtocolError("a message of the answer is not one of the schema") from error


def read_penalty_response(message: bytes) -> summary_pb2.Summary | None:
    """Return the summary that the answer to Penalty holds.

    Raises:
        ProtocolError: If the bytes are no such message.
    """
    try:
        response = service.PenaltyResponse.FromString(message)
    except DecodeError as error:
        raise ProtocolError("the answer is not a message of the schema") from error
    return response.summary if response.HasField("summary") else None


def read_catalogue(message: bytes) -> tuple[catalogue_pb2.RegularizerDescription, ...]:
    """Return what the answer to ListRegularizers holds.

    Raises:
        ProtocolError: If the bytes are no such message.
    """
    try:
        return tuple(service.ListRegularizersResponse.FromString(message).regularizers)
    except DecodeError as error:
        raise ProtocolError("the answer is no catalogue of the schema") from error


class ResultReader:
    """Reads the result chunks of one answer.

    Args:
        job: What was asked.
        chunk_bytes: As for the request: a sparse chunk is as long as the request's chunk that it answers.
    """

    def __init__(self, job: Job, chunk_bytes: int) -> None:
        self._data_type = job.data_type
        self._due = chunks(job, chunk_bytes)

    def elements(self, result: wire.Result) -> Elements:
        """Return the elements of a result chunk; of a dense one they are a view.

        Raises:
            ProtocolError: If they are not whole, or do not fit the bitmap.
        """
        if len(result.values) % self._data_type.itemsize:
            raise ProtocolError(
                f"the answer has {len(result.values)} bytes for element {result.element_offset}, which are "
                f"not whole elements of {self._data_type.itemsize}"
            )
        values = np.frombuffer(result.values, self._data_type)
        if not result.nonzero_bitmap:
            return values
        try:
            return SparseElements(self._length(result.element_offset), result.nonzero_bitmap, values)
        except ValueError as error:
            raise ProtocolError(f"the answer for element {result.element_offset}: {error}") from error

    def _length(self, offset: int) -> int:
        for cuts in self._due:
            if cuts[0].begin == offset:
                return cuts[-1].end - offset
        raise ProtocolError(f"the answer has a sparse chunk for element {offset}, where no chunk began")
