"""gRPC's compression: off unless asked for, and the results stay the same."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import grpc
import numpy as np
import pytest
from regularization_client import ArgumentError, Client, L1Norm

from tests.client.test_command import succeed

L1 = L1Norm(strength=0.1)
SMOOTH = np.repeat(np.arange(1000, dtype=np.float32), 100)


class Counter:
    """Bytes that went from a client to a server."""

    sent = 0


@contextmanager
def counted(target: str, folder: Path) -> Iterator[tuple[str, Counter]]:
    """A Unix socket that passes one connection on to another, and counts."""
    counter = Counter()
    path = folder / "counted"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as server:
        listener.bind(str(path))
        listener.listen()

        def carry(source: socket.socket, sink: socket.socket, counting: bool) -> None:
            with suppress(OSError):
                while data := source.recv(1 << 16):
                    counter.sent += len(data) if counting else 0
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_RDWR)

        def pass_on() -> None:
            client, _ = listener.accept()
            with client:
                server.connect(target.removeprefix("unix:"))
                back = threading.Thread(target=carry, args=(server, client, False))
                back.start()
                carry(client, server, True)
                back.join()

        thread = threading.Thread(target=pass_on)
        thread.start()
        yield f"unix:{path}", counter
        thread.join()
    path.unlink()


def sent_with(
    target: str, folder: Path, compression: Literal["gzip", "deflate"] | None
) -> tuple[int, bytes, Any]:
    """Bytes sent, result and penalty of a call."""
    with (
        counted(target, folder) as (address, counter),
        Client(address, compression=compression) as client,
    ):
        step = client.proximal_step(SMOOTH, L1, step_size=1.0)
        return counter.sent, step.parameters.tobytes(), step.penalty


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_requests_have_the_same_results(
    target: str, socket_folder: Path, compression: Literal["gzip", "deflate"]
) -> None:
    """In fewer bytes, where the parameters can be compressed; uncompressed, they are all sent."""
    plain = sent_with(target, socket_folder, None)
    compressed = sent_with(target, socket_folder, compression)
    assert compressed[1:] == plain[1:]
    assert plain[0] > SMOOTH.nbytes
    assert compressed[0] < SMOOTH.nbytes / 10


def test_the_command_compresses(target: str, tmp_path: Path) -> None:
    """With --compression, and prints the same."""
    np.save(tmp_path / "x.npy", SMOOTH)
    arguments = ("penalty", tmp_path / "x.npy", "-r", "l1_norm:strength=0.1", "--json")
    assert succeed(target, *arguments, "--compression", "gzip") == succeed(target, *arguments)


def test_what_does_not_fit_together_is_refused() -> None:
    """A channel has its own compression; a method that gRPC does not have is none."""
    with grpc.insecure_channel("unix:/nowhere") as channel, pytest.raises(ArgumentError, match="channel"):
        Client(channel=channel, compression="gzip")
    with pytest.raises(ArgumentError, match="gzip, deflate or None, got 'lz4'"):
        Client("unix:/nowhere", compression="lz4")  # type: ignore[arg-type]
