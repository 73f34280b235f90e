"""Who calls the server while Prometheus watches: trainers of the example, others, and some in error."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from regularization_client import Client, L1Norm, NuclearNorm

from docs.generate.dashboard.mistakes import mistakes
from docs.generate.dashboard.server import DIGITS, PRUNED, SPARSE, TOKENS

_L1 = L1Norm(strength=0.001)


@dataclass(frozen=True)
class Clock:
    """How long all of it takes.

    Attributes:
        seconds: From the first call to the last.
    """

    seconds: float

    def ticks(self, apart: float, begin: float = 0.0, end: float = 1.0) -> Iterator[int]:
        """Count, once in so many seconds, from one share of the time to another."""
        now = time.monotonic
        first, last = now() + begin * self.seconds, now() + end * self.seconds
        count = 0
        while (due := first + count * apart) < last:
            time.sleep(max(due - now(), 0.0))
            yield count
            count += 1


def call(target: str, seconds: float) -> None:
    """Have all of them call a server for so many seconds.

    Raises:
        RegularizationError: If a call fails that should not.
    """
    clock = Clock(seconds)
    actors: list[Callable[[str, Clock], None]] = [
        partial(train, plan=PRUNED, steps=400, share=0.9),
        partial(train, plan=SPARSE, steps=400, share=0.75),
        train_in_shared_memory,
        evaluate,
        *(partial(decompose, turn=turn) for turn in range(2)),
        err,
    ]
    with ThreadPoolExecutor(len(actors)) as pool:
        for ended in [pool.submit(actor, target, clock) for actor in actors]:
            ended.result()


def train(target: str, clock: Clock, *, plan: str, steps: int, share: float) -> None:
    """Train the example's network by a plan that the server holds, in steps that are evenly apart."""
    data = _module("data").load(0)
    pruning = _module("pruning")
    start = _module("model").initial_parameters(64, 64, 10, 0)
    with Client(target, token=TOKENS["trainers"]) as client:
        trainer = pruning.NumpyTrainer(client, data, start, pruning.DESCENT, plan)
        for _ in clock.ticks(share * clock.seconds / steps, end=share):
            trainer.step()


def train_in_shared_memory(target: str, clock: Clock) -> None:
    """Take steps on a million elements that lie in memory shared with the server."""
    draw = np.random.default_rng(0)
    with (
        Client(target, token=TOKENS["trainers"]) as client,
        client.shared_array(1 << 20, np.float32) as weights,
    ):
        weights[:] = draw.normal(size=weights.size)
        for _ in clock.ticks(0.5, begin=0.15, end=0.85):
            client.proximal_step(weights, _L1, step_size=1.0, out=weights)


def evaluate(target: str, clock: Clock) -> None:
    """Ask for penalties and gradients, as a device's gateway does."""
    values = np.random.default_rng(1).normal(size=1 << 14)
    with Client(target, token=TOKENS["gateway"]) as client:
        for _ in clock.ticks(0.1, begin=0.1):
            client.penalty(values, _L1)
            client.gradient(values, _L1)


def decompose(target: str, clock: Clock, *, turn: int) -> None:
    """Have matrices decomposed, which wait in the server until they are there as a whole."""
    matrix = np.random.default_rng(turn).normal(size=(512, 512))
    with Client(target, token=TOKENS["gateway"]) as client:
        for _ in clock.ticks(1.0, begin=0.3, end=0.8):
            client.proximal_step(matrix, NuclearNorm(strength=1.0), step_size=1.0)


def err(target: str, clock: Clock) -> None:
    """Make mistakes, of one kind after the other, in the middle of the time."""
    begin, end, apart = 0.35, 0.75, 0.25
    times = math.ceil((end - begin) * clock.seconds / apart)
    with mistakes(target) as kinds:
        for count in clock.ticks(apart, begin=begin, end=end):
            kinds[len(kinds) * count // (times + 1)]()


def _module(name: str) -> Any:
    """A module of the example, which is no package."""
    if str(DIGITS) not in sys.path:
        sys.path.append(str(DIGITS))
    return importlib.import_module(name)
