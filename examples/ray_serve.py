"""Replicas of the service on a Ray cluster, and a caller that finds them.

    pip install '.[server,compiled]' 'ray[serve]'
    serve run --name regularization examples.ray_serve:application

Ray Serve's own proxies carry no streams of requests. So Serve starts, watches, replaces and stops replicas,
and calls go to them directly, by the protocol that they always speak: each replica is a whole server, on a
free port of its node, and a caller asks Serve where they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import ray
from ray import serve
from regularization_client import Client, UnavailableError
from regularization_server import Server, Settings
from regularization_server.process.logs import library_logger
from regularization_server.process.loops import make_loops_ready, names_to_warm
from regularization_server.process.preparation import cache_or_own, prepare
from regularization_server.process.probe import ProbeTls, health_of
from regularization_server.settings import SETTINGS

APPLICATION, DEPLOYMENT = "regularization", "Regularization"
SECONDS_TO_ANSWER = 3.0
T = TypeVar("T")


def settings_of(flags: tuple[str, ...]) -> Settings:
    """What flags of ``regularization-server`` say, then its environment variables, then ``--config``."""
    from regularization_server.command import main

    given = main.make_context("regularization-server", list(flags)).params
    return Settings(**{name: given[name] for name in SETTINGS})


@serve.deployment(
    name=DEPLOYMENT,
    num_replicas=2,
    ray_actor_options={"num_cpus": 1},
    health_check_period_s=2,
    health_check_timeout_s=2 * SECONDS_TO_ANSWER,
    graceful_shutdown_timeout_s=40,  # longer than --drain-delay and --grace-period together
)
class Regularization:
    """A server on a free port of the replica's node.

    Args:
        flags: Those of ``regularization-server``, such as ``bind("--threads", "1")``. ``--processes`` must be
            1, and ``--blas-threads`` is: Ray has loaded NumPy before.
        tls: What a health check needs where the server speaks TLS; None for plain text.
    """

    server: Server | None = None

    def __init__(self, *flags: str, tls: ProbeTls | None = None) -> None:
        settings = settings_of(("--listen", f"{ray.util.get_node_ip_address()}:0", *flags))
        # As the command does: memory that is used again, and machine code that the next replica finds.
        prepare()
        self.server = Server(settings)
        self.server.start()
        make_loops_ready(cache_or_own(settings.cache), names_to_warm(settings.warm), library_logger())
        self.tls = tls

    def address(self) -> str:
        """Where it is called."""
        return self.server.addresses[0]

    def check_health(self) -> None:
        """Let Serve replace a server that does not say that it serves."""
        health = health_of(self.address(), SECONDS_TO_ANSWER, self.tls)
        if not health.serving:
            raise RuntimeError(health.text)

    def __del__(self) -> None:
        """Stop in order: Serve calls this and waits, and Python may call it again."""
        server, self.server = self.server, None
        if server is not None:
            server.stop()


application = Regularization.bind()


def addresses(patience: float = 60.0) -> list[str]:
    """Where the replicas are, asked of each by a process that has joined the cluster.

    Args:
        patience: Seconds to wait for the first, where there is none.

    Raises:
        TimeoutError: If there was none in that time.
    """
    handle = serve.get_deployment_handle(DEPLOYMENT, APPLICATION)
    deadline = time.monotonic() + patience
    while True:
        # One that has died answers with an error, one that hangs not at all, until Serve has found it out.
        with suppress(TimeoutError):
            asked = handle.broadcast("address")
            answers = asked.results(timeout_s=SECONDS_TO_ANSWER, return_exceptions=True)
            if found := sorted(each for each in answers if isinstance(each, str)):
                return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"no replica of {APPLICATION} within {patience} s")
        time.sleep(0.2)


class Replicas:
    """One client of all replicas, for one thread.

    It goes from one replica to another by itself. What it cannot know is where Serve has started new ones, in
    the place of those that died or besides: so Serve is asked from time to time, and where none is left.

    Args:
        seconds: How long addresses are taken for good.
        options: Those of `Client`.
    """

    def __init__(self, seconds: float = 10.0, **options: Any) -> None:
        self._seconds, self._options = seconds, options
        self._known: list[str] = []
        self._until = 0.0
        self._client: Client | None = None

    def call(self, make: Callable[[Client], T]) -> T:
        """Return what ``make`` does with the client: once more, where no replica answered that was known."""
        try:
            return make(self._current())
        except UnavailableError:
            self._until = 0.0
            return make(self._current())

    def close(self) -> None:
        """Close the client."""
        if self._client is not None:
            self._client.close()

    def _current(self) -> Client:
        if self._client is None or time.monotonic() > self._until:
            found = addresses()
            self._until = time.monotonic() + self._seconds
            if self._client is None or found != self._known:
                self.close()
                self._known, self._client = found, Client(found, **self._options)
        return self._client
