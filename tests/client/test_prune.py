"""Pruning files: the smallest weights of all tensors together become 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from regularization_client import ArgumentError
from regularization_client._files import open_tensors
from regularization_client.command import main

RANDOM = np.random.default_rng(21)
MODEL: dict[str, NDArray[Any]] = {
    "embed.weight": np.round(RANDOM.standard_normal((300, 40)), 2).astype(np.float32),
    "fc.bias": RANDOM.standard_normal(40).astype(np.float32),
    "fc.weight": np.round(3 * RANDOM.standard_normal((40, 70)), 2).astype(np.float32),
    "empty.weight": np.zeros((0, 3), np.float32),
    "norm": RANDOM.standard_normal(40).astype(np.float16),
    "steps": np.array([7], np.int64),
    "mask": np.array([True, False]),
}
SHARDS = {
    "model-1.safetensors": ["embed.weight", "steps"],
    "model-2.safetensors": ["fc.bias", "fc.weight", "empty.weight", "norm", "mask"],
}


def run(target: str, *arguments: object) -> Result:
    """Run the command in this process, against the shared server."""
    return CliRunner().invoke(main, ["prune", *map(str, arguments), "--target", target])


def saved(folder: Path, kind: str) -> Path:
    """The model as a file of some kind."""
    folder.mkdir(exist_ok=True)
    if kind == "npz":
        np.savez(folder / "model.npz", **MODEL)  # type: ignore[arg-type] # arrays by name
        return folder / "model.npz"
    if kind == "safetensors":
        safetensors.numpy.save_file(MODEL, folder / "model.safetensors", {"made": "here"})
        return folder / "model.safetensors"
    places = {}
    for file, names in SHARDS.items():
        safetensors.numpy.save_file({name: MODEL[name] for name in names}, folder / file)
        places |= dict.fromkeys(names, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}), encoding="utf-8")
    return index


def loaded(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file, or of those that an index names."""
    if path.suffix == ".npz":
        return dict(np.load(path))
    files = [path] if path.suffix == ".safetensors" else [path.with_name(name) for name in SHARDS]
    return {name: array for file in files for name, array in safetensors.numpy.load_file(file).items()}


def pruned(names: list[str], count: int) -> dict[str, NDArray[Any]]:
    """The model with so many of the largest weights, of equal ones the first, by a stable sort."""
    together = np.concatenate([MODEL[name].ravel() for name in names])
    kept = np.zeros_like(together)
    places = np.argsort(-np.abs(together), kind="stable")[:count]
    kept[places] = together[places]
    expected, begin = dict(MODEL), 0
    for name in names:
        expected[name] = kept[begin : begin + MODEL[name].size].reshape(MODEL[name].shape)
        begin += MODEL[name].size
    return expected


def order(path: Path, *names: str) -> list[str]:
    """Names in the order in which a file has them."""
    with open_tensors(path) as file:
        return [name for name in file.tensors if name in names]


@pytest.mark.parametrize("sparsity", ["0.9", "0", "1", "0.99999", "0.33"])
@pytest.mark.parametrize("kind", ["safetensors", "npz", "index"])
def test_the_largest_of_all_weights_stay(target: str, tmp_path: Path, kind: str, sparsity: str) -> None:
    """To the element, in all tensors together; everything else is copied as it is, whatever its type."""
    path = saved(tmp_path / "in", kind)
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / path.name
    done = run(target, path, "--sparsity", sparsity, "--only", "*.weight", "-o", output)
    assert done.exit_code == 0, done.output
    names = order(path, "embed.weight", "fc.weight", "empty.weight")
    size = 300 * 40 + 40 * 70
    removed = int(float(sparsity) * size + 0.5)
    result = loaded(output)
    for name, expected in pruned(names, size - removed).items():
        assert result[name].dtype == expected.dtype
        np.testing.assert_array_equal(result[name], expected)
    if kind == "index":
        assert output.read_bytes() == path.read_bytes()


def test_the_table_says_what_became_of_each(target: str, tmp_path: Path) -> None:
    """Elements, how many were kept, and the share of zeros; the rest is named."""
    path, output = saved(tmp_path, "safetensors"), tmp_path / "out.safetensors"
    arguments = (path, "--sparsity", 0.9, "--only", "*.weight", "--skip", "embed*", "-o", output)
    lines = [line.split() for line in run(target, *arguments).stdout.splitlines()]
    assert lines[0] == ["tensor", "elements", "kept", "sparsity"]
    assert ["fc.weight", "2,800", "280", "90.00%"] in lines
    assert ["empty.weight", "0", "0", "-"] in lines
    assert lines[3] == ["all", "2,800", "280", "90.00%"]
    assert lines[4][:2] == ["left", "alone:"]
    assert lines[5] == ["written:", str(output)]
    found = json.loads(run(target, *arguments, "--json").stdout)
    assert found["tensors"]["fc.weight"] == {"elements": 2800, "kept": 280, "sparsity": pytest.approx(0.9)}
    assert found["tensors"]["empty.weight"]["sparsity"] is None
    assert (found["kept"], found["output"]) == (280, str(output))
    assert sorted(found["left_alone"]) == ["embed.weight", "fc.bias", "mask", "norm", "steps"]


def test_a_dry_run_writes_nothing(target: str, tmp_path: Path) -> None:
    """It says what would become of each, with an output or without."""
    path = saved(tmp_path, "safetensors")
    before = sorted(each.name for each in tmp_path.iterdir())
    for more in ((), ("-o", tmp_path / "out.safetensors")):
        done = run(target, path, "--sparsity", 0.9, "--only", "fc.weight", "--dry-run", *more)
        assert done.exit_code == 0, done.output
        assert "fc.weight     2,800   280    90.00%" in done.stdout
        assert done.stdout.endswith("nothing written\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["safetensors", "index"])
def test_in_place(target: str, tmp_path: Path, kind: str) -> None:
    """The output may be the file itself: each file changes once it is whole."""
    path = saved(tmp_path, kind)
    done = run(target, path, "--sparsity", 0.5, "--only", "*.weight", "-o", path)
    assert done.exit_code == 0, done.output
    names = order(path, "embed.weight", "fc.weight", "empty.weight")
    for name, expected in pruned(names, 7400).items():
        np.testing.assert_array_equal(loaded(path)[name], expected)
    assert not list(tmp_path.glob(".*"))


def test_without_a_pattern_all_of_floating_point_is_pruned(target: str, tmp_path: Path) -> None:
    """Integers are left alone; and a vector is one tensor."""
    np.savez(tmp_path / "x.npz", w=np.arange(1.0, 11.0), steps=np.arange(3))
    done = run(target, tmp_path / "x.npz", "--sparsity", 0.8, "-o", tmp_path / "out.npz")
    assert done.exit_code == 0, done.output
    result = dict(np.load(tmp_path / "out.npz"))
    assert result["w"].tolist() == [0.0] * 8 + [9.0, 10.0]
    assert result["steps"].tolist() == [0, 1, 2]


WRONG: dict[str, tuple[list[object], int, str]] = {
    "above 1": (["--sparsity", "1.5", "--dry-run"], 2, "must be from 0 to 1, got 1.5"),
    "below 0": (["--sparsity", "-0.1", "--dry-run"], 2, "must be from 0 to 1, got -0.1"),
    "no number": (["--sparsity", "nan", "--dry-run"], 2, "must be from 0 to 1, got nan"),
    "a word": (["--sparsity", "most", "--dry-run"], 2, "must be a number, got 'most'"),
    "no sparsity": (["--dry-run"], 2, "Missing option '--sparsity'"),
    "no output": (["--sparsity", "0.5"], 2, "Missing option '-o' / '--output', or '--dry-run'"),
    "another format": (["--sparsity", "0.5", "-o", "out.npz"], 2, "must end in .safetensors, as FILE does"),
    "no such tensor": (["--sparsity", "0.5", "--dry-run", "--only", "head*"], 1, "'head*' matches none"),
    "nothing to skip": (["--sparsity", "0.5", "--dry-run", "--skip", "head"], 1, "'head' matches none"),
    "nothing left": (["--sparsity", "0.5", "--dry-run", "--skip", "*"], 1, "no tensor is left to prune"),
    "integers": (
        ["--sparsity", "0.5", "--dry-run", "--only", "steps"],
        1,
        "tensor 'steps' must be floating point of 16, 32 or 64 bits to be pruned, is I64",
    ),
    "two types": (
        ["--sparsity", "0.5", "--dry-run", "--only", "norm", "--only", "fc.bias"],
        1,
        "must have one data type: 'fc.bias' is F32, 'norm' is F16",
    ),
}


@pytest.mark.parametrize(("arguments", "status", "text"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_told(
    target: str, tmp_path: Path, arguments: list[object], status: int, text: str
) -> None:
    """2 where the command line is wrong, 1 where the file does not fit it; nothing is left behind."""
    path = saved(tmp_path, "safetensors")
    done = run(target, path, *arguments)
    assert (done.exit_code, text in done.stderr) == (status, True), done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_failure_leaves_all_files_as_they_were(target: str, tmp_path: Path) -> None:
    """Of an index too, though one of its files was read to the end."""
    path = saved(tmp_path, "index")
    bad = dict(MODEL, **{"fc.weight": np.full((40, 70), np.nan, np.float32)})
    second = tmp_path / "model-2.safetensors"
    safetensors.numpy.save_file({name: bad[name] for name in SHARDS[second.name]}, second)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    done = run(target, path, "--sparsity", 0.5, "--only", "*.weight", "-o", path)
    assert done.exit_code == 1
    assert "must be finite, got nan" in done.stderr
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_files_of_an_index_are_not_written_over_under_another_name(target: str, tmp_path: Path) -> None:
    """For the first index would then name the new files."""
    path = saved(tmp_path, "index")
    other = tmp_path / "other.safetensors.index.json"
    done = run(target, path, "--sparsity", 0.5, "--only", "*.weight", "-o", other)
    assert done.exit_code == 1
    assert "must be in another folder than" in done.stderr


INDEXES: dict[str, tuple[object, str]] = {
    "no JSON": ("{", "is no index of .safetensors files"),
    "no object": ([1], "must have an object 'weight_map'"),
    "no map": ({"metadata": {}}, "must have an object 'weight_map'"),
    "another folder": ({"weight_map": {"w": "../x.safetensors"}}, "must be in a .safetensors file beside"),
    "an absolute path": ({"weight_map": {"w": "/x.safetensors"}}, "must be in a .safetensors file beside"),
    "a byte of no name": ({"weight_map": {"w": "x\0.safetensors"}}, "must be in a .safetensors file beside"),
    "half a character": (
        {"weight_map": {"w": "\ud800.safetensors"}},
        "must be in a .safetensors file beside",
    ),
    "another format": ({"weight_map": {"w": "x.npz"}}, "must be in a .safetensors file beside"),
    "a number": ({"weight_map": {"w": 1}}, "must be in a .safetensors file beside"),
    "no such tensor": (
        {"weight_map": {"w": "model-1.safetensors"}},
        "'model-1.safetensors' must have tensor 'w', and has not",
    ),
    "the wrong file": (
        {"weight_map": {"steps": "model-2.safetensors"}},
        "'model-2.safetensors' must have tensor 'steps', and has not",
    ),
}


@pytest.mark.parametrize(("content", "text"), INDEXES.values(), ids=INDEXES)
def test_bad_indexes_are_refused(tmp_path: Path, content: object, text: str) -> None:
    """With the file's name and what is wrong: an index is as hostile as any file."""
    path = saved(tmp_path, "index")
    written = content if isinstance(content, str) else json.dumps(content)
    path.write_text(written, encoding="utf-8")
    with pytest.raises(ArgumentError) as caught:
        open_tensors(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_of_an_index_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    path = saved(tmp_path, "index")
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-2\.safetensors"):
        open_tensors(path)
