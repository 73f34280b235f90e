from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from regularization.v1 import catalogue_pb2, layout_pb2
from regularization.v1.regularization_service_pb2 import ListRegularizersRequest
from regularization.v1.regularization_service_pb2_grpc import RegularizationServiceStub
from regularization.v1.regularizers_pb2 import Regularizer
from regularization_kernels.regularizer import REGULARIZERS

from tests.support.messages import SERVICE, TIMEOUT, Failed

KINDS: dict[str, Any] = {field.name: field.message_type for field in Regularizer.DESCRIPTOR.fields}


@pytest.fixture(scope="module")
def catalogue(process_channel: grpc.Channel) -> dict[str, Any]:
    """What the server tells about its regularizers, by name."""
    answer = RegularizationServiceStub(process_channel).ListRegularizers(
        ListRegularizersRequest(), timeout=TIMEOUT
    )
    names = [entry.name for entry in answer.regularizers]
    assert names == sorted(names)
    return {entry.name: entry for entry in answer.regularizers}


def test_catalogue_is_the_schema(catalogue: dict[str, Any]) -> None:
    """The catalogue has every regularizer of the schema, and no other."""
    assert set(catalogue) == set(KINDS) == set(REGULARIZERS)


@pytest.mark.parametrize("method", ["ListRegularizers", "ListPlans"])
def test_what_a_newer_client_asks_for_is_not_left_out(process_channel: grpc.Channel, method: str) -> None:
    """A field that the server does not know is refused where it lists, too."""
    ask = process_channel.unary_unary(f"/{SERVICE}/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"\xea\x3e\x00", timeout=TIMEOUT)
    failed = Failed.of(caught.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_FIELD_UNKNOWN")
    assert failed.metadata["number"] == "1005"


@pytest.mark.parametrize("name", KINDS)
def test_entry_is_complete(catalogue: dict[str, Any], name: str) -> None:
    """Every entry has all its words, and every field of its message with type and meaning."""
    entry = catalogue[name]
    assert entry.message == KINDS[name].name
    assert [parameter.name for parameter in entry.parameters] == [field.name for field in KINDS[name].fields]
    words = [
        entry.title,
        entry.penalty_formula,
        entry.gradient_formula,
        entry.proximal_step_formula,
        entry.source,
    ]
    assert all([*words, *(parameter.type and parameter.description for parameter in entry.parameters)])
    assert entry.locality != catalogue_pb2.LOCALITY_UNSPECIFIED
    assert set(entry.data_types) == set(layout_pb2.DataType.values()) - {layout_pb2.DATA_TYPE_UNSPECIFIED}


@pytest.mark.parametrize("name", KINDS)
def test_traits_are_those_of_the_kernel(catalogue: dict[str, Any], name: str) -> None:
    """The catalogue tells the traits that the kernel declares."""
    told = {
        field.name: getattr(catalogue[name].traits, field.name)
        for field in catalogue_pb2.Traits.DESCRIPTOR.fields
    }
    declared = dataclasses.asdict(REGULARIZERS[name].traits)
    locality = declared.pop("locality")
    assert told == declared
    assert catalogue_pb2.Locality.Name(catalogue[name].locality) == f"LOCALITY_{locality.name}"


def test_required_parameters(catalogue: dict[str, Any]) -> None:
    """The catalogue tells which fields must be set, and the types that the schema has."""
    told = {
        f"{name}.{parameter.name}": (parameter.type, parameter.required)
        for name in ("l1_norm", "box", "group_lasso")
        for parameter in catalogue[name].parameters
    }
    assert told == {
        "l1_norm.strength": ("double", True),
        "box.lower": ("double", False),
        "box.upper": ("double", False),
        "group_lasso.strength": ("double", True),
        "group_lasso.groups": ("Groups", True),
    }


def test_operands(catalogue: dict[str, Any]) -> None:
    """The catalogue tells which operands a regularizer takes."""
    reference, weights, step_scales = (
        catalogue_pb2.OPERAND_REFERENCE,
        catalogue_pb2.OPERAND_WEIGHTS,
        catalogue_pb2.OPERAND_STEP_SCALES,
    )
    assert list(catalogue["l1_norm"].operands) == [reference, weights, step_scales]
    assert list(catalogue["box"].operands) == [reference, step_scales]
    assert list(catalogue["total_variation"].operands) == [reference, weights]
    assert list(catalogue["nuclear_norm"].operands) == [reference]


STABLE = "grpc.reflection.v1.ServerReflection"


def reflect(channel: grpc.Channel, **request: str) -> Any:
    """The server's answer to one reflection request."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=TIMEOUT
    )
    return answer


def test_reflection_lists_the_services(process_channel: grpc.Channel) -> None:
    """Reflection tells the services, health among them."""
    services = reflect(process_channel, list_services="").list_services_response.service
    assert {service.name for service in services} == {
        SERVICE,
        "training.v1.AugmentationService",
        "training.v1.EarlyStoppingService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_reflection_answers_under_its_stable_name_too(process_channel: grpc.Channel) -> None:
    """As newer tools ask for it, and with its own schema."""
    ask = process_channel.stream_stream(f"/{STABLE}/ServerReflectionInfo")
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=STABLE)
    (raw,) = ask(iter([request.SerializeToString()]), timeout=TIMEOUT)
    answer = reflection_pb2.ServerReflectionResponse.FromString(raw)
    pool = descriptor_pool.DescriptorPool()
    for file in answer.file_descriptor_response.file_descriptor_proto:
        pool.AddSerializedFile(file)
    (method,) = pool.FindServiceByName(STABLE).methods
    assert method.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"
    nested = method.output_type.fields_by_name["list_services_response"].message_type
    assert nested.full_name == "grpc.reflection.v1.ListServiceResponse"


def test_reflection_gives_the_schema(process_channel: grpc.Channel) -> None:
    """A client that has nothing can read the whole schema from the server."""
    pool = descriptor_pool.DescriptorPool()
    wanted = ["regularization/v1/regularization_service.proto"]
    files: list[FileDescriptorProto] = []
    while wanted:
        answer = reflect(process_channel, file_by_filename=wanted.pop())
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(raw)
            if file.name not in {known.name for known in files}:
                files.append(file)
                wanted.extend(file.dependency)
    for file in reversed(files):
        pool.AddSerializedFile(file.SerializeToString())
    assert [method.name for method in pool.FindServiceByName(SERVICE).methods] == [
        "Penalty",
        "Gradient",
        "ProximalStep",
        "Measure",
        "Combine",
        "ListRegularizers",
        "ListPlans",
    ]
