"""The service of reflection under both of its names: tools ask for ``v1``, the library knows ``v1alpha``.

Their messages are the same, byte by byte; so the schema of the one is made of that of the other.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

ALPHA = reflection.SERVICE_NAME
"""Full name of the service, as the library has it."""

STABLE = ALPHA.replace(".v1alpha.", ".v1.")
"""Full name of the service, as gRPC has had it since 2023."""

NAMES = (STABLE, ALPHA)


def know_stable() -> None:
    """Let the process's schemas have that of the stable service, unless somebody has given it to them."""
    pool = descriptor_pool.Default()
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    stable = _renamed(alpha)
    try:
        pool.FindFileByName(stable.name)
    except KeyError:
        pool.AddSerializedFile(stable.SerializeToString())


def _renamed(alpha: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    package = STABLE.rpartition(".")[0]
    stable = descriptor_pb2.FileDescriptorProto()
    stable.CopyFrom(alpha)
    stable.name = f"{package.replace('.', '/')}/reflection.proto"
    stable.package = package
    for message in stable.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = _moved(field.type_name, alpha.package, package)
    for service in stable.service:
        for method in service.method:
            method.input_type = _moved(method.input_type, alpha.package, package)
            method.output_type = _moved(method.output_type, alpha.package, package)
    return stable


def _moved(name: str, old: str, new: str) -> str:
    """The name of a type in the other package; of others as it is."""
    return name.replace(f".{old}.", f".{new}.", 1)
