"""What the memory budget costs those who keep to it: ``python -m tests.full_size.throughput [ROUNDS]``.

Honest callers stream to four servers in turn: one that keeps no account of memory at all; one that keeps none
either, but lets streams send no more ahead than a budget of 64 MiB does; one with that budget; and one with
that budget beside a caller who may have half of it, and has sent ten times the whole. Within a round the
machine is nearly the same for all, so of each round the ratios to the first two are taken, and of those the
medians: against the second it is the accounts that cost. Beside them is the servers' processor time, which
other work on the machine disturbs less.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from regularization.v1.layout_pb2 import Segment

from tests.full_size.attacks import figures
from tests.support.messages import SERVICE, chunk, header, l1_norm, layout_of, nuclear_norm, request
from tests.support.processes import COMMAND, ServerProcess, channel_to, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

ROUNDS = 61
BUDGET = ("--memory-budget", "64MiB", "--memory-share-per-caller", "50")
"""With the usual share, nine tenths, the attacker would leave 6 MiB, and two honest streams with messages of
1 MiB need more."""

MOST_LOST = 0.03
"""Of the throughput, by the accounts. The spread of a busy machine is larger: mind the quartiles."""

CALLERS = 2
ELEMENTS = 1 << 18
"""Of a message: 1 MiB."""

MESSAGES = 48
"""Of a call."""

ATTACKS = 160
HELD = 4
"""Messages that each attack sends of eight: ten times the budget together."""

WITHOUT = (sys.executable, "-m", "tests.full_size.throughput", "--no-budget-server")
HONEST, ATTACKER = (("authorization", "Bearer aaaa"),), (("authorization", "Bearer bbbb"),)
NONE, WINDOW, FORCED, ATTACKED = "no budget", "no budget, small window", "budget", "budget, attacked"


def main() -> int:
    """Measure, and say what came of it; the exit code says whether too much was lost."""
    if sys.argv[1:2] == ["--no-budget-server"]:
        _serve_without_budget(sys.argv[2:])
        return 0
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with ExitStack() as stack:
        servers = {
            NONE: stack.enter_context(_server(WITHOUT, "--memory-budget", "1GiB")),
            WINDOW: stack.enter_context(_server(WITHOUT, *BUDGET)),
            FORCED: stack.enter_context(_server((COMMAND,), *BUDGET)),
            ATTACKED: stack.enter_context(_server((COMMAND,), *BUDGET)),
        }
        honest = {name: stack.enter_context(_honest(server)) for name, server in servers.items()}
        for each in honest.values():
            each.rate()
        base = figures(servers[ATTACKED])["resident_mib"]
        attack = stack.enter_context(_attack(servers[ATTACKED]))
        before = {name: _processor_seconds(server) for name, server in servers.items()}
        rates = _interleaved(rounds, honest)
        spent = {name: _processor_seconds(server) - before[name] for name, server in servers.items()}
        peak = figures(servers[ATTACKED])["resident_mib"] - base
        print(json.dumps({"attacks": ATTACKS, "refused": attack.refused(), "more_mib": peak}), flush=True)
    lost = {name: _report(name, rates, spent[name] * 1024 / (rounds * CALLERS * MESSAGES)) for name in rates}
    return int(lost[FORCED] > MOST_LOST)


@dataclass(frozen=True)
class _Honest:
    """Callers that keep to the rules, each with a connection of its own."""

    channels: list[grpc.Channel]
    pool: ThreadPoolExecutor

    def rate(self) -> float:
        """MiB a second of one call of each, all at once."""
        began = time.perf_counter()
        received = sum(self.pool.map(self._call, self.channels))
        seconds = time.perf_counter() - began
        assert received >= 4 * ELEMENTS * MESSAGES * CALLERS, received
        return MESSAGES * CALLERS / seconds

    @staticmethod
    def _call(channel: grpc.Channel) -> int:
        method = channel.stream_stream(f"/{SERVICE}/Gradient")
        return sum(map(len, method(iter(STREAM), timeout=60, metadata=HONEST)))


@contextmanager
def _server(command: tuple[str | Path, ...], *arguments: str) -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_text("honest: aaaa\nattacker: bbbb\n")
        # Attacks that only hold what they have would be let go in the middle.
        flags = ("--token-file", str(tokens), "--stream-idle-timeout", "3600", *arguments)
        with serving(Path(folder), *flags, command=command) as server:
            yield server


@contextmanager
def _honest(server: ServerProcess) -> Iterator[_Honest]:
    with ExitStack() as stack:
        channels = [stack.enter_context(channel_to(server.address)) for _ in range(CALLERS)]
        yield _Honest(channels, stack.enter_context(ThreadPoolExecutor(CALLERS)))


@dataclass(frozen=True)
class _Attack:
    """Calls that hold what they get."""

    calls: list[Any]

    def refused(self) -> int:
        """How many got nothing."""
        return sum(each.done() for each in self.calls)


@contextmanager
def _attack(server: ServerProcess) -> Iterator[_Attack]:
    done = threading.Event()
    with ExitStack() as stack:
        channels = [stack.enter_context(channel_to(server.address)) for _ in range(4)]
        methods = [each.stream_stream(f"/{SERVICE}/Gradient") for each in channels]
        calls = [methods[index % 4](_too_much(index, done), metadata=ATTACKER) for index in range(ATTACKS)]
        time.sleep(5)
        try:
            yield _Attack(calls)
        finally:
            done.set()
            for each in calls:
                each.cancel()


def _too_much(index: int, done: threading.Event) -> Iterator[bytes]:
    """Half of a matrix that must be there whole, or of elements whose answers nobody reads."""
    yield _stream(nuclear_norm() if index % 2 else l1_norm(), 2 * HELD)[0]
    yield from STREAM[1 : 1 + HELD]
    done.wait()


def _interleaved(rounds: int, honest: dict[str, _Honest]) -> dict[str, list[float]]:
    """The rates of so many rounds; every other round runs backwards."""
    rates: dict[str, list[float]] = {name: [] for name in honest}
    for index in range(rounds):
        for name in reversed(honest) if index % 2 else honest:
            rates[name].append(honest[name].rate())
    return rates


def _processor_seconds(server: ServerProcess) -> float:
    """What the server has computed by now."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _report(name: str, rates: dict[str, list[float]], processor: float) -> float:
    """Say how fast it went; the share that was lost against the server with the same window."""
    mib = {"median": statistics.median(rates[name]), "least": min(rates[name]), "most": max(rates[name])}
    lost = {other: _lost(rates[name], rates[other]) for other in (NONE, WINDOW)}
    report = {"throughput": name, "mib_per_second": {key: round(value) for key, value in mib.items()}}
    against = {
        f"lost against {other}": {"median": each[1], "quartiles": each[::2]} for other, each in lost.items()
    }
    print(json.dumps({**report, **against, "processor_s_per_gib": round(processor, 3)}), flush=True)
    return lost[WINDOW][1]


def _lost(rates: list[float], plain: list[float]) -> list[float]:
    """The share that was lost: quartiles of the rounds, the median in the middle."""
    quartiles = statistics.quantiles(
        [1 - mine / theirs for mine, theirs in zip(rates, plain, strict=True)], n=4
    )
    return [round(each, 3) for each in quartiles]


def _stream(row: Any, messages: int) -> list[bytes]:
    """The messages of a call, made once."""
    of = layout_of(Segment(name="w", shape=[messages * ELEMENTS // 1024, 1024], regularizer=row))
    values = np.ones(ELEMENTS, "<f4")
    parts = [request("gradient", header=header("gradient", of))]
    parts += [request("gradient", chunk=chunk(values, index * ELEMENTS)) for index in range(messages)]
    return [each.SerializeToString() for each in parts]


STREAM = _stream(l1_norm(), MESSAGES)


def _serve_without_budget(arguments: list[str]) -> None:
    """Be a server that counts no bytes; its budget says no more than how much streams may send ahead."""
    from regularization_kernels.engine import MemoryBudget
    from regularization_server.calls.held_messages import HeldMessages
    from regularization_server.command import main as serve

    def nothing(*_: Any) -> None: ...

    for owner, name in (
        (MemoryBudget, "reserve"),
        (MemoryBudget, "release"),
        (MemoryBudget, "check_fits"),
        (HeldMessages, "received"),
        (HeldMessages, "made"),
    ):
        setattr(owner, name, nothing)
    HeldMessages.may_wait = lambda *_: True  # type: ignore[method-assign,assignment] # as above: no account
    serve(arguments)


if __name__ == "__main__":
    sys.exit(main())
