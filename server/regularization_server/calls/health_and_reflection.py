"""What happens around the calls of health and reflection: the token, counts, and a log line at debug."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc

from ..contract.refusals import TokenMissing, TokenRefused
from ..contract.statuses import failure_of
from ..observability.request_ids import request_id_of
from .context import CallContext
from .endings import departure

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ..observability.call_metrics import CallMetrics
    from .authorization import Authorize

    Handler = Any
    """A ``grpc.RpcMethodHandler``; by type its behaviours are optional, but the one of its kind is there."""
    Behaviour = Callable[..., Any]

SERVICE_PREFIXES = ("/regularization.", "/training.")
"""Paths of the methods that have a stack of their own."""

HEALTH_PREFIX = "/grpc.health."
"""Paths of the methods that need no token: a prober has none."""


class StandardServicesInterceptor(grpc.ServerInterceptor):
    """Wraps every handler of a server, but for those of its own service.

    Args:
        log: Where each call leaves one line.
        authorize: Looks at the bearer token that a call shows, except for health; None where none is asked
            for.
        metrics: Where calls are counted, also those of methods that there are not; None for nowhere.
    """

    def __init__(
        self, log: FilteringBoundLogger, authorize: Authorize | None, metrics: CallMetrics | None = None
    ) -> None:
        self._log = log
        self._authorize = authorize
        self._metrics = metrics

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of a call."""
        handler = continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None and self._metrics is not None:
            self._metrics.unknown()
        if handler is None or path.startswith(SERVICE_PREFIXES):
            return handler
        behaviour, make_handler = _kind_of(handler)
        if self._authorize is not None and not path.startswith(HEALTH_PREFIX):
            behaviour = _authorized(behaviour, self._authorize)
        if self._metrics is not None:
            behaviour = _counted(behaviour, path, self._metrics, handler.response_streaming)
        return make_handler(
            _logged(behaviour, path, self._log), handler.request_deserializer, handler.response_serializer
        )


def _kind_of(handler: Handler) -> tuple[Behaviour, Callable[..., Handler]]:
    """A handler's behaviour, and what makes handlers of its kind."""
    kinds = (
        (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
        (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
        (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
        (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
    )
    return next((behaviour, make) for behaviour, make in kinds if behaviour is not None)


# The attributes of a behaviour come along: one says that a health watch needs no thread of its own.


def _authorized(behaviour: Behaviour, authorize: Authorize) -> Behaviour:
    @wraps(behaviour)
    def authorized(request: Any, transport: grpc.ServicerContext, *rest: Any) -> Any:
        metadata = transport.invocation_metadata()
        try:
            authorize(metadata)
        except (TokenMissing, TokenRefused) as error:
            transport.abort_with_status(failure_of(error, request_id_of(metadata)).status)
        return behaviour(request, transport, *rest)

    return authorized


def _counted(behaviour: Behaviour, path: str, metrics: CallMetrics, is_streaming: bool) -> Behaviour:
    @wraps(behaviour)
    def counted(request: Any, transport: grpc.ServicerContext, *rest: Any) -> Any:
        context, finished = CallContext(path, transport), Event()
        metrics.begun(context)
        # A call that its client ends has no code, and has not finished.
        transport.add_callback(
            lambda: metrics.count(path, _code_of(context, finished.is_set()), context.seconds)
        )
        answer = behaviour(request, transport, *rest)
        if is_streaming and answer is not None:
            return _telling(answer, finished)
        if not is_streaming:
            finished.set()
        return answer

    return counted


def _telling(answers: Iterator[Any], finished: Event) -> Iterator[Any]:
    yield from answers
    finished.set()


def _code_of(context: CallContext, finished: bool) -> grpc.StatusCode:
    """How a call of these services has ended."""
    code: grpc.StatusCode | None = context.transport.code()  # type: ignore[attr-defined] # its types miss it
    if code is not None:
        return code
    return grpc.StatusCode.OK if finished else departure(context).code


def _logged(behaviour: Behaviour, path: str, log: FilteringBoundLogger) -> Behaviour:
    @wraps(behaviour)
    def logged(request: Any, transport: grpc.ServicerContext, *rest: Any) -> Any:
        context = CallContext(path, transport)
        transport.add_callback(
            lambda: log.debug("call", method=path, peer=context.peer, seconds=context.seconds)
        )
        return behaviour(request, transport, *rest)

    return logged
