"""A layout that was sent before is not read again; the answers are the same, and memory is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from regularization.v1 import layout_pb2
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import L1Norm, Regularizer
from regularization_kernels.engine import Call, Layout, Method
from regularization_kernels.engine import Segment as Specification
from regularization_kernels.errors import RegularizationError
from regularization_server.contract import known_layouts
from regularization_server.contract.header_bytes import SMALL, read_header
from regularization_server.contract.headers import HEADERS, call_of
from regularization_server.contract.known_layouts import LARGEST, MOST, KnownLayouts, size_of

L1 = Regularizer(l1_norm=L1Norm(strength=0.5))


def message_of(segments: int, **fields: object) -> service.ProximalStepHeader:
    """A header of so many segments with a regularizer."""
    return service.ProximalStepHeader(
        layout=ParameterLayout(
            data_type=layout_pb2.DATA_TYPE_FLOAT32,
            segments=[Segment(name=f"s{index}", shape=[3], regularizer=L1) for index in range(segments)],
        ),
        **fields,  # type: ignore[arg-type] # any of them
    )


def opened(raw: bytes, known: KnownLayouts, method: Method = Method.PROXIMAL_STEP) -> Call:
    """The call of a header, whose layout is then kept as the service keeps it."""
    header = read_header(memoryview(raw), HEADERS[method], known)
    call = call_of(header, method)
    if header.layout is None and header.layout_bytes is not None:
        known.keep(header.layout_bytes, call.layout)
    return call


@pytest.mark.parametrize("segments", [1, 400])
def test_the_same_layout_is_made_once(segments: int) -> None:
    """Whatever else the header says, and for every method: all of that is read each time."""
    known = KnownLayouts()
    first = opened(message_of(segments, step_size=0.5).SerializeToString(), known)
    second = opened(message_of(segments, step_size=0.25).SerializeToString(), known)
    third = opened(
        service.PenaltyHeader(layout=message_of(segments).layout).SerializeToString(), known, Method.PENALTY
    )
    assert first.layout is second.layout is third.layout
    assert (first.step_size, second.step_size, third.step_size) == (0.5, 0.25, None)
    assert (
        opened(message_of(segments + 1, step_size=0.5).SerializeToString(), known).layout is not first.layout
    )


def test_a_known_layout_is_charged_as_any_other() -> None:
    """Of a large header, what its layout may take."""
    known, raw = KnownLayouts(), message_of(400, step_size=0.5).SerializeToString()
    assert len(raw) > SMALL
    opened(raw, known)
    header = read_header(memoryview(raw), service.ProximalStepHeader, known)
    assert header.layout is not None
    assert header.memory == header.memory_kept == known.used > len(raw)


@pytest.mark.parametrize(
    "more",
    [
        message_of(1).SerializeToString(),
        b"\xf8\x07\x01",
        b"\x0a\x05",
        service.ProximalStepHeader(step_size=-1.0).SerializeToString(),
        b"".join([service.ProximalStepHeader(step_size=0.5).SerializeToString()] * 500),
    ],
    ids=["layout", "unknown field", "no message", "step size", "many fields"],
)
def test_what_stands_behind_a_known_layout_is_checked(more: bytes) -> None:
    """A second layout, a field that the schema lacks, and all else: as where the layout is not known."""
    known, raw = KnownLayouts(), message_of(1, step_size=0.5).SerializeToString()
    opened(raw, known)

    def outcome(layouts: KnownLayouts) -> str:
        try:
            return str(opened(raw + more, layouts).layout.size)
        except RegularizationError as error:
            return f"{type(error).__name__} {error.field} {error}"

    assert outcome(known) == outcome(KnownLayouts())


def test_a_header_whose_layout_is_not_first_is_read_as_ever() -> None:
    """It is not kept."""
    known = KnownLayouts()
    raw = service.ProximalStepHeader(step_size=0.5).SerializeToString() + message_of(1).SerializeToString()
    assert opened(raw, known).layout.size == 3
    assert known.used == 0


def a_layout(name: str) -> Layout:
    """A layout of one segment."""
    return Layout(np.dtype(np.float32), (Specification(name, (3,)),))


def test_the_ones_not_asked_for_the_longest_go() -> None:
    """Where there are too many, and where they take too much."""
    known, layout = KnownLayouts(), a_layout("s")
    names = [str(index).encode() for index in range(MOST + 1)]
    for name in names[:MOST]:
        known.keep(name, layout)
    assert known.find(names[0]) is layout
    known.keep(names[MOST], layout)
    assert known.find(names[0]) is layout
    assert known.find(names[1]) is None
    assert known.used == sum(size_of(name, layout) for name in (names[0], *names[2:]))

    small = KnownLayouts(2 * size_of(b"12", layout))
    for name in (b"12", b"13", b"14"):
        small.keep(name, layout)
    assert [small.find(name) is layout for name in (b"12", b"13", b"14")] == [False, True, True]
    small.keep(bytes(1000), layout)
    assert small.find(bytes(1000)) is None
    assert small.used == 2 * size_of(b"12", layout)


def test_a_large_layout_is_not_looked_for() -> None:
    """Its bytes would have to be copied for that."""
    raw = message_of(1, step_size=0.5)
    raw.layout.segments[0].name = "s" * LARGEST
    header = read_header(memoryview(raw.SerializeToString()), service.ProximalStepHeader, KnownLayouts())
    assert header.layout_bytes is None


def test_threads_may_keep_and_find_at_once() -> None:
    """What is used is what is kept, in the end."""
    known = KnownLayouts(20 * size_of(b"000", a_layout("s")))

    def work(index: int) -> None:
        name = f"{index % 50:03}".encode()
        known.keep(name, a_layout("s"))
        known.find(name)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(2000)))
    assert known.used == 20 * size_of(b"000", a_layout("s"))
    assert known.used <= known_layouts.MEMORY
