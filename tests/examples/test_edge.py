"""A device in C with little memory takes a step by a plan of the gateway's, over a link that breaks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2, tensor_pb2

from examples.edge.gateway import PLANS
from examples.edge.keywords import STEP, STEP_SIZE, length, stepped
from tests.languages.clients import LANGUAGES, SECONDS_TO_BUILD, built
from tests.support.cutting_proxy import Cut, How, Way, cutting_proxy
from tests.support.faulty_server import answering
from tests.support.processes import serving
from tests.support.replicas import free_port

pytestmark = pytest.mark.timeout(SECONDS_TO_BUILD + 100)
LANGUAGE = LANGUAGES["C, for devices"]
CHUNK = 2048
"""Elements that the device sends at once."""
BITMAP = bytes([1, *bytes(CHUNK // 8 - 1)])
WRONG = {
    "another_offset": tensor_pb2.ResultChunk(element_offset=1, values=bytes(2 * CHUNK)),
    "too_short": tensor_pb2.ResultChunk(values=bytes(2 * CHUNK - 2)),
    "too_long": tensor_pb2.ResultChunk(values=bytes(2 * CHUNK + 2)),
    "a_half_element": tensor_pb2.ResultChunk(values=bytes(1), nonzero_bitmap=BITMAP),
    "no_value_for_a_bit": tensor_pb2.ResultChunk(nonzero_bitmap=BITMAP),
    "a_value_without_a_bit": tensor_pb2.ResultChunk(values=bytes(4), nonzero_bitmap=BITMAP),
    "a_short_bitmap": tensor_pb2.ResultChunk(values=bytes(2), nonzero_bitmap=BITMAP[:-1]),
    "a_long_bitmap": tensor_pb2.ResultChunk(values=bytes(2), nonzero_bitmap=BITMAP + bytes(1)),
}
"""Answers to the first chunk that are none."""
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


@pytest.mark.parametrize("chunk", WRONG.values(), ids=list(WRONG))
def test_a_wrong_answer_is_none(device: Device, chunk: tensor_pb2.ResultChunk) -> None:
    """It is told at once, and what it says is not taken for more memory than the device has."""
    assert_refused(device, service.ProximalStepResponse(chunk=chunk))


def test_an_answer_larger_than_the_devices_memory_is_none(device: Device) -> None:
    """Of which it keeps nothing."""
    huge = service.ProximalStepResponse(summary=summary_pb2.Summary(plan_digest="0" * 1_000_000))
    assert_refused(device, huge, "RESOURCE_EXHAUSTED: a response is larger than the room for it")


def assert_refused(
    device: Device,
    response: service.ProximalStepResponse,
    text: str = "INTERNAL: a response is not what was asked for",
) -> None:
    """Have a server answer so for ever; the device ends by itself."""

    def answer(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        yield response
        context.abort(grpc.StatusCode.DATA_LOSS, "the device goes on")

    with answering(answer) as address:
        done = device(address)
    assert done.returncode == 1
    assert text in done.stderr
