"""What users hear at once where a connection fails for its encryption, or a call for its token."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from regularization_client import AuthenticationError, Client, L1Norm, Retry, Tls, TlsError, UnavailableError
from regularization_client._transport import tls_errors
from regularization_server import Server, Settings

from tests.support.certificates import HOUR, Authority

if TYPE_CHECKING:
    from collections.abc import Iterator

THETA = np.array([0.8, -0.3, 0.5])
NEVER = Retry(first_pause=1e6, longest_pause=1e6)
"""A call that is made again fails by its deadline."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Whom the servers have their certificates from."""
    return Authority()


@pytest.fixture(scope="module")
def addresses(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Servers in plain text, with TLS, mutual TLS, certificates out of their time, and with tokens."""
    folder = tmp_path_factory.mktemp("encryption")
    authority.sign("server").write(folder, "server")
    authority.sign("server", age=2 * HOUR, lasts=timedelta(hours=-1)).write(folder, "expired")
    authority.sign("server", age=-HOUR, lasts=2 * HOUR).write(folder, "early")
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "token").write_text("s3cret")
    tls = {"tls_certificate": folder / "server.pem", "tls_key": folder / "server.key"}
    expired = {"tls_certificate": folder / "expired.pem", "tls_key": folder / "expired.key"}
    early = {"tls_certificate": folder / "early.pem", "tls_key": folder / "early.key"}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "tls": tls,
        "mutual": {**tls, "tls_client_ca": folder / "ca.pem"},
        "expired": expired,
        "early": early,
        "token": {"token_file": folder / "token"},
    }
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(Server(Settings(listen=("127.0.0.1:0",), **more)))
            for name, more in kinds.items()
        }
        yield {name: server.addresses[0] for name, server in servers.items()} | {
            "ca": os.fspath(folder / "ca.pem")
        }


def failure(address: str, **options: Any) -> Exception:
    """How a call ends, whose replay would take for ever."""
    with Client(address, retry=NEVER, timeout=20, **options) as client:
        with pytest.raises(Exception, match=r".") as caught:
            client.penalty(THETA, L1Norm(strength=0.1))
        return caught.value


def test_a_good_connection(addresses: dict[str, str], authority: Authority) -> None:
    """With the right authority, and with a certificate where one is asked for, a call is answered."""
    pair = authority.sign("client")
    for name, tls in {
        "tls": Tls(authority.certificate),
        "mutual": Tls(authority.certificate, pair.certificate, pair.key),
    }.items():
        with Client(addresses[name], tls=tls) as client:
            assert client.penalty(THETA, L1Norm(strength=0.1)).nonzeros == 3


@pytest.mark.parametrize(
    ("server", "tls", "text"),
    [
        ("tls", None, tls_errors.SPEAKS_TLS),
        ("mutual", None, tls_errors.SPEAKS_TLS),
        ("tls", Tls(), tls_errors.NOT_TRUSTED),
        ("tls", Tls(Authority("other").certificate), tls_errors.NOT_TRUSTED),
        ("tls", Tls(b"nothing"), tls_errors.NO_AUTHORITIES),
        ("tls", "other name", tls_errors.OTHER_NAME),
        ("tls", "other address", tls_errors.OTHER_NAME),
        ("early", "own", "the server's certificate is not valid yet: look at the clocks"),
        ("expired", "own", tls_errors.EXPIRED),
        ("mutual", "own", tls_errors.WANTS_CERTIFICATE),
        ("plain", "own", tls_errors.SPEAKS_NO_TLS),
    ],
)
def test_what_is_wrong_is_said_at_once(
    addresses: dict[str, str], authority: Authority, server: str, tls: Any, text: str
) -> None:
    """By name, and without another attempt; also where a name has addresses that nobody listens on."""
    trusting = {
        "own": Tls(authority.certificate),
        "other name": Tls(authority.certificate, server_name="x.example"),
        "other address": Tls(authority.certificate, server_name="192.0.2.1"),
    }
    chosen = trusting.get(tls, tls) if isinstance(tls, str) else tls
    for address in (addresses[server], addresses[server].replace("127.0.0.1", "localhost")):
        error = failure(address, tls=chosen)
        assert isinstance(error, TlsError)
        assert isinstance(error, UnavailableError)
        assert str(error) == f"{address}: {text}"


@pytest.mark.parametrize("field", ["root_certificates", "certificate", "private_key"])
def test_a_path_in_place_of_a_certificate_is_told(field: str) -> None:
    """The error says what is wanted, before grpc is given it."""
    with pytest.raises(TypeError, match=rf"^{field} must be bytes in PEM, .* got str"):
        Tls(**{"certificate": b"", "private_key": b"", field: "ca.pem"})  # type: ignore[arg-type] # that is the mistake


def test_where_nobody_is_nothing_is_said_of_encryption() -> None:
    """No connection is no connection, and is tried again."""
    client = Client("127.0.0.1:1", retry=Retry(attempts=2), timeout=20)
    with client, pytest.raises(UnavailableError) as caught:
        client.penalty(THETA, L1Norm(strength=0.1))
    assert not isinstance(caught.value, TlsError)
    assert "Connection refused" in str(caught.value)


def test_missing_and_wrong_tokens_read_apart(addresses: dict[str, str]) -> None:
    """By their reasons, and by what there is to do."""
    missing, wrong = (failure(addresses["token"], token=token) for token in (None, "guess"))
    assert isinstance(missing, AuthenticationError)
    assert isinstance(wrong, AuthenticationError)
    assert (missing.reason, wrong.reason) == ("ERROR_REASON_TOKEN_MISSING", "ERROR_REASON_TOKEN_REFUSED")
    assert "give --token" in str(missing)
    assert "does not accept the token" in str(wrong)


def test_the_command_says_it_in_one_line(addresses: dict[str, str], tmp_path: Path) -> None:
    """Of gRPC's own lines there are none, unless they are asked for."""
    np.save(tmp_path / "x.npy", THETA)
    command = [Path(sys.executable).with_name("regularize"), "penalty", tmp_path / "x.npy"]
    flags = ["-r", "l1_norm:strength=1", "--target", addresses["tls"], "--tls"]
    done = subprocess.run([*command, *flags], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"Error: {addresses['tls']}: {tls_errors.NOT_TRUSTED}\n"
    flags[-1] = f"--ca={addresses['ca']}"
    done = subprocess.run([*command, *flags], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
