"""``regularize inspect``: what is in a file, and whether it is where it should be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from regularization_client.command import main

SPARSE = np.tile(np.float32([1, 0, 0, -2]), (6, 2))
MODEL = {
    "a.weight": SPARSE,
    "b.weight": np.where(np.arange(64).reshape(8, 8) % 8 == 3, np.float32(0), np.float32(0.5)),
    "a.bias": np.zeros(4, np.float64),
    "none": np.zeros((0, 3), np.float32),
    "count": np.int64(7),
}
INSIDE = ["-r", "a.weight=n_of_m:n=2,m=4", "-r", "b.weight=box:upper=0.5", "-r", "*=none"]
OUTSIDE = ["-r", "*.weight=n_of_m:n=2,m=4", "-r", "*=none"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of a small model."""
    np.savez(tmp_path / "model.npz", **MODEL)  # type: ignore[arg-type] # arrays by name
    return tmp_path / "model.npz"


def run(target: str, model: Path, *arguments: str) -> Result:
    """Run the command in this process, against the shared server."""
    return CliRunner().invoke(main, ["inspect", str(model), *arguments, "--target", target])


def test_what_is_in_a_file(target: str, model: Path) -> None:
    """Names, shapes, types and zeros, in the file's order; no zeros of what the service does not take."""
    done = run(target, model)
    assert done.exit_code == 0, done.output
    cells = [line.split() for line in done.stdout.splitlines()]
    assert cells[0] == ["tensor", "shape", "type", "zeros", "rule"]
    assert [row[0] for row in cells[1:]] == list(MODEL)
    assert [row[1] for row in cells[1:]] == ["6x8", "8x8", "4", "0x3", "scalar"]
    assert [row[3:] for row in cells[1:]] == [
        ["24", "50.00%", "-"],
        ["8", "12.50%", "-"],
        ["4", "100.00%", "-"],
        ["0", "-", "-"],
        ["-", "-", "-"],
    ]


def test_each_tensor_s_rule(target: str, model: Path) -> None:
    """In JSON with all figures."""
    told = json.loads(run(target, model, *INSIDE, "--json").stdout)
    assert told["file"] == str(model)
    rows = {row["tensor"]: row for row in told["tensors"]}
    assert {name: row["rule"] for name, row in rows.items()} == {
        "a.weight": "a.weight",
        "b.weight": "b.weight",
        "a.bias": "*",
        "none": "*",
        "count": "*",
    }
    assert {name: row["zeros"] for name, row in rows.items()} == {
        "a.weight": 24,
        "b.weight": 8,
        "a.bias": 4,
        "none": 0,
        "count": None,
    }
    assert rows["a.weight"]["shape"] == [6, 8]
    assert [row["inside"] for row in rows.values()] == [True, True, True, True, None]


def test_check_tells_who_is_outside(target: str, model: Path, tmp_path: Path) -> None:
    """With status 1; where all are inside, or nobody asks, it is 0."""
    done = run(target, model, *INSIDE, "--check")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "all inside")
    done = run(target, model, *OUTSIDE, "--check", "-q")
    assert (done.exit_code, done.stdout) == (1, "outside: b.weight\n")
    assert run(target, model, *OUTSIDE).exit_code == 0
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '["*.weight"]\nregularizer = "top_k"\njoint = true\n'
        'schedules = [{piecewise = [{begin = 0, value = 1}, {begin = 5, value = 0.5}]}]\n["*"]\nexempt = true'
    )
    assert run(target, model, "--plan", str(plan), "--step", "4", "--check").exit_code == 0
    assert run(target, model, "--plan", str(plan), "--step", "5", "--check").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--check"], "--check needs --plan or --regularizer"),
        (["--step", "3"], "--step goes with --plan"),
    ],
    ids=["nothing to check", "a step of nothing"],
)
def test_what_makes_no_sense_is_refused(target: str, model: Path, arguments: list[str], reason: str) -> None:
    """With status 2."""
    done = run(target, model, *arguments)
    assert (done.exit_code, reason in done.stderr) == (2, True)
