"""The header of a call."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from operator import index

from regularization.v1 import layout_pb2, shared_memory_pb2, summary_pb2
from regularization.v1 import regularization_service_pb2 as service

from .._config import CallOptions
from .._errors import ArgumentError
from .layout import Layout
from .method import FIGURES, Method
from .method import Header as HeaderMessage

_POLICIES = {
    "reject": service.NON_FINITE_POLICY_REJECT,
    "propagate": service.NON_FINITE_POLICY_PROPAGATE,
}
_ROUNDING_MODES = {
    "nearest_even": layout_pb2.ROUNDING_MODE_NEAREST_EVEN,
    "stochastic": layout_pb2.ROUNDING_MODE_STOCHASTIC,
}


_Measuring = service.MeasureHeader | service.CombineHeader


@dataclass(frozen=True, slots=True)
class Header:
    """What a call's header says, apart from which elements it is for and where they lie.

    Raises:
        ArgumentError: If an option has a wrong value, or options do not fit together.
    """

    method: Method
    layout: Layout

    options: CallOptions
    """Of these, those that concern the server."""

    step_size: float | None = None
    """The step size of every segment that has none of its own."""

    measurement: bytes = b""
    """What was measured of the whole vector, as the server gave it; empty where nothing was."""

    def __post_init__(self) -> None:
        policy = self.options.get("non_finite", "reject")
        if policy not in _POLICIES:
            raise ArgumentError(f"non_finite must be one of {', '.join(_POLICIES)}, got {policy!r}")
        figures = self.options.get("figures")
        if figures is not None:
            _check_figures(figures)
        if self.method.has_results:
            self._check_rounding()

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that the summary is to have."""
        chosen = self.options.get("figures")
        known = self.method.figures
        return known if chosen is None else tuple(name for name in known if name in chosen)

    @property
    def by_segment(self) -> bool:
        """Whether the summary is to have the figures of each segment."""
        return self.options.get("by_segment", True)

    def to_bytes(
        self,
        element_range: tuple[int, int] | None = None,
        shared: shared_memory_pb2.SharedTensor | None = None,
    ) -> bytes:
        """Return the header's bytes.

        Args:
            element_range: Begin and end of the elements that the call carries; None for all.
            shared: Where they lie; None where they come in chunks.
        """
        header = self.method.header(shared=shared)
        if element_range is not None:
            header.element_range.begin, header.element_range.end = element_range
            header.element_range.SetInParent()
        if isinstance(header, service.GradientHeader | service.ProximalStepHeader):
            header.accept_sparse_results = shared is None and self.options.get("sparse", False)
        return self._filled(header)

    def combining(self) -> bytes:
        """Return the bytes of the header with which statistics of parts are combined."""
        return self._filled(service.CombineHeader())

    def _filled(self, header: HeaderMessage | service.CombineHeader) -> bytes:
        """Return a header's bytes, once it has what is the same for all parts of the vector."""
        figures = self.options.get("figures")
        if figures is not None:
            header.figures.CopyFrom(summary_pb2.SummaryFigures(**{name: name in figures for name in FIGURES}))
        if not self.by_segment:
            header.figures.segments = False
        header.non_finite_policy = _POLICIES[self.options.get("non_finite", "reject")]
        at_random = self.method.rounds and self.options.get("rounding") == "stochastic"
        if at_random and not isinstance(header, service.PenaltyHeader):
            header.rounding.mode = _ROUNDING_MODES["stochastic"]
            header.rounding.seed = index(self.options["seed"])
        if isinstance(header, _Measuring):
            header.method = self.method.purpose
        if isinstance(header, service.ProximalStepHeader | _Measuring) and self.step_size is not None:
            header.step_size = self.step_size
        header.measurement = self.measurement
        # The layout is the first field of every header: these are the bytes of the whole.
        return self.layout.content + header.SerializeToString()

    def _check_rounding(self) -> None:
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


def _check_figures(figures: Collection[str]) -> None:
    if isinstance(figures, str) or any(name not in FIGURES for name in figures):
        raise ArgumentError(f"figures must be a collection of {', '.join(FIGURES)}, got {figures!r}")
