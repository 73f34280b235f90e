"""Metrics of several processes together: each writes its values to files that all of them are read from.

A file is memory that is mapped: a value is there once it is written, whatever becomes of its process. The
next process in a place goes on with the files of the one before, so there is one set for each place.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, multiprocess, values

from .endpoint import MetricsEndpoint

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is the user's own
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def keep_values_in(folder: Path, process: int) -> None:
    """Keep the values of all metrics that this process makes from now on in a folder.

    Args:
        folder: The folder.
        process: Which of the processes this is.
    """
    os.environ[_VARIABLE] = os.fspath(folder)
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call] # it has no types


class SharedMetrics:
    """The folder that processes keep their values in, and where all of them are served.

    Args:
        address: host:port, where port 0 takes a free one, or unix:/path.

    Raises:
        SettingInvalid: If the address cannot be listened on.
    """

    def __init__(self, address: str) -> None:
        self._files = ExitStack()
        # For this user alone, and in memory where that can be had.
        place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
        self.folder = Path(
            self._files.enter_context(TemporaryDirectory(prefix="regularization-metrics-", dir=place))
        )
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, os.fspath(self.folder))  # type: ignore[no-untyped-call] # likewise
        with self._files.pop_all() as opened:
            self._endpoint = MetricsEndpoint(address, registry)
            self._files = opened.pop_all()
        self._endpoint.start()

    @property
    def address(self) -> str:
        """The address that they are served at, with the port that was taken for port 0."""
        return self._endpoint.address

    def forget_state_of(self, process: int) -> None:
        """Leave out the state of a process that has ended; what it has counted stays."""
        multiprocess.mark_process_dead(process, os.fspath(self.folder))  # type: ignore[no-untyped-call] # likewise

    def close(self) -> None:
        """Serve them no more, and remove the folder."""
        self._endpoint.stop()
        self._files.close()
