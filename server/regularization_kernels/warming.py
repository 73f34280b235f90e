"""Having loops ready before anybody asks for them: a regularizer's usual calls, carried out on a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import numpy as np

from .arrays import FLOAT32, FLOAT64
from .background import Background
from .compilation import SHORTEST_SEQUENCE, SMALLEST, wait_until_compiled
from .engine import Call, Chunk, Layout, MemoryBudget, Method, Segment, run_whole
from .engine.whole_vectors.reduced import LONG
from .errors import RegularizationError
from .in_process import penalty, proximal_step
from .regularizer import REGULARIZERS, Locality, Regularizer
from .regularizers.elements.levels import Levels
from .regularizers.groups.base import Groups
from .regularizers.vectors.slope import Oscar
from .summation import LANES

ALL = "all"
"""In place of names: every regularizer."""

# One value for each parameter that has to be given. Loops are the same for all values, but for even levels.
_SAMPLES: dict[str, Any] = {
    "strength": 0.1,
    "l1_strength": 0.1,
    "l2_strength": 0.1,
    "group_strength": 0.1,
    "tv_strength": 0.1,
    "delta": 0.5,
    "epsilon": 0.5,
    "concavity": 3.7,
    "radius": 0.5,
    "target": 0.5,
    "rate": 0.5,
    "seed": 0,
    "rank": 1,
    "order": 1,
    "n": 2,
    "m": 4,
    "rows": 4,
    "columns": 4,
    "groups": Groups(size=8),
    "nested_groups": (Groups(size=8), Groups(size=16)),
    "levels": Levels(step=0.5),
}

_CHOICES: dict[str, Any] = {
    "count": 1,
    "lower": 0.25,
    "upper": 0.5,
    "oscar": Oscar(l1_strength=0.1, pairwise_strength=1e-6),
}
"""The like for parameters of which not all may be left out."""


def regularizers_named(text: str) -> list[str]:
    """Names of regularizers that stand apart by commas, or all of them.

    Raises:
        ValueError: If there is no such regularizer.
    """
    names = [each.strip() for each in text.split(",") if each.strip()]
    unknown = [each for each in names if each not in REGULARIZERS and each != ALL]
    if unknown or not names:
        told = repr(unknown[0]) if unknown else repr(text)
        raise ValueError(f"must be names of regularizers, apart by commas, or {ALL}, got {told}")
    return list(REGULARIZERS) if ALL in names else names


def sample_of(name: str) -> Regularizer:
    """A regularizer with parameters that nobody asked for."""
    cls = REGULARIZERS[name]
    given = {
        field.name: {**_SAMPLES, **_CHOICES}[field.name]
        for field in fields(cls)
        if field.name in _CHOICES or (field.default is MISSING and field.default_factory is MISSING)
    }
    return cls(**given)


def warm(names: Iterable[str]) -> None:
    """Have the loops of the usual calls made, and wait for them.

    The calls are proximal steps with and without loss gradients, in place and not, and penalties, in float32
    and float64, with figures; of sums over elements also such calls on many short segments in float32, every
    other one of them exempt. What is computed without loops, such as matrices, is left out.

    Args:
        names: Of regularizers.

    Raises:
        Exception: What the compiler says against a loop.
    """
    for name in names:
        sample = sample_of(name)
        for elements in _sizes(sample):
            for call in _usual_calls(sample, elements):
                _ask(call)
            wait_until_compiled()
        if sample.locality is Locality.ELEMENT:
            for call in _calls_on_short_segments(sample):
                _ask(call)
            wait_until_compiled()


def _ask(call: Callable[[], Any]) -> None:
    """Carry a call out, for the loops that it asks for."""
    with suppress(RegularizationError), np.errstate(all="ignore"):
        call()


def warm_in_background(names: Iterable[str]) -> Future[None]:
    """Do so beside all else. The process may end meanwhile."""
    return Background("warm").submit(warm, names)


def _sizes(regularizer: Regularizer) -> Iterator[int]:
    """Elements of segments that are computed by different loops."""
    # Few elements first: what is compiled for them, Python would take long for with more.
    yield from (SHORTEST_SEQUENCE, SMALLEST)
    with suppress(RegularizationError):
        if regularizer.on((LONG,)).reduction() is not None:
            yield LONG


def _usual_calls(regularizer: Regularizer, elements: int) -> Iterator[Callable[[], Any]]:
    for data_type in (FLOAT32, FLOAT64):
        # In no order, and inside no set, so that there is something to do.
        x: Any = np.sin(np.arange(elements, dtype=np.float64)).astype(data_type)
        yield partial(penalty, x, regularizer)
        for out in (np.empty_like(x), x):
            yield partial(proximal_step, x, regularizer, 0.5, out=out)
            yield partial(proximal_step, x, regularizer, 0.5, out=out, loss_gradients=np.ones_like(x))


def _calls_on_short_segments(regularizer: Regularizer) -> Iterator[Callable[[], Any]]:
    # As many as need a loop for their sums.
    count = SMALLEST // LANES
    segments = tuple(
        Segment(str(index), (LANES,), None if index % 2 else regularizer) for index in range(count)
    )
    layout, x = Layout(FLOAT32, segments), np.ones(count * LANES, FLOAT32)

    def call(method: Method, out: Any = None, loss_gradients: Any = None) -> None:
        asked = Call(method, layout, step_size=0.5)
        run_whole(asked, Chunk(0, x, loss_gradients), out, MemoryBudget(x.nbytes))

    yield partial(call, Method.PENALTY)
    for out in (np.empty_like(x), x):
        yield partial(call, Method.PROXIMAL_STEP, out)
        yield partial(call, Method.PROXIMAL_STEP, out, np.ones_like(x))
