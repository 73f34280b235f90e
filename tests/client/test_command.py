"""The regularize command, from files to files."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from regularization_client import Client, GroupLasso, Groups, L1Norm
from regularization_client.command import main

COMMAND = Path(sys.executable).with_name("regularize")
L1 = ("-r", "l1_norm:strength=0.1")
MODEL: dict[str, NDArray[Any]] = {
    "fc.weight": np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32),
    "fc.bias": np.random.default_rng(2).standard_normal(4).astype(np.float32),
    "steps": np.array([7], np.int64),
}
SETTINGS = ("-r", "*.weight=group_lasso:strength=0.5,groups.axis=0", "-r", "none")


def run(target: str, *arguments: object) -> Result:
    """Run the command in this process, against the shared server."""
    return CliRunner().invoke(main, [*map(str, arguments), "--target", target])


def succeed(target: str, *arguments: object) -> str:
    """Return what a run prints that must succeed."""
    result = run(target, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def vector(tmp_path: Path) -> Path:
    """A file of the worked example's three numbers."""
    np.save(tmp_path / "theta.npy", np.array([0.8, -0.3, 0.5]))
    return tmp_path / "theta.npy"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of a small model."""
    safetensors.numpy.save_file(MODEL, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_penalty_prints_a_table(target: str, vector: Path) -> None:
    """Aligned, a line for each tensor."""
    assert succeed(target, "penalty", vector, *L1) == (
        "tensor      elements     nonzero  penalty\nparameters         3  3 (100.0%)     0.16\n"
    )


def test_gradient_and_prox_write_files(target: str, vector: Path, tmp_path: Path) -> None:
    """In the format of the input."""
    output = tmp_path / "out.npy"
    shown = succeed(target, "gradient", vector, *L1, "-o", output)
    assert shown.endswith(f"written: {output}\n")
    np.testing.assert_allclose(np.load(output), [0.1, -0.1, 0.1])
    succeed(target, "prox", vector, *L1, "--step-size", 1, "-o", output)
    np.testing.assert_allclose(np.load(output), [0.7, -0.2, 0.4])


def test_a_model_by_patterns(target: str, model: Path, tmp_path: Path) -> None:
    """Tensors of other data types stay as they are, and there is a line for all."""
    output = tmp_path / "out.safetensors"
    shown = succeed(target, "prox", model, *SETTINGS, "-s", "0.5", "-s", "fc.weight=0.25", "-o", output)
    lines = [re.split(r"\s{2,}", line) for line in shown.splitlines()]
    assert lines[0] == ["tensor", "elements", "nonzero", "penalty", "squared distance"]
    assert [line[:2] for line in lines[1:4]] == [["fc.bias", "4"], ["fc.weight", "24"], ["all", "28"]]
    assert lines[4:] == [["left out: steps"], [f"written: {output}"]]
    lasso = GroupLasso(strength=0.5, groups=Groups(axis=0))
    with Client(target) as client:
        expected = client.proximal_step(MODEL["fc.weight"], lasso, step_size=0.25).parameters
    written = safetensors.numpy.load_file(output)
    np.testing.assert_array_equal(written["fc.weight"], expected)
    np.testing.assert_array_equal(written["fc.bias"], MODEL["fc.bias"])
    np.testing.assert_array_equal(written["steps"], MODEL["steps"])


def test_the_gradient_of_what_is_left_out_is_zero(target: str, model: Path, tmp_path: Path) -> None:
    """Of exempt tensors and of those of other data types."""
    output = tmp_path / "out.safetensors"
    succeed(target, "gradient", model, *SETTINGS, "-o", output)
    written = safetensors.numpy.load_file(output)
    np.testing.assert_array_equal(written["fc.bias"], 0)
    np.testing.assert_array_equal(written["steps"], 0)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_operands_are_files_too(target: str, tmp_path: Path, ending: str) -> None:
    """All four of them."""
    names = ("file", "loss-gradients", "reference", "weights", "step-scales")
    arrays = {name: np.abs(np.random.default_rng(len(name)).standard_normal(30)) for name in names}
    paths = {name: tmp_path / f"{name}.{ending}" for name in names}
    for name, array in arrays.items():
        np.save(paths[name], array) if ending == "npy" else np.savez(paths[name], w=array)
    file = paths.pop("file")
    operands = [argument for name, path in paths.items() for argument in (f"--{name}", path)]
    output = tmp_path / f"out.{ending}"
    succeed(target, "prox", file, *L1, "-s", 0.5, *operands, "-o", output)
    with Client(target) as client:
        expected = client.proximal_step(
            arrays["file"],
            L1Norm(strength=0.1),
            step_size=0.5,
            loss_gradients=arrays["loss-gradients"],
            reference=arrays["reference"],
            weights=arrays["weights"],
            step_scales=arrays["step-scales"],
        )
    with output.open("rb") as opened:
        written = np.load(opened)
        np.testing.assert_array_equal(written if ending == "npy" else written["w"], expected.parameters)


def test_a_file_may_be_changed_in_place(target: str, vector: Path) -> None:
    """It is replaced when the result is whole."""
    succeed(target, "prox", vector, *L1, "-s", 1, "-o", vector)
    np.testing.assert_allclose(np.load(vector), [0.7, -0.2, 0.4])


def test_rounding_at_random(target: str, tmp_path: Path) -> None:
    """Steps below half a unit of float16 are lost to nearest; at random they act, by the seed alone."""
    ones = np.ones(1000, np.float16)
    np.save(tmp_path / "theta.npy", ones)
    step = (
        "prox",
        tmp_path / "theta.npy",
        "-r",
        "l1_norm:strength=1e-4",
        "-s",
        1,
        "-o",
        tmp_path / "out.npy",
    )
    succeed(target, *step)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), ones)
    results = []
    for seed in (1, 1, 2):
        succeed(target, *step, "--rounding", "stochastic", "--seed", seed)
        results.append(np.load(tmp_path / "out.npy"))
    np.testing.assert_array_equal(results[0], results[1])
    assert 0 < np.count_nonzero(results[0] != ones) < ones.size
    assert (results[0] != results[2]).any()
    assert run(target, *step, "--seed", 1).exit_code == 2


def test_json_is_one_object(target: str, model: Path, tmp_path: Path) -> None:
    """With the figures in total and of each tensor."""
    output = tmp_path / "out.safetensors"
    shown = json.loads(succeed(target, "prox", model, *SETTINGS, "-s", 1, "-o", output, "--json", "--quiet"))
    assert (shown["file"], shown["output"], shown["left_out"]) == (str(model), str(output), ["steps"])
    assert shown["elements"] == 28
    assert set(shown["segments"]) == {"fc.weight", "fc.bias"}
    figures = {"elements", "nonzeros", "penalty", "squared_distance"}
    assert figures < set(shown)
    assert set(shown["segments"]["fc.weight"]) == figures


def test_json_has_strings_for_infinity_and_nan(target: str, vector: Path) -> None:
    """It knows no such numbers, and parsers fail on them."""
    shown = json.loads(
        succeed(target, "penalty", vector, "-r", "box:upper=0", "--json"), parse_constant=pytest.fail
    )
    assert shown["penalty"] == "Infinity"
    np.save(vector, np.array([math.nan]))
    shown = json.loads(succeed(target, "penalty", vector, *L1, "--json", "--non-finite", "propagate"))
    assert shown["penalty"] == "NaN"


def test_quiet_prints_nothing(target: str, vector: Path) -> None:
    """Unless JSON is asked for."""
    assert succeed(target, "penalty", vector, *L1, "-q") == ""


def test_the_catalogue(target: str) -> None:
    """A line for each, in columns, as text and as JSON."""
    lines = [re.split(r"\s{2,}", line) for line in succeed(target, "regularizers").splitlines()]
    assert lines[0] == ["regularizer", "locality", "convex", "for"]
    assert ["l1_norm", "element", "yes", "sparsity: many elements exactly zero"] in lines
    names = [each["name"] for each in json.loads(succeed(target, "regularizers", "--json"))["regularizers"]]
    assert [line[0] for line in lines[1:-2]] == names == sorted(names)


def test_some_of_the_catalogue(target: str) -> None:
    """All that is said of those that are named, in their order, as text and as JSON."""
    shown = succeed(target, "regularizers", "l1_norm", "group_lasso")
    assert re.findall(r"^\w+: ", shown, re.MULTILINE) == ["l1_norm: ", "group_lasso: "]
    assert re.search(r"proximal step +sign\(x\)", shown)
    assert re.search(r"traits +convex, separable, positively homogeneous, keeps zeros$", shown, re.MULTILINE)
    assert re.search(r"locality +element: ", shown)
    assert re.search(r"operands +loss_gradients, reference, weights, step_scales$", shown, re.MULTILINE)
    assert re.search(r"groups +Groups, required .*: groups\.size, groups\.sizes, groups\.axis", shown)
    (described,) = json.loads(succeed(target, "regularizers", "group_lasso", "--json"))["regularizers"]
    assert described["parameters"][1]["type"] == "Groups"


def test_what_is_not_in_the_catalogue(target: str) -> None:
    """The names that are there are told."""
    result = run(target, "regularizers", "lasso")
    assert result.exit_code == 2
    assert "'lasso' is no regularizer of the server's; did you mean 'group_lasso' or 'fus" in result.stderr
    result = run(target, "regularizers", "?")
    assert re.search(
        r"'\?' is no regularizer of the server's: there are block_sparsity, box, .*l1_norm, ", result.stderr
    )


FAILURES: dict[str, tuple[list[str], int, str]] = {
    "a wrong field": (["-r", "l1_norm:strengt=1"], 2, "'strengt' is no field"),
    "no regularizer": ([], 2, "Missing option '-r' / '--regularizer'"),
    "no such pattern": (
        ["-r", "fc*=l1_norm:strength=1"],
        1,
        "Error: --regularizer: 'fc*' matches none of 'parameters'",
    ),
    "a number out of range": (["-r", "l1_norm:strength=-1"], 1, "strength must be"),
    "another ending": ([*L1, "-o", "out.npz"], 2, "--output must end in .npy, as FILE does"),
    "a folder that is not there": (
        [*L1, "-o", "nowhere/out.npy"],
        1,
        "Error: nowhere/out.npy: No such file or directory",
    ),
    "an operand of another shape": ([*L1, "--reference", "four.npy"], 1, "must be float64 [3]"),
    "an operand of another name": (
        [*L1, "--reference", "named.npz"],
        1,
        "Error: named.npz: --reference has 'w', which ",
    ),
    "a file for a folder": ([*L1, "-o", "four.npy/out.npy"], 1, "Error: four.npy/out.npy: Not a directory"),
    "no file to replace": ([*L1, "-o", "link.npy"], 1, "/dev/null: is not a regular file"),
    "a timeout that is no number": ([*L1, "--timeout", "nan"], 2, "must be a number of seconds, got nan"),
    "a timeout without end": ([*L1, "--timeout", "inf"], 2, "inf is not in the range 0<x<=316224000.0"),
    "a token that no header can have": ([*L1, "--token", "a\nb"], 2, "--token must be of printable ASCII"),
    "a command that is nearly one": (["--regularizers", "none"], 2, "--regularizer"),
}


@pytest.mark.parametrize(("arguments", "code", "text"), FAILURES.values(), ids=FAILURES)
def test_failures_have_a_line_and_a_status(
    target: str, vector: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    """2 where the command line is wrong, 1 otherwise; nothing on standard output, and no file."""
    monkeypatch.chdir(vector.parent)
    np.save("four.npy", np.ones(4))
    np.savez("named.npz", w=np.ones(3))
    Path("link.npy").symlink_to("/dev/null")
    before = sorted(os.listdir())  # noqa: PTH208 - of where the command writes to
    result = run(target, "gradient", vector, *arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert result.stdout == ""
    assert code == 2 or result.stderr.count("\n") == 1
    assert sorted(os.listdir()) == before  # noqa: PTH208 - likewise


def test_tensors_that_cannot_be_computed_in_are_named(target: str, model: Path) -> None:
    """With what to do about it."""
    result = run(target, "penalty", model, *L1)
    assert result.exit_code == 1
    assert "tensor 'steps' must be floating point of 16, 32 or 64 bits, is I64; " in result.stderr
    assert "leave it out with -r steps=none, or" in result.stderr


MIXED: dict[str, Any] = {
    "a": np.array([3.0, -0.5], np.float32),
    "b": np.array([0.25, -1.0, 0.05]),
    "c": np.array([[4, 5]], np.int32),
    "d": np.array([2.0], np.float16),
    "e": np.array([-5.0, 0.5], np.float32),
}


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_tensors_may_be_of_several_data_types(target: str, tmp_path: Path, suffix: str) -> None:
    """Each is computed in its own; the figures are of all of them, in the order of the file."""
    path, output = tmp_path / f"x.{suffix}", tmp_path / f"out.{suffix}"
    if suffix == "npz":
        np.savez(path, **MIXED)
    else:
        safetensors.numpy.save_file(MIXED, path)
    rules = ("-r", "c=none", "-r", "l1_norm:strength=0.1")
    found = json.loads(succeed(target, "prox", path, *rules, "-s", 1, "-o", output, "--json"))
    result = dict(np.load(output)) if suffix == "npz" else safetensors.numpy.load_file(output)
    total = 0.0
    for name, array in MIXED.items():
        assert result[name].dtype == array.dtype
        if name != "c":
            threshold = np.float64(0.1)
            expected = np.sign(array) * np.maximum(np.abs(array.astype(np.float64)) - threshold, 0)
            np.testing.assert_array_equal(result[name], expected.astype(array.dtype))
            total += float(np.abs(result[name].astype(np.float64)).sum())
    np.testing.assert_array_equal(result["c"], MIXED["c"])
    assert found["penalty"] == pytest.approx(0.1 * total)
    assert (found["elements"], found["left_out"]) == (8, ["c"])
    order = list(found["segments"])
    assert order == (["a", "b", "d", "e"] if suffix == "npz" else [name for name in result if name != "c"])


def test_tensors_that_share_a_regularizer_have_one_data_type(target: str, tmp_path: Path) -> None:
    """Both are named; others may lie between them, but not in an archive, which is written in order."""
    plan, path = tmp_path / "plan.toml", tmp_path / "x.safetensors"
    safetensors.numpy.save_file(MIXED, path)
    text = '[{}]\nregularizer = "top_k"\ncount = 2\njoint = true\n["*"]\nexempt = true'
    plan.write_text(text.format('"[abe]"'), encoding="utf-8")
    result = run(target, "penalty", path, "-p", plan)
    assert result.exit_code == 1
    assert "must have one data type: 'b' is F64, 'a' is F32" in result.stderr
    plan.write_text(text.format('"[ae]"'), encoding="utf-8")
    output = tmp_path / "out.safetensors"
    succeed(target, "prox", path, "-p", plan, "-s", 1, "-o", output)
    result_of = safetensors.numpy.load_file(output)
    np.testing.assert_array_equal(result_of["a"], [3.0, 0.0])
    np.testing.assert_array_equal(result_of["e"], [-5.0, 0.0])
    for name in "bcd":
        np.testing.assert_array_equal(result_of[name], MIXED[name])
    np.savez(tmp_path / "x.npz", **MIXED)
    archive = ("prox", tmp_path / "x.npz", "-p", plan, "-s", 1)
    succeed(target, *archive)
    result = run(target, *archive, "-o", tmp_path / "out.npz")
    assert result.exit_code == 1
    assert "('b' is float64), need a .safetensors file" in result.stderr


def test_a_server_that_is_not_there(vector: Path) -> None:
    """One line says so."""
    result = CliRunner().invoke(
        main, ["penalty", str(vector), *L1, "--target", "unix:/nowhere/s", "--timeout", "0.2"]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_a_failed_run_leaves_what_was_there(target: str, tmp_path: Path) -> None:
    """Though most of the result had come already."""
    values = np.ones(1 << 20, np.float32)
    values[-1] = np.nan
    np.save(tmp_path / "theta.npy", values)
    (tmp_path / "out.npy").write_bytes(b"before")
    result = run(target, "prox", tmp_path / "theta.npy", *L1, "-s", 1, "-o", tmp_path / "out.npy")
    assert result.exit_code == 1
    assert "element 1048575" in result.stderr
    assert (tmp_path / "out.npy").read_bytes() == b"before"
    assert {path.name for path in tmp_path.iterdir()} == {"theta.npy", "out.npy"}


def sparse_npy(path: Path, elements: int) -> Path:
    """A file of so many zeros, which take no room on the disk."""
    with path.open("wb") as file:
        header: Any = {"descr": "<f4", "fortran_order": False, "shape": (elements,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * elements)
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Whether it is Ctrl-C or a supervisor's request."""
    path = sparse_npy(tmp_path / "theta.npy", 1 << 30)
    arguments: list[str | Path] = [COMMAND, "prox", path, *L1, "-s", "1", "-o", tmp_path / "out.npy"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while not [path for path in tmp_path.glob(".out.npy.*") if path.stat().st_size]:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(number)
            _, shown = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, shown) == (128 + number, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["theta.npy"]


def test_memory_is_bounded_by_far_less_than_the_file(tmp_path: Path) -> None:
    """512 MiB through a server of the command's own, within 300 MiB for both, a compiler included."""
    path = sparse_npy(tmp_path / "theta.npy", 1 << 27)
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    arguments: list[str | Path] = [COMMAND, "prox", path, *L1, "-s", "1", "-o", tmp_path / "out.npy", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 300 * 1024
    assert (tmp_path / "out.npy").stat().st_size == path.stat().st_size


def test_a_terminal_sees_progress(vector: Path, target: str) -> None:
    """On standard error, so that standard output stays clean."""
    ours, theirs = pty.openpty()
    arguments: list[str | Path] = [COMMAND, "penalty", vector, *L1, "--target", target]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "100%" in shown
    assert b"%" in done.stdout
    assert b"\r" not in done.stdout


def test_help_says_how_regularizers_are_written() -> None:
    """Every command that takes them shows examples, and all say what they do."""
    runner = CliRunner()
    overview = runner.invoke(main, ["--help"]).output
    for name in ("penalty", "gradient", "prox", "regularizers"):
        assert re.search(rf"^  {name} +\w.*\w\.$", overview, re.MULTILINE)
        shown = runner.invoke(main, [name, "--help"]).output
        assert ("group_lasso:strength=0.1,groups.axis=0" in shown) is (name != "regularizers")
        assert "--target" in shown
    assert re.search(r"regularize, version \d", runner.invoke(main, ["--version"]).output)
