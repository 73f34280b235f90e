"""Structured log lines: a logger for the command, and one for a server inside another program."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

LogFormat = Literal["console", "json", "logfmt"]


def command_logger(level: str, log_format: LogFormat) -> FilteringBoundLogger:
    """A logger that writes to standard error, from this level on."""
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[*shared, *_renderers(log_format)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return logger


def library_logger() -> FilteringBoundLogger:
    """A logger that hands over to the standard library's, so the program around the server decides."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger("regularization_server"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
    )
    return logger


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format == "console":
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    if log_format == "json":
        return [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    order = ["timestamp", "level", "event"]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(key_order=order, bool_as_flag=False),
    ]
