"""Attacks of full size on a server of its own: ``python -m tests.full_size.attacks [NAME...]``.

The ordinary tests have the same at a small size (tests/server/test_half_sent.py, test_progress.py and
test_connections.py). Everything stays on this host, on a Unix socket, and ends by itself.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization.v1.layout_pb2 import Segment

from tests.support.attackers import CHECK, attacking, message
from tests.support.messages import (
    SERVICE,
    answers,
    call,
    chunk,
    header,
    l1_norm,
    layout_of,
    nuclear_norm,
    request,
)
from tests.support.processes import ServerProcess, channel_to, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

MIB = 1 << 20
IDLE = 20
ELEMENTS = 1024
"""Of a small call: 4 KiB."""


def small_message(elements: int = ELEMENTS) -> bytes:
    """The one message of a small call."""
    of = layout_of(Segment(name="theta", shape=[elements], regularizer=l1_norm()))
    values = chunk([1.0] * elements)
    raw: bytes = request("gradient", header=header("gradient", of), chunk=values).SerializeToString()
    return raw


def first_message(elements: int) -> bytes:
    """The first message of a stream of so many elements."""
    of = layout_of(Segment(name="theta", shape=[elements], regularizer=l1_norm()))
    raw: bytes = request("gradient", header=header("gradient", of)).SerializeToString()
    return raw


def milliseconds(call: Callable[[], Any], count: int) -> dict[str, float]:
    """How long calls take, one after the other."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return {"p50": round(times[count // 2], 2), "p99": round(times[count * 99 // 100], 2)}


def small_call(channel: grpc.Channel) -> Callable[[], Any]:
    """A call of 4 KiB."""
    method, raw = channel.unary_unary(f"/{SERVICE}/Gradient"), small_message()
    return lambda: method(raw, timeout=30)


def health_check(channel: grpc.Channel) -> Callable[[], Any]:
    """A health check."""
    stub = health_pb2_grpc.HealthStub(channel)
    return lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=30)


def figures(server: ServerProcess) -> dict[str, int]:
    """What the server's process has of the system."""
    place = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    return {
        "resident_mib": int(status["VmRSS"].split()[0]) >> 10,
        "threads": int(status["Threads"]),
        "descriptors": sum(1 for _ in (place / "fd").iterdir()),
        "log_lines": server.log.count("\n"),
    }


@contextmanager
def victim(*arguments: str) -> Iterator[ServerProcess]:
    """A server, which has served some calls."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), *arguments) as server:
        with channel_to(server.address) as channel:
            milliseconds(small_call(channel), 300)
        yield server


def half_sent() -> Iterator[dict[str, Any]]:
    """4,000 half-sent checks of health and as many half-sent lists, on four connections."""
    # More than one connection may have by default: what is beyond that would be refused at once.
    arguments = ("--max-streams-per-connection", "2000")
    with victim(*arguments) as server, ExitStack() as stack, channel_to(server.address) as channel:
        yield {"alone": milliseconds(small_call(channel), 1000), **figures(server)}
        attacks = [stack.enter_context(attacking(server.address)) for _ in range(4)]
        for attack in attacks:
            attack.begin(CHECK, 1000)
            attack.begin("ListRegularizers", 1000)
        yield {"health": milliseconds(health_check(channel), 1000)}
        yield {"beside": milliseconds(small_call(channel), 1000), **figures(server)}
        yield {"ended": sum(len(attack.ended) for attack in attacks)}


def slow() -> Iterator[dict[str, Any]]:
    """1,000 senders of a byte a second and 200 readers that read nothing, beside 100 honest streams."""
    arguments = ("--stream-idle-timeout", str(IDLE))
    with victim(*arguments) as server, ExitStack() as stack:
        before = figures(server)
        yield before
        senders = [stack.enter_context(attacking(server.address)) for _ in range(4)]
        readers = stack.enter_context(attacking(server.address, reads=False))
        honest = _Honest(server.address, 100)
        began = time.monotonic()
        streams = [(sender, stream) for sender in senders for stream in sender.begin("Gradient", 250)]
        begun_to_read = {}
        for stream in readers.begin("Gradient", 200):
            readers.send(stream, message(small_message()))
            begun_to_read[stream] = time.monotonic()
        first = message(first_message(1 << 20))
        begun = dict.fromkeys(streams, began)
        for index in range(2 * IDLE):
            left = [(sender, stream) for sender, stream in streams if stream not in sender.ended]
            if not left and len(readers.ended) == 200:
                break
            for sender, stream in left:
                if stream % 4 == 3 and begun[sender, stream] == began:
                    sender.send(stream, first)
                    begun[sender, stream] = time.monotonic()
                else:
                    # Of a first message, or of one that carries nothing.
                    sender.send(stream, b"\0" if stream % 4 == 3 else first[index : index + 1])
            time.sleep(1)
        lasted = [sender.ended[stream] - begun[sender, stream] for sender, stream in streams]
        unread = [ended - begun_to_read[stream] for stream, ended in readers.ended.items()]
        yield {"senders": round(max(lasted), 1), "readers": round(max(unread), 1), "timeout": IDLE}
        honest.finish()
        time.sleep(8)
        yield {"honest": honest.calls, "wrong": honest.wrong, **figures(server)}


class _Honest:
    """Streams that go on, and count what they get."""

    def __init__(self, address: str, count: int) -> None:
        self.calls = 0
        self.wrong: Counter[str] = Counter()
        self._stop = threading.Event()
        self._address = address
        self._threads = [threading.Thread(target=self._go_on) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """End."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self) -> None:
        with channel_to(self._address) as channel:
            method = channel.stream_stream(f"/{SERVICE}/Gradient")
            while not self._stop.is_set():
                try:
                    size = sum(map(len, method(self._messages(), timeout=60)))
                    self.wrong["short"] += size < 16 * ELEMENTS
                except Exception as error:
                    self.wrong[type(error).__name__] += 1
                self.calls += 1

    @staticmethod
    def _messages() -> Iterator[bytes]:
        yield first_message(4 * ELEMENTS)
        for index in range(4):
            time.sleep(0.5)
            part = chunk([1.0] * ELEMENTS, offset=index * ELEMENTS)
            yield request("gradient", chunk=part).SerializeToString()


def silent() -> Iterator[dict[str, Any]]:
    """5,000 sockets that say nothing."""
    with victim() as server, ExitStack() as stack:
        yield figures(server)
        connections = []
        for _ in range(5000):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            with suppress(OSError):
                connection.connect(server.address.removeprefix("unix:"))
            connections.append(connection)
        yield figures(server)
        time.sleep(12)
        yield figures(server)
        with channel_to(server.address) as channel:
            yield {"small_call": milliseconds(small_call(channel), 100)}


def resets() -> Iterator[dict[str, Any]]:
    """100,000 calls that are reset at once, without a token."""
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text("secret")
        with serving(Path(folder), "--token-file", str(token)) as server, ExitStack() as stack:
            channel = stack.enter_context(channel_to(server.address))
            check = health_check(channel)
            yield {"health": milliseconds(check, 300), **figures(server)}
            done = threading.Event()
            attack = threading.Thread(target=_reset, args=(server.address, done))
            began = time.monotonic()
            attack.start()
            times: list[float] = []
            while not done.is_set():
                times.append(milliseconds(check, 1)["p99"])
            attack.join()
            yield {
                "seconds": round(time.monotonic() - began, 1),
                "checks": len(times),
                "slowest": max(times),
                **figures(server),
            }
            time.sleep(3)
            yield figures(server)


def _reset(address: str, done: threading.Event) -> None:
    with ExitStack() as stack:
        attacks = [stack.enter_context(attacking(address)) for _ in range(4)]
        for _ in range(250):
            for attack in attacks:
                attack.begin_and_reset("Gradient", 100)
    done.set()


def streams() -> Iterator[dict[str, Any]]:
    """4,000 streams of one caller at once, where 5,000 may be, and small calls of another beside them."""
    # An eighth of a stream's window is charged to each from its begin.
    room = (
        "--max-concurrent-calls",
        "5000",
        "--memory-budget",
        "4GiB",
        "--max-streams-per-connection",
        "1000",
    )
    yield from _beside_streams(4, 1000, *room)


def greedy() -> Iterator[dict[str, Any]]:
    """2,000 streams of one caller, beside a thousand small calls of another."""
    yield from _beside_streams(8, 250)


def _beside_streams(connections: int, count: int, *arguments: str) -> Iterator[dict[str, Any]]:
    """So many streams of each connection of one caller at once, beside small calls of another."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_text("greedy: aaaa\nmodest: bbbb\n")
        arguments = ("--token-file", str(tokens), *arguments)
        with serving(Path(folder), *arguments) as server, ExitStack() as stack:
            channel, raw = stack.enter_context(channel_to(server.address)), small_message()
            method = channel.unary_unary(f"/{SERVICE}/Gradient")

            def modest() -> None:
                method(raw, timeout=30, metadata=(("authorization", "Bearer bbbb"),))

            milliseconds(modest, 300)
            yield {"alone": milliseconds(modest, 1000), **figures(server)}
            first = message(first_message(1 << 20))
            attacks = [stack.enter_context(attacking(server.address)) for _ in range(connections)]
            began = time.monotonic()
            for attack in attacks:
                for stream in attack.begin("Gradient", count, (b"authorization", b"Bearer aaaa")):
                    attack.send(stream, first)
            sent = round(time.monotonic() - began, 2)
            yield {"sent_after": sent, "first": milliseconds(modest, 1), "next": milliseconds(modest, 100)}
            threads = figures(server)["threads"]
            time.sleep(10)
            yield {"threads_then": threads, "beside": milliseconds(modest, 1000), **figures(server)}
            yield {"refused": sum(len(attack.ended) for attack in attacks)}


def budget() -> Iterator[dict[str, Any]]:
    """Ten times a budget of 64 MiB: halves of matrices, and answers that nobody reads."""
    with victim("--memory-budget", "64MiB") as server, ExitStack() as stack:
        # Compiled loops take their memory once, whoever asks for them first.
        with channel_to(server.address) as channel:
            answers(channel, "gradient", islice(_too_much(0, threading.Event(), 1024), 5))
        time.sleep(20)
        base = figures(server)
        yield base
        channels = [stack.enter_context(channel_to(server.address)) for _ in range(4)]
        done = threading.Event()
        calls = [call(channels[index % 4], "gradient", _too_much(index, done), 120) for index in range(160)]
        peak = 0
        for _ in range(200):
            peak = max(peak, figures(server)["resident_mib"])
            time.sleep(0.1)
        yield {"peak": peak - base["resident_mib"], "refused": sum(each.done() for each in calls)}
        with channel_to(server.address) as channel:
            yield {"health": milliseconds(health_check(channel), 100)}
        done.set()
        for each in calls:
            each.cancel()
        time.sleep(30)
        yield {"left": figures(server)["resident_mib"] - base["resident_mib"], **figures(server)}


def _too_much(index: int, done: threading.Event, rows: int = 2048) -> Iterator[Any]:
    """The first 4 MiB of 8, of a matrix that must be there whole or of elements that are answered at once."""
    row = nuclear_norm() if index % 2 else l1_norm()
    of = layout_of(Segment(name="w", shape=[rows, 1024], regularizer=row))
    yield request("gradient", header=header("gradient", of))
    for begin in range(0, 1 << 20, 1 << 18):
        yield request("gradient", chunk=chunk(np.ones(1 << 18, "<f4"), offset=begin))
    done.wait()


ATTACKS = {each.__name__: each for each in (half_sent, slow, silent, resets, streams, greedy, budget)}


def main(names: list[str]) -> None:
    """Run attacks, and print what they did as lines of JSON."""
    for name in names or ATTACKS:
        for line in ATTACKS[name]():
            print(json.dumps({"attack": name, **line}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
