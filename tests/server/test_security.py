"""Tokens and certificates."""

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from regularization.v1.regularization_service_pb2 import ListRegularizersRequest
from regularization.v1.regularization_service_pb2_grpc import RegularizationServiceStub
from regularization_server import Server, Settings
from regularization_server.settings import SettingInvalid

from tests.support.http2_frames import status_of
from tests.support.messages import TIMEOUT, good_call
from tests.support.processes import COMMAND, channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "s3cret"  # noqa: S105 - of these tests alone


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """A server that asks for a token."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with Server(Settings(listen=(f"unix:{tmp_path / 's'}",), token_file=file)) as server:
        yield server


def list_regularizers(channel: grpc.Channel, authorization: str | None = None) -> Any:
    """A call that shows what it is given."""
    metadata = () if authorization is None else (("authorization", authorization),)
    stub = RegularizationServiceStub(channel)
    return stub.ListRegularizers(ListRegularizersRequest(), metadata=metadata, timeout=TIMEOUT)


def test_token_opens(guarded: Server) -> None:
    """With the token a call is served."""
    with channel_to(guarded.addresses[0]) as channel:
        assert list_regularizers(channel, f"Bearer {TOKEN}").regularizers


@pytest.mark.parametrize("authorization", [f"bearer {TOKEN}", f"BEARER {TOKEN}", f"Bearer  {TOKEN} "])
def test_scheme_is_read_as_rfc_9110_says(guarded: Server, authorization: str) -> None:
    """The scheme's letters may be of either case, and more than one space may stand before the token."""
    with channel_to(guarded.addresses[0]) as channel:
        assert list_regularizers(channel, authorization).regularizers


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [b""],
        [b"Bearer"],
        [b"\xff\xfe"],
        [b"Bearer \xff\xfe"],
        [f"Bearer {TOKEN}".encode() + b"\xc3\xa9"],
        [b"Bearer s3\x00cret"],
        [b"Bearer " + b"," * 90],
        [b"x", f"Bearer {TOKEN}".encode()],
        [f"Bearer {TOKEN}".encode()] * 2,
    ],
)
def test_malformed_headers_are_refused(
    guarded: Server, shown: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """None, several, bytes that are no text: UNAUTHENTICATED, as any other token that is not the server's."""
    caplog.set_level(logging.INFO)
    status = status_of(guarded.addresses[0], "ListRegularizers", [(b"authorization", each) for each in shown])
    assert status == grpc.StatusCode.UNAUTHENTICATED.value[0]
    reason = "REFUSED" if shown else "MISSING"
    until(lambda: f"reason=ERROR_REASON_TOKEN_{reason}" in caplog.text)


def test_one_header_without_a_client_is_served(guarded: Server) -> None:
    """The same bytes with the token in one header are answered, so the refusals above are for the token."""
    shown = [(b"authorization", f"Bearer {TOKEN}".encode())]
    assert status_of(guarded.addresses[0], "ListRegularizers", shown) == 0


@pytest.mark.parametrize("content", [b"two words", b"\xff\xfe", "schlüssel".encode(), b"a\nb", b"a\x00b"])
def test_a_token_that_no_header_can_show_is_no_setting(tmp_path: Path, content: bytes) -> None:
    """A token is one word of visible ASCII; a file with anything else stops the start."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SettingInvalid) as caught:
        Server(Settings(listen=(f"unix:{tmp_path / 's'}",), token_file=file)).start()
    assert caught.value.setting == "token_file"


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer S3cret"],
)
def test_without_the_token_a_call_is_refused(guarded: Server, authorization: str | None) -> None:
    """Without the token, or with another, a call is UNAUTHENTICATED."""
    with channel_to(guarded.addresses[0]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            list_regularizers(channel, authorization)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert TOKEN not in str(caught.value)
        with pytest.raises(grpc.RpcError) as caught:
            good_call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_needs_no_token(guarded: Server) -> None:
    """A prober has no token, and is answered."""
    with channel_to(guarded.addresses[0]) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_needs_the_token(guarded: Server) -> None:
    """The schema is told to those who have the token."""
    with channel_to(guarded.addresses[0]) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ServerReflectionInfo(iter(requests), timeout=TIMEOUT))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        assert list(stub.ServerReflectionInfo(iter(requests), metadata=metadata, timeout=TIMEOUT))


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and a server's and a client's certificate of it."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "rsa:2048", "-nodes")
    openssl(
        folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "1"
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", "names")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return folder


def tls_settings(folder: Path, **more: Any) -> Settings:
    """Settings with the server's certificate."""
    return Settings(
        listen=("127.0.0.1:0",), tls_certificate=folder / "server.pem", tls_key=folder / "server.key", **more
    )


def secure_channel(folder: Path, server: Server, client: str | None = None) -> grpc.Channel:
    """A channel that trusts the authority, and shows a client's certificate."""
    pair: tuple[bytes | None, bytes | None] = (None, None)
    if client is not None:
        pair = ((folder / f"{client}.key").read_bytes(), (folder / f"{client}.pem").read_bytes())
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *pair)
    return grpc.secure_channel(server.addresses[0], credentials)


def test_tls(certificates: Path) -> None:
    """With a certificate, TCP addresses speak TLS and nothing else; the probe does, too."""
    with Server(tls_settings(certificates)) as server:
        with secure_channel(certificates, server) as channel:
            good_call(channel)
        with grpc.insecure_channel(server.addresses[0]) as channel, pytest.raises(grpc.RpcError):
            good_call(channel)
        probe = [
            str(COMMAND),
            "probe",
            "--target",
            server.addresses[0],
            "--tls-ca",
            str(certificates / "ca.pem"),
        ]
        assert subprocess.run(probe, check=False, capture_output=True).returncode == 0


def test_client_certificates(certificates: Path) -> None:
    """With an authority for clients, a call without a certificate of it is refused."""
    with Server(tls_settings(certificates, tls_client_ca=certificates / "ca.pem")) as server:
        with secure_channel(certificates, server, "client") as channel:
            good_call(channel)
        with secure_channel(certificates, server) as channel, pytest.raises(grpc.RpcError) as caught:
            good_call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_unix_sockets_are_plain_beside_tls(certificates: Path, tmp_path: Path) -> None:
    """A Unix socket of a server with a certificate takes plain calls."""
    settings = Settings(
        listen=(f"unix:{tmp_path / 's'}",),
        tls_certificate=certificates / "server.pem",
        tls_key=certificates / "server.key",
    )
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        good_call(channel)


@pytest.mark.parametrize(
    ("certificate", "key", "authority", "setting"),
    [
        ("server.pem", "client.key", None, "tls_certificate"),
        ("names", "server.key", None, "tls_certificate"),
        ("absent", "server.key", None, "tls_certificate"),
        ("server.pem", "absent", None, "tls_key"),
        ("server.pem", "server.key", "absent", "tls_client_ca"),
        ("server.pem", "server.key", "names", "tls_client_ca"),
    ],
)
def test_certificates_that_do_not_work(
    certificates: Path, certificate: str, key: str, authority: str | None, setting: str
) -> None:
    """Files that are absent, that do not belong together or that are no certificates stop the start."""
    settings = Settings(
        listen=("127.0.0.1:0",),
        tls_certificate=certificates / certificate,
        tls_key=certificates / key,
        tls_client_ca=None if authority is None else certificates / authority,
    )
    with pytest.raises(SettingInvalid) as caught:
        Server(settings).start()
    assert caught.value.setting == setting
