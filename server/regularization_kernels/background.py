"""Work in the background that is dropped when the process ends."""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_SECONDS_BETWEEN_TRIES = 0.02


class Background:
    """One thread, begun with the first job, that does one job after the other.

    A thread of ``concurrent.futures`` is joined when the interpreter ends: whoever has a result waits for
    work that is then thrown away. This one is told to stop wherever it is, and joined then, which takes as
    long as the one call into C that it may be in. It is never left running: a library that works on while
    its own globals are destroyed may crash.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._stopped = False

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called. Once the process ends, nothing comes of it: the future is cancelled."""
        future: Future[T] = Future()
        with self._lock:
            if self._stopped:
                future.cancel()
                return future
            if self._thread is None:
                self._thread = Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
                atexit.register(self.stop)
            self._jobs.put(lambda: _carry_out(future, function, *args, **kwargs))
        return future

    def stop(self) -> None:
        """Drop the job that is being done and those that wait, and end the thread.

        The job sees a SystemExit: the one exception that may end a thread without a word.
        """
        with self._lock:
            self._stopped = True
            thread = self._thread
        if thread is None:
            return
        self._jobs.put(_leave)
        complain, sys.unraisablehook = sys.unraisablehook, _silent_about_exits(sys.unraisablehook)
        try:
            while thread.is_alive():
                # Anew until it ends: what catches everything may have caught it.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
                )
                thread.join(_SECONDS_BETWEEN_TRIES)
        finally:
            sys.unraisablehook = complain

    def _work(self) -> None:
        with suppress(SystemExit):
            while True:
                self._jobs.get()()


def _carry_out(future: Future[T], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        future.set_exception(error)
    except BaseException as error:
        future.set_exception(error)
        raise
    else:
        future.set_result(result)


def _leave() -> None:
    raise SystemExit


def _silent_about_exits(complain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a hook that is silent where the thread was stopped in a finalizer, which lets nothing out."""

    def silent(unraisable: Any) -> None:
        if unraisable.exc_type is not SystemExit:
            complain(unraisable)

    return silent
