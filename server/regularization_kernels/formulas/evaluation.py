"""Evaluation of a formula over arrays by NumPy, without an array for each operation's result.

A formula of arrays would make one as long as they are for every operation. Here it is traced once, on
stand-ins for its arrays; its operations are then carried out one after another in a few buffers that are used
again and again, slice by slice where there are several, so that they stay in the cache. They are the same
operations in the same order, so the bits are the same, too.
"""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..arrays import Float64Array

SHORT = 1 << 14
"""Elements up to which a formula is simply called, for all of its arrays stay in the cache."""

CACHED = 1 << 17
"""Elements of all buffers together that stay in the cache."""

ANY = npt.NDArray[Any]

_FLOAT64 = np.dtype(np.float64)


def evaluate(formula: Callable[..., Any], out: Float64Array, *arguments: Any) -> None:
    """Write what a formula gives for arrays and numbers.

    Args:
        formula: A function of the module's own, of arrays and numbers. It uses Python's operators, NumPy's
            functions of elements, and ``operations``; branches are on numbers.
        out: Where the result goes, ``(n,)``; it may be one of the arrays.
        arguments: float64 arrays ``(n,)``, and numbers.
    """
    with np.errstate(all="ignore"):  # what a formula does not choose may be anything
        if out.size <= SHORT:
            out[...] = formula(*arguments)
            return
        arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]
        numbers = (
            None if isinstance(a, np.ndarray) else _Number(a, math.copysign(1.0, a)) for a in arguments
        )
        _program(formula, tuple(numbers)).run(arrays, out)


class _Number(NamedTuple):
    """A number, of which zeros differ."""

    value: float
    sign: float


class _Result:
    """What one operation gives, or an array that a formula is called with.

    Args:
        data_type: Of its elements.
        operation: What gives it; None where it is there from the start.
        inputs: Results and numbers.
        source: Whose memory it is, where it is a view of another's.
    """

    def __init__(
        self,
        data_type: np.dtype[Any],
        operation: Callable[..., Any] | None = None,
        inputs: tuple[Any, ...] = (),
        source: _Result | None = None,
    ) -> None:
        self.data_type, self.operation, self.inputs = data_type, operation, inputs
        self.source = source or self

    @property
    def reads(self) -> list[_Result]:
        """The results whose memory is read for it."""
        return list(dict.fromkeys(i.source for i in self.inputs if isinstance(i, _Result)))


class Traced(NDArrayOperatorsMixin):
    """A stand-in for an array: it notes what is done with it.

    Args:
        result: What it stands for.
        trace: All results of the formula so far, in their order.
    """

    def __init__(self, result: _Result, trace: list[_Result]) -> None:
        self.result = result
        self._trace = trace

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Note an operation of NumPy's."""
        if method != "__call__" or options:
            return NotImplemented
        types = tuple(i.result.data_type if isinstance(i, Traced) else _type_of(i) for i in inputs)
        return self._noted(ufunc, inputs, ufunc.resolve_dtypes((*types, None))[-1])

    def clip(self, lower: Any, upper: Any, out: None = None) -> Traced:
        """Note what ``np.clip`` does."""
        return self._noted(np.clip, (self, lower, upper), self.result.data_type)

    def choose(self, one: Any, other: Any) -> Traced:
        """Note a choice, by this condition."""
        data_type = one.result.data_type if isinstance(one, Traced) else _FLOAT64
        return self._noted(_choose, (self, one, other), data_type)

    def look_up(self, values: Float64Array, thresholds: Float64Array) -> Traced:
        """Note that a value is looked up, by the thresholds below the number."""
        return self._noted(_look_up, (self, values, thresholds), _FLOAT64)

    def view(self, data_type: npt.DTypeLike) -> Traced:
        """The same memory as numbers of another type."""
        return Traced(_Result(np.dtype(data_type), source=self.result.source), self._trace)

    def _noted(
        self, operation: Callable[..., Any], inputs: tuple[Any, ...], data_type: np.dtype[Any]
    ) -> Traced:
        results = tuple(i.result if isinstance(i, Traced) else i for i in inputs)
        if len(results) == 1:  # a formula may well ask twice for the magnitude of an element
            for known in self._trace:
                if known.operation is operation and known.inputs[0] is results[0]:
                    return Traced(known, self._trace)
        self._trace.append(_Result(data_type, operation, results))
        return Traced(self._trace[-1], self._trace)


@lru_cache(maxsize=256)
def _program(formula: Callable[..., Any], arguments: tuple[_Number | None, ...]) -> _Program:
    return _Program(formula, [None if argument is None else argument.value for argument in arguments])


class _Program:
    """A formula as a list of operations on places in memory: arrays, the result, and buffers.

    Args:
        formula: The formula.
        arguments: What it is called with; None for each array.
    """

    def __init__(self, formula: Callable[..., Any], arguments: list[float | None]) -> None:
        trace: list[_Result] = []
        arrays = [_Result(_FLOAT64) for argument in arguments if argument is None]
        unused = iter(arrays)
        answer = formula(*(Traced(next(unused), trace) if a is None else a for a in arguments))
        last = answer.result if isinstance(answer, Traced) else answer
        if not isinstance(last, _Result) or last.operation is None:
            last = _Result(_FLOAT64, _copy, (last,))
            trace.append(last)
        results = _needed(trace, last)
        self._buffers, self._count = _assigned(results)
        self._arrays, self._results = arrays, results

    def run(self, arrays: list[Float64Array], out: Float64Array) -> None:
        """Carry it out."""
        # The result's own memory is the first buffer, unless an array is there that is read yet.
        own = not any(np.may_share_memory(array, out) for array in arrays)
        count = self._count - own
        size = max(SHORT, CACHED // count) if count else out.size
        with borrowed(count * size) as memory:
            rows = [memory[i * size : (i + 1) * size] for i in range(count)]
            for begin in range(0, out.size, size):
                place = out[begin : begin + size]
                buffers = [row[: place.size] for row in rows]
                if own:
                    buffers.insert(0, place)
                self._carry_out([array[begin : begin + size] for array in arrays], buffers, place)

    def _carry_out(self, arrays: list[Float64Array], buffers: list[Float64Array], out: Float64Array) -> None:
        memory: dict[_Result, ANY] = dict(zip(self._arrays, arrays, strict=True))
        for result in self._results:
            memory[result] = _as(buffers[self._buffers[result]], result.data_type)
        memory[self._results[-1]] = out
        for result in self._results:
            operation: Any = result.operation
            operation(*[_input(i, memory) for i in result.inputs], out=memory[result])


_idle: list[Float64Array] = []
_MOST_IDLE = 2 * (os.cpu_count() or 1)  # a thread has one for terms, and one for what they are made of


@contextmanager
def borrowed(size: int) -> Iterator[Float64Array]:
    """Memory for buffers that has been written before: the system would clear fresh pages first."""
    try:
        memory = _idle.pop()
    except IndexError:
        memory = np.empty(0)
    if memory.size < size:
        memory = np.empty(size)
    try:
        yield memory
    finally:
        if len(_idle) < _MOST_IDLE:
            _idle.append(memory)


def _input(value: Any, memory: dict[_Result, ANY]) -> Any:
    if not isinstance(value, _Result):
        return value
    found = memory[value.source]
    return found if value.source is value else _as(found, value.data_type)


def _as(memory: ANY, data_type: np.dtype[Any]) -> ANY:
    """As many elements of a data type, at the beginning of some memory."""
    return memory if memory.dtype == data_type else memory.view(data_type)[: memory.size]


def _type_of(number: Any) -> Any:
    return type(number) if type(number) in (int, float) else np.result_type(number)


def _needed(trace: list[_Result], last: _Result) -> list[_Result]:
    """What the last result is made of, in its order."""
    needed = {last}
    for result in reversed(trace):
        if result in needed:
            needed.update(result.reads)
    return [result for result in trace if result in needed]


def _assigned(results: list[_Result]) -> tuple[dict[_Result, int], int]:
    """A buffer for each result, used again once that is read no more, and how many there are."""
    last = {read: index for index, result in enumerate(results) for read in result.reads}
    buffers: dict[_Result, int] = {results[-1]: 0}
    free = [0]
    count = 1
    for index, result in enumerate(results[:-1]):
        done = [read for read in result.reads if read in buffers and last[read] == index]
        # Where elements have one size, each is read before it is written over.
        in_place = [read for read in done if read.data_type.itemsize == result.data_type.itemsize]
        free += [buffers[read] for read in in_place]
        if free:
            buffers[result] = free.pop()
        else:
            buffers[result], count = count, count + 1
        free += [buffers[read] for read in done if read not in in_place]
    return buffers, count


def _choose(condition: ANY, one: Any, other: Any, out: ANY) -> None:
    if _is_same(condition, out):
        condition = condition.copy()
    if _is_same(one, out):
        np.copyto(out, other, where=~condition)
        return
    if not _is_same(other, out):
        np.copyto(out, other)
    np.copyto(out, one, where=condition)


def _look_up(x: ANY, values: Float64Array, thresholds: Float64Array, out: ANY) -> None:
    out[...] = values[np.searchsorted(thresholds, x)]


def _is_same(values: Any, out: ANY) -> bool:
    return isinstance(values, np.ndarray) and np.may_share_memory(values, out)


def _copy(values: Any, out: ANY) -> None:
    np.copyto(out, values)
