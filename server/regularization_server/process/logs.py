"""Structured log lines: a logger for the command, and one for a server inside another program.

A log has methods, codes, reasons, places and sizes; never a name, a value or a token that a caller sent.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Literal

import structlog

from .log_writer import LogWriter, is_terminal, standard_error

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LogFormat = Literal["console", "json", "logfmt"]


def command_logger(
    level: str, log_format: LogFormat, **fields: Any
) -> tuple[FilteringBoundLogger, LogWriter]:
    """A logger to standard error for this process, and what writes its lines.

    What libraries log goes there, too: the standard library's own handler would wait where a pipe is full.

    Args:
        level: The lowest level that is written.
        log_format: How lines look.
        fields: What every line has.
    """
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_fault,
        _renderer(log_format),
    ]

    def logger(target: object, level: str) -> FilteringBoundLogger:
        made: FilteringBoundLogger = structlog.wrap_logger(
            target, processors=processors, wrapper_class=structlog.make_filtering_bound_logger(level)
        )
        return made.bind(**fields)

    reports: Any = logger(structlog.ReturnLogger(), "debug")
    writer = LogWriter(standard_error(), lambda lines: str(reports.warning("log lines dropped", lines=lines)))
    log = logger(writer, level)
    logging.basicConfig(handlers=[_Libraries(log)], force=True)
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


class _Libraries(logging.Handler):
    """Passes what libraries log to the command's logger, without arguments: a caller may have sent those."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        error = record.exc_info[1] if record.exc_info else None
        self._log.log(record.levelno, str(record.msg), logger=record.name, exc_info=error)


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
