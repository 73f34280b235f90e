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


def test_the_picture_is_a_png(finished: Finished) -> None:
    """The picture is there, in a folder that the run made."""
    assert (finished.output / "digits.png").read_bytes().startswith(b"\x89PNG\r\n")


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
