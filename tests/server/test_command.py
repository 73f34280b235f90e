from __future__ import annotations

import dataclasses
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner
from regularization_server import Settings
from regularization_server.command import main
from regularization_server.process.preparation import prepare

from tests.support.messages import good_call
from tests.support.processes import COMMAND, ServerProcess, channel_to, serving

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = [field.name for field in dataclasses.fields(Settings)]
OPTIONS = {option.name: option for option in main.params if isinstance(option, click.Option)}


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment or None,
    )


@pytest.mark.parametrize("name", [*SETTINGS, "log_level", "log_format"])
def test_help_shows_every_setting(name: str) -> None:
    """Every setting has a flag and an environment variable, and the help shows both."""
    text = re.sub(r"\s+", " ", CliRunner().invoke(main, ["--help"]).output)
    assert f"--{name.replace('_', '-')} " in text
    assert f"env var: REGULARIZATION_{name.upper()}" in text


@pytest.mark.parametrize("name", SETTINGS)
def test_defaults_are_those_of_the_settings(name: str) -> None:
    """A flag that is not given has the default of its setting."""
    option = OPTIONS[name]
    context = click.Context(main, info_name="regularization-server")
    assert option.type_cast_value(context, option.get_default(context)) == getattr(Settings(), name)


def test_settings_from_the_environment(tmp_path: Path) -> None:
    """Settings come from the environment, several addresses with spaces between them; flags go first."""
    path = tmp_path / "from-environment"
    environment = {
        "REGULARIZATION_LISTEN": "unix:/this/is/not/used",
        "REGULARIZATION_MAX_CONCURRENT_CALLS": "7",
        "REGULARIZATION_LOG_FORMAT": "json",
    }
    with serving(
        tmp_path, "--listen", "127.0.0.1:0", address=f"unix:{path}", environment=environment
    ) as server:
        assert '"event": "serving"' in server.log
        with channel_to(server.address) as channel:
            good_call(channel)


def test_several_addresses_from_the_environment(tmp_path: Path) -> None:
    """Addresses in the environment stand apart by spaces."""
    names = [f"unix:{tmp_path / name}" for name in "ab"]
    result = run(PATH="", REGULARIZATION_LISTEN=" ".join([*names, "unix:/nowhere/s"]))
    assert result.returncode == 2
    assert "unix:/nowhere/s" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--listen", "nonsense"], "--listen: 'nonsense' must be host:port"),
        (["--listen", "127.0.0.1:99999"], "--listen: '127.0.0.1:99999' must be host:port"),
        (["--listen", "unix:/nowhere/s"], "--listen: unix:/nowhere/s: there is no directory /nowhere"),
        (["--listen", f"unix:/tmp/{'s' * 200}"], "must have 1 to 107 bytes"),
        (["--listen", "unix:/etc/passwd"], "--listen: unix:/etc/passwd is there and is not a socket"),
        (["--listen", "no-such-host.invalid:1"], "--listen: cannot listen on no-such-host.invalid:1: "),
        (["--health-listen", ""], "--health-listen: '' must be host:port, unix:/path or unix-abstract:name"),
        (["--health-listen", "127.0.0.1"], "--health-listen: '127.0.0.1' must be host:port"),
        (["--health-listen", ":50052"], "--health-listen: ':50052' must be host:port"),
        (["--health-listen", "127.0.0.1:65536"], "--health-listen: '127.0.0.1:65536' must be host:port"),
        (["--health-listen", "127.0.0.1:-1"], "--health-listen: '127.0.0.1:-1' must be host:port"),
        (["--health-listen", "no-such-host.invalid:1"], "--health-listen: cannot listen on no-such-host"),
        (["--health-listen", "unix:"], "--health-listen: unix:. is there and is not a socket"),
        (["--health-listen", "unix:/nowhere/h"], "--health-listen: unix:/nowhere/h: there is no directory"),
        (["--health-listen", "unix:/etc/passwd"], "--health-listen: unix:/etc/passwd is there and is not"),
        (["--health-listen", f"unix:/tmp/{'h' * 200}"], "--health-listen: /tmp/hhh"),
        (
            ["--health-listen", f"unix-abstract:{'h' * 200}"],
            "--health-listen: cannot listen on unix-abstract",
        ),
        (
            ["--listen", "unix:/tmp/h", "--health-listen", "unix:/tmp/h"],
            "--health-listen: must be another address than those of --listen, got unix:/tmp/h",
        ),
        (
            ["--health-listen", "no-such-host.invalid:1", "--processes", "2"],
            "--health-listen: cannot listen on no-such-host",
        ),
        (["--memory-budget", "0"], "--memory-budget: must be finite and >= 1, got 0"),
        (["--unix-socket-mode", "1777"], "--unix-socket-mode: must be from 0 to 777, got 1777"),
        (["--linger", "-1"], "--linger: must be finite and >= 0, got -1.0"),
        (["--grace-period", "nan"], "--grace-period: must be finite and >= 0, got nan"),
        (["--tls-key", "key"], "--tls-key: needs --tls-certificate beside it"),
        (["--tls-certificate", "pem"], "--tls-certificate: needs --tls-key beside it"),
        (
            ["--tls-certificate", "/nowhere/pem", "--tls-key", "key"],
            "--tls-certificate: cannot read /nowhere/pem: No such file",
        ),
        (["--token-file", "/dev/null"], "--token-file: /dev/null is empty"),
        (
            ["--listen", "0.0.0.0:0", "--token-file", "/dev/null"],
            "--token-file: needs TLS on 0.0.0.0:0, or tokens are for all to read: --allow-plain-token",
        ),
        (["--listen", "host.example:0", "--token-file", "/dev/null"], "needs TLS on host.example:0"),
        (
            ["--listen", "0.0.0.0:0", "--token-file", "/dev/null", "--allow-plain-token"],
            "--token-file: /dev/null is empty",
        ),
        (["--listen", "localhost:0", "--token-file", "/dev/null"], "/dev/null is empty"),
        (["--listen", "[::1]:0", "--token-file", "/dev/null"], "/dev/null is empty"),
        (["--threads", "0"], "--threads: must be finite and >= 1, got 0"),
        (["--blas-threads", "0"], "--blas-threads: must be finite and >= 1, got 0"),
        (["--shared-memory-budget", "0"], "--shared-memory-budget: must be finite and >= 1, got 0"),
        (["--shared-memory-regions", "0"], "--shared-memory-regions: must be finite and >= 1, got 0"),
        (
            ["--listen", "unix-abstract:regularization-test", "--shared-memory-group", "not there"],
            "--shared-memory-group: there is no group 'not there'",
        ),
        (
            ["--listen", f"unix:/tmp/{'s' * 100}"],
            f"--shared-memory: /tmp/{'s' * 100}.memory must have 1 to 107 bytes",
        ),
    ],
)
def test_bad_settings(arguments: Sequence[str], text: str) -> None:
    """A setting that does not work ends the command with 2 and one line that names the flag."""
    result = run("--listen", "127.0.0.1:0", *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert text in line


@pytest.mark.parametrize("flag", ["--memory-budget", "--max-message-bytes", "--shared-memory-budget"])
@pytest.mark.parametrize("value", ["5XB", "-1", "", "1.2.3"])
def test_bad_numbers_of_bytes(flag: str, value: str) -> None:
    """What is no number of bytes is a usage error."""
    result = CliRunner().invoke(main, [flag, value])
    assert result.exit_code == 2
    assert "512MiB" in result.output


def test_numbers_of_bytes() -> None:
    """Numbers of bytes may have a unit, decimal or binary."""
    convert = OPTIONS["memory_budget"].type.convert
    given = {"7": 7, "2k": 2000, "1.5KiB": 1536, "512 MiB": 512 << 20, "2GB": 2 * 10**9, "1gib": 1 << 30}
    assert {text: convert(text, None, None) for text in given} == given


def test_address_in_use(server_process: ServerProcess) -> None:
    """A second server on a living server's addresses says so, and leaves the first alone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for address in (server_process.address, f"127.0.0.1:{taken.getsockname()[1]}"):
            result = run("--listen", address)
            assert result.returncode == 2
            assert "in use" in result.stderr
    with channel_to(server_process.address) as channel:
        good_call(channel)


def test_probe(server_process: ServerProcess, tmp_path: Path) -> None:
    """The probe's exit code is 0 where a server is SERVING, and 1 where none is."""
    assert run("probe", "--target", server_process.address).returncode == 0
    absent = run("probe", "--target", f"unix:{tmp_path / 'absent'}", "--timeout", "1")
    assert absent.returncode == 1
    assert "UNAVAILABLE" in absent.stderr


def test_probe_asks_where_the_server_listens(server_process: ServerProcess) -> None:
    """Without a target the probe asks the first address of the server's own settings."""
    assert run("probe", PATH="", REGULARIZATION_LISTEN=server_process.address).returncode == 0


@pytest.mark.parametrize(
    ("address", "reachable"),
    [
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("localhost:50051", "localhost:50051"),
        ("unix:/run/s", "unix:/run/s"),
    ],
)
def test_wildcards_are_probed_on_the_loopback(
    monkeypatch: pytest.MonkeyPatch, address: str, reachable: str
) -> None:
    """A server on a wildcard address is reached through the loopback."""
    monkeypatch.setenv("REGULARIZATION_LISTEN", address)
    result = CliRunner().invoke(main, ["probe", "--timeout", "0.01"])
    assert reachable in result.output


def test_version() -> None:
    """The command tells its version."""
    assert re.search(r"\d+\.\d+\.\d+", run("--version").stdout)


def test_numeric_libraries_come_late() -> None:
    """The command is there before NumPy, so that it can set the number of threads; the probe needs none."""
    script = "import sys, regularization_server.command; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_open_files_up_to_the_hard_limit() -> None:
    """The command may open as many files as the system lets it, whatever the soft limit is."""
    script = """
        import resource
        from regularization_server.process.preparation import prepare
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        prepare()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode == 0


def test_numeric_libraries_have_the_threads_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment said: their number decides on bits, so it is told in one place."""
    environment = {"OPENBLAS_NUM_THREADS": "3"}
    monkeypatch.setattr(os, "environ", environment)
    for threads, given in (("2", (2,)), ("1", ())):
        prepare(*given)
        assert environment["OPENBLAS_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == threads


def test_freed_memory_goes_back_to_the_system() -> None:
    """What malloc keeps below buffers in use is the system's again, once it is handed back."""
    script = """
        from pathlib import Path
        from regularization_server.process.preparation import give_back_freed_memory, prepare
        resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) << 12
        prepare()
        buffers = [b'.' * (1 << 20) for _ in range(400)]
        kept = buffers[-1]
        del buffers
        before = resident()
        give_back_freed_memory()
        assert resident() < before - (300 << 20), (before, resident())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_memory_is_handed_back_now_and_then(tmp_path: Path) -> None:
    """The command does so again and again while it serves, and still hears the signal to stop."""
    script = f"""
        from regularization_server import command
        command.SECONDS_TO_KEEP_MEMORY = 0.05
        command.give_back_freed_memory = lambda: print("given back", flush=True)
        command.main(["--listen", "unix:{tmp_path / "s"}"])
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"given back\n"] * 2
        process.terminate()
        process.stdout.read()
        assert process.wait(60) == 0
