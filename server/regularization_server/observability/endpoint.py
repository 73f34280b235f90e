"""Where Prometheus gets the metrics: HTTP on an address of their own."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prometheus_client.exposition import MetricsHandler

from ..process.addresses import UNIX, errors_name, errors_of_listening, is_unix, make_room, path_of
from ..process.ports import check_free, host_and_port
from ..settings import SettingInvalid

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

SETTING = "metrics_listen"

PATHS = ("/", "/metrics")

MOST_CONNECTIONS = 8
"""Connections at once; with the next one the oldest is closed, so that no slow one keeps others out."""

SECONDS_WITHOUT_DESCRIPTOR = 0.1
"""Time to wait where the process may open no more files, before the next connection is looked at."""

SECONDS_OF_SILENCE = 10.0
"""Time that a client has to go on."""


class MetricsEndpoint:
    """Serves metrics, in threads of its own.

    Args:
        address: host:port, where port 0 takes a free one, or unix:/path.
        collector: What is served.

    Raises:
        SettingInvalid: If the address cannot be listened on.
    """

    def __init__(self, address: str, collector: Collector) -> None:
        handler = type("Handler", (_Handler,), {"registry": collector, "making": Lock()})
        self._path = path_of(address) if is_unix(address) else None
        if self._path is not None:
            if not address.startswith(UNIX):
                raise SettingInvalid(SETTING, f"{address!r} must be host:port or unix:/path")
            make_room(self._path, SETTING)
            with errors_of_listening(address, SETTING):
                self._server = _Server(socket.AF_UNIX, os.fspath(self._path), handler)
            self.address = address
        else:
            with errors_name(SETTING):
                host, port = host_and_port(address)
                check_free(address)
            with errors_of_listening(address, SETTING):
                family, *_, place = socket.getaddrinfo(
                    host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )[0]
                self._server = _Server(family, place, handler)
            self.address = f"{host}:{self._server.socket.getsockname()[1]}"
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more, and give the address back."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, place: Any, handler: type[MetricsHandler]) -> None:
        self.address_family = family
        self._open: list[socket.socket] = []
        self._changing = Lock()
        super().__init__(place, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection."""
        try:
            return super().get_request()
        except OSError:
            # Where no more files may be opened, it stays in the queue, and would wake this thread at once.
            time.sleep(SECONDS_WITHOUT_DESCRIPTOR)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            self._open.append(request)
            oldest = self._open.pop(0) if len(self._open) > MOST_CONNECTIONS else None
        if oldest is not None:
            # Its thread closes it.
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changing:
            if request in self._open:
                self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the client is gone, or was too slow."""


class _Handler(MetricsHandler):
    timeout = SECONDS_OF_SILENCE
    making: Lock

    def do_GET(self) -> None:  # noqa: N802 - the name that it is called by
        if urlsplit(self.path).path not in PATHS:
            self.send_error(404, explain="The metrics are at /metrics.")
            return
        # One at a time: however many ask, the calls beside them keep their time.
        with self.making:
            super().do_GET()
