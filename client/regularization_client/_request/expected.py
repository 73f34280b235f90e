"""What the summary of an answer must say, by what was asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from regularization.v1 import summary_pb2

from .._errors import ProtocolError, TruncatedStreamError


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a summary before it comes."""

    sizes: Mapping[str, int]
    """How many elements each segment of the whole layout has, by name and in order."""

    begin: int
    """Index of the first element that the call carries."""

    end: int
    """One past the last."""

    figures: Collection[str]
    """Names of the figures that were asked for."""

    by_segment: bool = True
    """Whether those of each segment were."""

    def check(self, summary: summary_pb2.Summary | None) -> summary_pb2.Summary:
        """Return the summary, if it is one of this call. Sums are checked where they are taken out of it.

        Raises:
            TruncatedStreamError: If there is none.
            ProtocolError: If it is of other elements or segments, or has figures that cannot be.
        """
        if summary is None:
            raise TruncatedStreamError("the answer has no summary")
        self._check_figures(summary.total, self.end - self.begin, "total")
        if self.begin == self.end:
            # Which segments an empty range touches, the contract leaves open.
            return summary
        due = list(self._segments()) if self.by_segment else []
        if len(summary.segments) != len(due):
            raise ProtocolError(f"the summary has {len(summary.segments)} segments, where {len(due)} are due")
        for entry, (name, elements) in zip(summary.segments, due, strict=True):
            if entry.name != name:
                raise ProtocolError(f"the summary has segment {entry.name!r}, where {name!r} is due")
            self._check_figures(entry.figures, elements, name)
        return summary

    def _segments(self) -> Iterator[tuple[str, int]]:
        """Yield name and number of elements of each segment that the call touches."""
        begin, first, last = 0, self.begin, self.end
        if first == 0 and last == sum(self.sizes.values()):
            yield from self.sizes.items()
            return
        for name, size in self.sizes.items():
            end = begin + size
            inside = min(end, last) - max(begin, first)
            if inside > 0 or (size == 0 and inside == 0):
                yield name, inside
            begin = end

    def _check_figures(self, figures: summary_pb2.Figures, elements: int, place: str) -> None:
        if figures.elements != elements:
            raise ProtocolError(
                f"the summary is of {figures.elements} elements ({place}), where {elements} were sent"
            )
        if not all(map(figures.HasField, self.figures)):  # type: ignore[arg-type] # the schema's names
            name = next(name for name in self.figures if not figures.HasField(name))  # type: ignore[arg-type]
            raise ProtocolError(f"the summary has no {name} ({place}), which was asked for")
        if not 0 <= figures.nonzeros <= elements:
            raise ProtocolError(f"the summary counts {figures.nonzeros} nonzeros ({place}) of {elements}")
