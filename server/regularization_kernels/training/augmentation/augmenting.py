"""An augmentation as it runs: ordered chunks of samples in, chunks of other samples out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from ...engine import Reservation
from ...engine.filling import filled_bytes, unfilled
from ...engine.results import ResultAssembly
from ...engine.succession import Succession
from ...errors import OperandUnsupported, ValueNotFinite
from ...formats import are_finite, round_into, widen_into
from ...interruption import go_on, interruptible
from .randomness import Draws, key_of, partners
from .specification import SAMPLES
from .transformations import Mixing, OwnTransformation

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ...arrays import ElementArray, Float64Array
    from ...engine import Chunk, MemoryBudget, ResultChunk
    from .specification import Augmentation

ELEMENTS_AT_ONCE = 1 << 16
"""About so many elements of samples that do not wait for each other are computed together."""

_NUMBER_BYTES = 24
"""Bytes of an element that is computed: its number, its partner's, and the mask of what is finite."""

_SCRATCH_BYTES = 8 << 20
"""Bytes that random numbers take while they are made, and more."""

_ANSWER_BYTES = 512
"""Bytes of an answer that is not complete yet, beside its elements: there may be one for each element."""


@dataclass(frozen=True, slots=True)
class SampleMixes:
    """With whom some samples that follow each other were mixed.

    Args:
        first_sample: Index of the first.
        partners: Index of each one's partner.
        shares: How much of itself each one kept.
    """

    first_sample: int
    partners: tuple[int, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Augmented:
    """What can be told after a chunk.

    Args:
        mixes: Those of the samples that became known.
        results: The answers to chunks that became complete.
    """

    mixes: list[SampleMixes]
    results: list[ResultChunk]


class Augmenting:
    """One augmentation of a stream of chunks.

    Memory is bounded by a block of samples that are mixed, or else by a sample or a few; as much of that as
    has come is taken from the budget, before it is written. Close it, or use it as a context, to give it
    back.

    Args:
        augmentation: What is asked for.
        budget: Where buffered bytes are taken from.
        check: Called now and then; what it raises ends the call. None to go on in any case.

    Raises:
        BudgetExceeded: If a block, or a sample, does not fit the budget.
    """

    def __init__(
        self, augmentation: Augmentation, budget: MemoryBudget, check: Callable[[], None] | None = None
    ) -> None:
        self._augmentation = augmentation
        self._check = check
        self._sample_size = augmentation.sample_size
        self._stride = augmentation.block or max(1, ELEMENTS_AT_ONCE // self._sample_size)
        self._keys = [
            key_of(augmentation.seed, augmentation.epoch, place)
            for place in range(len(augmentation.transformations))
        ]
        begin, end = augmentation.begin * self._sample_size, augmentation.end * self._sample_size
        self._succession = Succession(augmentation.layout, begin, end)
        self._results = ResultAssembly(augmentation.data_type)
        self._reservation = Reservation(budget)
        most = min(self._stride, augmentation.end - augmentation.begin) * self._sample_size
        self._most_held = most * (2 * augmentation.data_type.itemsize + _NUMBER_BYTES)
        self._most_held += _SCRATCH_BYTES if most else 0
        self._reservation.check_fits(self._most_held)
        self._held = 0
        self._answers = 0
        self._waiting: ElementArray = unfilled(most, augmentation.data_type)
        self._first_sample = augmentation.begin
        self._filled = 0

    def feed(self, chunk: Chunk) -> Augmented:
        """Take the next chunk.

        Raises:
            RegularizationError: If the chunk breaks a rule; its field is named as in ``Chunk``.
            BudgetExceeded: If answers to so many small chunks do not fit the budget.
            Exception: What the check raises.
        """
        self._succession.check(chunk)
        for operand in chunk.operands:
            raise OperandUnsupported("is not taken where samples are augmented", field=operand.value)
        mixes: list[SampleMixes] = []
        if not chunk.parameters.size:
            return Augmented(mixes, [])
        self._answers += 1
        self._account_for(chunk.parameters.size)
        self._results.expect(chunk)
        with np.errstate(all="ignore"), interruptible(self._check):
            position = chunk.element_offset
            while position < chunk.end:
                go_on()
                taken = min(chunk.end - position, self._wanted() - self._filled)
                begin = position - chunk.element_offset
                self._waiting[self._filled : self._filled + taken] = chunk.parameters[begin : begin + taken]
                self._filled += taken
                position = self._succession.position = position + taken
                if self._filled == self._wanted():
                    mixes += self._computed()
        results = self._results.completed()
        self._answers -= len(results)
        self._account_for(0)
        return Augmented(mixes, results)

    def finish(self) -> None:
        """Say that the stream is over.

        Raises:
            StreamTooShort: If elements are missing.
        """
        self._succession.check_complete()

    def close(self) -> None:
        """Give back everything that is held."""
        self._waiting = np.empty(0, self._augmentation.data_type)
        self._reservation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _account_for(self, more: int) -> None:
        """Take from the budget what samples and answers take once so many elements more are there.

        What the first samples took is held for those after them.
        """
        width, length = self._augmentation.data_type.itemsize, self._waiting.nbytes
        filled = filled_bytes(min((self._filled + more) * width, length), length)
        self._held = max(self._held, -(-self._most_held * filled // length))
        size = self._held + self._answers * _ANSWER_BYTES
        self._reservation.reduce_to(size)
        self._reservation.raise_to(size)

    def _wanted(self) -> int:
        """Elements of the samples that are computed together next."""
        # A range begins between blocks, so blocks are counted from its first sample as from that of all.
        return min(self._stride, self._augmentation.end - self._first_sample) * self._sample_size

    def _computed(self) -> list[SampleMixes]:
        """Compute the samples that are there."""
        elements, first = self._waiting[: self._filled], self._first_sample
        self._check_values(elements)
        numbers = np.empty(elements.size)
        widen_into(elements, numbers)
        samples = numbers.reshape(-1, *self._augmentation.sample_shape)
        mixes = self._transformed(samples, first)
        begin = first * self._sample_size
        out = self._results.destination(begin, begin + elements.size)
        round_into(numbers, out)
        self._results.deliver(begin, out)
        self._first_sample += len(samples)
        self._filled = 0
        return mixes

    def _transformed(self, samples: Float64Array, first: int) -> list[SampleMixes]:
        mixes = []
        for key, transformation in zip(self._keys, self._augmentation.transformations, strict=True):
            go_on()
            draws = Draws.of(key, first, len(samples))
            if isinstance(transformation, OwnTransformation):
                transformation.apply(samples, draws)
            elif isinstance(transformation, Mixing):
                others = partners(key, first // transformation.block, len(samples))
                shares = transformation.apply(samples, others, draws)
                mixes.append(_mixes_of(first, others, shares))
        return mixes

    def _check_values(self, elements: ElementArray) -> None:
        if self._augmentation.propagate_non_finite:
            return
        finite = are_finite(elements, np.empty(elements.size, np.bool_))
        if not finite.all():
            at = int(np.argmin(finite))
            element = self._first_sample * self._sample_size + at
            raise ValueNotFinite(
                f"must be finite, got {elements[at]!s} at element {element}",
                field="parameters",
                segment=SAMPLES,
                element=element,
            )


def _mixes_of(first: int, others: npt.NDArray[np.int64], shares: Float64Array) -> SampleMixes:
    return SampleMixes(first, tuple((others + first).tolist()), tuple(shares.tolist()))
