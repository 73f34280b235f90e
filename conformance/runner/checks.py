"""How vectors of each kind are checked."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import ElementRange
from regularization.v1.summary_pb2 import ExactSum, Figures
from regularization.v1.tensor_pb2 import TensorChunk

from .calls import SERVICE, Caller, Outcome, message_types
from .comparison import Comparison, decoded, status_differences
from .streams import elements
from .vectors import Vector

ROUNDS = 64
"""Rounds of measuring after which a server does not come to an end."""
FROM_HEADER = ("layout", "figures", "rounding", "non_finite_policy")
"""What a header of Measure and Combine has of the header that they are for."""


class Wrong(Exception):
    """A call in the middle of a procedure that did not go as it must."""


def check(vector: Vector, caller: Caller) -> list[str]:
    """All that is wrong with the answer to a vector; nothing where it is right."""
    try:
        return _KINDS[vector.kind](vector, caller)
    except Wrong as wrong:
        return [str(wrong)]
    except DecodeError as error:
        return [f"a response is no message: {error}"]


def _comparison(vector: Vector) -> Comparison:
    tolerance = vector.tolerance
    return Comparison(
        vector.data_type,
        tolerance.get("values", 0.0),
        tolerance.get("sums", 0.0),
        tuple(vector.document.get("unspecified", ())),
    )


def _call(vector: Vector, caller: Caller) -> list[str]:
    outcome = caller.call(vector.name, vector.method, _requests(vector))
    wrong = status_differences(vector.status, outcome.status)
    if wrong or outcome.code != "OK":
        return [*wrong, *([f"the server says: {outcome.text}"] if wrong and outcome.text else [])]
    response = message_types(vector.method)[1]
    expected = [response.FromString(each) for each in vector.responses]
    return _comparison(vector).differences(
        expected, [response.FromString(each) for each in outcome.responses]
    )


def _requests(vector: Vector) -> list[bytes]:
    """The requests; where a header has many segments, all of them, as copies of the one in the file."""
    if "copies" not in vector.document:
        return vector.requests
    request = message_types(vector.method)[0].FromString(vector.requests[0])
    (one,) = request.header.layout.segments
    for index in range(1, vector.document["copies"]):
        request.header.layout.segments.add().CopyFrom(one)
        request.header.layout.segments[-1].name = str(index)
    for segment in request.header.layout.segments:
        segment.name = segment.name.zfill(vector.document["name_length"])
    return [request.SerializeToString()]


def _answered(outcome: Outcome, method: str) -> list[Any]:
    if outcome.code != "OK":
        raise Wrong(f"{method} ended with {outcome.status}: {outcome.text}")
    response = message_types(f"{SERVICE}/{method}")[1]
    return [response.FromString(each) for each in outcome.responses]


def _long_stream(vector: Vector, caller: Caller) -> list[str]:
    request, response = message_types(vector.method)
    method = vector.method.rpartition("/")[2]
    (first,) = vector.document["requests"]
    stream = vector.document["stream"]
    values = elements(int(stream["seed"]), stream["elements"])
    code = {"DATA_TYPE_FLOAT32": "f", "DATA_TYPE_FLOAT64": "d"}[vector.data_type]
    messages = [ParseDict(first, request()).SerializeToString()]
    for begin in range(0, len(values), stream["chunk_elements"]):
        part = values[begin : begin + stream["chunk_elements"]]
        chunk = {"element_offset": begin, "parameters": struct.pack(f"<{len(part)}{code}", *part)}
        messages.append(request(chunk=chunk).SerializeToString())
    answers = _answered(caller.call(vector.name, vector.method, messages), method)
    (last,) = (ParseDict(each, response()) for each in vector.document["responses"])
    wrong = _comparison(vector).differences(
        [response(summary=last.summary)], [response(summary=answers[-1].summary)]
    )
    if "values_sha256" in vector.document:
        found = hashlib.sha256(b"".join(answer.chunk.values for answer in answers)).hexdigest()
        if found != vector.document["values_sha256"]:
            wrong.append(f"the values have SHA-256 {found} in place of {vector.document['values_sha256']}")
        offsets = [answer.chunk.element_offset for answer in answers if answer.HasField("chunk")]
        if offsets != list(range(0, len(values), stream["chunk_elements"])):
            wrong.append("the result chunks are not those of the request chunks")
    return wrong


def _measured(vector: Vector, caller: Caller) -> list[str]:
    """Measure and Combine in rounds, then the method for each part; together the answer of one stream."""
    request, response = message_types(vector.method)
    method = vector.method.rpartition("/")[2]
    whole = request.FromString(vector.requests[0])
    expected = response.FromString(vector.responses[0])
    width = len(whole.chunk.parameters) // expected.summary.total.elements
    bounds = list(pairwise(vector.document["parts"]))
    measurement = _measurement(vector, caller, whole, method, bounds, width)
    answers = []
    for begin, end in bounds:
        part = request(chunk=_stretch(whole.chunk, begin, end, width))
        part.header.CopyFrom(whole.header)
        part.header.measurement = measurement
        part.header.element_range.begin, part.header.element_range.end = begin, end
        outcome = caller.call(vector.name, vector.method, [part.SerializeToString()])
        answers += _answered(outcome, method)
    comparison = _comparison(vector)
    wrong: list[str] = []
    if method != "Penalty":
        got = b"".join(answer.chunk.values for answer in answers)
        numbers = decoded(vector.data_type, expected.chunk.values), decoded(vector.data_type, got)
        wrong += comparison.elements(*numbers, "values")
    total = _total([answer.summary.total for answer in answers])
    both = [response(), response()]
    both[0].summary.total.CopyFrom(expected.summary.total)
    both[1].summary.total.CopyFrom(total)
    return [*wrong, *comparison.differences(both[:1], both[1:])]


def _stretch(chunk: TensorChunk, begin: int, end: int, width: int) -> TensorChunk:
    names = ("parameters", "loss_gradients")
    parts = {n: getattr(chunk, n)[begin * width : end * width] for n in names if getattr(chunk, n)}
    return TensorChunk(element_offset=begin, **parts)


def _measurement(
    vector: Vector, caller: Caller, whole: Any, method: str, bounds: list[tuple[int, int]], width: int
) -> bytes:
    number = {"Penalty": 1, "Gradient": 2, "ProximalStep": 3}[method]
    known = {of.name for of in whole.header.DESCRIPTOR.fields}
    common = {n: getattr(whole.header, n) for n in FROM_HEADER if n in known}
    if method == "ProximalStep":
        common["step_size"] = whole.header.step_size
    measurement = b""
    for _ in range(ROUNDS):
        shared = {**common, "method": number, "measurement": measurement}
        parts = []
        for begin, end in bounds:
            header = service.MeasureHeader(**shared, element_range=ElementRange(begin=begin, end=end))
            message = service.MeasureRequest(header=header, chunk=_stretch(whole.chunk, begin, end, width))
            outcome = caller.call(vector.name, f"{SERVICE}/Measure", [message.SerializeToString()])
            parts += [answer.statistics for answer in _answered(outcome, "Measure")]
        # In any order the answer is the same.
        last, *others = reversed(parts)
        messages = [service.CombineRequest(header=service.CombineHeader(**shared), statistics=last)]
        messages += [service.CombineRequest(statistics=part) for part in others]
        outcome = caller.call(
            vector.name, f"{SERVICE}/Combine", [message.SerializeToString() for message in messages]
        )
        (answer,) = _answered(outcome, "Combine")
        if answer.WhichOneof("result") != "measurement":
            raise Wrong("Combine had the statistics of all parts, and gave no measurement")
        measurement = answer.measurement
        if answer.complete:
            return bytes(measurement)
    raise Wrong(f"the measurement is not complete after {ROUNDS} rounds")


def _total(figures: list[Figures]) -> Figures:
    total = Figures(elements=sum(each.elements for each in figures))
    if all(each.HasField("nonzeros") for each in figures):
        total.nonzeros = sum(each.nonzeros for each in figures)
    for name in ("penalty", "squared_distance"):
        if all(each.HasField(name) for each in figures):
            getattr(total, name).CopyFrom(combined([getattr(each, name) for each in figures]))
    return total


def combined(sums: list[ExactSum]) -> ExactSum:
    """Sums of several streams added exactly: all doubles of all expansions together."""
    parts = [value for each in sums for value in each.expansion]
    if not all(map(math.isfinite, parts)):
        return ExactSum(value=sum(parts), expansion=[sum(parts)])
    expansion: list[float] = []
    while rest := math.fsum([*parts, *(-value for value in expansion)]):
        expansion.append(rest)
    return ExactSum(value=expansion[0] if expansion else 0.0, expansion=expansion)


_KINDS: dict[str, Callable[[Vector, Caller], list[str]]] = {
    "call": _call,
    "long_stream": _long_stream,
    "measured": _measured,
}
