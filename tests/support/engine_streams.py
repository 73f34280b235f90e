"""Calls of the engine: layouts made of the table's cases, operands for them, and streams cut anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels import Locality
from regularization_kernels.engine import (
    Call,
    Chunk,
    Layout,
    MemoryBudget,
    Method,
    PreparedSegment,
    ResultChunk,
    Rounding,
    Run,
    Segment,
    Summary,
)

from tests.support.cases import CASES, ROWS, Case

AnyArray = NDArray[np.floating[Any]]
Operands = Mapping[str, AnyArray]

PLENTY = 1 << 30
NEAREST = Rounding()
LIMITED = {row.name: row.with_gradient for row in ROWS if row.with_gradient is not None}


@dataclass(frozen=True)
class Outcome:
    """What a call gave back."""

    results: list[ResultChunk]
    summary: Summary

    @property
    def values(self) -> AnyArray:
        """All results, one after the other."""
        return np.concatenate([np.empty(0), *(result.values for result in self.results)])

    def bits(self) -> tuple[bytes, Summary]:
        """Everything that the chunking must not change, to the bit."""
        return b"".join(result.values.tobytes() for result in self.results), self.summary


def segment_of(case: Case, **more: Any) -> Segment:
    """A segment with a case's regularizer and shape, named after it."""
    return Segment(case.label, case.shape, case.regularizer, **more)


def layout_of(cases: Iterable[Case], dtype: Any = np.float64) -> Layout:
    """A layout of the cases, with an exempt segment, a scalar and an empty segment among them."""
    segments = [segment_of(case) for case in cases]
    half = len(segments) // 2
    exempt = [Segment("bias", (5,)), Segment("scalar", ()), Segment("nothing", (0, 7))]
    return Layout(np.dtype(dtype), (*segments[:half], *exempt, *segments[half:]))


def vector(layout: Layout, seed: int = 0, *, positive: bool = False) -> AnyArray:
    """A vector of the layout's length and type, with zeros, stretches of zeros and ties in it."""
    random = np.random.default_rng(seed)
    x = np.round(random.normal(size=layout.size), 1 if seed % 2 else 9)
    x = np.where(random.random(layout.size) < 0.2, 0.0, x)
    x = np.where(np.repeat(random.random(layout.size // 7 + 1) < 0.2, 7)[: layout.size], 0.0, x)
    return elements_of(np.abs(x) if positive else x, layout.data_type)


def elements_of(numbers: AnyArray, data_type: np.dtype[Any]) -> AnyArray:
    """Numbers in a data type; in fixed point a fifth of them, so that most are in range."""
    if data_type.kind != "i":
        return numbers.astype(data_type)
    integers = np.iinfo(data_type)
    return np.clip(np.rint(numbers * 0.2 * -integers.min), integers.min, integers.max).astype(data_type)


def operands_of(layout: Layout, names: Iterable[str]) -> dict[str, AnyArray]:
    """Parameters and the named operands, for a whole layout."""
    places = ("parameters", "loss_gradients", "reference", "weights", "step_scales")
    given = ("parameters", *names)
    return {
        name: vector(layout, places.index(name) + 10, positive=name in ("weights", "step_scales"))
        for name in given
    }


def takers(*names: str) -> list[Case]:
    """The cases that take these operands."""
    narrow = {"weights": "takes_weights", "step_scales": "takes_step_scales"}
    wanted = [narrow[name] for name in names if name in narrow]
    return [case for case in CASES if all(getattr(case.regularizer, trait) for trait in wanted)]


def chunks_of(operands: Operands, cuts: Iterable[int], begin: int = 0) -> list[Chunk]:
    """The operands, cut at places counted from their first element, which stands at ``begin``."""
    size = operands["parameters"].size
    edges = [0, *sorted(cut for cut in cuts if 0 <= cut <= size), size]
    return [
        Chunk(begin + low, **{name: array[low:high] for name, array in operands.items()})
        for low, high in pairwise(edges)
    ]


def stream(
    call: Call, operands: Operands, cuts: Iterable[int] = (), budget: MemoryBudget | None = None
) -> Outcome:
    """Run a call on operands cut at these places."""
    return feed(call, chunks_of(operands, cuts, call.begin), budget)


def feed(call: Call, chunks: Sequence[Chunk], budget: MemoryBudget | None = None) -> Outcome:
    """Run a call on these chunks."""
    with Run(call, budget or MemoryBudget(PLENTY)) as run:
        results = [result for chunk in chunks for result in _kept(run.feed(chunk))]
        return Outcome(results, run.finish())


def _kept(results: list[ResultChunk]) -> list[ResultChunk]:
    # The engine may write its next results over these.
    return [ResultChunk(result.element_offset, result.values.copy()) for result in results]


def a_call(method: Method, layout: Layout, **more: Any) -> Call:
    """A call of the method, with a step size where it needs one."""
    if method is Method.PROXIMAL_STEP:
        more.setdefault("step_size", 0.37)
    return Call(method, layout, **more)


@dataclass(frozen=True)
class WholeCall:
    """A call on all cases that take some operands, and its answer to one chunk."""

    call: Call
    operands: dict[str, AnyArray]
    bits: tuple[bytes, Summary]

    @property
    def layout(self) -> Layout:
        """The call's."""
        return self.call.layout


@cache
def whole_call(
    method: Method, names: tuple[str, ...] = (), data_type: Any = np.float64, rounding: Rounding = NEAREST
) -> WholeCall:
    """A call on all cases that take these operands: made, and computed in one chunk, once for all tests."""
    layout = layout_of(takers(*names), data_type)
    operands = defined_operands_of(method, layout, names)
    call = a_call(method, layout, rounding=rounding)
    return WholeCall(call, operands, stream(call, operands).bits())


def defined_operands_of(method: Method, layout: Layout, names: tuple[str, ...]) -> dict[str, AnyArray]:
    """Operands on which the method is defined."""
    operands = operands_of(layout, names)
    if method is Method.GRADIENT:
        operands["parameters"] = without_outside(layout, operands["parameters"])
        if "reference" in operands:
            # Off the reference 0, rounding could put an element outside a set that has no room.
            for place, _ in of_indicators(layout):
                operands["reference"][place] = 0
    return operands


def of_indicators(layout: Layout) -> list[tuple[slice, PreparedSegment]]:
    """The segments whose regularizer has a gradient in places alone, as indicators do, and where they are."""
    return [
        (slice(start, start + segment.size), segment)
        for start, segment in zip(layout.starts, layout.segments, strict=False)
        if segment.regularizer is not None
        and (segment.regularizer.traits.indicator or segment.regularizer.name in LIMITED)
    ]


def without_outside(layout: Layout, x: AnyArray) -> AnyArray:
    """The vector with every element put where its segment's regularizer has a gradient."""
    x = x.copy()
    for place, segment in of_indicators(layout):
        assert segment.regularizer is not None
        assert segment.prepared is not None
        if segment.regularizer.name in LIMITED:
            x[place] = LIMITED[segment.regularizer.name](segment.regularizer, x[place])
            continue
        whole = segment.locality is Locality.SEGMENT
        given = x[place].astype(np.float64).reshape(segment.shape if whole else -1)
        inside = np.empty_like(given)
        segment.prepared.prox(given, 1.0, inside)
        x[place] = inside.reshape(-1)
    return x
