"""Which processes have loops compiled, and when."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from regularization_client import Client, L1Norm

from tests.support.processes import COMMAND, ServerProcess, serving, until

pytestmark = pytest.mark.skipif(
    find_spec("numba") is None or not Path("/proc/self/maps").exists(),
    reason="needs the extra: compiled, and Linux's list of what a process has loaded",
)
LARGE = np.ones(1 << 17, np.float32)


def has(server: ServerProcess, library: str) -> bool:
    """Whether the server's process has loaded a library."""
    return library in Path(f"/proc/{server.process.pid}/maps").read_text()


def own_cache(folder: Path) -> dict[str, str]:
    """An environment in which nothing is kept yet."""
    return {"XDG_CACHE_HOME": str(folder)}


def test_a_server_compiles_at_the_first_large_call(tmp_path: Path) -> None:
    """It lives long; a small call is not worth it."""
    with serving(tmp_path, environment=own_cache(tmp_path)) as server, Client(server.address) as client:
        client.proximal_step(LARGE[:1000], L1Norm(strength=0.1), step_size=1.0)
        assert not has(server, "llvmlite")
        client.proximal_step(LARGE, L1Norm(strength=0.1), step_size=1.0)
        until(lambda: has(server, "llvmlite"))


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
            found += [int(path.parent.name)] if int(parent) == pid and state != "Z" else []
    return found


def has_linked(server: ServerProcess) -> bool:
    """Whether the server has a loop: the allocator is loaded with the first."""
    return has(server, "_nrt_python")


@pytest.mark.parametrize("kept", [True, False])
def test_no_server_has_the_compiler(tmp_path: Path, kept: bool) -> None:
    """One compiles apart, keeps the code where it can, and the next one links that; with the same bits."""
    cache = tmp_path / "cache" if kept else Path("/dev/null")
    answers = []

    def is_ready(server: ServerProcess) -> bool:
        return has(server, "llvmlite") or not cache.is_dir()

    for _ in range(2):
        with serving(tmp_path, "--cache", str(cache)) as server, Client(server.address) as client:
            until(partial(is_ready, server))
            first = client.proximal_step(LARGE, L1Norm(strength=0.1), step_size=1.0)
            until(partial(has_linked, server))
            again = client.proximal_step(LARGE, L1Norm(strength=0.1), step_size=1.0)
            assert not has(server, "numba/_dispatcher")
        answers += [(each.parameters.tobytes(), each.penalty) for each in (first, again)]
    assert len({*answers}) == 1
    assert len([*cache.glob("*.loop")]) == kept


def test_a_server_whose_compiler_is_killed_compiles(tmp_path: Path) -> None:
    """In its own process, and goes on."""
    with serving(tmp_path, environment=own_cache(tmp_path)) as server, Client(server.address) as client:
        client.proximal_step(LARGE, L1Norm(strength=0.1), step_size=1.0)
        until(lambda: bool(children_of(server.process.pid)))
        (compiler,) = children_of(server.process.pid)
        os.kill(compiler, signal.SIGKILL)
        until(lambda: has_linked(server))
        assert has(server, "numba/_dispatcher")
        client.proximal_step(LARGE, L1Norm(strength=0.1), step_size=1.0)
        assert children_of(server.process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_compiler_ends_with_its_server(tmp_path: Path, number: signal.Signals) -> None:
    """However that ends, in the middle of a loop."""
    with serving(tmp_path, environment=own_cache(tmp_path)) as server, Client(server.address) as client:
        client.proximal_step(LARGE, L1Norm(strength=0.1), step_size=1.0)
        until(lambda: bool(children_of(server.process.pid)))
        (compiler,) = children_of(server.process.pid)
        server.signal(number)
        assert server.wait() == (-number if number is signal.SIGKILL else 0)
        until(lambda: not Path(f"/proc/{compiler}").exists())


def test_loops_are_made_after_the_start(tmp_path: Path) -> None:
    """Of those that are named; the log says when they are there."""
    arguments = ("--warm", "isotonic, slope", "--log-format", "json")
    with serving(tmp_path, *arguments, environment=own_cache(tmp_path)) as server:
        until(lambda: '"regularizers": 2' in server.log, 120)
        assert server.log.index('"serving"') < server.log.index('"warm"')
    assert [*(tmp_path / "regularization-service").glob("*.loop")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_the_cache_is_filled_without_a_server(tmp_path: Path) -> None:
    """As the build of an image does: exit code 0 where something is kept, else 1 and a line that says why."""
    cache = tmp_path / "made"
    done = run("--cache", str(cache), "warm", "isotonic")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [*cache.glob("*.loop")]
    nowhere = run("--cache", "/dev/null", "warm", "isotonic")
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith("Error: /dev/null keeps nothing: ")


@pytest.mark.parametrize("arguments", [("--warm", "l1"), ("warm", "l1")])
def test_loops_of_what_is_none_are_refused(arguments: tuple[str, str]) -> None:
    """The line names the flag and the name."""
    refused = run("--listen", "127.0.0.1:0", *arguments)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line == "Error: --warm: must be names of regularizers, apart by commas, or all, got 'l1'"
