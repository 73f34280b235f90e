"""Structured log lines: a logger for the command, and one for a server inside another program.

A log has methods, codes, reasons, places and sizes; never a name, a value or a token that a caller sent.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import structlog

from .line_limit import LineLimit
from .log_writer import LogWriter, is_terminal, standard_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LogFormat = Literal["console", "json", "logfmt"]

EVENT_BYTES = 1024
"""What a line takes while it waits, beside its texts."""


def command_logger(
    level: str, log_format: LogFormat, **fields: Any
) -> tuple[FilteringBoundLogger, LogWriter]:
    """A logger to standard error for this process, and what writes its lines.

    Whoever logs says what there is to tell; the writing thread makes lines of it. What libraries log goes
    there, too: the standard library's own handler would wait where a pipe is full.

    Args:
        level: The lowest level that is written.
        log_format: How lines look.
        fields: What every line has.
    """
    text = partial(_text, _renderer(log_format))

    def report(lines: int) -> str:
        event = {**fields, "lines": lines, "event": "log lines dropped", "level": "warning"}
        return text({**event, "timestamp": time.time()})

    writer = LogWriter(standard_error(), report)
    made: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(writer, text),
        # A fault is told at once: it has frames, and these have what the call had.
        processors=[structlog.processors.add_log_level, _stamp, _tell_fault],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    log = made.bind(**fields)
    logging.basicConfig(handlers=[_Libraries(log)], force=True)
    _tell_unhandled_faults(log)
    return log, writer


def library_logger() -> FilteringBoundLogger:
    """A logger that passes lines to the standard library's, so the program around the server decides."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger("regularization_server"),
        processors=[
            structlog.stdlib.filter_by_level,
            _tell_fault,
            structlog.processors.LogfmtRenderer(key_order=["event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
    )
    return logger


def _tell_unhandled_faults(log: FilteringBoundLogger) -> None:
    """Log what ends a thread, or is raised where nobody can hear it: Python would write the error's text."""

    def tell(unhandled: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
        log.error("unhandled fault", exc_info=unhandled.exc_value)

    threading.excepthook = tell
    sys.unraisablehook = tell


class _Lines:
    """Takes what there is to say, of which the writing thread makes lines."""

    def __init__(self, writer: LogWriter, text: Callable[[EventDict], str]) -> None:
        self._writer = writer
        self._text = text

    def take(self, **event: Any) -> None:
        """Take what one line says."""
        size = EVENT_BYTES
        for value in event.values():
            if isinstance(value, str):
                size += len(value)
        self._writer.take(partial(self._text, event), size)

    debug = info = warning = error = critical = take


class _Libraries(logging.Handler):
    """Passes what libraries log to the command's logger, without arguments: a caller may have sent those."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log
        self._limit = LineLimit(log, "lines of libraries")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, unless there are too many: a caller may cause them."""
        if not self._limit.has_room():
            return
        error = record.exc_info[1] if record.exc_info else None
        # The sentence may have been made with the error's text.
        text = str(record.msg) if error is None else str(record.msg).replace(str(error), "…")
        self._log.log(record.levelno, text, logger=record.name, exc_info=error)


def _stamp(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """When it was, in seconds."""
    event["timestamp"] = time.time()
    return event


def _text(renderer: Processor, event: EventDict) -> str:
    """A line, with the time as people read it."""
    moment = datetime.fromtimestamp(event["timestamp"], UTC)
    event["timestamp"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return str(renderer(None, event["level"], event))


def _tell_fault(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Where an error was raised, and its type; its text may have a caller's names and values."""
    error = event.pop("exc_info", None)
    if isinstance(error, BaseException):
        event["exception"] = "\n\n".join(map(_frames, reversed(_chain(error))))
    return event


def _chain(error: BaseException) -> list[BaseException]:
    """An error, what it was raised from, and so on."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context
    return chain


def _frames(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"Traceback (most recent call last):\n{frames}{type(error).__module__}.{type(error).__qualname__}"


def _renderer(log_format: LogFormat) -> Processor:
    if log_format == "console":
        return structlog.dev.ConsoleRenderer(
            colors=is_terminal(), exception_formatter=structlog.dev.plain_traceback
        )
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
