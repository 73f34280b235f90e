"""The methods that take elements, as rows of a table: all that differs between them is said here."""

from __future__ import annotations

from dataclasses import dataclass

from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2

Header = service.PenaltyHeader | service.GradientHeader | service.ProximalStepHeader | service.MeasureHeader
"""The message that begins a request."""

FIGURES = tuple(name for name in summary_pb2.SummaryFigures.DESCRIPTOR.fields_by_name if name != "segments")
"""Names of the figures that a summary may have."""

_WITHOUT_STEP = tuple(name for name in FIGURES if name != "squared_distance")


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the service."""

    name: str
    """Its name there."""

    header: type[Header]
    """What its requests begin with."""

    purpose: service.Method.ValueType
    """What the schema calls it, as that for which a vector is measured."""

    figures: tuple[str, ...]
    """Names of the figures that its summary may have."""

    has_results: bool
    """Whether its answer has elements; without, it is one message."""

    @property
    def rounds(self) -> bool:
        """Whether what it is for rounds results."""
        return self.purpose != service.METHOD_PENALTY

    @property
    def measured(self) -> tuple[str, ...]:
        """Fields of ``TensorChunk`` that a vector is measured with for it."""
        stepping = self.purpose == service.METHOD_PROXIMAL_STEP
        return ("parameters", "loss_gradients") if stepping else ("parameters",)

    def measuring(self) -> Method:
        """Return the method that measures a vector for this one."""
        return Method("Measure", service.MeasureHeader, self.purpose, self.figures, has_results=False)


PENALTY = Method("Penalty", service.PenaltyHeader, service.METHOD_PENALTY, _WITHOUT_STEP, has_results=False)
GRADIENT = Method(
    "Gradient", service.GradientHeader, service.METHOD_GRADIENT, _WITHOUT_STEP, has_results=True
)
PROXIMAL_STEP = Method(
    "ProximalStep", service.ProximalStepHeader, service.METHOD_PROXIMAL_STEP, FIGURES, has_results=True
)

METHODS = (PENALTY, GRADIENT, PROXIMAL_STEP)
"""Those whose answer has a summary."""
