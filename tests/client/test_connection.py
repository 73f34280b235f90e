"""Targets, encryption, tokens, and the embedded server."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from regularization_client import (
    ArgumentError,
    AuthenticationError,
    Client,
    EmbeddedServerError,
    L1Norm,
    Retry,
    Tls,
    UnavailableError,
)
from regularization_client._transport.targets import address_of, stays_on_host
from regularization_client.command import main

from tests.support.faulty_server import answering, echo
from tests.support.processes import serving

L1 = L1Norm(strength=0.1)
THETA = np.array([0.8, -0.3, 0.5])


def test_a_client_without_a_target_serves_itself() -> None:
    """In a private folder, which is gone when it is closed; closing twice does no harm."""
    with Client() as client:
        assert client.penalty(THETA, L1).penalty == pytest.approx(0.16)
        server = client._connection._server
        assert server is not None
        socket = Path(server.address.removeprefix("unix:"))
        assert socket.is_socket()
        assert socket.parent.stat().st_mode & 0o077 == 0
    assert not socket.parent.exists()
    client.close()


def test_without_the_server_extra_a_target_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install; from a clone, as no index has the package."""
    monkeypatch.setitem(sys.modules, "regularization_server", None)
    with pytest.raises(EmbeddedServerError, match=r"pip install '\.\[server\]' in a clone") as caught:
        Client()
    assert isinstance(caught.value, ImportError)


def test_a_channel_may_be_given(target: str) -> None:
    """The caller's to configure, and to close."""
    with grpc.insecure_channel(target) as channel:
        for _ in range(2):
            with Client(channel=channel) as client:
                assert client.penalty(THETA, L1).nonzeros == 3
    with pytest.raises(ArgumentError, match="channel already has a target"):
        Client("localhost:1", channel=channel)


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("localhost:50051", "localhost:50051"),
        ("dns:///regularization:50051", "dns:///regularization:50051"),
        (["example.test:1"], "example.test:1"),
        (["127.0.0.1:1", "127.0.0.2:2"], "ipv4:127.0.0.1:1,127.0.0.2:2"),
        (["[::1]:1", "[::1]:2"], "ipv6:[::1]:1,[::1]:2"),
        (("unix:/a", "unix:/b"), "unix:/a,/b"),
    ],
)
def test_targets_become_oneaddress_of(target: Any, address: str) -> None:
    """Several replicas are one address of grpc's, too."""
    assert address_of(target) == address


@pytest.mark.parametrize(
    "target", ["", [], [""], ["unix:/a", "localhost:1"], ["a", "b"], ["dns:///a:1", "dns:///b:1"]]
)
def test_targets_that_are_none_are_refused(target: Any) -> None:
    """The error says what they may be."""
    with pytest.raises(ArgumentError, match="host:port"):
        address_of(target)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("localhost", '"localhost:50051"'),
        ("regularization.example", '"regularization.example:50051"'),
        ("http://localhost:50051", '"localhost:50051"'),
        ("https://localhost:50051/", '"localhost:50051", and tls='),
        (["http://a:1", "http://b:1"], '"a:1"'),
    ],
)
def test_addresses_of_pages_and_names_without_a_port_are_refused(target: Any, said: str) -> None:
    """Grpc would look for a server elsewhere; the error says what was probably meant."""
    with pytest.raises(ArgumentError, match=said):
        address_of(target)


def test_replicas_of_different_families_are_refused() -> None:
    """Grpc cannot list them in one address."""
    with pytest.raises(ArgumentError, match="all have an IPv4 address"):
        address_of(["127.0.0.1:1", "[::1]:1"])


def test_a_name_that_cannot_be_found_is_unavailable() -> None:
    """As any other server that cannot be reached."""
    with pytest.raises(UnavailableError, match=r"nowhere\.invalid"):
        address_of(["nowhere.invalid:1", "localhost:1"])


def test_a_server_that_is_not_there_is_unavailable() -> None:
    """After as many attempts as were asked for."""
    with Client("unix:/nowhere/s", retry=Retry(attempts=2, first_pause=0.01)) as client:
        with pytest.raises(UnavailableError):
            client.penalty(THETA, L1)
        with pytest.raises(UnavailableError):
            client.list_regularizers()


@pytest.mark.parametrize("token", ["secret", lambda: "secret"])
def test_a_token_goes_with_every_call(token: Any) -> None:
    """As the usual bearer token; a callable is asked for it."""
    seen: list[Any] = []

    def note(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        seen.append(dict(context.invocation_metadata()).get("authorization"))
        yield from echo(requests, context)

    with answering(note) as target, Client(target, token=token, chunk_bytes=64) as client:
        client.proximal_step(np.ones(3), L1, step_size=1.0)
        client.proximal_step(np.ones(100), L1, step_size=1.0)
    assert seen == ["Bearer secret"] * 2


def test_a_token_does_not_leave_the_machine_in_the_clear() -> None:
    """It is refused before a connection is made."""
    with pytest.raises(ArgumentError, match="a token needs tls"):
        Client("example.test:50051", token="secret")  # noqa: S106


@pytest.mark.parametrize(
    ("address", "stays"),
    [
        ("unix:/run/s", True),
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("ipv6:[::1]:1", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1,192.0.2.1:2", False),
        ("dns:///example.test:1", False),
        ("localhost.example.test:1", False),
        ("xds:///service", False),
    ],
)
def test_what_stays_on_the_machine(address: str, stays: bool) -> None:
    """Unix sockets and loopback addresses do, all of them."""
    assert stays_on_host(address) is stays


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Key and certificate of a server that is called regularization.test."""
    folder = tmp_path_factory.mktemp("certificate")
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    name = [
        "-subj",
        "/CN=regularization.test",
        "-addext",
        "subjectAltName=DNS:regularization.test,IP:127.0.0.1",
    ]
    subprocess.run(
        [*request, *name, "-keyout", folder / "key", "-out", folder / "pem"], check=True, capture_output=True
    )
    return (folder / "key").read_bytes(), (folder / "pem").read_bytes()


def test_an_encrypted_connection(certificate: tuple[bytes, bytes]) -> None:
    """To a server whose certificate one trusts, by the name that it bears; and to no other."""
    key, chain = certificate
    credentials = grpc.ssl_server_credentials([(key, chain)])
    with answering(echo, credentials=credentials) as target:
        tls = Tls(root_certificates=chain, server_name="regularization.test")
        with Client(target, tls=tls, token="secret") as client:  # noqa: S106
            assert client.proximal_step(THETA, L1, step_size=1.0).elements == 3
        for wrong in (Tls(root_certificates=chain), Tls(), None):
            with (
                Client(target, tls=wrong, retry=Retry(attempts=1)) as client,
                pytest.raises(UnavailableError),
            ):
                client.penalty(THETA, L1)


def test_both_sides_may_show_certificates(certificate: tuple[bytes, bytes]) -> None:
    """A server that asks for one gets the client's."""
    key, chain = certificate
    credentials = grpc.ssl_server_credentials([(key, chain)], chain, require_client_auth=True)
    with answering(echo, credentials=credentials) as target:
        tls = Tls(chain, certificate=chain, private_key=key, server_name="regularization.test")
        with Client(target, tls=tls) as client:
            assert client.proximal_step(THETA, L1, step_size=1.0).elements == 3


def test_the_real_server_encrypted_and_with_a_token(
    certificate: tuple[bytes, bytes], socket_folder: Path
) -> None:
    """Through the client and through the command; another token is refused."""
    key, chain = certificate
    files = {"key": key, "chain": chain, "token": b"secret"}
    for name, content in files.items():
        (socket_folder / name).write_bytes(content)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = (
        "--tls-certificate",
        "chain",
        "--tls-key",
        "key",
        "--tls-client-ca",
        "chain",
        "--token-file",
        "token",
    )
    arguments = [each if each.startswith("--") else str(socket_folder / each) for each in options]
    tls = Tls(chain, certificate=chain, private_key=key, server_name="regularization.test")
    with serving(socket_folder, *arguments, address=address):
        with Client(address, tls=tls, token="secret") as client:  # noqa: S106
            assert client.penalty(THETA, L1).nonzeros == 3
        with Client(address, tls=tls, token="guess") as client, pytest.raises(AuthenticationError):  # noqa: S106
            client.penalty(THETA, L1)
        pem, private = str(socket_folder / "chain"), str(socket_folder / "key")
        flags = ("--target", address, "--ca", pem, "--certificate", pem, "--key", private, "--timeout", "5")
        shown = CliRunner().invoke(main, ["regularizers", *flags], env={"REGULARIZE_TOKEN": "secret"})
        assert "l1_norm" in shown.output


def test_encryption_settings_that_do_not_fit_are_refused() -> None:
    """A certificate without its key; encryption to oneself."""
    with pytest.raises(ValueError, match="must be given together"):
        Tls(certificate=b"x")
    with pytest.raises(ArgumentError, match="tls needs a target"):
        Client(tls=Tls())
