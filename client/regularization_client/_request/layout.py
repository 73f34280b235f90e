"""The layout of the vector that a call is about: its segments, and what each is regularized with.

A trainer asks the same of arrays of the same shapes at every step. So the layouts that were asked for last
are kept. A question is known by values: messages of the schema can change, so they count by their bytes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message
from regularization.patterns import Patterns
from regularization.v1 import layout_pb2
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.plan_pb2 import Plan

from .._errors import ArgumentError
from .._joint import Joint
from .._messages import schema_type, wrap
from .._modified import Modified, without_modifiers
from .._planned import Planned, holds_at
from .names import resolve

Regularizer: TypeAlias = Message | Modified | Joint | None
"""A regularizer's message, with modifiers or without, or shared; None where there is none."""

Unplanned: TypeAlias = Regularizer | Mapping[str, Regularizer]
"""A regularizer for all; or by name or pattern."""

Regularizers: TypeAlias = Unplanned | Planned
"""The same; or by a plan."""

StepSizes: TypeAlias = float | Mapping[str, float]
"""A step size for all, or by name or pattern."""

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Shapes by name of segment, in the order of the layout."""

_LAYOUTS_KEPT = 32


@dataclass(frozen=True, slots=True)
class Segment:
    """A named, shaped stretch of the vector, and what it is regularized with."""

    name: str
    shape: tuple[int, ...]
    regularizer: Regularizer = None
    step_size: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The elements from the first to the last of segments that share a regularizer."""

    begin: int
    end: int
    names: frozenset[str]
    """The segments' names."""

    def has_inside(self, position: int) -> bool:
        """Whether some of the elements come before a position, and some after it."""
        return self.begin < position < self.end

    def with_segment(self, name: str, end: int) -> Span:
        """Return the span up to the end of another segment."""
        return Span(self.begin, end, self.names | {name})


@dataclass(frozen=True)
class Layout:
    """The segments of a vector, and what each is regularized with, as a header says it."""

    content: bytes
    """The bytes of a header that has nothing but this: the same for every method."""

    sizes: Mapping[str, int]
    """Number of elements of each segment by its name, in order."""

    regularizers: Mapping[str, str | None]
    """Name of each segment's regularizer; None where it has none."""

    spans: tuple[Span, ...] = ()
    """Where segments lie that share a regularizer, and so go together."""

    @cached_property
    def size(self) -> int:
        """Number of elements of the vector."""
        return sum(self.sizes.values())

    @classmethod
    def of(cls, data_type: np.dtype[Any], segments: Collection[Segment]) -> Layout:
        """Return the layout that consists of these segments.

        Args:
            data_type: The elements' data type, little-endian.
            segments: In their order, each name once.

        Raises:
            ArgumentError: If a regularizer is not one of the schema's.
        """
        message = layout_pb2.ParameterLayout(data_type=schema_type(data_type))
        regularizers: dict[str, str | None] = {}
        joints = _Joints(message)
        begin = 0
        for segment in segments:
            entry = message.segments.add(name=segment.name, shape=segment.shape)
            end = begin + math.prod(segment.shape)
            if isinstance(segment.regularizer, Joint):
                shared = joints.share(entry, segment, Span(begin, end, frozenset({segment.name})))
                regularizers[segment.name] = shared.regularizer.WhichOneof("kind")
            else:
                _regularize(entry, segment.regularizer, segment.step_size)
                regularizers[segment.name] = entry.regularizer.WhichOneof("kind")
            begin = end
        content = service.PenaltyHeader(layout=message).SerializeToString()
        sizes = {segment.name: math.prod(segment.shape) for segment in segments}
        return cls(content, sizes, regularizers, joints.spans)

    @classmethod
    def planned(cls, data_type: np.dtype[Any], shapes: Shapes, planned: Planned) -> Layout:
        """Return the layout that a plan makes of segments; which rule is whose is known here, too.

        Args:
            data_type: The elements' data type, little-endian.
            shapes: The segments' shapes.
            planned: The plan, and the step of training.
        """
        segments = [layout_pb2.Segment(name=name, shape=shape) for name, shape in shapes.items()]
        message = layout_pb2.ParameterLayout(data_type=schema_type(data_type), segments=segments)
        message.planned.step = planned.step
        if planned.digest is not None:
            message.planned.digest = planned.digest
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        if isinstance(planned.plan, str):
            message.planned.name = planned.plan
            regularizers, spans = _unknown(sizes)
        else:
            message.planned.plan.CopyFrom(planned.plan)
            regularizers, spans = _ruled(sizes, planned.plan, planned.step)
        content = service.PenaltyHeader(layout=message).SerializeToString()
        return cls(content, sizes, regularizers, spans)


def layout_of(
    data_type: np.dtype[Any], shapes: Shapes, regularizer: Regularizers, step_size: StepSizes | None
) -> Layout:
    """Return the layout that a caller describes, at once where it was asked for lately.

    Args:
        data_type: The elements' data type, little-endian.
        shapes: The segments' shapes.
        regularizer: What they are regularized with.
        step_size: Their step sizes; one for all is not the layout's affair.

    Raises:
        ArgumentError: If these do not fit together.
    """
    if isinstance(regularizer, Planned):
        if isinstance(step_size, Mapping):
            raise ArgumentError("step_size must be one number beside a plan, whose rules may have their own")
        return Layout.planned(data_type, shapes, regularizer)
    key = _key(data_type, shapes, regularizer, step_size)
    return _answered(_Question(key, data_type, shapes, regularizer, step_size))


@dataclass(frozen=True, slots=True)
class _Question:
    """Which layout: equal to another where the key is."""

    key: tuple[object, ...]
    data_type: np.dtype[Any] = field(compare=False)
    shapes: Shapes = field(compare=False)
    regularizer: Unplanned = field(compare=False)
    step_size: StepSizes | None = field(compare=False)


@lru_cache(_LAYOUTS_KEPT)
def _answered(question: _Question) -> Layout:
    names = question.shapes.keys()
    regularizers: Mapping[str, Regularizer] = (
        resolve(question.regularizer, names, "regularizer")
        if isinstance(question.regularizer, Mapping)
        else dict.fromkeys(names, question.regularizer)
    )
    steps: Mapping[str, float] = (
        resolve(question.step_size, names, "step_size") if isinstance(question.step_size, Mapping) else {}
    )
    segments = [
        Segment(name, shape, regularizers[name], steps.get(name)) for name, shape in question.shapes.items()
    ]
    layout = Layout.of(question.data_type, segments)
    # What another thread has changed meanwhile must not be kept as the answer to the question before.
    if question.key != _key(question.data_type, question.shapes, question.regularizer, question.step_size):
        raise ArgumentError("regularizers and step sizes must not change while a call is made with them")
    return layout


def _key(
    data_type: np.dtype[Any],
    shapes: Shapes,
    regularizer: Unplanned,
    step_size: StepSizes | None,
) -> tuple[object, ...]:
    """Return the values that a question is known by."""
    rules = (
        (tuple((name, _value(each)) for name, each in regularizer.items()), _sharing(regularizer.values()))
        if isinstance(regularizer, Mapping)
        else _value(regularizer)
    )
    # Numbers count by their text: 0.0 is equal to -0.0, and has other bits.
    steps = (
        tuple((name, repr(float(size))) for name, size in step_size.items())
        if isinstance(step_size, Mapping)
        else None
    )
    return data_type, tuple(shapes.items()), rules, steps


def _value(regularizer: Regularizer) -> object:
    """Return a regularizer as a value."""
    if isinstance(regularizer, Joint):
        return Joint, _value(regularizer.regularizer)
    if isinstance(regularizer, Modified):
        inner, box = _value(regularizer.regularizer), _value(regularizer.box)
        return inner, box, None if regularizer.smoothing is None else repr(regularizer.smoothing)
    if regularizer is None:
        return None
    if not isinstance(regularizer, Message):
        wrap(regularizer)  # which says what it must be
    return type(regularizer), regularizer.SerializeToString()


def _sharing(regularizers: Iterable[Regularizer]) -> tuple[int, ...]:
    """Return which joint regularizers are one: of each the place of the first that is the same object."""
    places: dict[int, int] = {}
    joints = (each for each in regularizers if isinstance(each, Joint))
    return tuple(places.setdefault(id(each), place) for place, each in enumerate(joints))


_Known = tuple[dict[str, str | None], tuple[Span, ...]]
"""Names of regularizers by segment, and where those lie that share one."""


def _ruled(sizes: Mapping[str, int], plan: Plan, step: int) -> _Known:
    """Return what is known of segments by the rules of a plan."""
    patterns = Patterns(rule.pattern for rule in plan.rules)
    regularizers: dict[str, str | None] = dict.fromkeys(sizes)
    spans: dict[int, Span] = {}
    begin = 0
    for name, size in sizes.items():
        end, place = begin + size, patterns.first(name)
        if place is not None and holds_at(plan.rules[place], step):
            regularizers[name] = plan.rules[place].regularizer.WhichOneof("kind")
            if plan.rules[place].joint and size:
                span = spans.get(place, Span(begin, end, frozenset({name})))
                spans[place] = span.with_segment(name, end)
        begin = end
    return regularizers, tuple(spans.values())


def _unknown(sizes: Mapping[str, int]) -> _Known:
    """Return what is known of segments by a plan that the server holds: they may all belong together."""
    whole = Span(0, sum(sizes.values()), frozenset(sizes))
    return dict.fromkeys(sizes, ""), (whole,)


class _Joints:
    """The joint regularizers of a layout, as its segments come.

    Args:
        message: The layout, to which they are added; each is named after its first segment.
    """

    def __init__(self, message: layout_pb2.ParameterLayout) -> None:
        self._message = message
        self._entries: dict[int, layout_pb2.JointRegularizer] = {}
        self._firsts: dict[int, Segment] = {}
        self._spans: dict[int, Span] = {}

    @property
    def spans(self) -> tuple[Span, ...]:
        """Where the elements of each lie, of those that have any."""
        return tuple(self._spans.values())

    def share(self, entry: layout_pb2.Segment, segment: Segment, place: Span) -> layout_pb2.JointRegularizer:
        """Let a segment, whose elements lie at a place, share its regularizer.

        Raises:
            ArgumentError: If another segment that does has another step size.
        """
        assert isinstance(segment.regularizer, Joint)  # noqa: S101 - what this is for
        key = id(segment.regularizer)
        if key not in self._entries:
            self._firsts[key] = segment
            self._entries[key] = self._message.joints.add(
                name=segment.name,
                regularizer=wrap(segment.regularizer.regularizer),
                step_size=segment.step_size,
            )
        first = self._firsts[key]
        if segment.step_size != first.step_size:
            raise ArgumentError(
                f"step_size: arrays that share a regularizer must have the same, got {first.step_size} for "
                f"{first.name!r} and {segment.step_size} for {segment.name!r}",
                segment=segment.name,
            )
        entry.joint = self._entries[key].name
        if place.begin < place.end:
            self._spans[key] = self._spans.get(key, place).with_segment(segment.name, place.end)
        return self._entries[key]


def _regularize(entry: layout_pb2.Segment, regularizer: Regularizer, step_size: float | None) -> None:
    if step_size is not None:
        entry.step_size = step_size
    assert not isinstance(regularizer, Joint)  # noqa: S101 - these are shared
    choice = wrap(without_modifiers(regularizer))
    if choice is not None:
        entry.regularizer.CopyFrom(choice)
    if not isinstance(regularizer, Modified):
        return
    if regularizer.box is not None:
        entry.box.CopyFrom(regularizer.box)
    if regularizer.smoothing is not None:
        entry.smoothing = regularizer.smoothing
