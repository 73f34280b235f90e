"""A device in C with little memory takes a step by a plan of the gateway's, over a link that breaks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from examples.edge.gateway import PLANS
from examples.edge.keywords import STEP, STEP_SIZE, length, stepped
from tests.languages.clients import LANGUAGES, SECONDS_TO_BUILD, built
from tests.support.cutting_proxy import Cut, How, Way, cutting_proxy
from tests.support.processes import serving
from tests.support.replicas import free_port

pytestmark = pytest.mark.timeout(SECONDS_TO_BUILD + 100)
LANGUAGE = LANGUAGES["C, for devices"]
Device = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that holds the example's plan."""
    address = f"localhost:{free_port()}"
    with serving(tmp_path_factory.mktemp("gateway"), "--plans", str(PLANS), address=address) as server:
        yield server.address


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Of the model, in Q15."""
    numbers = np.random.default_rng(0).normal(0, 0.06, length())
    return np.clip(np.rint(numbers * 2**15), -(2**15), 2**15 - 1).astype("<i2")


@pytest.fixture
def device(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, weights: np.ndarray) -> Device:
    """Runs the device: an address and a plan's name. What comes back is in the file ``out``."""
    if LANGUAGE.missing:
        pytest.skip(f"no {' and no '.join(LANGUAGE.missing)}: {LANGUAGE.install}")
    program = built(LANGUAGE, tmp_path_factory.getbasetemp()) / "build" / "clients" / "c" / "device"
    weights.tofile(tmp_path / "in")

    def started(address: str, plan: str = "keywords") -> subprocess.CompletedProcess[str]:
        files = [str(tmp_path / "in"), str(tmp_path / "out")]
        command = [str(program), address, plan, *files, str(STEP), str(STEP_SIZE), "60"]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    return started


def said(done: subprocess.CompletedProcess[str]) -> dict[str, list[int]]:
    """The whole numbers in each line of the device's output, by the line's name."""
    assert (done.returncode, done.stderr) == (0, "")
    lines = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    return {name: [int(number) for number in re.findall(r"\b\d+\b", rest)] for name, rest in lines}


def test_a_step_takes_few_bytes_and_little_memory(
    device: Device, gateway: str, weights: np.ndarray, tmp_path: Path
) -> None:
    """Up two bytes a weight and a header, down less than one; in less than 64 KiB."""
    figures = said(device(gateway))
    expected = stepped(weights)
    assert (tmp_path / "out").read_bytes() == expected.tobytes()
    assert figures["nonzeros"] == [np.count_nonzero(expected), length()]
    assert weights.nbytes < figures["sent"][0] < weights.nbytes + 2048
    assert length() // 8 < figures["received"][0] < length()
    assert sum(figures["memory"]) < 1 << 16
    assert figures["streams"] == [1]


@pytest.mark.parametrize("how", [How.RESET, How.CLOSE])
@pytest.mark.parametrize("way", list(Way))
def test_a_step_outlives_a_link_that_breaks(
    device: Device, gateway: str, weights: np.ndarray, tmp_path: Path, how: How, way: Way
) -> None:
    """Whichever way most of it has gone: all of it is sent anew, and every bit is right."""
    with cutting_proxy(gateway) as proxy:
        proxy.cuts.append(Cut(how, way, 30_000 if way is Way.TO_SERVER else 8_000))
        figures = said(device(proxy.address))
        assert len(proxy.happened) == 1
    assert figures["streams"] == [2]
    assert (tmp_path / "out").read_bytes() == stepped(weights).tobytes()


def test_a_plan_that_the_gateway_has_not_is_told(device: Device, gateway: str) -> None:
    """With the reason that programs go by, and without another attempt."""
    done = device(gateway, plan="none")
    assert done.returncode == 1
    assert done.stderr.startswith("INVALID_ARGUMENT ERROR_REASON_PLAN_UNKNOWN header.layout.planned.name: ")
