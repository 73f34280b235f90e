"""What of SciPy stays out of the image, and that nothing misses it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

from tests.support.sources import ROOT

SCRIPT = ROOT / "docker" / "image" / "trim.py"
TRIM = run_path(str(SCRIPT))
WITHOUT = """
import runpy
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

trim = runpy.run_path(sys.argv[1])
for name in trim["USED"]:
    import_module(name)
(folder,) = import_module("scipy").__path__
left = {path.name for path in trim["not_loaded"](Path(folder), sys.modules)}


class LeftBehind:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "scipy" and name.split(".")[1] in left:
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, LeftBehind())

from regularization_kernels.regularizers.matrices import lapack, linear_algebra
from regularization_kernels.regularizers.sequences import images
from regularization_kernels.training.augmentation import normal

assert {"fft", "optimize", "stats"} <= left, left
assert normal._table()[-1] == 0
image = np.repeat([1.0, 2.0], 8).reshape(2, 8)
assert np.array_equal(images._joined(image, image), image)
matrix = np.array([[2.0, 1.0], [1.0, 2.0]])
assert np.allclose(lapack.slow_svd(matrix)[1], [3.0, 1.0])
linear_algebra.eigenvectors = lambda symmetric: None
assert np.allclose(linear_algebra.eigenvalue_decomposition(matrix)[0], [1.0, 3.0])
"""


def imported(path: Path) -> Iterator[str]:
    """Modules of SciPy that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            names = [f"{node.module}.{each.name}" for each in node.names]
            if node.module.startswith("scipy."):
                yield from (name for name in names if find_spec(name) is not None)


def test_all_that_the_server_imports_of_scipy_is_used() -> None:
    """The image has each module of SciPy that the server imports anywhere, and for no other's sake any."""
    names = {name for path in (ROOT / "server").rglob("*.py") for name in imported(path)}
    assert {name for name in names if name.startswith("scipy.")} == set(TRIM["USED"])


def test_the_server_needs_nothing_that_is_left_behind() -> None:
    """Every place that asks SciPy for something has its answer where the rest of SciPy is not there."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, SCRIPT], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_what_is_loaded_stays(tmp_path: Path) -> None:
    """Subpackages go or stay whole: with one module all of its subpackage stays, and what is no package."""
    for name in ("needed", "unneeded", "no_package"):
        (tmp_path / "library" / name).mkdir(parents=True)
    for name in ("needed", "unneeded"):
        (tmp_path / "library" / name / "__init__.py").touch()
    found = TRIM["not_loaded"](tmp_path / "library", {"library", "library.needed.part", "other.unneeded"})
    assert found == [tmp_path / "library" / "unneeded"]
