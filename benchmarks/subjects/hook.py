"""What the hook adds to an optimizer's step in PyTorch: on the host, in shared memory, on a GPU.

Run it with ``python -m benchmarks.subjects.hook``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from regularization_client import Client, L1Norm

from benchmarks.harness.measure import Spread, console, heading, interleaved, print_table, seconds
from benchmarks.harness.report import Aim, run_alone
from benchmarks.harness.servers import regularization_server, started

STEPS = 10
"""In a row, of which the mean is one figure."""

ROUNDS, QUICK_ROUNDS = 5, 3
STRENGTH = 0.05
AIMS = {10**6: 2.5e-3, 10**7: 12e-3}
"""Seconds that may be added to a step of so many shared parameters in one tensor."""

SHARED, OVER_THE_WIRE, LANDED = "shared memory", "GPU, wire", "GPU, shared memory"

Case = tuple[str, int, int]
"""Where the parameters are, how many elements they have together, and in how many tensors."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What came out.

    Args:
        added: Seconds that the hook adds to a step.
    """

    added: dict[Case, Spread]

    @property
    def aims(self) -> list[Aim]:
        """The figures that have a bound."""
        return [
            Aim(
                f"hook on {elements:.0e} shared parameters, ms",
                1e3 * bound,
                self.added[SHARED, elements, 1].map(lambda value: 1e3 * value),
                at_least=False,
            )
            for elements, bound in AIMS.items()
        ]


class Training:
    """A model whose gradients are given, and the step of its optimizer.

    Args:
        torch: PyTorch.
        device: Where the parameters are.
        elements: How many there are.
        tensors: In how many parameters.
    """

    def __init__(self, torch: Any, device: str, elements: int, tensors: int) -> None:
        self._torch, self._is_cuda = torch, device == "cuda"
        torch.manual_seed(0)
        each = elements // tensors
        parameters = [torch.nn.Parameter(torch.randn(each, device=device)) for _ in range(tensors)]
        self.model = torch.nn.ParameterList(parameters)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def steps(self) -> None:
        """Take some steps, and wait for what a GPU has to do."""
        for _ in range(STEPS):
            self.optimizer.step()
        if self._is_cuda:
            self._torch.cuda.synchronize()

    def steps_of_pytorch(self) -> None:
        """Take some steps of the optimizer, each with the proximal step as PyTorch would write it."""
        torch, threshold = self._torch, 0.01 * STRENGTH
        for _ in range(STEPS):
            self.optimizer.step()
            with torch.no_grad():
                for parameter in self.model:
                    parameter.copy_(parameter.sign() * (parameter.abs() - threshold).clamp_(min=0))
        if self._is_cuda:
            torch.cuda.synchronize()


def run(*, quick: bool = False) -> Hooks | None:
    """Measures every place, and prints the table; None without PyTorch."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    heading(
        "Hook: what a proximal step adds to a step of PyTorch's SGD",
        f"""
        float32, L1, through ProximalStep, and through PyTorch's own operations on the parameters where they
        are; the time of a step without either is taken off, and is the first column. {STEPS} steps in a row
        are one figure. PyTorch has one thread, for the server shares the cores.
        """,
        rounds,
    )
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        console.print("PyTorch is not installed: nothing was measured.")
        return None
    places = ["wire", SHARED]
    if torch.cuda.is_available():
        places += [OVER_THE_WIRE, LANDED]
        console.print(f"[dim]{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    cases = [(place, size, tensors) for place in places for size in AIMS for tensors in (1, 10)]
    plain, added, theirs = {}, {}, {}
    with one_thread(torch), started(regularization_server) as server, Client(server.address) as client:
        for case in cases:
            plain[case], added[case], theirs[case] = _measured(torch, client, case, rounds, server.settle)
    print_table(
        ["where", "elements", "tensors", "step alone, ms", "the hook adds, ms", "PyTorch's adds, ms"],
        [
            [
                place,
                f"{size:.0e}",
                str(tensors),
                *(_ms(part[place, size, tensors]) for part in (plain, added, theirs)),
            ]
            for place, size, tensors in cases
        ],
    )
    return Hooks(added)


@contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """Leaves PyTorch one thread for that time: other benchmarks follow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measured(
    torch: Any, client: Client, case: Case, rounds: int, settle: Callable[[], None]
) -> tuple[Spread, Spread, Spread]:
    """Return the seconds of a step alone, and what the hook adds to it, and PyTorch's own operations."""
    torch_client = importlib.import_module("regularization_client.torch")
    place, elements, tensors = case
    with ExitStack() as stack:
        device = "cuda" if place in (OVER_THE_WIRE, LANDED) else "cpu"
        alone, hooked, own = (Training(torch, device, elements, tensors) for _ in range(3))
        if place in (SHARED, LANDED):
            stack.enter_context(torch_client.share_parameters(hooked.model, client))
        torch_client.ProximalStep(client, hooked.model, hooked.optimizer, L1Norm(strength=STRENGTH))
        hooked.steps()
        settle()
        runs = interleaved(
            rounds,
            {
                "alone": lambda: seconds(alone.steps) / STEPS,
                "hooked": lambda: seconds(hooked.steps) / STEPS,
                "own": lambda: seconds(own.steps_of_pytorch) / STEPS,
            },
        )
    alone_seconds = Spread(tuple(runs["alone"]))
    return alone_seconds, _beyond(alone_seconds, runs["hooked"]), _beyond(alone_seconds, runs["own"])


def _beyond(part: Spread, wholes: Sequence[float]) -> Spread:
    return Spread(tuple(whole - one for whole, one in zip(wholes, part.values, strict=True)))


def _ms(elapsed: Spread) -> str:
    return elapsed.map(lambda value: 1e3 * value).text()


if __name__ == "__main__":
    run_alone(run, __doc__)
