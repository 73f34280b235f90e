"""What a summary says of a segment and of all of them, and how it is counted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..buffers import borrowed
from ..summation import BlockSum, ExactSum
from .methods import Method

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..arrays import Float64Array
    from ..prepared import Penalty
    from ..regularizer import Regularizer
    from .call import FigureChoice
    from .workspace import Workspace


class Figures(NamedTuple):
    """The figures of a set of elements; None where not asked for."""

    elements: int
    penalty: ExactSum | None
    nonzeros: int | None
    squared_distance: ExactSum | None

    @classmethod
    def combined(cls, parts: Iterable[Figures], choice: FigureChoice, method: Method) -> Figures:
        """The figures of disjoint sets of elements together, with the bits of one count."""
        parts = tuple(parts)
        if len(parts) == 1:
            return parts[0]
        elements, penalties, nonzeros, distances = zip(*parts, strict=True) if parts else ((),) * 4
        return cls(
            elements=sum(elements),
            penalty=_added(penalties) if choice.penalty else None,
            nonzeros=sum(filter(None, nonzeros)) if choice.nonzeros else None,
            squared_distance=(
                _added(distances) if choice.squared_distance and method is Method.PROXIMAL_STEP else None
            ),
        )


def _added(sums: Iterable[ExactSum | None]) -> ExactSum:
    return ExactSum.of(chain.from_iterable([part.expansion for part in sums if part is not None]))


class SegmentFigures(NamedTuple):
    """The figures of one segment's elements, as far as the call had them."""

    name: str
    figures: Figures
    convex: bool | None = None
    """Whether its regularizer is a convex function; None where that is a map."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a call."""

    total: Figures
    segments: tuple[SegmentFigures, ...]

    @classmethod
    def combined(cls, parts: Iterable[Summary], choice: FigureChoice, method: Method) -> Summary:
        """The summary of several element ranges together, with the bits of one."""
        parts = list(parts)
        if not choice.segments:
            return cls(Figures.combined([part.total for part in parts], choice, method), ())
        by_name: dict[str, list[SegmentFigures]] = {}
        for part in parts:
            for segment in part.segments:
                by_name.setdefault(segment.name, []).append(segment)
        segments = tuple(
            SegmentFigures(
                name, Figures.combined([each.figures for each in same], choice, method), same[0].convex
            )
            for name, same in by_name.items()
        )
        return cls(Figures.combined([segment.figures for segment in segments], choice, method), segments)


class Tally:
    """The running figures of one segment.

    Args:
        choice: Which are wanted.
        method: The call's.
        regularizer: The segment's; None where that is exempt.
    """

    of_neighbours = False
    """Whether it is for several segments, so that compiled loops count for each."""

    def __init__(self, choice: FigureChoice, method: Method, regularizer: Regularizer | None) -> None:
        self._choice = choice
        self._method = method
        self._has_penalty = choice.penalty and regularizer is not None and not regularizer.traits.map
        self._elements = 0
        self._nonzeros = 0
        self._penalty = BlockSum(1.0 if regularizer is None else regularizer.scale)
        self._squared_distance = BlockSum()

    @property
    def reads_results(self) -> bool:
        """Whether any figure needs the elements themselves."""
        return self._choice.penalty or self._choice.nonzeros or self._choice.squared_distance

    def running(self, position: int, size: int) -> tuple[int, tuple[npt.NDArray[Any], ...]]:
        """What a compiled loop counts in, for these elements of the segment.

        Returns:
            The position of the first, and the lanes of penalty and squared distance.
        """
        lanes = self._penalty.running(position, size), self._squared_distance.running(position, size)
        return position, lanes

    def take_over(
        self, position: int, size: int, nonzeros: int, running: tuple[npt.NDArray[Any], ...]
    ) -> None:
        """Take over what was counted elsewhere, in what ``running`` gave."""
        self._elements += size
        self._nonzeros += nonzeros
        self._penalty.take_over(position, running[0])
        self._squared_distance.take_over(position, running[1])

    def count(self, parameters: Float64Array, position: int, workspace: Workspace) -> None:
        """Count elements from ``position`` of the segment on, and those of them that are not 0."""
        self._elements += parameters.size
        if self._choice.nonzeros:
            nonzero = workspace.array("nonzero", parameters.size, np.bool_)
            self._count_nonzeros(np.not_equal(parameters, 0, out=nonzero), position)

    def add_penalty(self, penalty: Penalty, x: Float64Array, position: int) -> None:
        """Add the penalty of the elements from ``position`` of the segment on."""
        if self._has_penalty:
            penalty.add_terms(x, self._penalty, position)

    def add_known(self, numbers: tuple[float, ...]) -> None:
        """Add to the penalty what is known of it beforehand, as it is."""
        if self._has_penalty:
            self._penalty.add_exactly(numbers)

    def add_distance(self, new: Float64Array, old: Float64Array, position: int) -> None:
        """Add (new − old)² of the elements from ``position`` of the segment on."""
        if self._choice.squared_distance:
            with borrowed(new.size) as memory:
                moved = np.subtract(new, old, out=memory[: new.size])
                np.multiply(moved, moved, out=moved)
                self._squared_distance.add(moved, position)

    def figures(self) -> Figures:
        """What was counted."""
        choice = self._choice
        return Figures(
            elements=self._elements,
            penalty=ExactSum.of(self._penalty.partials()) if choice.penalty else None,
            nonzeros=self._nonzeros if choice.nonzeros else None,
            squared_distance=ExactSum.of(self._squared_distance.partials()) if self._has_distance else None,
        )

    @property
    def _has_distance(self) -> bool:
        return self._choice.squared_distance and self._method is Method.PROXIMAL_STEP

    def _count_nonzeros(self, nonzero: npt.NDArray[np.bool_], position: int) -> None:
        del position
        self._nonzeros += int(np.count_nonzero(nonzero))
