"""The list of regularizers that ``ListRegularizers`` gives, made from the schema and the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from regularization.v1 import catalogue_pb2, regularization_service_pb2, regularizers_pb2
from regularization_kernels.regularizer import REGULARIZERS, Locality

from .binding import required_fields
from .headers import DATA_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import Descriptor
    from regularization_kernels.regularizer import Regularizer

LOCALITIES = {
    Locality.ELEMENT: catalogue_pb2.LOCALITY_ELEMENT,
    Locality.GROUP: catalogue_pb2.LOCALITY_GROUP,
    Locality.SEGMENT: catalogue_pb2.LOCALITY_SEGMENT,
    Locality.REDUCTION: catalogue_pb2.LOCALITY_REDUCTION,
}


def catalogue() -> regularization_service_pb2.ListRegularizersResponse:
    """Every regularizer of this server, in the order of the names."""
    kinds: Mapping[str, Any] = regularizers_pb2.Regularizer.DESCRIPTOR.fields_by_name
    names = sorted(REGULARIZERS)
    return regularization_service_pb2.ListRegularizersResponse(
        regularizers=[_description(kinds[name].message_type, REGULARIZERS[name]) for name in names]
    )


def _description(message: Descriptor, cls: type[Regularizer]) -> catalogue_pb2.RegularizerDescription:
    words, parameters, traits = cls.description, cls.parameters(), cls.traits
    return catalogue_pb2.RegularizerDescription(
        name=cls.name,
        message=message.name,
        title=words.title,
        penalty_formula=words.penalty,
        gradient_formula=words.gradient,
        proximal_step_formula=words.prox,
        parameters=[
            catalogue_pb2.ParameterDescription(
                name=field.name,
                type=_type_name(field),
                required=field.name in required_fields(cls),
                description=parameters[field.name],
            )
            for field in message.fields
        ],
        traits=catalogue_pb2.Traits(
            convex=traits.convex,
            separable=traits.separable,
            smooth=traits.smooth,
            positively_homogeneous=traits.positively_homogeneous,
            indicator=traits.indicator,
            map=traits.map,
            keeps_zeros=traits.keeps_zeros,
        ),
        locality=LOCALITIES[traits.locality],
        operands=_operands(cls),
        data_types=DATA_TYPES,
        source=words.source,
        penalty_terms=words.terms,
    )


def _type_name(field: Any) -> str:
    if field.message_type is not None:
        return str(field.message_type.name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _operands(cls: type[Regularizer]) -> list[catalogue_pb2.Operand.ValueType]:
    operands, traits = [], cls.traits
    if traits.takes_reference:
        operands.append(catalogue_pb2.OPERAND_REFERENCE)
    if traits.takes_weights or cls.weighs_terms:
        operands.append(catalogue_pb2.OPERAND_WEIGHTS)
    if traits.separable or cls.steps_in_metric:
        operands.append(catalogue_pb2.OPERAND_STEP_SCALES)
    return operands
