"""Compiled loops of the command: ready soon after it serves, and kept for the next one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from regularization_kernels import compile_at_once, keep_code_in, regularizers_named, warm, warm_in_background

from ..settings import SettingInvalid

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger


def names_to_warm(text: str | None) -> list[str]:
    """The regularizers that are named, apart by commas, or all; none where nothing is said.

    Raises:
        SettingInvalid: If there is no such regularizer.
    """
    if text is None:
        return []
    try:
        return regularizers_named(text)
    except ValueError as error:
        raise SettingInvalid("warm", str(error)) from error


def make_loops_ready(cache: Path | None, names: list[str], log: FilteringBoundLogger) -> None:
    """Have what is kept in a folder ready, and the loops of regularizers made, beside the calls."""
    if cache is not None:
        keep_code_in(cache)
    if not names:
        return
    begun = time.perf_counter()

    def tell(made: Future[None]) -> None:
        seconds = round(time.perf_counter() - begun, 3)
        error = None if made.cancelled() else made.exception()
        if error is None:
            log.info("warm", regularizers=len(names), seconds=seconds)
        elif isinstance(error, Exception):  # others are the end of the process
            log.warning("not warm", error=type(error).__name__, seconds=seconds)

    warm_in_background(names).add_done_callback(tell)


def compile_loops(cache: Path | None, names: list[str]) -> None:
    """Have the loops of regularizers made, kept in a folder, and wait for them."""
    compile_at_once()
    if cache is not None:
        keep_code_in(cache)
    warm(names)
