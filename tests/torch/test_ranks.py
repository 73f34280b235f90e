"""Ranks that have rows of the parameters, or a share of the work, get the bits of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from regularization.v1 import catalogue_pb2
from regularization_client import ArgumentError, Client, L1Norm

from tests.support.torch_ranks import STEP_SIZE, digest, rows

pytest.importorskip("torch", reason="PyTorch is not installed")
filelock = pytest.importorskip("filelock")  # which PyTorch needs

ROOT = Path(__file__).parents[2]
RANKS = (1, 2, 4)
SECONDS = 500


def of_ranks(size: int, folder: Path, target: str) -> list[dict[str, dict[str, Any]]]:
    """What each of so many ranks found."""
    command = [sys.executable, "-m", "tests.support.torch_ranks"]
    processes = []
    for rank in range(size):
        with (folder / f"errors-{size}-{rank}").open("wb") as errors:
            arguments = [str(rank), str(size), str(folder), target]
            processes.append(subprocess.Popen([*command, *arguments], cwd=ROOT, stderr=errors))
    try:
        for rank, process in enumerate(processes):
            assert process.wait(SECONDS) == 0, (folder / f"errors-{size}-{rank}").read_text()[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [json.loads((folder / f"found-{size}-{rank}.json").read_text()) for rank in range(size)]


@pytest.fixture(scope="module")
def found(
    target: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, list[dict[str, dict[str, Any]]]]:
    """What ranks found, by how many there were; workers that share the tests of this file find it once."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "ranks"
    folder.mkdir(exist_ok=True)
    known = folder / "found.json"
    with filelock.FileLock(folder / "lock"):
        if not known.exists():
            known.write_text(json.dumps([of_ranks(size, folder, target) for size in RANKS]))
    return dict(zip(RANKS, json.loads(known.read_text()), strict=True))


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("share", ["whole", "split"])
def test_every_row_has_the_bits_of_one_call(found: Any, client: Client, share: str) -> None:
    """Of parameters that are sharded by rows, or whose work is shared out, on 1, 2 and 4 ranks."""
    expected = {
        name: digest(client.proximal_step(values, message, step_size=STEP_SIZE).parameters)
        for name, message, values in rows()
    }
    for size in RANKS:
        for of_rank in found[size]:
            got = {name: of_rank[share][name][0] for name in expected}
            assert {name: each for name, each in got.items() if each != expected[name]} == {}, size


@pytest.mark.timeout(2 * SECONDS)
def test_several_parameters_together_have_the_bits_of_one_rank(found: Any) -> None:
    """Uneven, empty and scalar ones, a joint rule, Adam's metric; sharded or shared out."""
    for name in ("mixed", "joint", "adam"):
        digests = {
            of_rank[share][name][0]
            for size in RANKS
            for of_rank in found[size]
            for share in ("whole", "split")
        }
        assert len(digests) == 1, name


@pytest.mark.timeout(2 * SECONDS)
def test_training_gives_the_bits_of_one_process(found: Any) -> None:
    """Under FSDP2 and DDP, with all ranks on the same data, whose gradients have an exact mean."""
    for of_rank in found[1] + found[2]:
        assert set(of_rank["trained"].values()) == {found[1][0]["trained"]["alone"]}


@pytest.mark.timeout(2 * SECONDS)
def test_a_rank_that_fails_does_not_let_the_others_wait(found: Any) -> None:
    """It has the error, and the others are told of it."""
    for share in ("whole", "split"):
        errors = [of_rank["refused"][share] for of_rank in found[4]]
        assert errors == ["PartFailedError"] * 3 + ["InvalidRequestError"]


@pytest.mark.timeout(2 * SECONDS)
def test_what_ranks_cannot_do_is_refused(found: Any) -> None:
    """Columns, and a plan of which only the server knows what is whose; long statistics are no matter."""
    for size in RANKS:
        for of_rank in found[size]:
            assert "'w' must be sharded once, along its first axis" in of_rank["refused"]["columns"]
            assert of_rank["refused"]["held"] == "ArgumentError"
            assert of_rank["refused"]["exchanged"] == [rank * 70_000 for rank in range(size)]


def test_a_share_needs_a_process_group(client: Client) -> None:
    """It is told at once."""
    import torch
    from regularization_client.torch import ProximalStep

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(ArgumentError, match="initialized"):
        ProximalStep(client, model, optimizer, L1Norm(strength=1.0), share="split")
    with pytest.raises(ArgumentError, match="share must be one of whole, split"):
        ProximalStep(client, model, optimizer, L1Norm(strength=1.0), share="half")


@pytest.mark.timeout(2 * SECONDS)
def test_ranks_exchange_nothing_that_they_need_not(found: Any, client: Client) -> None:
    """Sharded: nothing where elements or whole groups are computed, one gathering where all is looked at."""
    localities = {each.name: each.locality for each in client.list_regularizers()}
    of_two = found[2][0]["whole"]
    for name, message, _ in rows():
        kind = name.partition(":")[0]
        locality, exchanges = localities[kind], of_two[name][1]
        groups = getattr(getattr(message, kind), "groups", None)
        if locality == catalogue_pb2.LOCALITY_ELEMENT:
            assert exchanges == 0, name
        elif locality == catalogue_pb2.LOCALITY_SEGMENT:
            assert exchanges == 1, name
        elif locality == catalogue_pb2.LOCALITY_GROUP:
            of_rows = groups is not None and groups.WhichOneof("partition") == "axis" and groups.axis == 0
            assert exchanges <= (0 if of_rows else 1), name
        else:
            assert exchanges <= 6, name
