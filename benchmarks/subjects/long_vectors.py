"""Rows that need a figure of the whole vector, on a long one in shared memory, beside NumPy in process.

Run it with ``python -m benchmarks.subjects.long_vectors``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from regularization_client import Client, L1Ball, L1Norm, L2Ball, L2Norm, LinfNorm, Simplex, TopK

from benchmarks.harness.measure import MEBIBYTE, Spread, console, heading, print_table, timed
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import ServerProcess, regularization_server, started
from benchmarks.subjects.memory import Sampler, private

ELEMENTS = 100_000_000
QUICK_ELEMENTS = 10_000_000
COPY, PARTITION = "a copy of the vector", "np.partition, then multiply"
KEPT = 10
"""One of so many elements stays."""


@dataclass(frozen=True, slots=True)
class LongVectors:
    """What came out.

    Args:
        times: Seconds of each case, by its name.
        growth: By how many MiB the server's own memory grew, which had its machine code from a folder.
        growth_compiling: The same of a server that compiled its loops first.
    """

    times: dict[str, Spread]
    growth: float
    growth_compiling: float

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        bounds = {
            "top_k": (PARTITION, 0.25),
            "l1_ball": (COPY, 6.0),
            "simplex": (COPY, 6.0),
            "linf_norm": (COPY, 6.0),
            "l2_norm": ("l1_norm", 1.6),
            "l2_ball": ("l1_norm", 1.6),
        }
        aims = []
        for name, (beside, bound) in bounds.items():
            ratio, best = (
                self.times[name] / self.times[beside],
                self.times[name].best / self.times[beside].best,
            )
            aims.append(Aim(f"{name} of a long vector / {beside}", bound, ratio, at_least=False, best=best))
        words = "MiB by which the server grows for long vectors"
        return [*aims, Aim(words, 64.0, Spread((self.growth,)), at_least=False)]


def rows(elements: int) -> dict[str, Any]:
    """Regularizers that all have something to do, and ``l1_norm``, which needs no figure of the whole."""
    return {
        "l1_norm": L1Norm(strength=0.5),
        "top_k": TopK(count=elements // KEPT),
        "l1_ball": L1Ball(radius=0.1 * elements),
        "simplex": Simplex(radius=0.1 * elements),
        "linf_norm": LinfNorm(strength=0.01 * elements),
        "l2_norm": L2Norm(strength=0.1 * elements**0.5),
        "l2_ball": L2Ball(radius=0.1 * elements**0.5),
    }


def run(*, quick: bool = False) -> LongVectors:
    """Measures every row and prints the table."""
    elements, rounds = (QUICK_ELEMENTS, 3) if quick else (ELEMENTS, 5)
    heading(
        "Long vectors",
        f"""
        A proximal step on {elements:,} normally distributed float32 numbers in shared memory, the result
        beside them, without figures. Beside it, on two arrays of this process and one thread: a copy, and
        keeping one of {KEPT} by the least magnitude that np.partition finds and a multiplication.
        """,
        rounds,
    )
    own = np.random.default_rng(0).standard_normal(elements, np.float32)
    result = np.empty_like(own)
    cases: dict[str, Callable[[], object]] = {
        COPY: lambda: np.copyto(result, own),
        PARTITION: lambda: _by_partition(own, result),
    }
    with TemporaryDirectory() as cache:
        with _steps(own, cache) as (server, steps), _growth_of(server) as compiling:
            for step in steps.values():
                step()
                server.settle()
        with _steps(own, cache) as (server, steps), _growth_of(server) as growth:
            for step in steps.values():
                step()
                server.settle()
            times = timed(rounds, cases | steps)
    found = LongVectors(times, growth(), compiling())
    table = [
        [
            name,
            spread.map(lambda t: t * 1e3).text(".0f"),
            (spread / times[COPY]).text(),
            (spread / times["l1_norm"]).text(),
        ]
        for name, spread in times.items()
    ]
    print_table(["proximal step", "ms", "/ copy", "/ l1_norm"], table)
    console.print(
        f"The server's own memory grew by {found.growth:.0f} MiB; before, that of one which compiled the"
        f" same loops by {found.growth_compiling:.0f} MiB."
    )
    return found


@contextmanager
def _steps(
    own: NDArray[np.float32], cache: str
) -> Iterator[tuple[ServerProcess, dict[str, Callable[[], object]]]]:
    """A server that keeps machine code in a folder, and the steps that it makes of a vector."""
    options = f"--shared-memory-budget={9 * own.size}", f"--cache={cache}"
    with ExitStack() as stack:
        server = stack.enter_context(started(lambda address: regularization_server(address, *options)))
        client = stack.enter_context(Client(server.address, timeout=600))
        theta, out = (stack.enter_context(client.shared_array(own.size, np.float32)) for _ in range(2))
        theta[...] = own
        yield server, {name: _step(client, theta, out, each) for name, each in rows(own.size).items()}


@contextmanager
def _growth_of(server: ServerProcess) -> Iterator[Callable[[], float]]:
    """By how many MiB a server's own memory grew meanwhile, at most."""
    process = psutil.Process(server.process.pid)
    before = private(process)
    with Sampler({"server": process}, private) as sampler:
        yield lambda: (max(sampler.samples["server"]) - before) / MEBIBYTE


def _step(client: Client, theta: Any, out: Any, regularizer: Any) -> Callable[[], object]:
    return lambda: client.proximal_step(theta, regularizer, step_size=1.0, out=out, figures=())


def _by_partition(x: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    magnitudes = np.abs(x)
    place = x.size - x.size // KEPT
    least = np.partition(magnitudes, place)[place]
    np.multiply(x, magnitudes >= least, out=out)


if __name__ == "__main__":
    run_alone(run, __doc__)
