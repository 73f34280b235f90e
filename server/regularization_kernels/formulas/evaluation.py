"""Evaluation of a formula over arrays by NumPy, without an array for each operation's result.

A formula of arrays would make one as long as they are for every operation. Here it is traced once, on
stand-ins for its arrays; its operations are then carried out one after another in a few buffers that are used
again and again, slice by slice where there are several, so that they stay in the cache. They are the same
operations in the same order, so the bits are the same, too.
"""

from __future__ import annotations

import math
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..buffers import borrowed

if TYPE_CHECKING:
    from collections.abc import Callable

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
        numbers = tuple([None if isinstance(argument, np.ndarray) else argument for argument in arguments])
        signs = tuple(map(_sign, numbers)) if 0.0 in numbers else None  # zeros are equal, and differ
        _program(formula, numbers, signs).run(arrays, out)


def _sign(number: float | None) -> float | None:
    return None if number is None else math.copysign(1.0, number)


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
def _program(
    formula: Callable[..., Any], arguments: tuple[float | None, ...], signs: tuple[float | None, ...] | None
) -> _Program:
    del signs
    return _Program(formula, arguments)


class _Program:
    """A formula as a list of operations on places: numbers, arrays, buffers, the result, and views of them.

    Which operation works on which places is settled once, so that little of Python is left for a run: between
    operations on megabytes, nothing of it is in the processor's caches.

    Args:
        formula: The formula.
        arguments: What it is called with; None for each array.
    """

    def __init__(self, formula: Callable[..., Any], arguments: tuple[float | None, ...]) -> None:
        trace: list[_Result] = []
        arrays = [_Result(_FLOAT64) for argument in arguments if argument is None]
        unused = iter(arrays)
        answer = formula(*(Traced(next(unused), trace) if a is None else a for a in arguments))
        last = answer.result if isinstance(answer, Traced) else answer
        if not isinstance(last, _Result) or last.operation is None:
            last = _Result(_FLOAT64, _copy, (last,))
            trace.append(last)
        results = _needed(trace, last)
        buffers, self._count = _assigned(results)
        self._numbers = [i for result in results for i in result.inputs if not isinstance(i, _Result)]
        places = _Places(len(self._numbers), arrays, buffers, self._count)
        self._steps = [(result.operation, places.getter(result, result is last)) for result in results]
        self._views = places.views

    def run(self, arrays: list[Float64Array], out: Float64Array) -> None:
        """Carry it out."""
        # The result's own memory is the first buffer, unless an array is there that is read yet.
        own = len(self._steps) == 1 or not any(np.may_share_memory(array, out) for array in arrays)
        count = self._count - own
        if not count:
            self._carry_out(arrays, [out], out)
            return
        size = max(SHORT, CACHED // count)
        with borrowed(count * size) as memory:
            rows = [memory[i * size : (i + 1) * size] for i in range(count)]
            for begin in range(0, out.size, size):
                place = out[begin : begin + size]
                buffers = [row[: place.size] for row in rows]
                if own:
                    buffers.insert(0, place)
                self._carry_out([array[begin : begin + size] for array in arrays], buffers, place)

    def _carry_out(self, arrays: list[Float64Array], buffers: list[Float64Array], out: Float64Array) -> None:
        places: list[Any] = [*self._numbers, *arrays, *buffers, out]
        for index, data_type in self._views:
            places.append(places[index].view(data_type)[: out.size])
        operation: Any
        for operation, of in self._steps:
            *inputs, place = of(places)
            operation(*inputs, out=place)


class _Places:
    """Where in a program's list of places everything stands.

    Args:
        numbers: How many numbers there are, which come first, in the order in which they are used.
        arrays: What the formula is called with.
        buffers: Which buffer each result has.
        count: How many buffers there are.
    """

    def __init__(self, numbers: int, arrays: list[_Result], buffers: dict[_Result, int], count: int) -> None:
        self._unused = iter(range(numbers))
        self._memory = {array: numbers + index for index, array in enumerate(arrays)}
        first = numbers + len(arrays)
        self._memory |= {result: first + index for result, index in buffers.items()}
        self._out = first + count
        self.views: list[tuple[int, np.dtype[Any]]] = []
        """Of which place, and as what, for the places behind all others."""

    def getter(self, result: _Result, is_last: bool) -> Callable[[list[Any]], Any]:
        """What gives the inputs of an operation, and last where its result goes."""
        inputs = [self._of(value) for value in result.inputs]
        return itemgetter(*inputs, self._out if is_last else self._of(result))

    def _of(self, value: Any) -> int:
        if not isinstance(value, _Result):
            return next(self._unused)
        place = self._memory[value.source]
        if value.data_type == _FLOAT64:
            return place
        view = (place, value.data_type)
        if view not in self.views:
            self.views.append(view)
        return self._out + 1 + self.views.index(view)


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
