"""Certificates, authorities and tokens that are replaced while a server serves."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from regularization.v1.regularization_service_pb2 import ListRegularizersRequest
from regularization.v1.regularization_service_pb2_grpc import RegularizationServiceStub
from regularization_server import Server, Settings
from regularization_server.calls.authorization import Token
from regularization_server.process import reloading
from regularization_server.process.token_file import MOST, tokens_in
from regularization_server.settings import SettingInvalid

from tests.support.certificates import Authority, Pair, replace
from tests.support.messages import TIMEOUT, Failed, good_call
from tests.support.processes import channel_to, until

SECONDS_UNTIL_REFUSED = 5.0
"""The old is not taken after so long."""

ROTATIONS = 6
PATH = Path("/run/tokens")


@pytest.fixture
def authority() -> Authority:
    """Whom all trust."""
    return Authority()


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    """A folder with a server's files."""
    authority.sign("server").write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "tokens").write_text("trainer: first\n")
    return tmp_path


def serving_tls(folder: Path, **more: Any) -> Server:
    """A server with TLS."""
    listen = ("127.0.0.1:0",)
    return Server(
        Settings(listen=listen, tls_certificate=folder / "server.pem", tls_key=folder / "server.key", **more)
    )


def secure_channel(server: Server, trusted: bytes, client: Pair | None = None) -> grpc.Channel:
    """A channel with a connection of its own."""
    pair = (None, None) if client is None else (client.key, client.certificate)
    credentials = grpc.ssl_channel_credentials(trusted, *pair)
    return grpc.secure_channel(
        server.addresses[0], credentials, options=[("grpc.use_local_subchannel_pool", 1)]
    )


def connects(server: Server, trusted: bytes, client: Pair | None = None) -> bool:
    """Whether a new connection is taken, on which a call is answered."""
    with secure_channel(server, trusted, client) as channel:
        try:
            good_call(channel)
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
    return True


def list_regularizers(channel: grpc.Channel, token: str | None) -> None:
    """A call that shows a token."""
    metadata = None if token is None else (("authorization", f"Bearer {token}"),)
    stub = RegularizationServiceStub(channel)
    stub.ListRegularizers(ListRegularizersRequest(), metadata=metadata, timeout=TIMEOUT)


def reason_of(channel: grpc.Channel, token: str | None) -> str | None:
    """Why a call with this token is refused; None where it is answered."""
    try:
        list_regularizers(channel, token)
    except grpc.RpcError as error:
        return Failed.of(error).reason
    return None


def test_a_new_certificate_is_shown_to_new_connections(folder: Path) -> None:
    """Of another authority: who trusts the old one alone is not served any more, and soon."""
    old, new = Authority("old"), Authority("new")
    old.sign("server").write(folder, "server")
    with serving_tls(folder) as server:
        assert connects(server, old.certificate)
        new.sign("server").write(folder, "server")
        until(lambda: connects(server, new.certificate), SECONDS_UNTIL_REFUSED)
        assert not connects(server, old.certificate)


def test_a_connection_that_stands_goes_on(folder: Path, authority: Authority) -> None:
    """It was made with the old certificate, and loses nothing."""
    with serving_tls(folder) as server, secure_channel(server, authority.certificate) as channel:
        good_call(channel)
        Authority("new").sign("server").write(folder, "server")
        until(lambda: not connects(server, authority.certificate), SECONDS_UNTIL_REFUSED)
        good_call(channel)


def test_authorities_of_clients_are_replaced(folder: Path, authority: Authority) -> None:
    """With overlap both clients are served; once the old authority is gone, only the new one's."""
    new = Authority("new")
    before, after = authority.sign("client"), new.sign("client")
    with serving_tls(folder, tls_client_ca=folder / "ca.pem") as server:

        def served(client: Pair) -> bool:
            return connects(server, authority.certificate, client)

        assert served(before)
        assert not served(after)
        replace(folder / "ca.pem", authority.certificate + new.certificate)
        until(lambda: served(after), SECONDS_UNTIL_REFUSED)
        assert served(before)
        replace(folder / "ca.pem", new.certificate)
        until(lambda: not served(before), SECONDS_UNTIL_REFUSED)
        assert served(after)


def test_every_address_has_the_new_certificate(folder: Path) -> None:
    """Each has its own handshakes, and none is left with the old one."""
    new = Authority("new")
    settings = Settings(
        listen=("127.0.0.1:0", "127.0.0.1:0"),
        tls_certificate=folder / "server.pem",
        tls_key=folder / "server.key",
    )
    with Server(settings) as server:
        new.sign("server").write(folder, "server")
        for address in server.addresses:

            def connects(address: str = address) -> bool:
                with grpc.secure_channel(address, grpc.ssl_channel_credentials(new.certificate)) as channel:
                    try:
                        good_call(channel)
                    except grpc.RpcError:
                        return False
                return True

            until(connects, SECONDS_UNTIL_REFUSED)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("server.pem", b"-----BEGIN CERTIFICATE-----\nMIIB", "has no certificates in PEM"),
        ("server.key", b"", "has no private key in PEM"),
        ("server.key", None, "do not belong together"),
        ("ca.pem", b"nothing", "has no certificates in PEM"),
    ],
)
def test_a_broken_file_keeps_the_old(
    folder: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    content: bytes | None,
    text: str,
) -> None:
    """It is said once in the log, without what is in the file, and the next right one is taken."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(reloading, "SECONDS_BETWEEN_LOOKS", 0.02)
    client = authority.sign("client")
    with serving_tls(folder, tls_client_ca=folder / "ca.pem") as server:
        replace(folder / name, authority.sign("another").key if content is None else content)
        until(lambda: "refused" in caplog.text)
        assert connects(server, authority.certificate, client)
        refused = [each for each in caplog.messages if "refused" in each]
        assert len(refused) == 1
        assert text in refused[0]
        assert "MIIB" not in refused[0]
        new = Authority("new")
        new.sign("server").write(folder, "server")
        replace(folder / "ca.pem", authority.certificate)
        until(lambda: connects(server, new.certificate, client), SECONDS_UNTIL_REFUSED)


def test_files_that_vanish_keep_the_old(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tokens hold on without their file, and the log says so."""
    monkeypatch.setattr(reloading, "SECONDS_BETWEEN_LOOKS", 0.02)
    settings = Settings(listen=(f"unix:{folder / 's'}",), token_file=folder / "tokens")
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        (folder / "tokens").unlink()
        until(lambda: "tokens refused, the old ones stay" in caplog.text)
        assert reason_of(channel, "first") is None


def test_tokens_overlap_and_go(folder: Path) -> None:
    """Both hold while both are in the file; the old one is refused once it is not."""
    settings = Settings(listen=(f"unix:{folder / 's'}",), token_file=folder / "tokens")
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        assert reason_of(channel, "first") is None
        assert reason_of(channel, "second") == "ERROR_REASON_TOKEN_REFUSED"
        assert reason_of(channel, None) == "ERROR_REASON_TOKEN_MISSING"
        replace(folder / "tokens", b"trainer: first\ntrainer: second  \n")
        until(lambda: reason_of(channel, "second") is None, SECONDS_UNTIL_REFUSED)
        assert reason_of(channel, "first") is None
        replace(folder / "tokens", b"trainer: second\n")
        until(lambda: reason_of(channel, "first") is not None, SECONDS_UNTIL_REFUSED)
        assert reason_of(channel, "second") is None


def test_rotations_under_calls_lose_none(
    folder: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificate, authorities and tokens change again and again; every call on a new connection succeeds."""
    monkeypatch.setattr(reloading, "SECONDS_BETWEEN_LOOKS", 0.02)
    files = {"tls_client_ca": folder / "ca.pem", "token_file": folder / "tokens"}
    trusted, client, failures = authority.certificate, authority.sign("client"), []
    calls, over = [0], threading.Event()

    def keep_calling(server: Server) -> None:
        while not over.is_set():
            with secure_channel(server, trusted, client) as channel:
                try:
                    list_regularizers(channel, "always")
                except grpc.RpcError as error:
                    failures.append(error)
            calls[0] += 1

    replace(folder / "tokens", b"always: always\n")
    with serving_tls(folder, **files) as server:
        caller = threading.Thread(target=keep_calling, args=(server,))
        caller.start()
        for rotation in range(ROTATIONS):
            before = calls[0]
            authority.sign(f"server{rotation}").write(folder, "server")
            replace(folder / "ca.pem", Authority("other").certificate + authority.certificate)
            replace(folder / "tokens", f"always: always\nother: {rotation}\n".encode())
            until(lambda before=before: calls[0] >= before + 3)
        over.set()
        caller.join()
    assert failures == []


@pytest.mark.parametrize(
    ("age", "lasts", "text"),
    [
        (timedelta(days=2), timedelta(days=-1), "certificate expired"),
        (timedelta(days=-1), timedelta(days=2), "certificate not valid yet"),
        (timedelta(days=80), timedelta(days=10), "certificate expires soon"),
        (timedelta(hours=20), timedelta(hours=4), "certificate expires soon"),
        (timedelta(hours=2), timedelta(hours=22), None),
        (timedelta(days=1), timedelta(days=80), None),
    ],
)
def test_certificates_near_their_end(
    folder: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    age: timedelta,
    lasts: timedelta,
    text: str | None,
) -> None:
    """The start says so once, whether it lasts years or a day, and a reload as well."""
    monkeypatch.setattr(reloading, "SECONDS_BETWEEN_LOOKS", 0.02)
    caplog.set_level(logging.INFO)
    authority.sign("server", age=age, lasts=lasts).write(folder, "server")
    with serving_tls(folder):
        remarks = [each for each in caplog.messages if "certificate" in each]
        assert len(remarks) == (text is not None)
        assert text is None or text in remarks[0]
        caplog.clear()
        authority.sign("server", age=age, lasts=lasts).write(folder, "server")
        until(lambda: "certificates reloaded" in caplog.text)
        until(lambda: text is None or text in caplog.text)


def test_tokens_with_names() -> None:
    """Lines have a name and a token; comments and empty lines have none."""
    raw = b"# team\n\ntrainer: a:b=c#\ntrainer:\td==\r\n  edge-7.x: #e\n"
    assert tokens_in(raw, PATH) == (
        Token("trainer", b"a:b=c#"),
        Token("trainer", b"d=="),
        Token("edge-7.x", b"#e"),
    )


def test_one_token_has_no_name() -> None:
    """A file with one word is that token, whatever signs it has."""
    assert tokens_in(b"# ours\nname:s3cret\n", PATH) == (Token(None, b"name:s3cret"),)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"# nothing\n", "is empty"),
        (b"s3cret\nother", "line 1: must be one token"),
        (b"a: s3cret\nname:s3cret", "line 2: must be one token"),
        (b"a: s3cret two", "line 1: must be one token"),
        (b"a b: s3cret", "line 1: must be one token"),
        (b": s3cret", "line 1: must be one token"),
        (b"a: \xffs3cret", "line 1: must be one token"),
        (b"%b: s3cret" % (b"a" * 65), "line 1: must be one token"),
        (b"a: s3cret\n\nb: s3cret", "line 3: has the token of line 1 once more"),
        (b"".join(b"a: s3cret%d\n" % each for each in range(MOST + 1)), "must have at most 1000 tokens"),
    ],
)
def test_token_files_that_are_none(raw: bytes, text: str) -> None:
    """What is wrong is said with its line, and never with what stands there."""
    with pytest.raises(SettingInvalid) as caught:
        tokens_in(raw, PATH)
    assert text in caught.value.text
    assert "s3cret" not in str(caught.value)


def test_files_have_a_largest_size(folder: Path) -> None:
    """A file of tokens that is none does not fill the memory."""
    (folder / "tokens").write_bytes(b"#" * (reloading.LARGEST + 1))
    with pytest.raises(SettingInvalid, match="at most 1048576 bytes"):
        Server(Settings(listen=(f"unix:{folder / 's'}",), token_file=folder / "tokens")).start()
