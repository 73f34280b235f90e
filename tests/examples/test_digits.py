from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "digits" / "train.py"
PENALTIES = {"L1 norm", "Group lasso", "Both"}
WEIGHTS = 64 * 64 + 64 * 10


@dataclass(frozen=True)
class Finished:
    """A run of the example that is over."""

    output: Path
    screen: str

    @property
    def figures(self) -> dict[str, Any]:
        """What it wrote for programs."""
        figures: dict[str, Any] = json.loads((self.output / "digits.json").read_text())
        return figures


def run(output: Path) -> Finished:
    """Run the example with few steps."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--output", output], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return Finished(output, done.stdout)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run that the tests share."""
    return run(tmp_path_factory.mktemp("digits") / "new" / "folder")


@pytest.mark.parametrize("name", ["digits.png", "course.png"])
def test_the_pictures_are_pngs(finished: Finished, name: str) -> None:
    """The pictures are there, in a folder that the run made."""
    assert (finished.output / name).read_bytes().startswith(b"\x89PNG\r\n")


def test_the_table_has_a_column_for_each_penalty(finished: Finished) -> None:
    """The screen shows the figures side by side, within 80 columns."""
    for text in (
        "None",
        *PENALTIES,
        "Test accuracy",
        "Zero weights",
        "Pixels kept of 64",
        "Penalty at the end",
    ):
        assert text in finished.screen
    assert max(map(len, finished.screen.splitlines())) <= 80


def test_a_training_without_regularization_keeps_everything(finished: Finished) -> None:
    """The exempt training has no zero weight, reads every pixel and pays no penalty."""
    plain = finished.figures["unregularized"]
    assert (plain["weights"], plain["nonzeros"], plain["pixels_kept"], plain["penalty"]) == (
        WEIGHTS,
        WEIGHTS,
        64,
        0.0,
    )
    assert plain["test_accuracy"] > 80


def test_a_stronger_penalty_leaves_fewer_weights(finished: Finished) -> None:
    """Every penalty has zeros to show at its greatest strength, and the L1 norm more the stronger it is."""
    trainings = finished.figures["trainings"]
    assert trainings.keys() == PENALTIES
    for tried in trainings.values():
        assert [training["strength"] for training in tried] == sorted(t["strength"] for t in tried)
        assert 0 < tried[-1]["nonzeros"] < WEIGHTS
        assert tried[-1]["penalty"] > 0
    weak, strong = trainings["L1 norm"]
    assert strong["nonzeros"] < weak["nonzeros"]


def test_every_term_is_a_call(finished: Finished) -> None:
    """The sum of two penalties takes two calls in each step, a single one takes one."""
    chosen = finished.figures["chosen"]
    calls = {name: training["calls"] / training["steps"] for name, training in chosen.items()}
    assert calls == {"L1 norm": 1, "Group lasso": 1, "Both": 2}


def test_the_plan_prunes_as_its_schedule_says(finished: Finished) -> None:
    """All layers together keep the share of a cubic schedule, half a weight more or less."""
    pruning = finished.figures["pruning"]
    sizes = {"hidden.weight": 64 * 64, "output.weight": 64 * 10}
    last = 59  # of the 60 steps of a quick run, from 0 on
    kept = 0.05 + 0.95 * (1 - (last - 50) / 250) ** 3
    assert abs(pruning["nonzeros"] - kept * WEIGHTS) <= 0.5
    assert pruning["framework"] in ("NumPy", "PyTorch")
    for before in range(50):
        assert all(course[before] == 0 for course in pruning["course"].values())
    zeros = sum(sizes[name] * course[last] / 100 for name, course in pruning["course"].items())
    assert zeros == pytest.approx(WEIGHTS - pruning["nonzeros"])
    assert "Pruned by plan" in finished.screen


def test_cross_validation_chooses_the_strongest_within_a_standard_error(finished: Finished) -> None:
    """Of the path that it shows: the least error plus its own is a bound that all stronger ones exceed."""
    selection = finished.figures["selection"]
    errors, chosen = selection["errors"], selection["chosen"]
    best = errors.index(min(errors))
    bound = errors[best] + selection["standard_errors"][best]
    assert errors[chosen] <= bound
    assert all(error > bound for error in errors[:chosen])
    assert selection["strengths"] == sorted(selection["strengths"], reverse=True)
    assert selection["pixels_kept"][0] == 0
    assert 0 < selection["pixels_kept"][chosen] <= 64
    assert selection["converged"]
    assert selection["test_accuracy"] > 80


def test_the_choice_is_one_of_those_tried(finished: Finished) -> None:
    """A chosen training is one of its penalty's."""
    figures = finished.figures
    for name, chosen in figures["chosen"].items():
        assert chosen in figures["trainings"][name]


def test_the_seed_decides_the_outcome(finished: Finished, tmp_path: Path) -> None:
    """A second run learns the same, to the last bit of its penalties."""

    def outcome(figures: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
        names = ("validation_accuracy", "test_accuracy", "nonzeros", "pixels_kept", "penalty")
        return {
            penalty: [tuple(training[name] for name in names) for training in tried]
            for penalty, tried in figures["trainings"].items()
        }

    assert outcome(run(tmp_path).figures) == outcome(finished.figures)


def test_a_server_that_does_not_start_is_reported(tmp_path: Path) -> None:
    """A wrong setting in the server's environment ends the run at once, with the server's own message."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--output", tmp_path],
        capture_output=True,
        text=True,
        timeout=100,
        env={"REGULARIZATION_GRACE_PERIOD": "-1"},
    )
    assert done.returncode != 0
    assert "--grace-period" in done.stderr
    assert "regularization-server ended with exit code 2" in done.stderr
    assert "Traceback" not in done.stderr
