from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from regularization.v1.layout_pb2 import Segment
from regularization.v1.shared_memory_pb2 import SharedStretch
from regularization_server import Server, Settings

from tests.support.messages import TIMEOUT, l1_norm, layout_of
from tests.support.processes import until
from tests.support.shared_memory import shared_call

if TYPE_CHECKING:
    import grpc

SOURCE = Path(__file__).parents[2] / "examples" / "shared_memory.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to compile the example with")
    program = tmp_path_factory.mktemp("c") / "shared_memory"
    arguments = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]
    subprocess.run([compiler, *arguments, str(program), str(SOURCE)], check=True, timeout=TIMEOUT)
    return program


def test_a_page_of_c_shares_memory(program: Path, server: Server, channel: grpc.Channel) -> None:
    """The example gets a region, and sees in it what a call with its handle computes."""
    path = server.addresses[0].removeprefix("unix:")
    with subprocess.Popen(
        [program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        handle = bytes.fromhex(client.stdout.readline())
        of = layout_of(Segment(name="theta", shape=[3], regularizer=l1_norm()))
        stretches = {
            "parameters": SharedStretch(region=handle),
            "result": SharedStretch(region=handle, byte_offset=12),
        }
        answer = shared_call(channel, "proximal_step", of, stretches, step_size=1.0)
        assert answer.summary.total.penalty.value == pytest.approx(0.13)
        output, _ = client.communicate("\n", timeout=TIMEOUT)
    assert output == "0.7 -0.2 0.4, parameters untouched\n"
    assert client.returncode == 0
    assert server.regions is not None
    until(lambda: server.regions is not None and server.regions.used == 0)


def test_the_example_says_why_it_got_nothing(program: Path, tmp_path: Path) -> None:
    """Without a server, and without room, the example ends with an error and no handle."""
    path = tmp_path / "s"
    absent = subprocess.run([program, path], capture_output=True, text=True, timeout=TIMEOUT)
    assert (absent.returncode, absent.stdout) == (1, "")
    assert str(path) in absent.stderr
    with Server(Settings(listen=(f"unix:{path}",), shared_memory_budget=1)):
        refused = subprocess.run([program, path], capture_output=True, text=True, timeout=TIMEOUT)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "status 2" in refused.stderr
