"""The header of a call, as bytes.

A trainer asks the same of arrays of the same shapes at every step. So what the header says of the layout,
which is most of it, is kept as bytes for the questions asked last. A question is known by values: messages of
the schema can change, so they count by their bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from google.protobuf.message import Message
from regularization.v1 import layout_pb2, shared_memory_pb2, summary_pb2
from regularization.v1 import regularization_service_pb2 as service

from .._config import CallOptions
from .._errors import ArgumentError
from .._messages import schema_type, wrap
from .._modified import Modified, without_modifiers
from .job import GRADIENT, PENALTY, PROXIMAL_STEP
from .names import resolve

Regularizer: TypeAlias = Message | Modified | None
"""A regularizer's message, with modifiers or without; None where there is none."""

Regularizers: TypeAlias = Regularizer | Mapping[str, Regularizer]
"""A regularizer for all; or by name or pattern."""

StepSizes: TypeAlias = float | Mapping[str, float]
"""A step size for all, or by name or pattern."""

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Shapes by name of segment, in the order of the layout."""

_HEADERS: dict[
    str, type[service.PenaltyHeader] | type[service.GradientHeader] | type[service.ProximalStepHeader]
] = {
    PENALTY: service.PenaltyHeader,
    GRADIENT: service.GradientHeader,
    PROXIMAL_STEP: service.ProximalStepHeader,
}
_POLICIES = {
    "reject": service.NON_FINITE_POLICY_REJECT,
    "propagate": service.NON_FINITE_POLICY_PROPAGATE,
}
_ROUNDING_MODES = {
    "nearest_even": layout_pb2.ROUNDING_MODE_NEAREST_EVEN,
    "stochastic": layout_pb2.ROUNDING_MODE_STOCHASTIC,
}
_FIGURES = tuple(summary_pb2.SummaryFigures.DESCRIPTOR.fields_by_name)
_OF_STEPS = "squared_distance"
_LAYOUTS_KEPT = 32


@dataclass(frozen=True, slots=True)
class Segment:
    """A named, shaped stretch of the vector, and what it is regularized with."""

    name: str
    shape: tuple[int, ...]
    regularizer: Regularizer = None
    step_size: float | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What a call's header says, apart from which elements it is for and where they lie."""

    method: str
    """Name of the method in the service."""

    layout: bytes
    """See `layout_bytes`."""

    options: CallOptions
    """Of these, those that concern the server."""

    step_size: float | None = None
    """The step size of every segment that has none of its own."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that the summary is to have."""
        known = tuple(name for name in _FIGURES if name != _OF_STEPS or self.method == PROXIMAL_STEP)
        chosen = self.options.get("figures")
        return known if chosen is None else tuple(name for name in known if name in chosen)

    def to_bytes(
        self,
        element_range: tuple[int, int] | None = None,
        shared: shared_memory_pb2.SharedTensor | None = None,
    ) -> bytes:
        """Return the header's bytes.

        Args:
            element_range: Begin and end of the elements that the call carries; None for all.
            shared: Where they lie; None where they come in chunks.

        Raises:
            ArgumentError: If an option is none.
        """
        header = _HEADERS[self.method](shared=shared)
        if element_range is not None:
            header.element_range.begin, header.element_range.end = element_range
            header.element_range.SetInParent()
        figures = self.options.get("figures")
        if figures is not None:
            _choose(header.figures, figures)
        policy = self.options.get("non_finite", "reject")
        if policy not in _POLICIES:
            raise ArgumentError(f"non_finite must be one of {', '.join(_POLICIES)}, got {policy!r}")
        header.non_finite_policy = _POLICIES[policy]
        if not isinstance(header, service.PenaltyHeader):
            self._choose_rounding(header.rounding)
            header.accept_sparse_results = shared is None and self.options.get("sparse", False)
        if isinstance(header, service.ProximalStepHeader) and self.step_size is not None:
            header.step_size = self.step_size
        # The layout is the first field of every header: these are the bytes of the whole.
        return self.layout + header.SerializeToString()

    def _choose_rounding(self, message: layout_pb2.Rounding) -> None:
        mode, seed = self.options.get("rounding", "nearest_even"), self.options.get("seed")
        if mode not in _ROUNDING_MODES:
            raise ArgumentError(f"rounding must be one of {', '.join(_ROUNDING_MODES)}, got {mode!r}")
        if mode == "nearest_even":
            if seed is not None:
                raise ArgumentError(f'seed is for rounding="stochastic" alone, got {seed}')
            return
        if seed is None:
            raise ArgumentError('rounding="stochastic" needs a seed, and another for every step')
        if not 0 <= index(seed) < 1 << 64:
            raise ArgumentError(f"seed must be from 0 to 2^64 - 1, got {seed}")
        message.mode, message.seed = _ROUNDING_MODES[mode], index(seed)


def layout_bytes(data_type: np.dtype[Any], segments: Collection[Segment]) -> bytes:
    """Return the bytes of a header that has nothing but a layout: the same for every method."""
    layout = layout_pb2.ParameterLayout(data_type=schema_type(data_type))
    for segment in segments:
        entry = layout.segments.add(name=segment.name, shape=segment.shape, step_size=segment.step_size)
        _regularize(entry, segment.regularizer)
    return service.PenaltyHeader(layout=layout).SerializeToString()


def known_layout_bytes(
    data_type: np.dtype[Any], shapes: Shapes, regularizer: Regularizers, step_size: StepSizes | None
) -> bytes:
    """Return the bytes of a layout, at once where they were asked for lately.

    Args:
        data_type: The elements'.
        shapes: By name, in order.
        regularizer: As callers write it.
        step_size: Likewise; one for all is none of the layout's.

    Raises:
        ArgumentError: If they do not fit together.
    """
    rules = (
        tuple((name, _frozen(each)) for name, each in regularizer.items())
        if isinstance(regularizer, Mapping)
        else _frozen(regularizer)
    )
    # Numbers count by their text: 0.0 is equal to -0.0, and has other bits.
    steps = (
        tuple((name, repr(float(size))) for name, size in step_size.items())
        if isinstance(step_size, Mapping)
        else None
    )
    return _layout_bytes(data_type, tuple(shapes.items()), rules, steps)


def regularizers_by_name(regularizer: Regularizers, names: Collection[str]) -> dict[str, Regularizer]:
    """Return the regularizer of each name.

    Raises:
        ArgumentError: If they do not fit together.
    """
    if isinstance(regularizer, Mapping):
        return resolve(regularizer, names, "regularizer")
    return dict.fromkeys(names, regularizer)


class _Frozen(NamedTuple):
    """A message as a value."""

    kind: type[Message]
    content: bytes


class _FrozenModified(NamedTuple):
    """A regularizer with its modifiers as a value."""

    regularizer: _Frozen | None
    box: _Frozen | None
    smoothing: str | None
    """The number's text, as of step sizes."""


_Rule: TypeAlias = _Frozen | _FrozenModified | None
_Rules: TypeAlias = tuple[tuple[str, _Rule], ...]


@lru_cache(_LAYOUTS_KEPT)
def _layout_bytes(
    data_type: np.dtype[Any],
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    regularizer: _Rules | _Rule,
    step_sizes: tuple[tuple[str, str], ...] | None,
) -> bytes:
    names = [name for name, _ in shapes]
    if regularizer is None or isinstance(regularizer, _Frozen | _FrozenModified):
        regularizers = regularizers_by_name(_thawed(regularizer), names)
    else:
        regularizers = regularizers_by_name({name: _thawed(each) for name, each in regularizer}, names)
    own_steps: dict[str, float] = {}
    if step_sizes is not None:
        own_steps = resolve({name: float(size) for name, size in step_sizes}, names, "step_size")
    segments = [Segment(name, shape, regularizers[name], own_steps.get(name)) for name, shape in shapes]
    return layout_bytes(data_type, segments)


def _regularize(entry: layout_pb2.Segment, regularizer: Regularizer) -> None:
    choice = wrap(without_modifiers(regularizer))
    if choice is not None:
        entry.regularizer.CopyFrom(choice)
    if not isinstance(regularizer, Modified):
        return
    if regularizer.box is not None:
        entry.box.CopyFrom(regularizer.box)
    if regularizer.smoothing is not None:
        entry.smoothing = regularizer.smoothing


def _frozen(regularizer: Regularizer) -> _Rule:
    if isinstance(regularizer, Modified):
        smoothing = None if regularizer.smoothing is None else repr(regularizer.smoothing)
        return _FrozenModified(
            _frozen_message(regularizer.regularizer), _frozen_message(regularizer.box), smoothing
        )
    return _frozen_message(regularizer)


def _frozen_message(message: Message | None) -> _Frozen | None:
    if message is None:
        return None
    if not isinstance(message, Message):
        wrap(message)  # which says what it must be
    return _Frozen(type(message), message.SerializeToString())


def _thawed(frozen: _Rule) -> Regularizer:
    if isinstance(frozen, _FrozenModified):
        smoothing = None if frozen.smoothing is None else float(frozen.smoothing)
        box: Any = _thawed_message(frozen.box)
        return Modified(_thawed_message(frozen.regularizer), box, smoothing)
    return _thawed_message(frozen)


def _thawed_message(frozen: _Frozen | None) -> Message | None:
    return None if frozen is None else frozen.kind.FromString(frozen.content)


def _choose(message: summary_pb2.SummaryFigures, figures: Collection[str]) -> None:
    unknown = [name for name in figures if name not in _FIGURES]
    if isinstance(figures, str) or unknown:
        raise ArgumentError(f"figures must be a collection of {', '.join(_FIGURES)}, got {figures!r}")
    for name in _FIGURES:
        setattr(message, name, name in figures)
