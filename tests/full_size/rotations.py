"""A hundred rotations of certificates, authorities and tokens under fifty calls a second.

Run it with ``python -m tests.full_size.rotations``. It takes three minutes.
"""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from regularization.v1.regularization_service_pb2 import ListPlansRequest
from regularization.v1.regularization_service_pb2_grpc import RegularizationServiceStub

from tests.support.certificates import Authority, Pair, replace
from tests.support.processes import serving, until

ROTATIONS = 100
CALLS_A_SECOND = 50
SECONDS_A_ROTATION = 1.5
SECONDS_UNTIL_REFUSED = 5.0
CALLERS = 16


@dataclass
class World:
    """What callers trust and show: it changes after the server's files have changed, as in an overlap."""

    address: str
    trusted: bytes
    client: Pair
    token: str
    codes: Counter[str] = field(default_factory=Counter)

    def call(self, client: Pair | None = None, token: str | None = None) -> str:
        """A call on a new connection; its status."""
        shown = client or self.client
        credentials = grpc.ssl_channel_credentials(self.trusted, shown.key, shown.certificate)
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(self.address, credentials, options) as channel:
            metadata = (("authorization", f"Bearer {token or self.token}"),)
            try:
                RegularizationServiceStub(channel).ListPlans(ListPlansRequest(), 10.0, metadata)
            except grpc.RpcError as error:
                return error.code().name
        return "OK"

    def count(self) -> None:
        """A call whose status is counted."""
        self.codes[self.call()] += 1


def main() -> None:
    """Rotate, and say how calls ended and how long the old was taken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority, clients = Authority("servers"), Authority("clients 0")
        authority.sign("server").write(folder, "server")
        replace(folder / "ca.pem", clients.certificate)
        replace(folder / "tokens", b"caller: token0\n")
        flags = [f"--tls-certificate={folder / 'server.pem'}", f"--tls-key={folder / 'server.key'}"]
        flags += [f"--tls-client-ca={folder / 'ca.pem'}", f"--token-file={folder / 'tokens'}"]
        with serving(folder, *flags, address="127.0.0.1:0") as server:
            found = re.search(r"127\.0\.0\.1:\d+", server.log)
            assert found is not None
            world = World(found[0], authority.certificate, clients.sign("client"), "token0")
            over = threading.Event()
            caller = threading.Thread(target=call_steadily, args=(world, over))
            caller.start()
            waits = [rotate(folder, world, authority, number) for number in range(1, ROTATIONS + 1)]
            over.set()
            caller.join()
    print(f"{ROTATIONS} rotations, calls: {dict(world.codes)}")
    print(f"the old was refused after {max(waits):.2f} s at most, {sum(waits) / len(waits):.2f} on average")


def call_steadily(world: World, over: threading.Event) -> None:
    """Make so many calls a second."""
    with ThreadPoolExecutor(CALLERS) as callers:
        due = time.monotonic()
        while not over.is_set():
            callers.submit(world.count)
            due += 1 / CALLS_A_SECOND
            time.sleep(max(due - time.monotonic(), 0.0))


def rotate(folder: Path, world: World, authority: Authority, number: int) -> float:
    """Replace everything, with overlap; the seconds until the old was refused."""
    started = time.monotonic()
    before, after = (world.client, world.token), Authority(f"clients {number}")
    authority.sign("server").write(folder, "server")
    old = (folder / "ca.pem").read_bytes()
    replace(folder / "ca.pem", old + after.certificate)
    replace(folder / "tokens", f"caller: {world.token}\ncaller: token{number}\n".encode())
    client = after.sign("client")
    until(lambda: world.call(client, f"token{number}") == "OK", SECONDS_UNTIL_REFUSED)
    world.client, world.token = client, f"token{number}"
    # Calls that have begun with the old ones end.
    time.sleep(max(started + SECONDS_A_ROTATION - time.monotonic(), 0.2))
    replace(folder / "ca.pem", after.certificate)
    replace(folder / "tokens", f"caller: token{number}\n".encode())
    gone = time.monotonic()
    until(lambda: world.call(client=before[0]) == "UNAVAILABLE", SECONDS_UNTIL_REFUSED)
    until(lambda: world.call(token=before[1]) == "UNAUTHENTICATED", SECONDS_UNTIL_REFUSED)
    return time.monotonic() - gone


if __name__ == "__main__":
    main()
