"""The probe under TLS."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from regularization_server import Server, Settings

from tests.support.certificates import Authority
from tests.support.processes import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def probe(*arguments: str | Path, **environment: Any) -> subprocess.CompletedProcess[str]:
    """Run the probe."""
    variables = {f"REGULARIZATION_PROBE_{name.upper()}": str(value) for name, value in environment.items()}
    return subprocess.run(
        [COMMAND, "probe", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a server's pair and a client's."""
    folder, authority = tmp_path_factory.mktemp("certificates"), Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    authority.sign("server").write(folder, "server")
    authority.sign("prober").write(folder, "prober")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Where a server with mutual TLS listens."""
    settings = Settings(
        listen=("127.0.0.1:0",),
        tls_certificate=folder / "server.pem",
        tls_key=folder / "server.key",
        tls_client_ca=folder / "ca.pem",
    )
    with Server(settings) as server:
        yield server.addresses[0]


def test_mutual_tls(folder: Path, address: str) -> None:
    """With a certificate the probe is answered, without one it is not; the environment has it as well."""
    trust = ("--target", address, "--tls-ca", folder / "ca.pem")
    pair = ("--tls-certificate", folder / "prober.pem", "--tls-key", folder / "prober.key")
    assert probe(*trust, *pair).returncode == 0
    assert probe(*trust, "--timeout", "2").returncode == 1
    done = probe(
        target=address,
        tls_ca=folder / "ca.pem",
        tls_certificate=folder / "prober.pem",
        tls_key=folder / "prober.key",
    )
    assert (done.returncode, done.stdout) == (0, f"{address}: SERVING\n")


def test_in_plain_text_it_says_what_is_missing(folder: Path, address: str) -> None:
    """Where it knows by the server's own settings that there is TLS, as beside it in a container."""
    own = {"REGULARIZATION_LISTEN": address, "REGULARIZATION_TLS_CERTIFICATE": str(folder / "server.pem")}
    hint = "(the server has TLS here: give --tls-ca)"
    for more, told in ((own, True), ({"REGULARIZATION_LISTEN": address}, False)):
        done = subprocess.run(
            [COMMAND, "probe"], check=False, capture_output=True, text=True, env=os.environ | more
        )
        assert (done.returncode, hint in done.stderr) == (1, told)


def test_server_name(folder: Path, address: str) -> None:
    """The certificate must bear the name that is asked for, whatever the address is."""
    flags = ("--target", address, "--tls-ca", folder / "ca.pem", "--timeout", "2")
    flags += ("--tls-certificate", folder / "prober.pem", "--tls-key", folder / "prober.key")
    assert probe(*flags, "--server-name", "localhost").returncode == 0
    assert probe(*flags, "--server-name", "elsewhere.example").returncode == 1


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("tls-ca", "tls-certificate"), "--tls-certificate and --tls-key must be given together"),
        (("tls-certificate", "tls-key"), "need --tls-ca beside them"),
    ],
)
def test_flags_that_do_not_fit(folder: Path, names: tuple[str, ...], text: str) -> None:
    """They are a usage error, before anybody is asked."""
    files = {"tls-ca": "ca.pem", "tls-certificate": "prober.pem", "tls-key": "prober.key"}
    done = probe(*(f"--{name}={folder / files[name]}" for name in names))
    assert done.returncode == 2
    assert text in done.stderr
