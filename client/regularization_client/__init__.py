"""A thin client of the regularization service: penalty, gradient and proximal step of regularizers.

The regularizers are the schema's own messages: every message of ``regularizers.proto``, ``L1Norm`` and all
the others, is a name of this package, and so is every message of ``plan.proto``.
"""

from typing import TYPE_CHECKING

from regularization.v1 import plan_pb2, regularizers_pb2

from ._client import Client
from ._config import CallOptions, Figure, Gather, Retry, RoundingMode, Tls
from ._conversions import elastic_net_from_mix, elastic_net_from_sklearn
from ._dropout import dropout_mask
from ._errors import (
    ArgumentError,
    AuthenticationError,
    DataTypeError,
    DeadlineExceededError,
    EmbeddedServerError,
    GradientUndefinedError,
    InternalError,
    InvalidRequestError,
    PartFailedError,
    ProtocolError,
    RegularizationError,
    ResourceExhaustedError,
    SharedMemoryError,
    TlsError,
    TruncatedStreamError,
    UnavailableError,
    UnimplementedError,
)
from ._exact import ExactSum
from ._fixed_point import from_fixed_point, to_fixed_point
from ._joint import Joint
from ._modified import Modified
from ._part import Part
from ._planned import Planned, load_plan
from ._results import (
    CombinedFigures,
    Figures,
    GradientResult,
    PenaltyResult,
    ProximalStepResult,
    SegmentFigures,
    combine,
)
from ._transport.shared_memory import Shared

if TYPE_CHECKING:
    from regularization.v1.plan_pb2 import *  # noqa: F403 - every message, as done below
    from regularization.v1.regularizers_pb2 import *  # noqa: F403 - likewise

_MESSAGES = {
    name: getattr(file, name)
    for file in (regularizers_pb2, plan_pb2)
    for name in file.DESCRIPTOR.message_types_by_name
}
# A regularizer that is added to the schema is added here by that alone.
globals().update(_MESSAGES)

__all__ = [
    "ArgumentError",
    "AuthenticationError",
    "CallOptions",
    "Client",
    "CombinedFigures",
    "DataTypeError",
    "DeadlineExceededError",
    "EmbeddedServerError",
    "ExactSum",
    "Figure",
    "Figures",
    "Gather",
    "GradientResult",
    "GradientUndefinedError",
    "InternalError",
    "InvalidRequestError",
    "Joint",
    "Modified",
    "Part",
    "PartFailedError",
    "PenaltyResult",
    "Planned",
    "ProtocolError",
    "ProximalStepResult",
    "RegularizationError",
    "ResourceExhaustedError",
    "Retry",
    "RoundingMode",
    "SegmentFigures",
    "Shared",
    "SharedMemoryError",
    "Tls",
    "TlsError",
    "TruncatedStreamError",
    "UnavailableError",
    "UnimplementedError",
    "combine",
    "dropout_mask",
    "elastic_net_from_mix",
    "elastic_net_from_sklearn",
    "from_fixed_point",
    "load_plan",
    "to_fixed_point",
]
__all__ += list(_MESSAGES)
