"""Resident memory of a server with a small budget while callers try to take more than that.

Run it with ``python -m benchmarks.subjects.attacks``.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import grpc
import numpy as np
import psutil
from regularization import wire
from regularization.v1 import layout_pb2, regularization_service_pb2, regularizers_pb2

from benchmarks.harness.measure import MEBIBYTE, Spread, console, heading, print_table
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.requests import METHOD
from benchmarks.harness.servers import ServerProcess, regularization_server, started
from benchmarks.subjects.memory import Sampler

BUDGET = 64 * MEBIBYTE
SPARE = 64 * MEBIBYTE
"""What a server may have beside its budget and what it had before."""

KEPT = 32 * MEBIBYTE
"""What it may still have of that some time after the last attack."""

SECONDS, SECONDS_AFTER = 8.0, 30.0
STREAMS_OF_A_CHANNEL = 20
CHUNK = np.ones(MEBIBYTE // 4, np.float32).tobytes()

Messages = Callable[[threading.Event], Iterator[bytes]]
"""Makes what one attacker sends; the event says that it is over."""


def layout_header(size: int, regularizer: regularizers_pb2.Regularizer) -> bytes:
    """The header of a proximal step of one segment of float32."""
    segment = layout_pb2.Segment(name="w", shape=[size], regularizer=regularizer)
    layout = layout_pb2.ParameterLayout(data_type=layout_pb2.DATA_TYPE_FLOAT32, segments=[segment])
    return regularization_service_pb2.ProximalStepHeader(layout=layout, step_size=0.1).SerializeToString()


def whole_segment() -> regularizers_pb2.Regularizer:
    """A regularizer that needs its segment whole."""
    return regularizers_pb2.Regularizer(total_variation=regularizers_pb2.TotalVariation(strength=0.1))


def declared(over: threading.Event) -> Iterator[bytes]:
    """One element of a segment that is as large as the budget lets one be, and then nothing."""
    header = layout_header(BUDGET // 64, whole_segment())
    yield wire.encode_request(header, 0, {"parameters": [CHUNK[:4]]})
    over.wait()


def unread(over: threading.Event) -> Iterator[bytes]:
    """Chunks without end, whose answers nobody reads."""
    l1_norm = regularizers_pb2.Regularizer(l1_norm=regularizers_pb2.L1Norm(strength=0.1))
    header = layout_header(1 << 40, l1_norm)
    for index in count():
        if over.is_set():
            return
        yield wire.encode_request(b"" if index else header, index * MEBIBYTE // 4, {"parameters": [CHUNK]})


@cache
def header_of_many_groups() -> bytes:
    """A header of 4 MB that lists a group for every byte."""
    groups = regularizers_pb2.Groups(sizes=regularizers_pb2.GroupSizes(values=[1] * 4_100_000))
    group_lasso = regularizers_pb2.GroupLasso(strength=0.1, groups=groups)
    return layout_header(4_100_000, regularizers_pb2.Regularizer(group_lasso=group_lasso))


def large_header(over: threading.Event) -> Iterator[bytes]:
    """A header that is large, and then nothing."""
    yield wire.encode_request(header_of_many_groups())
    over.wait()


def tiny_chunks(over: threading.Event) -> Iterator[bytes]:
    """60,000 chunks of one element, of a segment that waits for its last."""
    header = layout_header(60_001, whole_segment())
    for index in range(60_000):
        if over.is_set():
            return
        yield wire.encode_request(b"" if index else header, index, {"parameters": [CHUNK[:4]]})
    over.wait()


ATTACKS: dict[str, tuple[Messages, int]] = {
    "declared, not sent": (declared, 200),
    "answers not read": (unread, 200),
    "headers of 4 MB": (large_header, 20),
    "chunks of one element": (tiny_chunks, 20),
}
"""What attackers send, and how many there are."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """What came out.

    Args:
        before: Resident bytes of the server after some honest calls.
        most: The most during each attack, by its name.
        endings: How many of its streams ended how, meanwhile.
        after: Resident bytes some time after the last.
    """

    before: int
    most: dict[str, int]
    endings: dict[str, Counter[str]]
    after: int

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        bound = (BUDGET + SPARE) / MEBIBYTE
        grown = [
            Aim(f"MiB more while attacked: {name}", bound, Spread(((most - self.before) / MEBIBYTE,)), False)
            for name, most in self.most.items()
        ]
        kept = Spread(((self.after - self.before) / MEBIBYTE,))
        return [*grown, Aim("MiB more, half a minute later", KEPT / MEBIBYTE, kept, False)]


def run(*, quick: bool = False) -> Attacked:
    """Attacks a server in one way after the other and prints the table."""
    heading(
        "Attacks: what a server takes whose callers want more than its budget",
        f"""
        A server with --memory-budget {BUDGET // MEBIBYTE}MiB and honest calls behind it, four at a time. Then
        streams, 20 on a connection, each of which declares a large segment and sends one element; or sends
        chunks and reads no answer; or has a header of 4 MB with a group for every byte; or sends chunks of
        one element that wait. Each attack lasts {SECONDS:g} s, and resident memory is read every 20 ms.
        """,
    )
    most, endings = {}, {}
    with started(lambda address: regularization_server(address, f"--memory-budget={BUDGET}")) as server:
        for _ in range(2):
            _call_honestly(server)
        time.sleep(SECONDS_AFTER / 2)
        before = server.resident
        for name, (messages, streams) in ATTACKS.items():
            with Sampler({name: psutil.Process(server.process.pid)}) as sampler:
                endings[name] = _attack(server, messages, streams // 4 if quick else streams)
            most[name] = max(sampler.samples[name])
        time.sleep(SECONDS_AFTER)
        found = Attacked(before, most, endings, server.resident)
    _print(found)
    return found


def _call_honestly(server: ServerProcess) -> None:
    """Let the server do what it does at any time: four calls side by side, all of whose answers are read."""
    over = threading.Event()
    with grpc.insecure_channel(server.address) as channel:
        calls = [_stream(channel, unread(over)) for _ in range(4)]
        for _ in range(64):
            for answers in calls:
                next(answers)
        over.set()
        for answers in calls:
            answers.cancel()


def _attack(server: ServerProcess, messages: Messages, streams: int) -> Counter[str]:
    """Attack for some time; how the streams ended that the server did not keep open."""
    over, calls = threading.Event(), list[Any]()
    with ExitStack() as stack:
        stack.callback(over.set)
        for index in range(streams):
            if index % STREAMS_OF_A_CHANNEL == 0:
                options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
                channel = stack.enter_context(grpc.insecure_channel(server.address, options))
            calls.append(_stream(channel, messages(over)))
        time.sleep(SECONDS)
        return Counter(call.code().name if call.done() else "open" for call in calls)


def _stream(channel: grpc.Channel, messages: Iterator[bytes]) -> Any:
    start: Any = channel.stream_stream(METHOD)
    return start(messages, timeout=10 * SECONDS)


def _print(found: Attacked) -> None:
    rows = [
        [name, f"{(most - found.before) / MEBIBYTE:.1f}", _told(found.endings[name])]
        for name, most in found.most.items()
    ]
    console.print(f"Before: {found.before / MEBIBYTE:.1f} MiB.")
    print_table([f"Resident MiB beyond that, budget {BUDGET // MEBIBYTE} MiB", "most", "streams"], rows)
    kept = (found.after - found.before) / MEBIBYTE
    console.print(f"{SECONDS_AFTER:g} s after the last: {kept:.1f} MiB more than before.")


def _told(endings: Counter[str]) -> str:
    return ", ".join(f"{number} {how}" for how, number in endings.items())


if __name__ == "__main__":
    run_alone(run, __doc__)
