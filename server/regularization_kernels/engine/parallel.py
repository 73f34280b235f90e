"""A whole vector at once, on several threads: the engine without a stream.

The work is cut into element ranges, each a call of its own, as one vector is cut over several
replicas; so the bits do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import ElementArray
from ..interruption import interruptible
from .call import Call
from .chunk import Chunk
from .figures import Summary
from .helpers import on_threads
from .run import Run
from .whole_vectors.reduced import resolved_call
from .workspace import PIECE

_STRIDE = 16 * PIECE  # so much is fed at once that Python's share does not count

_WORTH_ANOTHER = 4 * PIECE
"""Elements with which a third thread, or one more, saves more time than it costs: on 16 cores a step of 10^7
took 8 to 10 ms with 2 to 8 threads, and 16 ms with 16."""

_BUSY = 1 << 14
"""Elements of a segment, on average, below which a second thread finds no work: Python has as much."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from .budget import MemoryBudget


def run_whole(
    call: Call,
    chunk: Chunk,
    out: ElementArray | None,
    budget: MemoryBudget,
    threads: int = 1,
    check: Callable[[], None] | None = None,
    *,
    volatile: bool = False,
) -> Summary:
    """Carry out a call whose elements are all there.

    Args:
        call: What is asked for.
        chunk: All elements of its range.
        out: Where the results go, of as many elements; None for Method.PENALTY. It may be the very
            array of the parameters, or of an operand.
        budget: Where buffered bytes are taken from.
        threads: How many may work at once, where the regularizers may be cut; of a short vector fewer do.
        check: Called now and then, by any of the threads; what it raises ends the call.
        volatile: Whether others may write to the elements and to ``out`` meanwhile, as in ``Run``.

    Returns:
        The figures, whose bits do not depend on ``threads``.

    Raises:
        RegularizationError: If the call breaks a rule.
    """
    with np.errstate(all="ignore"), interruptible(check):
        threads = min(threads, max(2, (call.end - call.begin) // _WORTH_ANOTHER))
        call = resolved_call(call, chunk, threads, check, budget)
    if call.end - call.begin < _BUSY * len(call.layout.segments):
        threads = 1  # what Python does for each of many short segments, no two threads do at once
    ranges = list(pairwise(call.layout.cuts(call.begin, call.end, threads)))
    if len(ranges) == 1:
        return _run(call, chunk, out, budget, check, volatile)

    def run_range(number: int) -> Summary:
        begin, end = ranges[number]
        own_out = None if out is None else out[begin - call.begin : end - call.begin]
        own_call = replace(call, element_range=(begin, end))
        return _run(own_call, chunk.part(begin, end), own_out, budget, check, volatile)

    return Summary.combined(on_threads(run_range, len(ranges)), call.figures, call.method)


def _run(
    call: Call,
    chunk: Chunk,
    out: ElementArray | None,
    budget: MemoryBudget,
    check: Callable[[], None] | None,
    volatile: bool,
) -> Summary:
    with Run(call, budget, out, check, volatile=volatile) as run:
        for begin in range(call.begin, call.end, _STRIDE):
            run.feed(chunk.part(begin, min(begin + _STRIDE, call.end)))
        return run.finish()
