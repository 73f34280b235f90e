"""Each client in another language does what its page says, and has every answer right."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.summary_pb2 import Figures, Summary
from regularization.v1.tensor_pb2 import ResultChunk

from tests.languages.clients import COMMANDS, LANGUAGES, SECONDS_TO_BUILD, Language, built
from tests.support.faulty_server import answering
from tests.support.processes import serving
from tests.support.replicas import free_port
from tests.support.shares import chosen
from tests.support.sources import ROOT

pytestmark = pytest.mark.timeout(SECONDS_TO_BUILD + 200)
LONG = 6_000_000
"""Elements of float32 that do not fit the windows and buffers on the way: 23 MiB."""
STEP_SIZE = 1.0
INDEX = ROOT / "conformance" / "v1" / "index.json"
METHOD = "/regularization.v1.RegularizationService/ProximalStep"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on TCP, which every language can reach."""
    with serving(tmp_path_factory.mktemp("server"), address=f"localhost:{free_port()}") as server:
        yield server.address


@pytest.fixture(scope="module", params=list(LANGUAGES))
def language(request: pytest.FixtureRequest) -> Language:
    """Each language whose toolchain is there."""
    found = LANGUAGES[request.param]
    if found.missing:
        pytest.skip(f"no {' and no '.join(found.missing)}: {found.install}")
    return found


@pytest.fixture(scope="module")
def tree(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client is built."""
    return built(language, tmp_path_factory.getbasetemp())


@pytest.fixture
def run(language: Language, tree: Path, tmp_path: Path) -> Run:
    """Runs the client: an address, the parameters, the strength, and the seconds that it may take."""

    def started(address: str, values: np.ndarray, strength: float = 0.1, seconds: float = 60) -> Any:
        values.astype("<f4").tofile(tmp_path / "in")
        files = [str(tmp_path / "in"), str(tmp_path / "out")]
        numbers = [str(strength), str(STEP_SIZE), str(seconds)]
        return subprocess.run(
            [*language.run, address, *files, *numbers], cwd=tree, capture_output=True, text=True, timeout=100
        )

    return started


def stepped(values: np.ndarray, strength: float = 0.1) -> np.ndarray:
    """The L1 norm's step, by its formula."""
    wide = values.astype(np.float64)
    threshold = STEP_SIZE * strength
    return (np.sign(wide) * np.maximum(np.abs(wide) - threshold, 0) + 0.0).astype("<f4")


def figures(output: str) -> dict[str, str]:
    """The lines of a client's output: a name, and what is said of it."""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in output.splitlines()}


def test_every_language_of_the_page_is_tried() -> None:
    """And it is known what its toolchain is."""
    assert set(LANGUAGES) == set(COMMANDS)


@pytest.fixture(scope="session")
def vectors(request: pytest.FixtureRequest) -> list[str]:
    """The names of the share of them that is tried."""
    names = [f"vectors[{each['name']}]" for each in json.loads(INDEX.read_text(encoding="utf-8"))["vectors"]]
    tried = chosen(names, request.config.getoption("share"), request.config.getoption("turn"))
    return [each.removeprefix("vectors[").removesuffix("]") for each in names if each in tried]


def test_a_client_passes_the_vectors(language: Language, tree: Path, target: str, vectors: list[str]) -> None:
    """Those that are for clients, with the code that its language's generator makes."""
    only = [f"--only={name}" for name in vectors]
    check = [sys.executable, "-m", "conformance.check_client", "--target", target, *only, "--"]
    # The client's files are in the tree where it was built, the checker's in the clone.
    command = [str(tree / part) if (tree / part).exists() else part for part in language.check]
    done = subprocess.run([*check, *command], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_long_stream_is_written_and_read_at_once(run: Run, target: str, tmp_path: Path) -> None:
    """It does not stand still, and every bit of the answer arrives."""
    values = np.random.default_rng(0).standard_normal(LONG).astype("<f4")
    done = run(target, values)
    assert (done.returncode, done.stderr) == (0, "")
    expected = stepped(values)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out", "<u4"), expected.view("<u4"))
    said = figures(done.stdout)
    assert float(said["penalty"]) == pytest.approx(0.1 * np.abs(expected, dtype=np.float64).sum(), rel=1e-12)
    assert said["nonzeros"] == f"{np.count_nonzero(expected)} of {LONG}"
    assert said["speed"].endswith("MiB/s")


def test_an_empty_vector_is_one(run: Run, target: str, tmp_path: Path) -> None:
    """No chunk goes either way, and a summary comes all the same."""
    done = run(target, np.zeros(0))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes() == b""
    assert figures(done.stdout)["nonzeros"] == "0 of 0"


def test_a_refusal_comes_with_its_reason_and_field(run: Run, target: str) -> None:
    """Out of the trailer that gRPC leaves to the program."""
    done = run(target, np.ones(3), strength=-1)
    assert done.returncode == 1
    field = "header.layout.segments[0].regularizer.l1_norm.strength"
    assert done.stderr.startswith(f"INVALID_ARGUMENT ERROR_REASON_FIELD_OUT_OF_RANGE {field}: ")


def test_a_call_ends_with_its_deadline(run: Run) -> None:
    """Where a server says nothing, and without another attempt."""
    calls = []

    def silent(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        calls.append(requests)
        while context.is_active():
            time.sleep(0.01)
        yield from ()

    with answering(silent) as address:
        begin = time.monotonic()
        done = run(address, np.ones(3), seconds=1)
        took = time.monotonic() - begin
    assert done.returncode == 1
    assert done.stderr.startswith("DEADLINE_EXCEEDED")
    assert 1 <= took < 50
    assert len(calls) == 1


BREAKS = {
    "a_server_that_stops": lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "stopping"),
    "a_proxy_whose_server_went_away": lambda context: context.abort(grpc.StatusCode.INTERNAL, "reset"),
    "an_end_without_a_summary": lambda context: None,
}


@pytest.mark.parametrize("end", BREAKS.values(), ids=list(BREAKS))
def test_a_stream_that_broke_is_sent_anew(
    end: Callable[[grpc.ServicerContext], None], run: Run, target: str, tmp_path: Path
) -> None:
    """From its beginning, and only the whole answer counts."""
    streams = []

    def breaks_once(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        streams.append(context)
        with grpc.insecure_channel(target) as channel:
            behind = channel.stream_stream(
                METHOD,
                request_serializer=service.ProximalStepRequest.SerializeToString,
                response_deserializer=service.ProximalStepResponse.FromString,
            )
            for response in behind(requests, timeout=60):
                yield response
                if len(streams) == 1:
                    end(context)
                    return

    values = np.random.default_rng(1).standard_normal(1_000_000).astype("<f4")
    with answering(breaks_once) as address:
        done = run(address, values)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes() == stepped(values).tobytes()
    assert len(streams) == 2


def test_a_refusal_is_not_tried_again(run: Run) -> None:
    """Sending the same once more would be refused once more."""
    calls = []

    def refusing(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        calls.append(requests)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such thing")
        yield from ()

    with answering(refusing) as address:
        done = run(address, np.ones(3))
    assert (done.returncode, len(calls)) == (1, 1)
    assert done.stderr.startswith("INVALID_ARGUMENT: no such thing")


WRONG = {
    "a_gap": [ResultChunk(element_offset=1, values=bytes(8))],
    "too_many_elements": [ResultChunk(values=bytes(16))],
}


@pytest.mark.parametrize("chunks", WRONG.values(), ids=list(WRONG))
def test_a_wrong_answer_is_none(chunks: list[ResultChunk], run: Run) -> None:
    """Where chunks do not follow each other to the end of three elements, though all else is well."""

    def wrong(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for _ in requests:
            continue
        for chunk in chunks:
            yield service.ProximalStepResponse(chunk=chunk)
        figures = Figures(elements=3, nonzeros=0, penalty={"value": 0})
        yield service.ProximalStepResponse(summary=Summary(total=figures))

    with answering(wrong) as address:
        done = run(address, np.ones(3))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr


def test_nobody_there_is_told(run: Run) -> None:
    """After some attempts, which end."""
    done = run(f"localhost:{free_port()}", np.ones(3), seconds=20)
    assert done.returncode == 1
    assert done.stderr.startswith("UNAVAILABLE")
