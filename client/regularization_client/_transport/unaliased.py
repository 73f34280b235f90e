"""Results that take the place of what they are computed from, only once the call has succeeded.

A replay sends the elements again, and parts of a call on several streams read while others write. So results
that share memory with parameters or operands go to new arrays first. Where many arrays are short, to find out
where each lies would take longer than their elements do: all results of such a call go to one new array.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from .._request.call import Call, Stretch
from .._request.stores import ArrayStore, Elements
from .._results import Summary
from .answers import Results
from .base import Conditions, Transport

AnyArray = npt.NDArray[Any]

MOST_KEPT = 1 << 24
"""Bytes of results up to which nobody looks where short arrays lie: so much more memory may a call take."""

SHORT = 1 << 14
"""Bytes of an array, on average, up to which arrays are short."""


class Unaliased:
    """Carries out calls so that no result overwrites what is still to be read.

    Args:
        transport: Carries them out, given results that lie apart.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """See ``Transport``."""
        if not call.results_may_alias:
            return self._transport.carry_out(call, conditions)
        room = min(len(call.stretches) * SHORT, MOST_KEPT)
        if not call.scattered and call.elements * call.data_type.itemsize <= room:
            kept = _Kept(call)
            summary = self._transport.carry_out(replace(call, keeper=kept), conditions)
            kept.hand_over()
            return summary
        apart = _apart(call)
        summary = self._transport.carry_out(apart, conditions)
        for wanted, written in zip(call.stretches, apart.stretches, strict=True):
            if written is not wanted:
                _array(wanted)[...] = _array(written)
        return summary


class _Kept:
    """All results of a call, in one array. Threads may keep some side by side."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._results = np.empty(call.elements, call.data_type)
        self._store = ArrayStore(self._results)

    def keep(self, begin: int, values: Elements) -> None:
        """See ``Keeper``."""
        self._store.write(begin - self._call.begin, values)

    def hand_over(self) -> None:
        """Write everything to where the call wants it."""
        Results(self._call, progress=None).store(self._call.begin, self._results)


def _apart(call: Call) -> Call:
    """Return the call with new arrays for the results that would change what it reads."""
    taken = _Bounds(
        source.array
        for stretch in call.stretches
        for source in stretch.sources.values()
        if isinstance(source, ArrayStore)
    )
    stretches = [
        stretch._replace(sink=ArrayStore(np.empty(_array(stretch).shape, _array(stretch).dtype)))
        if isinstance(stretch.sink, ArrayStore) and taken.overlap(stretch.sink.array)
        else stretch
        for stretch in call.stretches
    ]
    return replace(call, stretches=stretches)


def _array(stretch: Stretch) -> AnyArray:
    assert isinstance(stretch.sink, ArrayStore)  # noqa: S101 - only those of arrays are replaced
    return stretch.sink.array


class _Bounds:
    """Where in memory arrays lie, to find in short time what overlaps one of them."""

    def __init__(self, arrays: Iterable[AnyArray]) -> None:
        bounds = sorted(map(_bounds, arrays))
        self._begins = [begin for begin, _ in bounds]
        # The furthest end of all that begin no later.
        self._ends = list(accumulate((end for _, end in bounds), max))

    def overlap(self, array: AnyArray) -> bool:
        begin, end = _bounds(array)
        before = bisect_left(self._begins, end)
        return before > 0 and self._ends[before - 1] > begin


def _bounds(array: AnyArray) -> tuple[int, int]:
    """Return where an array's memory begins and ends."""
    if not array.flags.c_contiguous:
        return np.lib.array_utils.byte_bounds(array)
    begin = array.__array_interface__["data"][0]  # a fraction of the time: a model has many arrays
    return begin, begin + array.nbytes
