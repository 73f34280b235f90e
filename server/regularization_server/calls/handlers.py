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
from ..contract.refusals import MessageUnreadable
from .context import ClientGone
from .read_ahead import ahead
from .service import SERVICE

if TYPE_CHECKING:
    from .context import CallContext
    from .service import RegularizationService
    from .stack import Stack

    Requests = Iterator[wire.Request]
    Handler = grpc.RpcMethodHandler[bytes, bytes]

T = TypeVar("T")


def handlers_of(service: RegularizationService, stack: Stack) -> grpc.GenericRpcHandler:
    """Every method of the service; not by generated code, for chunks do not go through protobuf."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Penalty": _one_answer("Penalty", service.penalty, stack, wire.decode_request),
            "Gradient": _many_answers("Gradient", service.gradient, stack),
            "ProximalStep": _many_answers("ProximalStep", service.proximal_step, stack),
            "Measure": _one_answer("Measure", service.measure, stack, wire.decode_request),
            "Combine": _one_answer("Combine", service.combine, stack, wire.decode_combine_request),
            "ListRegularizers": _listing(
                "ListRegularizers", service.list_regularizers, stack, ListRegularizersRequest
            ),
            "ListPlans": _listing("ListPlans", service.list_plans, stack, ListPlansRequest),
        },
    )


def _many_answers(
    name: str, method: Callable[[Requests, CallContext], Generator[Answer]], stack: Stack
) -> Handler:
    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext) -> Iterator[bytes]:
        with stack.around(f"/{SERVICE}/{name}", transport) as context:
            responses = method(_decoded(raws, wire.decode_request, context), context)
            # Where the client is gone, nobody asks for the rest: closing frees what the method holds.
            with closing(ahead(_each_encoded(responses, Answer.to_bytes))) as answers:
                for raw in answers:
                    context.bytes_sent += len(raw)
                    yield raw

    return grpc.stream_stream_rpc_method_handler(serve)


def _one_answer(
    name: str,
    method: Callable[[Iterator[T], CallContext], Message],
    stack: Stack,
    decode: Callable[[bytes], T],
) -> Handler:
    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext) -> bytes:
        with stack.around(f"/{SERVICE}/{name}", transport) as context:
            response = method(_decoded(raws, decode, context), context)
            return _encoded(response, type(response).SerializeToString, context)

    return grpc.stream_unary_rpc_method_handler(serve)


def _listing(
    name: str, method: Callable[[Any], Message], stack: Stack, request_type: type[Message]
) -> Handler:
    def serve(raw: bytes, transport: grpc.ServicerContext) -> bytes:
        with stack.around(f"/{SERVICE}/{name}", transport) as context:
            (request,) = _decoded([raw], request_type.FromString, context)
            response = method(request)
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
            raise MessageUnreadable(f"message {index} is not what {context.method} takes") from error

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
