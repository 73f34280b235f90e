"""Arrays in memory that client and server share: who gets any, how much, and how long it lasts."""

from __future__ import annotations

import gc
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Client,
    DataTypeError,
    L1Norm,
    Retry,
    SharedMemoryError,
    UnavailableError,
)

from tests.support.processes import serving

L1 = L1Norm(strength=0.1)
THETA = np.array([0.8, -0.3, 0.5])


def some(shape: tuple[int, ...], seed: int = 5, data_type: str = "f4") -> NDArray[Any]:
    """Arbitrary numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(data_type)


def test_arrays_start_at_zero_and_outlive_their_sharing(client: Client) -> None:
    """Released, they are ordinary memory, and so are views of them."""
    shared = client.shared_array((2, 3), "f8")
    theta = shared.arrays
    assert not theta.any()
    theta[...] = 0.5
    row = theta[1]
    shared.release()
    shared.release()
    assert not client.gradient(theta, L1, out=theta.copy()).shared
    del shared, theta
    gc.collect()
    np.testing.assert_array_equal(row, 0.5)


def test_empty_arrays_take_no_memory(client: Client) -> None:
    """The server gives none, and none is needed."""
    with client.shared_array((3, 0)) as empty, client.shared_arrays({}) as nothing:
        assert (empty.shape, empty.dtype.name, nothing) == ((3, 0), "float32", {})
        assert client.proximal_step(empty, L1, step_size=1.0, out=empty).elements == 0


def test_threads_may_share_memory_at_the_same_time(client: Client) -> None:
    """Each its own, allocated, used and released while others do the same."""

    def work(seed: int) -> bool:
        values = some((1000 + seed,), seed)
        with client.shared_array(values.size) as theta:
            theta[:] = values
            step = client.proximal_step(theta, L1, step_size=1.0, out=theta)
            expected = np.sign(values) * np.maximum(np.abs(values) - 0.1, 0)
            return step.shared and np.allclose(theta, expected, rtol=1e-5, atol=1e-7)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))


def test_a_client_without_a_target_shares_memory_with_its_own_server() -> None:
    """In one process; the arrays outlive both."""
    with Client() as client:
        theta = client.shared_array(3, "f8").arrays
        theta[:] = THETA
        assert client.proximal_step(theta, L1, step_size=1.0, out=theta).shared
    np.testing.assert_allclose(theta, [0.7, -0.2, 0.4])
    with pytest.raises(SharedMemoryError, match="the client is closed"):
        client.shared_array(3)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("localhost:1", "a target of the form unix:/path, got localhost:1"),
        (["unix:/a", "unix:/b"], "several"),
    ],
)
def test_memory_is_shared_with_one_server_on_this_host(target: Any, text: str) -> None:
    """Nothing is shared over a network, nor with replicas that each have memory of their own."""
    with Client(target) as client, pytest.raises(SharedMemoryError, match=text):
        client.shared_array(3)


def test_a_channel_does_not_say_whom_to_share_with(target: str) -> None:
    """The error says that a target does."""
    with (
        grpc.insecure_channel(target) as channel,
        Client(channel=channel) as client,
        pytest.raises(SharedMemoryError, match="needs a target"),
    ):
        client.shared_array(3)


def test_an_abstract_socket_has_a_hand_off_too(tmp_path: Path) -> None:
    """Beside it, under its name."""
    address = f"unix-abstract:regularization-{os.getpid()}"
    with serving(tmp_path, address=address), Client(address) as client, client.shared_array(3) as theta:
        assert client.penalty(theta, L1).shared


def test_a_server_that_is_not_there(socket_folder: Path) -> None:
    """Is unavailable, after as many attempts as were asked for."""
    with (
        Client(f"unix:{socket_folder / 's'}", retry=Retry(attempts=2, first_pause=0.01)) as client,
        pytest.raises(UnavailableError, match="no server is there"),
    ):
        client.shared_array(3)


def test_a_server_that_shares_nothing(socket_folder: Path) -> None:
    """The error says so, and calls work as ever."""
    with serving(socket_folder, "--no-shared-memory") as server, Client(server.address) as client:
        with pytest.raises(SharedMemoryError, match="offers no shared memory"):
            client.shared_array(3)
        assert client.penalty(THETA, L1).nonzeros == 3


def test_the_server_s_limits(socket_folder: Path) -> None:
    """Bytes and regions; what is released can be had again."""
    limits = ("--shared-memory-budget", "1MiB", "--shared-memory-regions", "2")
    with serving(socket_folder, *limits) as server, Client(server.address) as client:
        with pytest.raises(SharedMemoryError, match=r"refuses 1048580 bytes of shared memory, .* budget"):
            client.shared_array((1 << 18) + 1)
        for _ in range(5):
            with client.shared_array(1 << 18):
                pass
        with (
            client.shared_array(1),
            client.shared_array(1),
            pytest.raises(SharedMemoryError, match="as many regions"),
        ):
            client.shared_array(1)
        client.shared_array(1 << 18)
        client.close()
        with Client(server.address) as other, other.shared_array(1 << 18) as theta:
            assert other.penalty(theta, L1).shared


@pytest.mark.parametrize(("shape", "data_type"), [(3, "i8"), ((2, 2), "c16")])
def test_data_types_that_no_call_takes_are_refused(client: Client, shape: Any, data_type: str) -> None:
    """Before memory is asked for."""
    with pytest.raises(DataTypeError, match="a shared array must be of data type"):
        client.shared_array(shape, data_type)


def test_negative_lengths_are_refused(client: Client) -> None:
    """The error shows the shape."""
    with pytest.raises(ArgumentError, match=r"must have lengths >= 0, got \(3, -1\)"):
        client.shared_array((3, -1))


def test_sizes_that_no_request_can_state_are_refused(client: Client) -> None:
    """Before one is made of them, however large they are."""
    with pytest.raises(SharedMemoryError, match=f"no server has {1 << 64} bytes"):
        client.shared_array(1 << 62)
    with pytest.raises(SharedMemoryError, match="no server has"):
        client.shared_array((1 << 62, 1 << 62))


def test_only_memory_that_the_server_forgot_is_given_up(client: Client) -> None:
    """Such as an array that another thread released meanwhile; the others are shared as before."""
    with client.shared_array(10) as one, client.shared_array(10) as two:
        hand_off = client._memory._hand_off
        assert hand_off is not None
        for region in client._memory._regions:
            if np.shares_memory(region.content, one):
                hand_off.release(region.memory.handle)
        assert not client.proximal_step(one, L1, step_size=1.0, out=one).shared
        assert client.proximal_step(two, L1, step_size=1.0, out=two).shared


def test_a_server_that_was_started_anew(socket_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Knows nothing of the memory: calls on it go in chunks, and new memory is shared as before."""
    with (
        serving(socket_folder) as first,
        Client(first.address, retry=Retry(attempts=1000, longest_pause=0.2)) as client,
    ):
        one, two = client.shared_array(100).arrays, client.shared_array(100).arrays
        one[:], two[:] = 1, 2
        assert client.gradient(one, L1, out=two).shared
        first.signal(signal.SIGTERM)
        first.wait()
        with serving(socket_folder):
            result = client.gradient(one, L1, out=two)
            assert not result.shared
            np.testing.assert_array_equal(two, np.float32(0.1))
            assert "knows the shared memory no longer" in caplog.text
            assert not client.proximal_step(one, L1, step_size=1.0, out=one).shared
            with client.shared_array(100) as new:
                assert client.penalty(new, L1).shared
