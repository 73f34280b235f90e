"""The methods of health and reflection as gRPC serves them, in threads of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from regularization_kernels.engine import MemoryBudget

from ..contract.refusals import MessageUnreadable
from .admission import Calls
from .handlers import decoded
from .health import SERVICE as HEALTH
from .quotas import USUAL_PERCENT, Limits, Quotas, part_of
from .reflection_versions import NAMES as REFLECTION
from .reflection_versions import know_stable
from .threads import CallThreads

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from structlog.typing import FilteringBoundLogger

    from .arrivals import Arrivals
    from .context import CallContext
    from .health import Health
    from .stack import Stack

    Send = Callable[[bytes | None], None]

CHECKING = 4
"""Threads that say whether the server is well. None waits for anybody."""

WATCHED = 8
"""Threads that tell those who watch; each waits until it is read."""

REFLECTIONS = 32
"""Streams of reflection at once."""

REFUSING = 4
"""Threads that refuse further ones."""

MessageT = TypeVar("MessageT", bound="Message")


class StandardThreads(NamedTuple):
    """The threads of the standard services."""

    checking: CallThreads
    watching: CallThreads
    reflecting: CallThreads

    @classmethod
    def made(cls, log: FilteringBoundLogger, arrivals: Arrivals) -> StandardThreads:
        """As many as there are to be."""
        return cls(
            CallThreads(CHECKING, log, arrivals, "health"),
            CallThreads(WATCHED, log, arrivals, "watched"),
            CallThreads(REFLECTIONS + REFUSING, log, arrivals, "reflection"),
        )

    def close(self) -> None:
        """Take no more work."""
        for each in self:
            each.shutdown(wait=False, cancel_futures=True)


def standard_handlers(
    health: Health, services: tuple[str, ...], stack: Stack, threads: StandardThreads
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Every method of health and reflection.

    Args:
        health: What is served.
        services: Full names of the services to tell about, beside these two.
        stack: What happens around each call.
        threads: Where they run.
    """
    know_stable()
    servicer, streams = reflection.ReflectionServicer((*services, HEALTH, *REFLECTION)), Calls(REFLECTIONS)
    # They take no memory. Callers over Unix sockets may be many.
    of_caller, of_host = Limits(part_of(REFLECTIONS, USUAL_PERCENT), None), Limits(None, None)
    quotas = Quotas(MemoryBudget(0), of_caller, of_host)
    return (
        health_handler(health, stack, threads),
        *(
            grpc.method_handlers_generic_handler(
                name,
                {
                    "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                        _in(threads.reflecting, _reflected(name, servicer, stack, streams, quotas))
                    )
                },
            )
            for name in REFLECTION
        ),
    )


def health_handler(health: Health, stack: Stack, threads: StandardThreads) -> grpc.GenericRpcHandler:
    """Every method of health.

    Args:
        health: What is served.
        stack: What happens around each call.
        threads: Where they run.
    """
    check = _one_answer(
        _path(HEALTH, "Check"), partial(_checked, health), stack, health_pb2.HealthCheckRequest
    )
    listed = _one_answer(_path(HEALTH, "List"), partial(_listed, health), stack, health_pb2.HealthListRequest)
    watch = _watched(_path(HEALTH, "Watch"), health, stack)
    return grpc.method_handlers_generic_handler(
        HEALTH,
        {
            "Check": grpc.stream_unary_rpc_method_handler(_in(threads.checking, check)),
            "List": grpc.stream_unary_rpc_method_handler(_in(threads.checking, listed)),
            "Watch": grpc.stream_stream_rpc_method_handler(_in(threads.watching, watch)),
        },
    )


def _path(service: str, name: str) -> str:
    return f"/{service}/{name}"


def _in(threads: CallThreads, behaviour: Callable[..., Any]) -> Any:
    """A behaviour that runs in these threads: gRPC looks for them in this attribute."""
    behaviour.experimental_thread_pool = threads  # type: ignore[attr-defined] # a function may have any
    return behaviour


def _one_answer(
    path: str, answer: Callable[[Any, CallContext], Message], stack: Stack, request_type: type[MessageT]
) -> Callable[..., bytes]:
    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext) -> bytes:
        with stack.around_health(path, transport) as context:
            return answer(_one(raws, request_type, context), context).SerializeToString()

    return serve


def _one(raws: Iterator[bytes], request_type: type[MessageT], context: CallContext) -> MessageT:
    request = next(decoded(raws, request_type.FromString, context), None)
    if request is None:
        raise MessageUnreadable(f"{context.method} takes one message, got none")
    return request


def _checked(
    health: Health, request: health_pb2.HealthCheckRequest, context: CallContext
) -> health_pb2.HealthCheckResponse:
    status = health.status_of(request.service)
    if status is None:
        context.transport.set_code(grpc.StatusCode.NOT_FOUND)
        context.transport.set_details("the server has no service of that name")
    return health_pb2.HealthCheckResponse(status=status)


def _listed(
    health: Health, request: health_pb2.HealthListRequest, context: CallContext
) -> health_pb2.HealthListResponse:
    statuses = {
        name: health_pb2.HealthCheckResponse(status=status) for name, status in health.statuses().items()
    }
    return health_pb2.HealthListResponse(statuses=statuses)


def _watched(path: str, health: Health, stack: Stack) -> Callable[..., None]:
    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext, send: Send) -> None:
        with stack.around_watch(path, transport) as context:
            request = _one(raws, health_pb2.HealthCheckRequest, context)
            health.watch(
                request.service,
                transport,
                context.progress,
                lambda response: send(response.SerializeToString()),
            )

    # It takes no thread while it waits for a change.
    serve.experimental_non_blocking = True  # type: ignore[attr-defined] # likewise
    return serve


def _reflected(
    name: str, servicer: reflection.ReflectionServicer, stack: Stack, streams: Calls, quotas: Quotas
) -> Callable[..., Iterator[bytes]]:
    path = _path(name, "ServerReflectionInfo")

    def serve(raws: Iterator[bytes], transport: grpc.ServicerContext) -> Iterator[bytes]:
        with stack.around_reflection(path, transport, streams, quotas) as context:
            requests = decoded(raws, reflection_pb2.ServerReflectionRequest.FromString, context)
            for response in servicer.ServerReflectionInfo(requests, transport):
                with context.progress.waiting():
                    yield response.SerializeToString()

    return serve
