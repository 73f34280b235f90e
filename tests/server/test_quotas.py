"""What one caller may have beside the others: calls, memory and regions."""

from __future__ import annotations

import math
import os
import subprocess
import time
from threading import Event, Timer
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from regularization.v1.layout_pb2 import Segment
from regularization_client import Client, L1Norm, ResourceExhaustedError, Retry
from regularization_server import Server, Settings
from regularization_server.calls.callers import address_in
from regularization_server.contract.retries import (
    LONGEST_SECONDS,
    SECONDS_APART,
    SECONDS_FOR_A_CALL,
    ComingAgain,
)
from regularization_server.shared_memory.regions import NoRoom, Regions, Share, TooManyRegions

from tests.support.messages import (
    TIMEOUT,
    OpenCall,
    call,
    chunk,
    good_call,
    header,
    layout_of,
    nuclear_norm,
    request,
)
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
SIGNED = ("-CA", "ca.pem", "-CAkey", "ca.key")
PAGE = 4096
L1 = L1Norm(strength=0.1)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:4567", "10.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:4567", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::1]:4567", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:10.1.2.3%5D:4567", "10.1.2.3"),
        ("ipv6:%5Bfe80::1%25eth0%5D:4567", "fe80::/64"),
        ("vsock:3:5", "vsock:3:5"),
    ],
)
def test_an_address_is_that_of_a_host_or_network(peer: str, address: str) -> None:
    """Ports make no other caller, nor do the many addresses that one network has in IPv6."""
    assert address_in(peer) == address


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on two addresses of the host: who comes to one comes from it, so they are two callers."""
    settings = Settings(
        listen=("127.0.0.1:0", "[::1]:0"),
        max_concurrent_calls=10,
        memory_budget=64 * MIB,
        max_calls_per_caller=9,
    )
    with Server(settings) as server:
        yield server


def refusal_of(call: Any) -> tuple[Any, float]:
    """What a refused call says: its ErrorInfo, and the seconds after which to try again."""
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in rpc_status.from_call(call).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    return info, retry.retry_delay.ToNanoseconds() / 1e9


def test_one_caller_leaves_calls_to_the_others(server: Server) -> None:
    """Who has as many streams as one may have is refused, with cause, scope and a time; others are served."""
    greedy, modest = server.addresses
    with channel_to(greedy) as channel, channel_to(modest) as other:
        streams = [OpenCall(channel) for _ in range(9)]
        with pytest.raises(grpc.RpcError) as caught:
            good_call(channel)
        info, seconds = refusal_of(caught.value)
        assert (info.reason, info.metadata["scope"]) == ("ERROR_REASON_TOO_MANY_CALLS", "caller")
        assert 0 < seconds < 10
        for _ in range(20):
            good_call(other)
        for stream in streams:
            assert stream.finish()
        until(lambda: server.quotas.callers == 0)
        good_call(channel)


def test_one_caller_leaves_reflection_to_the_others(server: Server) -> None:
    """Who has all streams of it that one may have is refused; others learn what they ask."""
    greedy, modest = server.addresses
    done = Event()

    def asking() -> Iterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        done.wait(TIMEOUT)

    with channel_to(greedy) as channel, channel_to(modest) as other:
        stub, others = map(reflection_pb2_grpc.ServerReflectionStub, (channel, other))
        streams = [stub.ServerReflectionInfo(asking(), timeout=TIMEOUT) for _ in range(29)]
        assert all(next(stream).list_services_response.service for stream in streams)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.ServerReflectionInfo(asking(), timeout=TIMEOUT))
        info, _ = refusal_of(caught.value)
        assert (info.reason, info.metadata["scope"]) == ("ERROR_REASON_TOO_MANY_CALLS", "caller")
        assert next(others.ServerReflectionInfo(asking(), timeout=TIMEOUT)).list_services_response.service
        done.set()


def test_all_calls_are_refused_in_the_scope_of_the_server(server: Server) -> None:
    """Where all callers together have all calls, that is what a refusal says."""
    first, second = server.addresses
    with channel_to(first) as channel, channel_to(second) as other:
        streams = [*(OpenCall(channel) for _ in range(9)), OpenCall(other)]
        with pytest.raises(grpc.RpcError) as caught:
            good_call(other)
        info, seconds = refusal_of(caught.value)
        assert (info.reason, info.metadata["scope"]) == ("ERROR_REASON_TOO_MANY_CALLS", "server")
        assert seconds > 0
        for stream in streams:
            stream.finish()


def half_a_matrix(channel: grpc.Channel, megabytes: int) -> Any:
    """A stream that sends half of a matrix of float32, which has to be there whole, and then waits."""
    rows = megabytes << 8
    of = layout_of(Segment(name="w", shape=[rows, 1024], regularizer=nuclear_norm()))
    half = np.zeros(rows * 512, np.float32)
    begun, waiting = Event(), Event()

    def messages() -> Iterator[Any]:
        yield request("proximal_step", header=header("proximal_step", of))
        for begin in range(0, half.size, MIB // 4):
            yield request("proximal_step", chunk=chunk(half[begin : begin + MIB // 4], offset=begin))
        begun.set()
        waiting.wait(TIMEOUT)

    stream = call(channel, "proximal_step", messages())
    stream.add_callback(lambda: (begun.set(), waiting.set()))
    begun.wait(TIMEOUT)
    return stream


def test_one_caller_leaves_memory_to_the_others(server: Server) -> None:
    """A caller's streams are refused at its share of the budget; another's segment still fits."""
    greedy, modest = server.addresses
    with channel_to(greedy) as channel, channel_to(modest) as other:
        streams = [half_a_matrix(channel, 2) for _ in range(5)]
        until(lambda: any(stream.done() for stream in streams))
        refused = next(stream for stream in streams if stream.done())
        info, seconds = refusal_of(refused)
        assert (info.reason, info.metadata["scope"]) == ("ERROR_REASON_BUDGET_EXCEEDED", "caller")
        assert int(info.metadata["budget_bytes"]) == math.ceil(64 * MIB * 0.9)
        assert seconds > 0
        good_call(other)
        for stream in streams:
            stream.cancel()
    until(lambda: server.budget.used == 0)


def test_what_never_fits_has_no_time_to_wait(server: Server) -> None:
    """A segment that is larger than the budget is refused at its first element, for good."""
    with channel_to(server.addresses[0]) as channel:
        of = layout_of(Segment(name="w", shape=[1 << 14, 1 << 10], regularizer=nuclear_norm()))
        stream = call(
            channel, "penalty", [request("penalty", header=header("penalty", of), chunk=chunk((1.0,)))]
        )
        with pytest.raises(grpc.RpcError):
            list(stream)
        info, seconds = refusal_of(stream)
    assert (info.reason, seconds) == ("ERROR_REASON_BUDGET_EXCEEDED", 0.0)


def test_callers_over_a_unix_socket_are_one_and_have_all(tmp_path: Path) -> None:
    """They may be many, so what nobody has set does not hold them; what is set does."""
    for own, most in ((None, 10), (3, 3)):
        settings = Settings(
            listen=(f"unix:{tmp_path / 's'}",), max_concurrent_calls=10, max_calls_per_caller=own
        )
        with Server(settings) as server, channel_to(server.addresses[0]) as channel:
            streams = [OpenCall(channel) for _ in range(most)]
            with pytest.raises(grpc.RpcError) as caught:
                good_call(channel)
            info, _ = refusal_of(caught.value)
            assert info.metadata["scope"] == ("server" if own is None else "caller")
            for stream in streams:
                stream.finish()


def test_a_certificate_makes_a_caller(tmp_path: Path) -> None:
    """Clients from one address are told apart by the subjects of their certificates, over any connection."""
    openssl = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name, signed in (("ca", ()), *((name, SIGNED) for name in ("server", "one", "other"))):
        arguments = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "1")
        command = [*openssl, *arguments, "-addext", "subjectAltName=DNS:localhost", *signed]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    settings = Settings(
        listen=("localhost:0",),
        tls_certificate=tmp_path / "server.pem",
        tls_key=tmp_path / "server.key",
        tls_client_ca=tmp_path / "ca.pem",
        max_calls_per_caller=1,
    )

    def channel_of(name: str) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(
            files["ca.pem"], files[f"{name}.key"], files[f"{name}.pem"]
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(server.addresses[0], credentials, options)

    with (
        Server(settings) as server,
        channel_of("one") as one,
        channel_of("one") as again,
        channel_of("other") as other,
    ):
        stream = OpenCall(one)
        good_call(other)
        with pytest.raises(grpc.RpcError) as caught:
            good_call(again)
        assert refusal_of(caught.value)[0].metadata["scope"] == "caller"
        stream.finish()


def test_the_client_waits_as_long_as_it_is_asked_to(server: Server) -> None:
    """Refused while its caller's calls are taken, the client's call succeeds once they are over."""
    target, theta = server.addresses[0], np.ones(3, np.float32)
    with channel_to(target) as channel, Client(target, retry=Retry(first_pause=0.0)) as client:
        streams = [OpenCall(channel) for _ in range(9)]
        never = Retry(attempts=1)
        with Client(target, retry=never) as impatient, pytest.raises(ResourceExhaustedError) as caught:
            impatient.penalty(theta, L1)
        assert caught.value.retry_after == pytest.approx(SECONDS_FOR_A_CALL)
        end = Timer(0.1, lambda: [stream.finish() for stream in streams])
        end.start()
        started = time.monotonic()
        assert client.penalty(theta, L1).penalty == pytest.approx(0.3)
        assert time.monotonic() - started >= SECONDS_FOR_A_CALL
        end.join()


def test_refused_calls_come_again_one_after_the_other() -> None:
    """The more are refused, the longer the last is asked to wait, up to a bound."""
    refused = ComingAgain()
    times = [refused.next() for _ in range(1000)]
    assert times[0] == pytest.approx(SECONDS_FOR_A_CALL)
    assert times[100] == pytest.approx(SECONDS_FOR_A_CALL + 100 * SECONDS_APART, abs=0.1)
    assert max(times) <= LONGEST_SECONDS
    assert times[-1] == pytest.approx(LONGEST_SECONDS)


def test_one_user_leaves_regions_to_the_others() -> None:
    """A user's regions end at its share, in bytes and in number; what goes back may be had again."""
    regions = Regions(10 * PAGE, 5, Share(8 * PAGE, 3))
    descriptors = []

    def allocate(size: int, owner: int) -> Any:
        region, descriptor = regions.allocate(size, owner)
        descriptors.append(descriptor)
        return region

    held = [allocate(4 * PAGE, 1), allocate(4 * PAGE, 1)]
    with pytest.raises(NoRoom):
        regions.allocate(1, 1)
    small = [allocate(1, 2), allocate(1, 2)]
    with pytest.raises(NoRoom):
        regions.allocate(1, 3)
    regions.release(held.pop().handle)
    small.append(allocate(1, 2))
    with pytest.raises(TooManyRegions):
        regions.allocate(1, 2)
    assert allocate(3 * PAGE, 1).size == 3 * PAGE
    for descriptor in descriptors:
        os.close(descriptor)
