"""Work in the background that is dropped when the process ends."""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SECONDS_UNTIL_REST = 10.0
"""Time without a job until what jobs keep for each other is put away."""

_SECONDS_BETWEEN_TRIES = 0.02


class Background:
    """One thread, begun with the first job, that does one job after the other: first what is waited for.

    A thread of ``concurrent.futures`` is joined when the interpreter ends: whoever has a result waits for
    work that is then thrown away. This one is told to stop wherever it is, and joined then, which takes as
    long as the one call into C that it may be in. It is never left running: a library that works on while
    its own globals are destroyed may crash.

    Args:
        name: The thread's.
        put_away: Called by the thread when there was no job for a while, and when it ends.
    """

    def __init__(self, name: str, put_away: Callable[[], None] = lambda: None) -> None:
        self._name = name
        self._put_away = put_away
        self._first: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # One for each job of either.
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._stopped = False

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called.

        Once the process ends, and where the system gives no thread, nothing comes of it: the future is
        cancelled.
        """
        return self._submitted(self._jobs, function, *args, **kwargs)

    def submit_first(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called that somebody waits for: before all others, and after others of these."""
        return self._submitted(self._first, function, *args, **kwargs)

    def _submitted(
        self,
        jobs: SimpleQueue[Callable[[], None]],
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._stopped or not self._is_there():
                future.cancel()
            else:
                jobs.put(lambda: _carry_out(future, function, *args, **kwargs))
                self._calls.put(None)
        return future

    def _is_there(self) -> bool:
        """Whether the thread has been begun, now or before."""
        if self._thread is None:
            thread = Thread(target=self._work, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
            atexit.register(self.stop)
        return True

    def stop(self) -> None:
        """Drop the job that is being done and those that wait, and end the thread.

        The job sees a SystemExit: the one exception that may end a thread without a word.
        """
        with self._lock:
            self._stopped = True
            thread = self._thread
        if thread is None:
            return
        self._first.put(_leave)
        self._calls.put(None)
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
        _remember_interruption()

    def disown(self) -> None:
        """Leave it to the process that this one was forked from, which has its thread."""
        atexit.unregister(self.stop)

    def _work(self) -> None:
        with suppress(SystemExit):
            try:
                while True:
                    self._next_job()()
            finally:
                self._put_away()

    def _next_job(self) -> Callable[[], None]:
        try:
            self._calls.get(timeout=SECONDS_UNTIL_REST)
        except Empty:
            self._put_away()
            self._calls.get()
        return (self._jobs if self._first.empty() else self._first).get()


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


def _remember_interruption() -> None:
    """Have a process that an uncaught Ctrl-C ends die of SIGINT, as shells expect.

    The interpreter has noted it when the exception left the main module, and forgets it where any thread
    executes source code afterwards, as compilers do. So it is told once more.
    """
    at_a_prompt = hasattr(sys, "ps1")  # where it may have been one of many commands
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not at_a_prompt:
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - what it notes is what leaves executed source


def _silent_about_exits(complain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a hook that is silent where the thread was stopped in a finalizer, which lets nothing out."""

    def silent(unraisable: Any) -> None:
        if unraisable.exc_type is not SystemExit:
            complain(unraisable)

    return silent
