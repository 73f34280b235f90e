"""The answer to a call, by the schema's comments: segments, joint regularizers, ranges, figures, chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import ROUNDING_MODE_STOCHASTIC, ParameterLayout, Segment
from regularization.v1.summary_pb2 import Figures, SegmentSummary, Summary
from regularization.v1.tensor_pb2 import ResultChunk, TensorChunk

from .numbers import BY_NUMBER, DataType
from .segments import Operands, Part, Regularized, Rounding, in_type
from .sums import Sum, Terms, exact_sum

REQUESTS: dict[str, Any] = {
    "Penalty": (service.PenaltyRequest, service.PenaltyHeader, service.PenaltyResponse),
    "Gradient": (service.GradientRequest, service.GradientHeader, service.GradientResponse),
    "ProximalStep": (service.ProximalStepRequest, service.ProximalStepHeader, service.ProximalStepResponse),
}
"""Messages of the methods that read the vector."""
SPARSE_ROOM = 16
"""Bytes by which a sparse chunk of a vector here is smaller than a dense one, or larger: what tags take."""


@dataclass
class Figured:
    """The figures of a segment, before they are a message."""

    elements: int
    penalty: Sum
    nonzeros: int
    distance: Sum

    def __add__(self, other: Figured) -> Figured:
        """Both together."""
        return Figured(
            self.elements + other.elements,
            self.penalty + other.penalty,
            self.nonzeros + other.nonzeros,
            self.distance + other.distance,
        )


@dataclass
class Answer:
    """What a call comes to.

    Attributes:
        values: Results of all elements of the range; None for Penalty.
        summary: The summary.
        value_error: What values may be off by, of the largest.
        sum_error: What sums may be off by, relatively.
    """

    values: list[float] | None
    summary: Summary
    value_error: float
    sum_error: float


@dataclass(frozen=True)
class Call:
    """A call of one of the three methods.

    Attributes:
        method: Its name.
        header: Its header's message.
        operands: Elements and operands of the range.
        resolved: The layout that a planned one comes to; None without a plan.
    """

    method: str
    header: Any
    operands: Operands
    resolved: ParameterLayout | None = None

    @property
    def layout(self) -> ParameterLayout:
        """The layout with regularizers."""
        return self.resolved or self.header.layout

    @property
    def data_type(self) -> DataType:
        """The elements' type."""
        return BY_NUMBER[self.header.layout.data_type]

    @property
    def begin(self) -> int:
        """Index of the first element."""
        return int(self.header.element_range.begin)

    def _bounds(self) -> list[tuple[Segment, int, int]]:
        bounds: list[tuple[Segment, int, int]] = []
        end = 0
        for segment in self.layout.segments:
            begin, end = end, end + math.prod(segment.shape)
            bounds.append((segment, begin, end))
        return bounds

    def _rounding(self, first: int) -> Rounding:
        random = self.method != "Penalty" and self.header.rounding.mode == ROUNDING_MODE_STOCHASTIC
        return Rounding(self.data_type, self.header.rounding.seed if random else None, first)

    def _part(self, regularized: Regularized, step_size: float, first: int) -> Part:
        if self.method == "Penalty":
            return regularized.part(None, regularized.operands.parameters, 0.0)
        if self.method == "Gradient":
            return regularized.gradient(self._rounding(first))
        return regularized.step(step_size, self._rounding(first))

    def _alone(self, segment: Segment, begin: int, end: int) -> Part:
        last = self.begin + len(self.operands.parameters)
        low, high = max(begin, self.begin), min(end, last)
        operands = self.operands[low - self.begin : high - self.begin]
        shape = tuple(segment.shape) if (low, high) == (begin, end) else (high - low,)
        regularized = Regularized(in_type(segment, self.data_type), shape, operands, low - begin)
        step_size = segment.step_size if segment.HasField("step_size") else self._step_size
        return self._part(regularized, step_size, low)

    @property
    def _step_size(self) -> float:
        return float(self.header.step_size) if self.method == "ProximalStep" else 0.0

    def _together(self, name: str, bounds: list[tuple[Segment, int, int]]) -> list[Part]:
        """The parts of the segments that share a joint regularizer: the first has the penalty."""
        (joint,) = (each for each in self.layout.joints if each.name == name)
        own = [(begin, end) for _, begin, end in bounds]
        lists: dict[str, Any] = {
            key: None if values is None else [v for begin, end in own for v in values[begin:end]]
            for key, values in vars(self.operands).items()
        }
        segment = Segment(regularizer=joint.regularizer, keeps_zeros=bounds[0][0].keeps_zeros)
        regularized = Regularized(segment, (sum(end - begin for begin, end in own),), Operands(**lists))
        step_size = joint.step_size if joint.HasField("step_size") else self._step_size
        whole = self._part(regularized, step_size, own[0][0])
        parts, at = [], 0
        for index, (begin, end) in enumerate(own):
            values = None if whole.values is None else whole.values[at : at + end - begin]
            at += end - begin
            terms = [] if index else whole.terms
            parts.append(Part(values, terms, whole.convex, whole.value_error, whole.sum_error))
        return parts

    def answer(self) -> Answer:
        """The answer."""
        last = self.begin + len(self.operands.parameters)
        carried = [
            (segment, begin, end)
            for segment, begin, end in self._bounds()
            if max(begin, self.begin) < min(end, last) or (begin == end and self.begin <= begin <= last)
        ]
        joint: dict[str, list[Part]] = {}
        figures: list[tuple[Segment, Part, Figured]] = []
        for segment, begin, end in carried:
            if segment.HasField("joint"):
                name = segment.joint
                if name not in joint:
                    joint[name] = self._together(name, [e for e in carried if e[0].joint == name])
                part = joint[name].pop(0)
            else:
                part = self._alone(segment, begin, end)
            low, high = max(begin, self.begin), min(end, last)
            theta = self.operands.parameters[low - self.begin : high - self.begin]
            figures.append((segment, part, self._figured(part, theta, low - begin)))
        parts = [part for _, part, _ in figures]
        values = None if self.method == "Penalty" else [v for part in parts for v in part.values or []]
        errors = (
            max((part.value_error for part in parts), default=0.0),
            max((part.sum_error for part in parts), default=0.0),
        )
        return Answer(values, self._summary(figures), *errors)

    def _figured(self, part: Part, theta: list[float], first: int) -> Figured:
        stepped = self.method == "ProximalStep"
        point = part.values if stepped and part.values is not None else theta
        squares = [(y - x) * (y - x) for y, x in zip(point, theta, strict=True)]
        distance = exact_sum([Terms(1.0, squares, first)]) if stepped else Sum()
        return Figured(len(theta), exact_sum(part.terms), sum(each != 0 for each in point), distance)

    def _summary(self, figures: list[tuple[Segment, Part, Figured]]) -> Summary:
        total = Figured(0, Sum(), 0, Sum())
        for _, _, figured in figures:
            total += figured
        summary = Summary(total=self._figures(total))
        if not self._asked("segments"):
            return summary
        for segment, part, figured in figures:
            entry = SegmentSummary(name=segment.name, figures=self._figures(figured))
            if part.convex is not None:
                entry.convex = part.convex
            summary.segments.append(entry)
        return summary

    def _asked(self, figure: str) -> bool:
        figures = self.header.figures
        return bool(getattr(figures, figure)) if figures.HasField(figure) else True

    def _figures(self, of: Figured) -> Figures:
        figures = Figures(elements=of.elements)
        if self._asked("penalty"):
            figures.penalty.CopyFrom(of.penalty.message)
        if self._asked("nonzeros"):
            figures.nonzeros = of.nonzeros
        if self._asked("squared_distance") and self.method == "ProximalStep":
            figures.squared_distance.CopyFrom(of.distance.message)
        return figures

    def requests(self, cuts: list[int] | None = None, *, header_alone: bool = False) -> list[Any]:
        """The request messages, cut at these places of the range: one chunk without any."""
        request = REQUESTS[self.method][0]
        count = len(self.operands.parameters)
        ends = [0, *(cuts or []), count]
        chunks = [self._chunk(begin, end) for begin, end in pairwise(ends)] if count or cuts else []
        messages = [request(chunk=chunk) for chunk in chunks]
        if header_alone or not messages:
            messages.insert(0, request())
        messages[0].header.CopyFrom(self.header)
        return messages

    def _chunk(self, begin: int, end: int) -> TensorChunk:
        encoded = {
            name: self.data_type.encode(values[begin:end])
            for name, values in vars(self.operands).items()
            if values is not None
        }
        return TensorChunk(element_offset=self.begin + begin, **encoded)

    def responses(self, answer: Answer, cuts: list[int] | None = None) -> list[Any]:
        """The response messages to those requests."""
        response = REQUESTS[self.method][2]
        if answer.values is None:
            return [response(summary=answer.summary)]
        ends = [0, *(cuts or []), len(answer.values)]
        messages = [
            response(chunk=self._result(begin, answer.values[begin:end]))
            for begin, end in pairwise(ends)
            if begin < end
        ] or [response()]
        messages[-1].summary.CopyFrom(answer.summary)
        return messages

    def _result(self, begin: int, values: list[float]) -> ResultChunk:
        dense = self.data_type.encode(values)
        offset = self.begin + begin
        if not self.header.accept_sparse_results:
            return ResultChunk(element_offset=offset, values=dense)
        marked = [value != 0 or math.copysign(1.0, value) < 0 for value in values]
        bitmap = bytearray(-(-len(values) // 8))
        for index, mark in enumerate(marked):
            bitmap[index // 8] |= mark << index % 8
        kept = self.data_type.encode([v for v, mark in zip(values, marked, strict=True) if mark])
        room = len(dense) - len(kept) - len(bitmap)
        if abs(room) < SPARSE_ROOM:
            raise ValueError("whether the sparse chunk is smaller depends on how tags are counted")
        if room < 0:
            return ResultChunk(element_offset=offset, values=dense)
        return ResultChunk(element_offset=offset, values=kept, nonzero_bitmap=bytes(bitmap))
