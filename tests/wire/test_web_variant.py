"""The schema's variant for gRPC-web beside the schema."""

from __future__ import annotations

import re

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from regularization.training.v1 import augmentation_pb2
from regularization.v1 import regularization_service_pb2

from tests.support.sources import ROOT

RPC = re.compile(r"^  rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\);$", re.MULTILINE)


@pytest.mark.parametrize(
    ("file", "service"),
    [
        (
            "regularization/v1/regularization_service.proto",
            regularization_service_pb2.DESCRIPTOR.services_by_name["RegularizationService"],
        ),
        (
            "training/v1/augmentation.proto",
            augmentation_pb2.DESCRIPTOR.services_by_name["AugmentationService"],
        ),
    ],
)
def test_it_has_the_same_methods_without_streams_of_requests(file: str, service: ServiceDescriptor) -> None:
    """The same names and messages, so that calls are the same on the wire; answers stay streams."""
    text = (ROOT / "protos" / "web" / file).read_text(encoding="utf-8")
    said = {
        name: (request, bool(up), answer, bool(down)) for name, up, request, down, answer in RPC.findall(text)
    }
    assert said == {
        method.name: (method.input_type.name, False, method.output_type.name, method.server_streaming)
        for method in service.methods
    }
    assert f"package {service.full_name.rpartition('.')[0]};" in text
