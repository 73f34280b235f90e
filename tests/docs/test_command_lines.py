"""The README's command lines run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.support.processes import serving

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:make|pip|regularize|regularization-server) [^`]+)`")
LINES = [
    line.partition("    #")[0].strip()
    for block in BLOCK.findall(README)
    for line in block.replace("\\\n", " ").splitlines()
] + [" ".join(line.split()) for line in INLINE.findall(README)]
BIN = Path(sys.executable).parent


def make(line: str, folder: Path) -> None:
    """The targets are there; what they do takes minutes, and other tests look after it."""
    subprocess.run(["sh", "-c", f"{line} --dry-run"], cwd=ROOT, check=True, capture_output=True)


def pip(line: str, folder: Path) -> None:
    """It installs the project with extras that it has; nothing is installed here."""
    *command, what = shlex.split(line)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    match = re.fullmatch(r"\.\[(\w+)\]", what)
    assert command == ["pip", "install"]
    assert match is not None
    assert match[1] in extras


def regularize(line: str, folder: Path) -> None:
    """On a model that has weights and biases."""
    model = {
        name: np.ones(shape, np.float32) for name, shape in {"fc.weight": (3, 2), "fc.bias": (3,)}.items()
    }
    safetensors.numpy.save_file(model, folder / "model.safetensors")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if " prox model" in line:
        written = safetensors.numpy.load_file(folder / "sparse.safetensors")
        np.testing.assert_array_equal(written["fc.bias"], model["fc.bias"])
        assert (written["fc.weight"] < 1).all()
    if " prune model" in line:
        written = safetensors.numpy.load_file(folder / "pruned.safetensors")
        np.testing.assert_array_equal(written["fc.bias"], model["fc.bias"])
        assert np.count_nonzero(written["fc.weight"]) == 1


def server(line: str, folder: Path) -> None:
    """At addresses of the test's own: those in the text may be taken, or not the user's to have."""
    arguments = shlex.split(line)[1:]
    mine = {"0.0.0.0:50051": "127.0.0.1:0", "unix:/run/regularization.sock": f"unix:{folder}/b"}
    addresses = [mine.get(argument, argument) for argument in arguments]
    with serving(folder, *addresses[2:], address=addresses[1]) as process:
        assert process.log.count(f"unix:{folder}/b") == 1


RUN: dict[str, Callable[[str, Path], None]] = {
    "make": make,
    "pip": pip,
    "regularize": regularize,
    "regularization-server": server,
}


@pytest.mark.parametrize("line", LINES)
def test_command_lines_run(line: str) -> None:
    """Each, whichever command it is of."""
    # Not under pytest's own folder: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="regularization-") as folder:
        RUN[line.split()[0]](line, Path(folder))


def test_they_were_found() -> None:
    """One of each command at least."""
    assert {line.split()[0] for line in LINES} == set(RUN)
