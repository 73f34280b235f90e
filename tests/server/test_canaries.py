"""Nothing of a caller's is in a log, and nothing of the server's in a status, wherever something fails."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1.regularization_service_pb2 import ListRegularizersRequest
from regularization.v1.regularization_service_pb2_grpc import RegularizationServiceStub
from regularization_client import Client, L1Norm, RegularizationError, Retry, TopK

from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME, TOKEN, WRONG, SHOWN = "canary-name", "canary-token", "canary-wrong", "canary-metadata"
STRENGTH = 0.123454321
CANARIES = re.compile(r"canary|12345432")
NEEDED = {
    # What keeps in what the others raise.
    "regularization_server.calls.stack.Stack.around",
    "regularization_server.calls.endings.nothing_told",
}
NEEDED_WHOLE = tuple(
    # Called in gRPC's own thread, or by what takes its place: where these fail, nobody is served any more.
    f"regularization_server.calls.{module}."
    for module in ("arrivals", "grpc_internals", "progress", "threads")
)
PATIENCE, IMPATIENCE = 10.0, 0.2
"""Seconds for calls that shall come to an end, and for those that may never get a thread."""

PATIENCE_TO_START = 60.0
"""Seconds for the server to start, beside other tests."""

FEWEST = 80
"""Functions at least that these calls run through."""


class FaultyServer:
    """A server process, and its functions by name."""

    def __init__(self, folder: Path) -> None:
        (folder / "tokens").write_text(f"canary-who: {TOKEN}\n")
        self.address = f"unix:{folder / 's'}"
        self._log = folder / "log"
        flags = ["--listen", self.address, "--token-file", str(folder / "tokens"), "--log-format=json"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.faults", *flags, "--log-level=debug"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            until(lambda: '"serving"' in self.log, PATIENCE_TO_START)
        except BaseException:
            self.end()
            raise

    @property
    def log(self) -> str:
        """All that it has written to standard error."""
        return self._log.read_text()

    def tell(self, command: str) -> list[str]:
        """Let a function fail, watch all, or neither; which of those before were called."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().split()

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyServer]:
    """A server whose functions can be made to fail."""
    server = FaultyServer(tmp_path_factory.mktemp("faulty"))
    yield server
    server.end()


def told(error: BaseException | None) -> str:
    """All that a failed call tells: its text, its details and what came with them."""
    texts = []
    while error is not None:
        texts += [str(error), repr(vars(error) if isinstance(error, RegularizationError) else "")]
        if isinstance(error, grpc.Call):
            texts += [str(error.details()), str(error.trailing_metadata())]
        error = error.__cause__
    return " ".join(texts)


def call_all(client: Client, channel: grpc.Channel, seconds: float) -> str:
    """Make calls of several kinds, full of canaries, each for so long; what those that failed have told."""
    parameters = {NAME: np.full(8, STRENGTH, np.float32)}
    texts = []

    def attempt(make: Callable[[], Any]) -> None:
        try:
            make()
        except (RegularizationError, grpc.RpcError) as error:
            texts.append(told(error))

    def shared() -> None:
        with client.shared_array(8) as array:
            client.proximal_step(array, norm, step_size=0.1, out=array, timeout=seconds)

    norm = L1Norm(strength=STRENGTH)
    attempt(lambda: client.proximal_step(parameters, norm, step_size=0.1, timeout=seconds))
    attempt(lambda: client.gradient(parameters, {NAME: norm}, timeout=seconds))
    attempt(lambda: client.penalty(parameters, TopK(count=3), timeout=seconds))
    attempt(shared)
    stub = RegularizationServiceStub(channel)
    for token in (TOKEN, WRONG):
        metadata = (("authorization", f"Bearer {token}"), ("x-header", SHOWN))
        attempt(lambda metadata=metadata: stub.ListRegularizers(ListRegularizersRequest(), seconds, metadata))
    return " ".join(texts)


def test_no_canary_is_told(faulty: FaultyServer) -> None:
    """Each function fails once, with all that it is given in the error's text: no log has it, no status."""
    failed = []
    retry = Retry(attempts=1, longest_silence=None)
    with (
        channel_to(faulty.address) as channel,
        Client(faulty.address, token=TOKEN, retry=retry, timeout=PATIENCE) as client,
    ):
        assert "ERROR_REASON_TOKEN_REFUSED" in call_all(client, channel, PATIENCE)
        faulty.tell("watch")
        assert CANARIES.search(call_all(client, channel, PATIENCE)) is None
        for name in sorted(set(faulty.tell("rest")) - NEEDED):
            if name.startswith(NEEDED_WHOLE):
                continue
            faulty.tell(f"fail {name}")
            texts = call_all(client, channel, IMPATIENCE)
            failed += faulty.tell("rest")
            assert CANARIES.search(texts) is None, (name, texts)
            assert CANARIES.search(faulty.log) is None, (name, faulty.log[-3000:])
    assert len(failed) >= FEWEST
