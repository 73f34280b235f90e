"""Formats that are read by hand, against protobuf and against their description: one function a target.

Each takes any bytes, and fails where the two differ, or where something is raised that is not an answer.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from regularization import wire
from regularization.sparse import SparseElements, packed
from regularization.v1 import regularization_service_pb2 as service
from regularization_kernels.errors import RegularizationError
from regularization_server.contract import header_bytes

from tests.support.protobuf_messages import fields_of_request, fields_of_response, outcome

REQUESTS = (
    service.PenaltyRequest,
    service.GradientRequest,
    service.ProximalStepRequest,
    service.MeasureRequest,
)
RESPONSES = (service.GradientResponse, service.ProximalStepResponse)
HEADERS = (
    service.PenaltyHeader,
    service.GradientHeader,
    service.ProximalStepHeader,
    service.MeasureHeader,
    service.CombineHeader,
)
WIDTHS = (1, 2, 4, 8)
REFUSED = "refused"


def wire_format(data: bytes) -> None:
    """Requests, responses and requests of ``Combine``: what is read is what protobuf reads."""
    if not data:
        return
    choice, raw = data[0] % (len(REQUESTS) + len(RESPONSES) + 1), data[1:]
    if choice < len(REQUESTS):
        request(raw, REQUESTS[choice])
    elif choice < len(REQUESTS) + len(RESPONSES):
        response(raw, RESPONSES[choice - len(REQUESTS)])
    else:
        combine_request(raw)


def request(raw: bytes, kind: Any) -> None:
    """One of a method with chunks; what lies behind an unknown field is not read, and may be invalid."""
    own = outcome(wire.decode_request, lambda message: fields_of_request(message, kind), raw)
    theirs = outcome(kind.FromString, lambda message: fields_of_request(message, kind), raw)
    if own is not None and "unknown" in own:
        assert theirs is None or "unknown" in theirs, (raw, own, theirs)
        return
    assert own == theirs, (raw, own, theirs)
    if own is not None and own["chunk"] is not None:
        chunk = own["chunk"]
        payloads = {name: [value] for name, value in chunk.items() if isinstance(value, bytes)}
        header = b"" if own["header"] is None else own["header"].SerializeToString()
        written = wire.encode_request(header, chunk["element_offset"], payloads)
        again = fields_of_request(kind.FromString(written), kind)
        assert again["chunk"] == chunk, (raw, written)


def response(raw: bytes, kind: Any) -> None:
    """One with a result: an answer is read as protobuf reads it, and is written so that it reads the same."""
    own = outcome(wire.decode_response, fields_of_response, raw)
    assert own == outcome(kind.FromString, fields_of_response, raw), raw
    if own is not None:
        read = wire.decode_response(raw)
        written = wire.encode_response(read.chunk, read.summary)
        assert fields_of_response(wire.decode_response(written)) == own, (raw, written)


def combine_request(raw: bytes) -> None:
    """One of ``Combine``."""

    def fields(message: Any) -> Any:
        if isinstance(message, wire.CombineRequest):
            if message.unknown is not None:
                return REFUSED
            header = message.header
            known = None if header is None else service.CombineHeader.FromString(header)
            return known, message.statistics
        if len(UnknownFieldSet(message)):
            return REFUSED
        header = message.header if message.HasField("header") else None
        statistics = message.statistics if message.HasField("statistics") else None
        return header, statistics

    own = outcome(wire.decode_combine_request, fields, raw)
    theirs = outcome(service.CombineRequest.FromString, fields, raw)
    # What lies behind an unknown field is not read, and may be invalid.
    assert own == theirs or (own == REFUSED and theirs is None), (raw, own, theirs)


def header_format(data: bytes) -> None:
    """Headers: one that is looked over field by field says what one says that protobuf reads at once."""
    if not data:
        return
    kind, raw = HEADERS[data[0] % len(HEADERS)], memoryview(data)[1:]
    scanned = _header(header_bytes._read, raw, kind)
    at_once = _header(header_bytes._read_at_once, raw, kind)
    assert scanned == at_once, (data, scanned, at_once)


def _header(read: Any, raw: memoryview, kind: Any) -> Any:
    """What a header says; or that it is refused, for which there may be several reasons at once."""
    try:
        header = read(raw, kind)
        whole = kind()
        whole.CopyFrom(header.message)
        segments, joints = list(header.segments), list(header.joints)
        for name, entries in (("segments", segments), ("joints", joints)):
            whole.layout.ClearField(name)
            getattr(whole.layout, name).extend(entries)
        for entry in (*segments, *joints):
            entry.regularizer.DiscardUnknownFields()
    except (DecodeError, RegularizationError):
        return REFUSED
    return whole.SerializeToString(deterministic=True)


def sparse_format(data: bytes) -> None:
    """Bitmaps: what fits is written where its bits say, whole and in stretches; what does not is refused."""
    if len(data) < 4:
        return
    width, size = WIDTHS[data[0] % 4], struct.unpack("<H", data[1:3])[0] % 2000
    elements = np.frombuffer(data[4 : 4 + (len(data) - 4) // width * width], f"<u{width}")
    _packed_and_unpacked(elements)
    bits = data[4 : 4 + data[3]]
    values = np.frombuffer(data[4 + data[3] :][: (len(data) - 4 - data[3]) // width * width], f"<u{width}")
    marked = [bits[place // 8] >> place % 8 & 1 for place in range(8 * len(bits))]
    fits = len(bits) == -(-size // 8) and not any(marked[size:]) and sum(marked) == values.size
    try:
        sparse = SparseElements(size, bits, values)
    except ValueError:
        assert not fits, data
        return
    assert fits, data
    left = iter(values.tolist())
    expected = [next(left) if mark else 0 for mark in marked[:size]]
    assert np.asarray(sparse).tolist() == expected, data
    begin, end = sorted((data[1] % (size + 1), data[2] % (size + 1)))
    assert np.asarray(sparse[begin:end]).tolist() == expected[begin:end], data


def _packed_and_unpacked(elements: Any) -> None:
    made = packed(elements)
    if made is None:
        return
    values, bitmap = made
    assert len(values) + len(bitmap) < elements.nbytes
    sparse = SparseElements(elements.size, bitmap, np.frombuffer(values, elements.dtype))
    out = np.empty_like(elements)
    sparse.write_into(out)
    assert out.tobytes() == elements.tobytes()
