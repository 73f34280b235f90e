"""Leaves behind what of SciPy the server has no use for: half of it.

Run by the image's build with the interpreter of the environment that the image gets. It imports what the
server imports of SciPy, looks at what that has loaded, and removes the subpackages that it has not.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path

USED = (
    "scipy.linalg",
    "scipy.linalg.cython_lapack",
    "scipy.sparse",
    "scipy.sparse.csgraph",
    "scipy.special",
)
"""What the server imports of SciPy, anywhere in its code, also where only few calls come."""


def not_loaded(package: Path, loaded: Collection[str]) -> list[Path]:
    """Subpackages that modules which are loaded do not belong to.

    Args:
        package: The folder of a package.
        loaded: Full names of modules, as in ``sys.modules``.
    """
    prefix = f"{package.name}."
    needed = {name.removeprefix(prefix).split(".")[0] for name in loaded if name.startswith(prefix)}
    subpackages = (path.parent for path in package.glob("*/__init__.py"))
    return sorted(path for path in subpackages if path.name not in needed)


def main() -> None:
    """Remove what is not loaded, and say what it was."""
    for name in USED:
        import_module(name)
    (folder,) = import_module("scipy").__path__
    for path in not_loaded(Path(folder), sys.modules):
        print(f"left behind: {path}")
        shutil.rmtree(path)


if __name__ == "__main__":
    main()
