"""The service's methods as gRPC serves them: bytes in, bytes out, and the stack around each call.

Messages are read and written here, in the call's own threads: gRPC's one polling thread stays free, and bytes
are counted where they pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from regularization import wire
from regularization.v1.regularization_service_pb2 import ListPlansRequest, ListRegularizersRequest

from ..contract.answers import Answer
from ..contract.augmentation import AugmentAnswer
from ..contract.refusals import MessageUnreadable
from .context import ClientGone
from .read_ahead import ahead
from .service import SERVICE
from .training import AUGMENTATION, EARLY_STOPPING

if TYPE_CHECKING:
    from .context import CallContext
    from .service import RegularizationService
    from .stack import Stack
    from .training import TrainingServices

    Requests = Iterator[wire.Request]
    Handler = grpc.RpcMethodHandler[bytes, bytes]

T = TypeVar("T")
AnswerT = TypeVar("AnswerT")


def handlers_of(service: RegularizationService, stack: Stack) -> grpc.GenericRpcHandler:
    """Every method of the service; not by generated code, for chunks do not go through protobuf."""

    def many(name: str, method: Callable[[Requests, CallContext], Generator[Answer]]) -> Handler:
        return _many_answers(_path(SERVICE, name), method, stack, Answer.to_bytes)

    def one(
        name: str, method: Callable[[Iterator[T], CallContext], Message], decode: Callable[[bytes], T]
    ) -> Handler:
        return _one_answer(_path(SERVICE, name), method, stack, decode)

    def listing(name: str, method: Callable[[Any], Message], request_type: type[Message]) -> Handler:
        return _unary(
            _path(SERVICE, name), lambda request, _: method(request), stack, request_type.FromString
        )

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Penalty": one("Penalty", service.penalty, wire.decode_request),
            "Gradient": many("Gradient", service.gradient),
            "ProximalStep": many("ProximalStep", service.proximal_step),
            "Measure": one("Measure", service.measure, wire.decode_request),
            "Combine": one("Combine", service.combine, wire.decode_combine_request),
            "ListRegularizers": listing(
                "ListRegularizers", service.list_regularizers, ListRegularizersRequest
            ),
            "ListPlans": listing("ListPlans", service.list_plans, ListPlansRequest),
        },
    )


def handlers_for_training(services: TrainingServices, stack: Stack) -> tuple[grpc.GenericRpcHandler, ...]:
    """Every method of ``training.v1``, likewise."""
    check = _unary(_path(EARLY_STOPPING, "Check"), services.check, stack, bytes)
    augment = _many_answers(_path(AUGMENTATION, "Augment"), services.augment, stack, AugmentAnswer.to_bytes)
    return (
        grpc.method_handlers_generic_handler(EARLY_STOPPING, {"Check": check}),
        grpc.method_handlers_generic_handler(AUGMENTATION, {"Augment": augment}),
    )


def _path(service: str, name: str) -> str:
    return f"/{service}/{name}"


def _many_answers(
    path: str,
    method: Callable[[Requests, CallContext], Generator[AnswerT]],
    stack: Stack,
    encode: Callable[[AnswerT], bytes],
) -> Handler:
    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext) -> Iterator[bytes]:
        with stack.around(path, transport) as context:
            responses = method(_decoded(raws, wire.decode_request, context), context)
            # Where the client is gone, nobody asks for the rest: closing frees what the method holds.
            with closing(ahead(_each_encoded(responses, encode))) as answers:
                for raw in answers:
                    context.bytes_sent += len(raw)
                    yield raw

    return grpc.stream_stream_rpc_method_handler(serve)


def _one_answer(
    path: str,
    method: Callable[[Iterator[T], CallContext], Message],
    stack: Stack,
    decode: Callable[[bytes], T],
) -> Handler:
    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext) -> bytes:
        with stack.around(path, transport) as context:
            response = method(_decoded(raws, decode, context), context)
            return _encoded(response, type(response).SerializeToString, context)

    return grpc.stream_unary_rpc_method_handler(serve)


def _unary(
    path: str,
    method: Callable[[T, CallContext], Message],
    stack: Stack,
    decode: Callable[[bytes], T],
) -> Handler:
    def serve(raw: bytes, transport: grpc.ServicerContext) -> bytes:
        with stack.around(path, transport) as context:
            (request,) = _decoded([raw], decode, context)
            response = method(request, context)
            return _encoded(response, type(response).SerializeToString, context)

    return grpc.unary_unary_rpc_method_handler(serve)


def _decoded(raws: Iterable[bytes], decode: Callable[[bytes], T], context: CallContext) -> Iterator[T]:
    """The messages of a call as they come.

    Raises:
        MessageUnreadable: If one is not what the method takes.
        ClientGone: If the client is.
    """

    def message(index: int, raw: bytes) -> T:
        context.bytes_received += len(raw)
        try:
            return decode(raw)
        except DecodeError as error:
            raise MessageUnreadable(
                f"message {index} is not what {context.method} takes", message=index
            ) from error

    # Not a generator: while the next message is awaited, it would hold the last one.
    return map(message, count(), _received(raws))


def _encoded(response: T, encode: Callable[[T], bytes], context: CallContext) -> bytes:
    """The one message that answers a call."""
    raw = encode(response)
    context.bytes_sent += len(raw)
    return raw


def _each_encoded(responses: Generator[T], encode: Callable[[T], bytes]) -> Generator[bytes]:
    """The messages that answer a call. Closing this closes what they come from."""
    with closing(responses):
        yield from map(encode, responses)


def _received(raws: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from raws
    except grpc.RpcError as error:
        # gRPC keeps what it raised. With its traceback that is all that the call has, for as long as nobody
        # looks for cycles.
        error.__traceback__ = None
        raise ClientGone from None
