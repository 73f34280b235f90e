"""What the regularize command says of models and files that do not fit, as text and as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from regularization_client._cli.work import Work
from regularization_client.command import main

COMMAND = Path(sys.executable).with_name("regularize")
MODEL: dict[str, NDArray[Any]] = {
    "fc.weight": np.full((6, 4), 0.5, np.float32),
    "fc.bias": np.full(4, 0.25, np.float32),
    "steps": np.array([7], np.int64),
}
GRADIENTS = {name: np.ones_like(array) for name, array in MODEL.items() if name != "steps"}
L1 = ("-r", "*.weight=l1_norm:strength=0.1")
REST = ("-r", "*=none")
STEP = ("-s", "1")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command works in, with a model in it."""
    monkeypatch.chdir(tmp_path)
    safetensors.numpy.save_file(MODEL, "model.safetensors")
    np.save("theta.npy", np.array([0.8, -0.3, 0.5]))
    return tmp_path


def run(target: str, *arguments: object) -> Result:
    """Run the command in this process, against the shared server."""
    return CliRunner().invoke(main, [*map(str, arguments), "--target", target])


def prox(target: str, *arguments: object) -> dict[str, NDArray[Any]]:
    """The tensors that a step must write."""
    result = run(target, "prox", "model.safetensors", *arguments, "-o", "out.safetensors", "-q")
    assert result.exit_code == 0, result.output
    return safetensors.numpy.load_file("out.safetensors")


def save(**changes: NDArray[Any] | None) -> tuple[str, str]:
    """Save loss gradients with some changes, None for those that are to lack, and return the option."""
    gradients = {**GRADIENTS, **changes}
    kept = {name.replace("_", "."): array for name, array in gradients.items() if array is not None}
    safetensors.numpy.save_file(kept, "gradients.safetensors")
    return ("--loss-gradients", "gradients.safetensors")


def test_what_no_regularizer_fits_comes_with_what_to_add(target: str) -> None:
    """Which then is enough."""
    result = run(target, "prox", "model.safetensors", *L1, *STEP)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: --regularizer: nothing matches 'steps'; add -r '*=none' to leave alone what no other fits\n"
    )
    prox(target, *L1, "-r", "*=none", *STEP)


def test_exempt_tensors_need_no_step_size(target: str) -> None:
    """They stay where they are, whether by pattern, all of them, or by a plan."""
    for arguments in (
        [*L1, *REST, "-s", "*.weight=1"],
        [*REST],
        [*REST, *STEP],
    ):
        written = prox(target, *arguments)
        np.testing.assert_array_equal(written["fc.bias"], MODEL["fc.bias"])
    Path("plan.toml").write_text(
        '["*.weight"]\nregularizer = "l1_norm"\nstrength = 0.1\nstep_size = 1\n["*"]\nexempt = true\n'
    )
    written = prox(target, "-p", "plan.toml")
    np.testing.assert_array_equal(written["fc.bias"], MODEL["fc.bias"])
    np.testing.assert_array_equal(written["fc.weight"], MODEL["fc.weight"] - np.float32(0.1))


def test_exempt_tensors_that_loss_gradients_move_need_a_step_size(target: str) -> None:
    """They step along them, as all do."""
    gradients = save()
    result = run(target, "prox", "model.safetensors", *L1, *REST, "-s", "*.weight=1", *gradients)
    assert result.exit_code == 1
    assert "--step-size: nothing matches 'fc.bias'; add one without a pattern, -s NUMBER" in result.stderr
    assert run(target, "prox", "model.safetensors", *REST, *gradients).exit_code == 2
    written = prox(target, *L1, *REST, "-s", "*.weight=1", "-s", "0.5", *gradients)
    np.testing.assert_array_equal(written["fc.bias"], MODEL["fc.bias"] - 0.5)


GRADIENT_FAULTS: dict[str, tuple[Mapping[str, NDArray[Any] | None], str]] = {
    "one lacks": ({"fc.bias": None}, "--loss-gradients must have 'fc.bias', as model.safetensors has"),
    "one is named otherwise": (
        {"fc.bias": None, "fc.bais": np.ones(4, np.float32)},
        "must have 'fc.bias', as model.safetensors has; did you mean 'fc.bais'?",
    ),
    "one too many": ({"x": np.ones(1, np.float32)}, "has 'x', which model.safetensors has not"),
    "another shape": ({"fc.bias": np.ones(5, np.float32)}, "'fc.bias' must be F32 [4], as the parameters"),
    "another layout": ({"fc.weight": np.ones((4, 6), np.float32)}, "must be F32 [6, 4]"),
    "another type": ({"fc.bias": np.ones(4)}, "'fc.bias' must be F32 [4], as the parameters are, is F64 [4]"),
}


@pytest.mark.parametrize("command", ["prox", "gradient"])
@pytest.mark.parametrize(("changes", "text"), GRADIENT_FAULTS.values(), ids=GRADIENT_FAULTS)
def test_loss_gradients_must_be_those_of_the_parameters(
    target: str, command: str, changes: Mapping[str, Any], text: str
) -> None:
    """A tensor that lacks them would stay behind in silence."""
    gradients = save(**changes)
    step = STEP if command == "prox" else ()
    result = run(target, command, "model.safetensors", *L1, *REST, *step, *gradients)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: gradients.safetensors: --loss-gradients")
    assert text in result.stderr


def test_operands_may_have_tensors_that_take_no_part(target: str) -> None:
    """A model's own file is a reference for it."""
    prox(target, *L1, *REST, *STEP, "--reference", "model.safetensors", *save(steps=np.array([0])))


def test_other_operands_may_be_of_some_tensors(target: str) -> None:
    """The others have a reference of 0, and weights of 1."""
    safetensors.numpy.save_file({"fc.weight": np.zeros((6, 4), np.float32)}, "some.safetensors")
    assert (
        run(target, "prox", "model.safetensors", *L1, *REST, *STEP, "--weights", "some.safetensors").exit_code
        == 0
    )


JSON_ERRORS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "the command line": (["-r", "l1_norm:strengt=1", *STEP], {"kind": "BadParameter", "status": 2}),
    "an option that is not there": (["--no-such-option"], {"kind": "NoSuchOption", "status": 2}),
    "a file that is not there": (["-p", "plan.toml"], {"kind": "BadParameter", "status": 2}),
    "a folder that is not there": (
        [*L1, *REST, *STEP, "-o", "nowhere/out.safetensors"],
        {
            "kind": "FileNotFoundError",
            "status": 1,
            "file": "nowhere/out.safetensors",
            "message": "nowhere/out.safetensors: No such file or directory",
        },
    ),
    "what the client refuses": ([*L1, *STEP], {"kind": "ArgumentError", "status": 1, "segment": "steps"}),
    "what the server refuses": (
        ["-r", "*.weight=l1_norm:strength=-1", *REST, *STEP],
        {
            "kind": "InvalidRequestError",
            "status": 1,
            "code": "INVALID_ARGUMENT",
            "reason": "ERROR_REASON_FIELD_OUT_OF_RANGE",
            "segment": "fc.weight",
        },
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), JSON_ERRORS.values(), ids=JSON_ERRORS)
def test_errors_are_json_where_results_are(
    target: str, arguments: list[str], expected: dict[str, Any]
) -> None:
    """One object in one line on standard error, and nothing on standard output."""
    result = run(target, "prox", "model.safetensors", "--json", *arguments)
    assert (result.exit_code, result.stdout) == (expected["status"], "")
    (line,) = result.stderr.splitlines()
    error = json.loads(line)["error"]
    assert expected.items() <= error.items()
    assert error["message"]
    assert None not in error.values()


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors"])
def test_a_full_disk_is_told_with_the_file(target: str, folder: Path, ending: str) -> None:
    """The one that was asked for, not what it is called until it is whole; which does not stay."""
    values = np.random.default_rng(0).random(1 << 17)
    if ending == ".npy":
        np.save("x.npy", values)
    elif ending == ".npz":
        np.savez("x.npz", x=values)
    else:
        safetensors.numpy.save_file({"x": values}, "x.safetensors")
    before = set(folder.iterdir())
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", str(COMMAND)]
    step = ["prox", f"x{ending}", "-r", "none", "-s", "1", "-o", f"out{ending}", "--target", target]
    done = subprocess.run([*limited, *step], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: out{ending}: File too large\n"
    assert set(folder.iterdir()) == before


def test_names_do_nothing_to_a_terminal(target: str) -> None:
    """Whatever a file calls its tensors: a name stays in its line, in tables, lists and errors."""
    name = "\x1b[31mred\nnew"
    safetensors.numpy.save_file(
        {name: np.ones(1, np.float32), f"{name}2": np.ones(1, np.int64)}, "x.safetensors"
    )
    result = run(target, "penalty", "x.safetensors", "-r", f"{name}=l1_norm:strength=1", "-r", "none")
    shown = r"\x1b[31mred\nnew"
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith(f"{shown}  ")
    assert result.stdout.splitlines()[2] == f"left out: {shown}2"
    result = run(target, "penalty", "x.safetensors", "-r", f"{name}=box:lower=nan", "-r", "none")
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_has_its_status_whenever_it_comes(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before and after the call; nothing but the terminal's own line is ended."""

    def interrupted(self: Work) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Work, "run", interrupted)
    result = run(target, "prox", "theta.npy", "-r", "none")
    assert (result.exit_code, result.output.strip()) == (130, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("command", [["penalty", "theta.npy", "-r", "none"], ["regularizers"]])
def test_a_full_standard_output_is_told(target: str, command: list[str]) -> None:
    """It is a file like any other."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, *command, "--target", target],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "Error: standard output: No space left on device\n")


def test_who_stops_reading_is_left_alone(target: str) -> None:
    """As by head: no traceback."""
    script = '"$@" | head -n 1'
    arguments = ["sh", "-c", script, "sh", str(COMMAND), "regularizers", "--target", target]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("regularizer ")
    assert done.stderr == ""
