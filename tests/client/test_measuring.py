"""What a client does where parts of a vector are measured in rounds: it carries bytes and trusts none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.catalogue_pb2 import LOCALITY_REDUCTION, RegularizerDescription
from regularization.v1.layout_pb2 import ElementRange
from regularization_client import (
    ArgumentError,
    Client,
    DeadlineExceededError,
    InvalidRequestError,
    Part,
    PartFailedError,
    ProtocolError,
    ResourceExhaustedError,
    Retry,
    TopK,
)

from tests.support.faulty_server import answering, echo

SIZE = 9
BEGIN = 2
THETA = np.arange(4, dtype=np.float32)
PART = Part(shapes=SIZE, begin=BEGIN)
KEPT = TopK(count=2)
OTHERS = b"m\x0d\0\0\0of the others"
"""What another rank gives: that it measured, the length of its statistics, and these."""

Response = service.CombineResponse


def missing(*ranges: tuple[int, int]) -> list[ElementRange]:
    """Ranges in a message."""
    return [ElementRange(begin=begin, end=end) for begin, end in ranges]


FIRST = Response(statistics=b"nothing yet", missing=missing((0, 9)))
SECOND = Response(measurement=b"M1", missing=missing((3, 5), (7, 9)))
LAST = Response(measurement=b"M2", complete=True)


class Recorder:
    """A server that combines as it is told to, and remembers what it was asked.

    Args:
        combined: Its answers to Combine, one after the other.
        measured: Its answer to Measure; None refuses for want of memory.
    """

    def __init__(self, *combined: Response, measured: bytes | None = b"own") -> None:
        self._combined = list(combined)
        self._measured = measured
        self.asked: list[list[Any]] = []

    def __call__(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a call."""
        taken = list(requests)
        self.asked.append(taken)
        if isinstance(taken[0], service.CombineRequest):
            yield self._combined.pop(0)
        elif isinstance(taken[0], service.MeasureRequest):
            if self._measured is None:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
            yield service.MeasureResponse(statistics=self._measured or b"")
        else:
            yield from echo(taken, context)

    def of(self, kind: Any) -> list[list[Any]]:
        """What it was asked with requests of a kind."""
        return [each for each in self.asked if isinstance(each[0], kind)]


def beside_another(own: bytes) -> list[bytes]:
    """An all-gather of two ranks."""
    return [OTHERS, own]


def step(server: Recorder, gather: Callable[[bytes], list[bytes]] = beside_another, **options: Any) -> Any:
    """The part's step by such a server."""
    with answering(server) as address, Client(address, retry=Retry(attempts=1)) as client:
        return client.proximal_step(
            THETA, KEPT, step_size=0.5, loss_gradients=THETA, part=PART, gather=gather, **options
        )


def test_rounds_go_on_until_all_is_known() -> None:
    """Each with what was known before, of what the part is asked about; then the call has what came out."""
    server, gathered = Recorder(FIRST, SECOND, LAST), []

    def gather(own: bytes) -> list[bytes]:
        gathered.append(own)
        return beside_another(own)

    np.testing.assert_array_equal(step(server, gather).parameters, THETA)
    assert [type(each[0]).__name__.removesuffix("Request") for each in server.asked] == [
        *("Combine", "Measure", "Combine", "Measure", "Combine", "ProximalStep"),
    ]
    assert gathered == [b"m\3\0\0\0own"] * 2
    combines = server.of(service.CombineRequest)
    assert [each[0].header.measurement for each in combines] == [b"", b"", b"M1"]
    assert [[request.statistics for request in each[1:]] for each in combines] == [
        [],
        *[[b"of the others", b"own"]] * 2,
    ]
    measures = [each[0] for each in server.of(service.MeasureRequest)]
    assert [each.header.measurement for each in measures] == [b"", b"M1"]
    assert [(each.header.element_range.begin, each.header.element_range.end) for each in measures] == [
        (2, 6),
        (3, 5),
    ]
    assert measures[1].chunk.parameters == measures[1].chunk.loss_gradients == THETA[1:3].tobytes()
    ((last,),) = server.of(service.ProximalStepRequest)
    assert last.header.measurement == b"M2"
    assert (last.header.element_range.begin, last.header.element_range.end) == (2, 6)


def test_a_part_that_nothing_is_asked_about_gathers_too() -> None:
    """The others wait for it."""
    server, gathered = Recorder(Response(statistics=b"-", missing=missing((6, 9))), LAST), []

    def gather(own: bytes) -> list[bytes]:
        gathered.append(own)
        return beside_another(own)

    step(server, gather)
    assert gathered == [b"m"]
    assert not server.of(service.MeasureRequest)
    assert [request.statistics for request in server.of(service.CombineRequest)[1][1:]] == [b"of the others"]


def test_nothing_is_gathered_where_nothing_is_asked() -> None:
    """Then a part is computed as ever, and the header has no measurement."""
    server = Recorder(LAST)
    step(server, gather=lambda own: pytest.fail("gathered"))
    ((last,),) = server.of(service.ProximalStepRequest)
    assert last.header.measurement == b""


@pytest.mark.parametrize("method", ["penalty", "gradient"])
def test_other_methods_are_measured_with_parameters_alone(method: str) -> None:
    """Of a gradient loss gradients are no part of what is measured."""
    server = Recorder(FIRST, Response())
    operands = {"loss_gradients": THETA} if method == "gradient" else {}
    with (
        answering(server) as address,
        Client(address, retry=Retry(attempts=1)) as client,
        pytest.raises(ProtocolError, match="neither statistics nor a measurement"),
    ):
        getattr(client, method)(THETA, KEPT, part=PART, gather=beside_another, **operands)
    ((measured,),) = server.of(service.MeasureRequest)
    assert measured.header.method == service.Method.Value(f"METHOD_{method.upper()}")
    assert measured.chunk.parameters == THETA.tobytes()
    assert not measured.chunk.loss_gradients


def test_a_part_that_fails_tells_the_others() -> None:
    """They are not left waiting for it."""
    gathered = []

    def gather(own: bytes) -> list[bytes]:
        gathered.append(own)
        return beside_another(own)

    with pytest.raises(ResourceExhaustedError, match="no room"):
        step(Recorder(FIRST, measured=None), gather)
    assert gathered == [b"f"]
    with pytest.raises(PartFailedError, match="another part could not be measured"):
        step(Recorder(FIRST), gather=lambda own: [own, b"f"])


def test_parts_must_be_the_whole() -> None:
    """What is in none is named."""
    some_missing = Response(statistics=b"half", missing=missing((4, 6)))
    with pytest.raises(InvalidRequestError, match="and 4 to 6 are in none") as caught:
        step(Recorder(FIRST, some_missing))
    assert caught.value.element == 4


def test_what_is_gathered_must_have_what_was_given() -> None:
    """Else it is no all-gather."""
    with pytest.raises(ArgumentError, match="gather must return what each part gave it"):
        step(Recorder(FIRST), gather=lambda own: [OTHERS])


@pytest.mark.parametrize(
    "other", [b"", b"x", b"m\3\0\0\0ow", b"m\3\0", b"m\xff\xff\xff\xffown", b"m\3\0\0\0own?"]
)
def test_what_others_gave_must_come_as_it_was_given(other: bytes) -> None:
    """Bytes that are cut, or something else, are an error of the gathering."""
    with pytest.raises(ArgumentError, match="as it gave it"):
        step(Recorder(FIRST), gather=lambda own: [own, other])


def test_an_error_of_the_gathering_comes_out_as_it_is() -> None:
    """It is the caller's own."""

    def gather(own: bytes) -> list[bytes]:
        raise ConnectionError("rank 3 is gone")

    with pytest.raises(ConnectionError, match="rank 3"):
        step(Recorder(FIRST), gather)


def test_gathering_is_for_parts() -> None:
    """Whoever has everything has nobody to gather from."""
    with Client("localhost:1") as client, pytest.raises(ArgumentError, match="gather is for a part"):
        client.penalty(THETA, KEPT, gather=beside_another)


WRONG = {
    "empty": (Response(), "neither statistics nor a measurement"),
    "nothing missing": (Response(statistics=b"-"), "or say what is missing"),
    "complete and missing": (
        Response(measurement=b"M", complete=True, missing=missing((0, 1))),
        "or say what is missing",
    ),
    "complete statistics": (Response(statistics=b"-", complete=True), "has no measurement"),
    "empty measurement": (Response(measurement=b"", missing=missing((0, 1))), "must have a measurement"),
    "no order": (Response(statistics=b"-", missing=missing((4, 5), (1, 2))), "not which in order"),
    "overlap": (Response(statistics=b"-", missing=missing((1, 5), (4, 6))), "not which in order"),
    "empty range": (Response(statistics=b"-", missing=missing((4, 4))), "not which in order"),
    "before the vector": (
        Response(statistics=b"-", missing=missing((-1, 4))),
        "misses elements -1 to 4 of 9",
    ),
    "past the vector": (Response(statistics=b"-", missing=missing((0, 10))), "misses elements 0 to 10 of 9"),
    "measured past the vector": (
        Response(statistics=b"-", missing=missing((0, 9)), measured=missing((0, 10))),
        "misses elements 0 to 10 of 9",
    ),
    "huge": (Response(statistics=bytes(1 << 20), missing=missing((0, 9))), "must be below 1048576 bytes"),
    "too many": (
        Response(statistics=b"-", missing=missing((0, 9)) * 10_001),
        "not which in order",
    ),
}


@pytest.mark.parametrize(("answer", "text"), WRONG.values(), ids=WRONG)
def test_answers_that_break_the_contract_are_errors(answer: Response, text: str) -> None:
    """At the first round, or at a later one."""
    with pytest.raises(ProtocolError, match=text):
        step(Recorder(answer))
    with pytest.raises(ProtocolError, match=text):
        step(Recorder(FIRST, SECOND, answer))


def test_a_round_must_tell_something_new() -> None:
    """Else rounds would never end."""
    with pytest.raises(ProtocolError, match="is what was known before"):
        step(Recorder(FIRST, SECOND, SECOND))


def test_statistics_are_one_message_of_bounded_size() -> None:
    """More, or none, is an error."""
    with pytest.raises(ProtocolError, match="must be below"):
        step(Recorder(FIRST, measured=bytes(1 << 20)))


BLOCK = 1 << 18
LARGE = np.ones(2 * BLOCK, np.float32)
CATALOGUE = service.ListRegularizersResponse(
    regularizers=[RegularizerDescription(name="top_k", locality=LOCALITY_REDUCTION)]
)
ALL = missing((0, LARGE.size))
ALL_MISSING = Response(statistics=b"-", missing=ALL, measured=ALL)


def streamed(server: Recorder, **options: Any) -> list[Any]:
    """The headers of the calls for a large vector over two streams, in the order of their ranges."""
    with (
        answering(server, catalogue=CATALOGUE) as address,
        Client(address, retry=Retry(attempts=1)) as client,
    ):
        client.proximal_step(LARGE, KEPT, step_size=1.0, streams=2, **options)
    headers = [each[0].header for each in server.of(service.ProximalStepRequest)]
    return sorted(headers, key=lambda header: header.element_range.begin)


def ranges_of(headers: list[Any]) -> list[tuple[int, int]]:
    """The element ranges of headers."""
    return [(each.element_range.begin, each.element_range.end) for each in headers]


def test_streams_measure_what_they_carry() -> None:
    """Each its own range, before the call goes out with what came of all of them."""
    server = Recorder(ALL_MISSING, Response(measurement=b"M1", missing=missing((BLOCK - 5, BLOCK + 5))), LAST)
    headers = streamed(server)
    halves = [(0, BLOCK), (BLOCK, 2 * BLOCK)]
    assert ranges_of(headers) == halves
    assert {header.measurement for header in headers} == {b"M2"}
    measured = [each[0].header for each in server.of(service.MeasureRequest)]
    assert sorted(ranges_of(measured)) == sorted([*halves, (BLOCK - 5, BLOCK), (BLOCK, BLOCK + 5)])
    assert [len(each) - 1 for each in server.of(service.CombineRequest)] == [0, 2, 2]


def test_what_is_not_asked_about_is_not_cut() -> None:
    """The server knows what it can measure; a locality alone does not tell."""
    server = Recorder(LAST)
    assert ranges_of(streamed(server)) == [(0, 0)]
    assert not server.of(service.MeasureRequest)


def test_a_reference_is_not_measured() -> None:
    """With one, an array that is looked at as a whole stays whole; nothing is asked about it."""
    server = Recorder()
    (header,) = streamed(server, reference=LARGE)
    assert not header.measurement
    assert not server.of(service.CombineRequest)


def test_a_stream_that_cannot_measure_fails_the_call() -> None:
    """With its own error."""
    with pytest.raises(ResourceExhaustedError, match="no room"):
        streamed(Recorder(ALL_MISSING, measured=None))


def test_rows_of_several_arrays_give_statistics_together() -> None:
    """All but one are combined before they are gathered, however many there are."""
    shapes = dict.fromkeys("abcd", (4, 2))
    rows = {name: np.ones((2, 2), np.float32) for name in shapes}
    asked = Response(statistics=b"-", missing=missing((0, 32)))
    together = Response(statistics=b"three", missing=missing((0, 8)))
    server, gathered = Recorder(asked, together, LAST), []

    def gather(own: bytes) -> list[bytes]:
        gathered.append(own)
        return [own, OTHERS]

    with answering(server) as address, Client(address, retry=Retry(attempts=1)) as client:
        part = Part.rows(shapes, dict.fromkeys(shapes, 1))
        client.proximal_step(rows, KEPT, step_size=1.0, part=part, gather=gather)
    runs = [(2, 6), (10, 14), (18, 22), (26, 30)]
    for kind in (service.MeasureRequest, service.ProximalStepRequest):
        assert ranges_of([each[0].header for each in server.of(kind)]) == runs
    assert gathered == [b"m\3\0\0\0own\5\0\0\0three"]
    assert [[request.statistics for request in each[1:]] for each in server.of(service.CombineRequest)] == [
        [],
        [b"own"] * 3,
        [b"own", b"three", b"of the others"],
    ]


class GoesAway(Recorder):
    """A server that breaks every other call to Measure and Combine, beginning with the first."""

    broken = False

    def __call__(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a call, or break it."""
        taken = list(requests)
        if isinstance(taken[0], service.MeasureRequest | service.CombineRequest):
            self.broken = not self.broken
            if self.broken:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        yield from super().__call__(taken, context)


def test_what_broke_off_is_asked_again() -> None:
    """Measuring and combining are replayed, each by itself, as every other call is."""
    server = GoesAway(FIRST, SECOND, LAST)
    with answering(server) as address, Client(address, retry=Retry(first_pause=0.01)) as client:
        step = client.proximal_step(THETA, KEPT, step_size=0.5, part=PART, gather=beside_another)
    np.testing.assert_array_equal(step.parameters, THETA)
    assert [type(each[0]).__name__.removesuffix("Request") for each in server.asked] == [
        *("Combine", "Measure", "Combine", "Measure", "Combine", "ProximalStep"),
    ]


def test_all_rounds_share_the_time_of_the_call() -> None:
    """A server that does not answer one of them is waited for as long as the call may take."""

    def never(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(iter(requests))
        if isinstance(first, service.CombineRequest):
            yield FIRST
            return
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(30)

    with answering(never) as address, Client(address) as client, pytest.raises(DeadlineExceededError):
        client.penalty(THETA, KEPT, part=PART, gather=beside_another, timeout=0.5)
