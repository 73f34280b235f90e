"""``regularize plan``: check, explain, init."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from regularization_client.command import main

from tests.client.test_plan_file import CHANGING, L1, MODEL, PLAN, written

NAMES = {
    "embed.weight": (5, 4),
    "layers.0.norm.weight": (4,),
    "layers.0.linear.weight": (4, 4),
    "layers.1.norm.weight": (4,),
    "layers.1.linear.weight": (4, 4),
    "layers.0.linear.bias": (4,),
    "layers.1.linear.bias": (4,),
    "weight": (3, 3),
    'a "quoted" \\ name[0].*': (2, 2),
    "b.*": (2, 2),
    "c.*": (2, 2),
    "b.x": (2,),
    "steps": (),
}
"""A model whose names need care."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of a small model."""
    np.savez(tmp_path / "model.npz", **MODEL)  # type: ignore[arg-type] # arrays by name
    return tmp_path / "model.npz"


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """A file of the model whose names need care, and of a counter that is no number to compute with."""
    arrays = {name: np.ones(shape, np.float32) for name, shape in NAMES.items()}
    np.savez(tmp_path / "awkward.npz", count=np.int64(3), **arrays)  # type: ignore[arg-type] # by name
    return tmp_path / "awkward.npz"


def run(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["plan", *map(str, arguments)])


def test_a_right_plan_is_told_to_be_right(target: str, model: Path, tmp_path: Path) -> None:
    """With the number of its rules, alone and for a file."""
    plan = written(tmp_path, CHANGING)
    alone = run("check", plan, "--target", target)
    assert (alone.exit_code, alone.stdout) == (0, f"{plan}: 3 rules, all right\n")
    both = run("check", plan, model, "--target", target)
    assert (both.exit_code, both.stdout) == (0, f"{plan}: 3 rules, all right, and all fit {model}\n")
    told = run("check", plan, model, "--target", target, "--json")
    assert json.loads(told.stdout) == {"plan": str(plan), "right": True}


ALONE = {
    "a typing mistake": (
        PLAN.replace("strength", "strengt"),
        "'strengt' is no key; did you mean 'strength'?",
    ),
    "a number out of range": (PLAN.replace("0.5", "-1"), "strength must be finite and >= 0, got -1.0"),
    "a number out of range later": (
        f'["*"]\n{L1}schedules = [{{linear = {{initial = 1, final = -1, begin = 5, end = 9}}}}]',
        "must be finite and >= 0, got -1.0, by its schedule at step 9",
    ),
    "a schedule for what is set": (
        f'["*"]\n{L1}strength = 1\nschedules = [{{constant = {{value = 1}}}}]',
        "must be unset in the regularizer where there is a schedule for it",
    ),
}
FITTING = {
    "a rule for nothing": (f"[tail]\n{L1}strength = 1\n{PLAN}", "'tail' matches none of"),
    "a name without a rule": (PLAN.partition("[head]")[0], "nothing matches 'head'"),
    "groups that do not fit": (PLAN.replace("axis = 0", "size = 5"), "layers.0.weight"),
    "a count that is too large one day": (
        '[head]\nregularizer = "top_k"\n'
        'schedules = [{field = "count", piecewise = [{begin = 0, value = 1}, {begin = 7, value = 6}]}]\n'
        '["*"]\nexempt = true',
        "count must be at most the segment's 5 elements, got 6",
    ),
}


@pytest.mark.parametrize(("text", "reason"), ALONE.values(), ids=ALONE)
def test_a_wrong_plan_is_told_to_be_wrong(target: str, tmp_path: Path, text: str, reason: str) -> None:
    """By itself, with status 1 and one line."""
    done = run("check", written(tmp_path, text), "--target", target)
    assert done.exit_code == 1
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_rule_is_told_by_file_and_table(target: str, tmp_path: Path) -> None:
    """Not only by its place, which the file does not show."""
    plan = written(tmp_path, f'[head]\n{L1}strength = 1\n["*"]\n{L1}strength = -1\n')
    done = run("check", plan, "--target", target)
    assert done.stderr.startswith(f"Error: {plan}: ['*']: header.layout.planned.plan.rules[1].regularizer.")
    told = json.loads(run("check", plan, "--target", target, "--json").stderr)["error"]
    assert told["field"] == "header.layout.planned.plan.rules[1].regularizer.l1_norm.strength"


@pytest.mark.parametrize(("text", "reason"), FITTING.values(), ids=FITTING)
def test_a_plan_that_does_not_fit_is_told_so(
    target: str, model: Path, tmp_path: Path, text: str, reason: str
) -> None:
    """It is right alone, and wrong for the file."""
    plan = written(tmp_path, text)
    assert run("check", plan, "--target", target).exit_code == 0
    done = run("check", plan, model, "--target", target)
    assert done.exit_code == 1
    assert reason in done.stderr


def test_each_tensor_is_explained(model: Path, tmp_path: Path) -> None:
    """A line for each, with the rule's pattern and its words; at a step between, the rule does nothing."""
    plan = written(tmp_path, CHANGING)
    done = run("explain", plan, model)
    assert done.exit_code == 0, done.output
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert lines[0] == ["tensor", "shape", "rule", "what"]
    assert [line[:3] for line in lines[1:]] == [
        ["layers.0.weight", "6x4", "*.weight"],
        ["layers.1.weight", "4x4", "*.weight"],
        ["layers.0.bias", "4", "*"],
        ["head", "5", "head"],
    ]
    assert lines[1][3].startswith("joint, top_k, cubic { initial: 1.0 final: 0.25 end: 100 }, every: 10")
    assert lines[3][3] == "exempt"
    assert lines[4][3].endswith("step_size: 2.0")
    told = json.loads(run("explain", plan, model, "--step", 5, "--json").stdout)
    assert [each["what"] for each in told["tensors"]][:3] == ["exempt"] * 3
    assert told["tensors"][0]["shape"] == [6, 4]
    assert run("explain", written(tmp_path, f"[tail]\n{L1}"), model).exit_code == 1


def test_zeros_that_stay_are_explained(model: Path, tmp_path: Path) -> None:
    """With the rule's words, and at steps at which it does nothing else."""
    plan = written(tmp_path, CHANGING.replace("every = 10", "every = 10\nfreeze_from = 70"))
    told = json.loads(run("explain", plan, model, "--json").stdout)["tensors"]
    assert told[0]["what"].endswith("every: 10, freeze_from: 70")
    told = json.loads(run("explain", plan, model, "--step", 75, "--json").stdout)["tensors"]
    assert told[0]["what"] == "exempt, freeze_from: 70"


def test_a_plan_to_begin_with_fits_its_file(target: str, awkward: Path, tmp_path: Path) -> None:
    """Weights are regularized, all else is exempt, whatever the names are; and each by one table."""
    done = run("init", awkward)
    assert done.exit_code == 0, done.output
    plan = written(tmp_path, done.stdout)
    tables = tomllib.loads(done.stdout)
    assert set(tables) >= {"weight", "*.norm.weight", "*.linear.weight", "*.bias", "embed.weight", "steps"}
    checked = run("check", plan, awkward, "--target", target)
    assert checked.exit_code == 0, checked.output
    told = json.loads(run("explain", plan, awkward, "--json").stdout)["tensors"]
    regularized = {each["tensor"] for each in told if each["what"] != "exempt"}
    assert regularized == {name for name, shape in NAMES.items() if len(shape) > 1}
