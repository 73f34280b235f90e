"""One projection of a vector over several places: streams to replicas, and ranks that each hold a part.

Run it with ``python -m benchmarks.subjects.replicas``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from regularization_client import Client, Part, TopK

from benchmarks.harness.measure import MEBIBYTE, Spread, heading, print_table, timed
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import regularization_server, started

PLACES = 4
ELEMENTS = 4 * 25_000_000
QUICK_ELEMENTS = 4 * 2_500_000
KEPT = 10
"""One element of so many is kept."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Replicas:
    """What came out.

    Args:
        streams: Time over several replicas over that of one server, each round, on the wire.
        ranks: The same of ranks in shared memory, each with a server of its own.
    """

    streams: Spread
    ranks: Spread

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        return [
            Aim(f"top_k over {PLACES} replicas / one, on the wire, time", 0.5, self.streams, at_least=False),
            Aim(f"top_k over {PLACES} ranks / one, in shared memory, time", 0.5, self.ranks, at_least=False),
        ]


class Ranks:
    """Ranks that are threads of this process, each with a server and a part of the vector in its memory.

    Args:
        clients: One for each.
        theta: The whole vector.
        stack: What gives the memory back.
    """

    def __init__(self, clients: Sequence[Client], theta: Array, stack: ExitStack) -> None:
        self._clients = clients
        self._size = theta.size
        self._barrier = threading.Barrier(len(clients))
        self._given = [b""] * len(clients)
        self._pool = stack.enter_context(ThreadPoolExecutor(len(clients)))
        self._share = theta.size // len(clients)
        self._memory = []
        for rank, client in enumerate(clients):
            shared = stack.enter_context(client.shared_arrays({"theta": self._share, "out": self._share}))
            shared["theta"][:] = theta[rank * self._share :][: self._share]
            self._memory.append(shared)

    def step(self) -> None:
        """Let all ranks take the step together."""
        for done in [self._pool.submit(self._step_of, rank) for rank in range(len(self._clients))]:
            done.result()

    @property
    def out(self) -> Array:
        """The results of all ranks."""
        return np.concatenate([memory["out"] for memory in self._memory])

    def _step_of(self, rank: int) -> None:
        def gather(own: bytes) -> list[bytes]:
            self._given[rank] = own
            self._barrier.wait()
            given = list(self._given)
            self._barrier.wait()
            return given

        memory = self._memory[rank]
        self._clients[rank].proximal_step(
            memory["theta"],
            TopK(count=self._size // KEPT),
            step_size=1.0,
            out=memory["out"],
            part=Part(shapes=self._size, begin=rank * self._share),
            gather=gather,
            figures=(),
        )


def run(*, quick: bool = False) -> Replicas:
    """Measures one server and several, and prints the table."""
    elements, rounds = (QUICK_ELEMENTS, 3) if quick else (ELEMENTS, 5)
    heading(
        f"Replicas: the largest of {KEPT} elements of one vector, in one place and in {PLACES}",
        f"""
        top_k of {elements:,} float32, without figures, the result beside the parameters. On the wire: one
        stream to one server, and {PLACES} streams to {PLACES} servers. In shared memory: one server that has
        it all, and {PLACES} ranks, each with a server and a quarter of it. A server has one thread for a call
        in shared memory. Several places measure first, in rounds. All results have the same bits.
        """,
        rounds,
    )
    theta = np.random.default_rng(0).standard_normal(elements, dtype=np.float32)
    out, spread_out = np.empty_like(theta), np.empty_like(theta)
    room = f"{(4 * theta.nbytes) // MEBIBYTE + 64}MiB"
    options = (f"--memory-budget={room}", f"--shared-memory-budget={room}", "--threads=1")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(started(lambda address: regularization_server(address, *options)))
            for _ in range(PLACES)
        ]
        clients = [stack.enter_context(Client(server.address, timeout=None)) for server in servers]
        spread = stack.enter_context(Client([server.address for server in servers], timeout=None))
        whole = stack.enter_context(clients[0].shared_arrays({"theta": elements, "out": elements}))
        whole["theta"][:] = theta
        ranks = Ranks(clients, theta, stack)
        kept = TopK(count=elements // KEPT)

        def on_the_wire(client: Client, into: Array, streams: int) -> Callable[[], object]:
            return lambda: client.proximal_step(
                theta, kept, step_size=1.0, out=into, streams=streams, figures=()
            )

        cases: dict[str, Callable[[], object]] = {
            "one server, wire": on_the_wire(clients[0], out, 1),
            f"{PLACES} replicas, wire": on_the_wire(spread, spread_out, PLACES),
            "one server, shared memory": lambda: clients[0].proximal_step(
                whole["theta"], kept, step_size=1.0, out=whole["out"], figures=()
            ),
            f"{PLACES} ranks, shared memory": ranks.step,
        }
        for case in cases.values():
            case()
            for server in servers:
                server.settle()
        for other in (spread_out, whole["out"], ranks.out):
            if other.tobytes() != out.tobytes():
                raise RuntimeError("several places gave other bits than one")
        times = timed(rounds, cases)
    one_wire, several_wire, one_shared, several_shared = times.values()
    ratios = (
        one_wire / one_wire,
        several_wire / one_wire,
        one_shared / one_shared,
        several_shared / one_shared,
    )
    rows = [
        [name, time.map(lambda t: elements / t / 1e9).text(), time.text(), ratio.text()]
        for (name, time), ratio in zip(times.items(), ratios, strict=True)
    ]
    print_table(["top_k", "10⁹ elements a second", "seconds", "/ one server"], rows)
    return Replicas(several_wire / one_wire, several_shared / one_shared)


if __name__ == "__main__":
    run_alone(run, __doc__)
