"""What happens around every call: token, admission, bytes to messages and back, errors to statuses, the log.

Messages are read and written here, in the call's own threads, not by gRPC: its one polling thread stays free,
and bytes are counted where they pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial, wraps
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from ..contract.refusals import MessageUnreadable, TokenRefused
from ..contract.statuses import Failure, failure_of
from .admission import CallRecord, Calls, ClientGone
from .authorization import check_token
from .read_ahead import ahead

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    Handler = Any
    """A ``grpc.RpcMethodHandler``; by type its behaviours are optional, but the one of its kind is there."""
    Context = grpc.ServicerContext

SERVICE_PREFIX = "/regularization."
"""Paths of the methods that this package serves itself; the others are of health and reflection."""

HEALTH_PREFIX = "/grpc.health."
"""Paths of the methods that need no token: a prober has none."""


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps every handler of a server.

    Args:
        calls: Where calls are counted and admitted.
        log: Where each call leaves one line.
        token: The bearer token that callers must show; None for none.
    """

    def __init__(self, calls: Calls, log: FilteringBoundLogger, token: bytes | None = None) -> None:
        self._calls = calls
        self._log = log
        self._token = token

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of a call."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if not method.startswith(SERVICE_PREFIX):
            return self._watched(handler, method)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(partial(self._stream, handler, method))
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(partial(self._stream_unary, handler, method))
        return grpc.unary_unary_rpc_method_handler(partial(self._unary, handler, method))

    def _stream(
        self, handler: Handler, method: str, raws: Iterator[bytes], context: Context
    ) -> Iterator[bytes]:
        with self._served(method, context) as record:
            responses = handler.stream_stream(_decoded(raws, handler, record), context)
            # Where the client is gone, nobody asks for the rest: closing frees what the handler holds.
            with closing(ahead(_each_encoded(responses, handler))) as answers:
                for raw in answers:
                    record.bytes_sent += len(raw)
                    yield raw

    def _stream_unary(self, handler: Handler, method: str, raws: Iterator[bytes], context: Context) -> bytes:
        with self._served(method, context) as record:
            response = handler.stream_unary(_decoded(raws, handler, record), context)
            return _encoded(response, handler, record)

    def _unary(self, handler: Handler, method: str, raw: bytes, context: Context) -> bytes:
        with self._served(method, context) as record:
            (request,) = _decoded([raw], handler, record)
            return _encoded(handler.unary_unary(request, context), handler, record)

    @contextmanager
    def _served(self, method: str, context: Context) -> Iterator[CallRecord]:
        record = CallRecord(method, context.peer())
        try:
            self._authorize(context)
            with self._calls.admitted(record, context):
                yield record
        except (GeneratorExit, grpc.RpcError):
            self._write(record, _code_of_departure(context))
            raise
        except ClientGone:
            code = _code_of_departure(context)
            self._write(record, code)
            context.abort(code, "")
        except Exception as error:
            failure = failure_of(error)
            self._write_failure(record, failure, error, context)
            context.abort_with_status(failure.status)
        else:
            self._write(record, grpc.StatusCode.OK)

    def _authorize(self, context: Context) -> None:
        if self._token is not None:
            check_token(context.invocation_metadata(), self._token)

    def _write(self, record: CallRecord, code: grpc.StatusCode) -> None:
        self._tell("info", record, code)

    def _write_failure(
        self, record: CallRecord, failure: Failure, error: Exception, context: Context
    ) -> None:
        if failure.code is grpc.StatusCode.INTERNAL:
            self._tell("error", record, failure.code, reason=failure.reason, exc_info=error)
        elif not context.is_active():
            # What a handler makes of a stream that was cut off is not what ended the call.
            self._write(record, _code_of_departure(context))
        else:
            self._tell("info", record, failure.code, reason=failure.reason, **failure.place)

    def _tell(self, level: str, record: CallRecord, code: grpc.StatusCode, **more: Any) -> None:
        # What becomes of its line is nothing to the call.
        with suppress(Exception):
            getattr(self._log, level)("call", **{**more, **_fields(record, code)})

    def _watched(self, handler: Handler, method: str) -> Handler:
        kinds: tuple[tuple[Callable[..., Any] | None, Callable[..., Handler]], ...] = (
            (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
            (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        )
        behaviour, make_handler = next(
            (behaviour, make) for behaviour, make in kinds if behaviour is not None
        )
        return make_handler(
            self._watching(behaviour, method), handler.request_deserializer, handler.response_serializer
        )

    def _watching(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        # The attributes of a behaviour come along: one says that a health watch needs no thread of its own.
        @wraps(behaviour)
        def watching(request: Any, context: Context, *rest: Any) -> Any:
            record = CallRecord(method, context.peer())
            context.add_callback(
                lambda: self._log.debug("call", method=method, peer=record.peer, seconds=record.seconds)
            )
            if not method.startswith(HEALTH_PREFIX):
                try:
                    self._authorize(context)
                except TokenRefused as error:
                    context.abort_with_status(failure_of(error).status)
            return behaviour(request, context, *rest)

        return watching


def _fields(record: CallRecord, code: grpc.StatusCode) -> dict[str, Any]:
    return {
        "method": record.method,
        "peer": record.peer,
        "elements": record.elements,
        **({"shared": True} if record.shared else {}),
        "bytes_received": record.bytes_received,
        "bytes_sent": record.bytes_sent,
        "seconds": round(record.seconds, 6),
        "status": code.name,
    }


def _decoded(raws: Iterable[bytes], handler: Handler, record: CallRecord) -> Iterator[Any]:
    deserialize = handler.request_deserializer

    def decoded(index: int, raw: bytes) -> Any:
        record.bytes_received += len(raw)
        try:
            return deserialize(raw)
        except DecodeError as error:
            raise MessageUnreadable(f"message {index} is not what {record.method} takes") from error

    # Not a generator: while the next message is awaited, it would hold the last one.
    return map(decoded, count(), _received(raws))


def _received(raws: Iterable[bytes]) -> Iterator[bytes]:
    """The messages as they come, until the client is gone.

    Raises:
        ClientGone: In that case.
    """
    try:
        yield from raws
    except grpc.RpcError as error:
        # gRPC keeps what it raised. With its traceback that is all that the call has, for as long as nobody
        # looks for cycles.
        error.__traceback__ = None
        raise ClientGone from None


def _encoded(response: Any, handler: Handler, record: CallRecord) -> bytes:
    raw: bytes = handler.response_serializer(response)
    record.bytes_sent += len(raw)
    return raw


def _each_encoded(responses: Generator[Any], handler: Handler) -> Generator[bytes]:
    with closing(responses):
        yield from map(handler.response_serializer, responses)


def _code_of_departure(context: Context) -> grpc.StatusCode:
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED
