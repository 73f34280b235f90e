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
from .messages import check_says_nothing
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
        def listed(request: Message, _: CallContext) -> Message:
            check_says_nothing(request)
            return method(request)

        return _unary(_path(SERVICE, name), listed, stack, request_type.FromString)

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
            responses = method(_charged(raws, wire.decode_request, context), context)
            # Where the client is gone, nobody asks for the rest: closing frees what the method holds.
            encoded = _each_encoded(responses, encode, context)
            with closing(ahead(encoded, context.messages.may_wait)) as answers:
                for raw in answers:
                    context.bytes_sent += len(raw)
                    with context.progress.waiting():
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
            response = method(_charged(raws, decode, context), context)
            return _encoded(response, type(response).SerializeToString, context)

    return grpc.stream_unary_rpc_method_handler(serve)


def _unary(
    path: str,
    method: Callable[[T, CallContext], Message],
    stack: Stack,
    decode: Callable[[bytes], T],
) -> Handler:
    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext) -> bytes:
        with stack.around(path, transport, streamed=False) as context:
            request = next(_charged(raws, decode, context), None)
            if request is None:
                raise MessageUnreadable(f"{context.method} takes one message, got none")
            response = method(request, context)
            return _encoded(response, type(response).SerializeToString, context)

    # On the wire, one message is a stream of one; so its sender can be waited for as any other.
    return grpc.stream_unary_rpc_method_handler(serve)


def decoded(raws: Iterable[bytes], decode: Callable[[bytes], T], context: CallContext) -> Iterator[T]:
    """The messages of a call as they come.

    Raises:
        MessageUnreadable: If one is not what the method takes.
        ClientGone: If the client is.
        StreamIdle: If one does not come in time.
        CallTooLong: If the call takes too long.
    """

    def message(index: int, raw: bytes) -> T:
        context.bytes_received += len(raw)
        try:
            return decode(raw)
        except DecodeError as error:
            raise MessageUnreadable(
                f"message {index} is not what {context.method} takes", message=index
            ) from error

    messages = context.progress.messages(raws)
    context.was_cut_off = messages.is_cut_off
    # Not a generator: while the next message is awaited, it would hold the last one.
    return map(message, count(), messages)


def _charged(raws: Iterable[bytes], decode: Callable[[bytes], T], context: CallContext) -> Iterator[T]:
    """Likewise; each is charged to the caller's memory before it is read.

    Raises:
        BudgetExceeded: If one does not fit.
    """

    def message(raw: bytes) -> T:
        context.messages.received(len(raw))
        return decode(raw)

    return decoded(raws, message, context)


def _encoded(response: T, encode: Callable[[T], bytes], context: CallContext) -> bytes:
    """The one message that answers a call."""
    raw = encode(response)
    context.bytes_sent += len(raw)
    return raw


def _each_encoded(
    responses: Generator[T], encode: Callable[[T], bytes], context: CallContext
) -> Generator[bytes]:
    """The messages that answer a call. Closing this closes what they come from."""

    def message(response: T) -> bytes:
        raw = encode(response)
        context.messages.made(len(raw))
        return raw

    with closing(responses):
        # Not a loop: while an answer waits to be sent, it would hold what it was made of.
        yield from map(message, responses)
