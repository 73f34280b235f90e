"""What a call returns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from regularization.v1 import summary_pb2

from ._exact import ExactSum

ArraysT_co = TypeVar("ArraysT_co", covariant=True)
"""An array, or a dict of them: what the caller's parameters were."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Figures:
    """The figures of a set of elements.

    Reading a figure that the call does not have, or was told to leave out, raises ``RuntimeError``.
    """

    elements: int
    """How many elements the figures are of."""

    sums: Mapping[str, ExactSum] = field(default_factory=dict)
    """The exact sums behind ``penalty`` and ``squared_distance``, under these names, where asked for."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """The number behind ``nonzeros``, under this name, where asked for."""

    @property
    def penalty(self) -> float:
        """The penalty, strength included: of the new parameters in a proximal step, else of those given."""
        return self.exact_penalty.value

    @property
    def exact_penalty(self) -> ExactSum:
        """The penalty as an exact sum."""
        return _asked_for(self.sums, "penalty")

    @property
    def nonzeros(self) -> int:
        """How many elements of the same parameters differ from 0."""
        return _asked_for(self.counts, "nonzeros")

    @property
    def squared_distance(self) -> float:
        """The sum of (new - old)² over the parameters, of a proximal step: the usual rule for stopping."""
        return self.exact_squared_distance.value

    @property
    def exact_squared_distance(self) -> ExactSum:
        """The squared distance as an exact sum."""
        return _asked_for(self.sums, "squared_distance")

    def __repr__(self) -> str:
        figures = {name: value.value for name, value in self.sums.items()} | dict(self.counts)
        shown = [f"elements={self.elements}", *(f"{name}={value!r}" for name, value in figures.items())]
        return f"{type(self).__name__}({', '.join([*shown, *self._also_shown()])})"

    def _also_shown(self) -> list[str]:
        return []


@dataclass(frozen=True, kw_only=True, repr=False)
class SegmentFigures(Figures):
    """The figures of one parameter array."""

    convex: bool | None = None
    """Whether its penalty is a convex function, so that its proximal step is the only minimizer; True without
    a regularizer. Where it is not, proximal gradient descent may end in a point that is not the best. None of
    a map, which has no penalty, and where the server does not say."""

    def _also_shown(self) -> list[str]:
        return [] if self.convex is None else [f"convex={self.convex}"]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _Whole(Figures):
    """The figures of all parameter arrays together, and of each."""

    segments: Mapping[str, SegmentFigures]
    """The same figures for each parameter array, by name; a single array's name is "parameters"."""

    @property
    def convex(self) -> bool | None:
        """Whether every array's penalty is convex; None where that is None of some, and False of none."""
        return _all_convex(self.segments.values())

    def _also_shown(self) -> list[str]:
        return [f"segments={len(self.segments)}"]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Summary(_Whole):
    """What the answer to a call says beside its elements: the base of results."""

    shared: bool = field(default=False, compare=False)
    """Whether all arrays of the call were in memory shared with the server, so that no elements were sent."""

    plan_digest: str | None = field(default=None, compare=False)
    """Which plan the server went by, in 64 hexadecimal digits; None without one, or where parts of the call
    went by different ones."""


@dataclass(frozen=True, kw_only=True, repr=False)
class PenaltyResult(Summary):
    """The answer to ``Client.penalty``."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class GradientResult(Summary, Generic[ArraysT_co]):
    """The answer to ``Client.gradient``."""

    gradient: ArraysT_co
    """The minimum-norm subgradient of the penalty, plus the loss gradient where one was given."""

    def _also_shown(self) -> list[str]:
        return [f"gradient={_outline(self.gradient)}", *super()._also_shown()]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ProximalStepResult(Summary, Generic[ArraysT_co]):
    """The answer to ``Client.proximal_step``."""

    parameters: ArraysT_co
    """The new parameters."""

    def _also_shown(self) -> list[str]:
        return [f"parameters={_outline(self.parameters)}", *super()._also_shown()]


@dataclass(frozen=True, kw_only=True, repr=False)
class CombinedFigures(_Whole):
    """Figures of several calls as one: what ``combine`` returns."""


def combine(
    results: Iterable[PenaltyResult | GradientResult[Any] | ProximalStepResult[Any] | CombinedFigures],
) -> CombinedFigures:
    """Add up the figures of calls that each had a part of the same parameters.

    The sums are exact, so the answer has the same bits in whatever order the parts come; which are those of
    a single call over everything where parts are cut as ``Part`` says. Figures that not all parts have are
    left out.

    Args:
        results: One result for each part, from ranks or streams of the same layout.

    Example:
        >>> from regularization_client import Client, L1Norm, combine
        >>> with Client() as client:
        ...     halves = [client.penalty(half, L1Norm(strength=0.5)) for half in ([0.75, -0.25], [0.5])]
        >>> combine(halves).penalty
        0.75
    """
    return _combined(list(results))


def _combined(parts: Sequence[_Whole]) -> CombinedFigures:
    by_name: dict[str, list[SegmentFigures]] = {}
    for part in parts:
        for name, figures in part.segments.items():
            by_name.setdefault(name, []).append(figures)
    segments = {
        name: SegmentFigures(**vars(_added(figures)), convex=_all_convex(figures))
        for name, figures in by_name.items()
    }
    return CombinedFigures(**vars(_added(parts)), segments=segments)


def summary_from(message: summary_pb2.Summary, *, shared: bool = False) -> Summary:
    """Return what a message of the schema states.

    Args:
        message: The message, checked against what was asked.
        shared: Whether no elements were sent.

    Raises:
        ProtocolError: If a sum of the total is none; those of segments are looked at when asked for.
    """
    return Summary(
        **vars(_figures_from(message.total)),
        segments=_Segments(message),
        shared=shared,
        plan_digest=message.plan_digest if message.HasField("plan_digest") else None,
    )


def combined_summary(parts: Sequence[Summary]) -> Summary:
    """Return the summary of a call by those of its parts, in their order."""
    digests = {part.plan_digest for part in parts}
    return Summary(
        **vars(_combined(parts)),
        shared=all(part.shared for part in parts),
        plan_digest=digests.pop() if len(digests) == 1 else None,
    )


def _figures_from(message: summary_pb2.Figures) -> Figures:
    sums = {
        name: ExactSum.from_message(getattr(message, name))
        for name in ("penalty", "squared_distance")
        if message.HasField(name)
    }
    counts = {"nonzeros": message.nonzeros} if message.HasField("nonzeros") else {}
    return Figures(elements=message.elements, sums=sums, counts=counts)


def _segment_figures_from(message: summary_pb2.SegmentSummary) -> SegmentFigures:
    figures = _figures_from(message.figures)
    convex = message.convex if message.HasField("convex") else None
    return SegmentFigures(**vars(figures), convex=convex)


class _Segments(Mapping[str, SegmentFigures]):
    """The figures of a summary's segments, taken out of it when first asked for: a model has many.

    That raises ProtocolError where a sum is none. Everything else of the summary is checked before.
    """

    def __init__(self, summary: summary_pb2.Summary) -> None:
        self._summary = summary

    def __getitem__(self, name: str) -> SegmentFigures:
        return self._figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._summary.segments)

    def __repr__(self) -> str:
        return repr(self._figures)

    @cached_property
    def _figures(self) -> dict[str, SegmentFigures]:
        return {entry.name: _segment_figures_from(entry) for entry in self._summary.segments}


def _all_convex(parts: Collection[SegmentFigures]) -> bool | None:
    known = {part.convex for part in parts}
    if False in known:
        return False
    return None if None in known else True


def _added(parts: Sequence[Figures]) -> Figures:
    return Figures(
        elements=sum(part.elements for part in parts),
        sums={
            name: ExactSum.combined(part.sums[name] for part in parts)
            for name in ("penalty", "squared_distance")
            if all(name in part.sums for part in parts)
        },
        counts={
            name: sum(part.counts[name] for part in parts)
            for name in ("nonzeros",)
            if all(name in part.counts for part in parts)
        },
    )


_FigureT = TypeVar("_FigureT", ExactSum, int)


def _asked_for(figures: Mapping[str, _FigureT], name: str) -> _FigureT:
    try:
        return figures[name]
    except KeyError:
        raise RuntimeError(
            f"{name} is not a figure of this call, or its figures option left it out"
        ) from None


def _outline(arrays: object) -> str:
    if isinstance(arrays, np.ndarray):
        return f"<{arrays.dtype} {arrays.shape}>"
    return f"<{len(arrays)} arrays>" if isinstance(arrays, Mapping) else "<nothing>"
