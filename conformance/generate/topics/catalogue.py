"""What a server has: its regularizers by their names, and no plans."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.catalogue_pb2 import ParameterDescription, RegularizerDescription
from regularization.v1.regularizers_pb2 import Regularizer

from ..vector import Vector

TYPES = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_BOOL: "bool",
}
TEXTS = ("title", "penalty_formula", "gradient_formula", "proximal_step_formula", "source", "penalty_terms")
PROPERTIES = ("traits", "locality", "operands", "data_types")
MESSAGES = {kind.name: kind.message_type for kind in Regularizer.DESCRIPTOR.fields if kind.message_type}
UNSPECIFIED = [
    *(f"regularizers.{name}" for name in (*TEXTS, *PROPERTIES)),
    *(f"regularizers.parameters.{name}" for name in ("required", "description")),
]
"""Texts for people, and what a regularizer's comment does not say in the catalogue's words."""


def _described(kind: FieldDescriptor) -> RegularizerDescription:
    message = MESSAGES[kind.name]
    parameters = [
        ParameterDescription(
            name=field.name, type=field.message_type.name if field.message_type else TYPES[field.type]
        )
        for field in message.fields
    ]
    return RegularizerDescription(name=kind.name, message=message.name, parameters=parameters)


def vectors() -> Iterator[Vector]:
    """All of them."""
    kinds = sorted(Regularizer.DESCRIPTOR.fields, key=lambda kind: kind.name)
    catalogue = service.ListRegularizersResponse(regularizers=[_described(kind) for kind in kinds])
    yield Vector(
        "catalogue/regularizers",
        "Every regularizer of the schema is there, in the order of the names, with its fields.",
        "ListRegularizers",
        [service.ListRegularizersRequest()],
        [catalogue],
        more={"unspecified": UNSPECIFIED},
    )
    yield Vector(
        "catalogue/plans",
        "A server with its default settings holds no plans.",
        "ListPlans",
        [service.ListPlansRequest()],
        [service.ListPlansResponse()],
        more={"needs": ["holds no plans"]},
    )
