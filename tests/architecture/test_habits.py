"""Habits that hold everywhere: public names, docstrings, and files that can be read in one go."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.sources import PACKAGES, ROOT, files, place, tree

PUBLIC = (
    "regularization_kernels",
    "regularization_kernels.engine",
    "regularization_server",
    "regularization_client",
    "regularization_client.solvers",
    "regularization_client.sklearn",
    "regularization_client.torch",
)
NEEDED = {"regularization_client.torch": "torch"}
"""What is no part of every installation, and of which package."""
LONGEST = 400
every_public_package = pytest.mark.parametrize("name", PUBLIC)


def imported(name: str) -> ModuleType:
    """A package, where what it needs is installed."""
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"{NEEDED[name]} is not installed")
    return importlib.import_module(name)


def is_generated(thing: object) -> bool:
    """Whether it is a class of the contract's generated code."""
    return getattr(thing, "__module__", "").endswith("_pb2")


@every_public_package
def test_all_names_exist_once_and_in_order(name: str) -> None:
    """Everything in ``__all__`` can be imported."""
    package = imported(name)
    public = package.__all__
    assert len(public) == len(set(public))
    assert not [entry for entry in public if entry.startswith("_")]
    assert not [entry for entry in public if not hasattr(package, entry)]


@every_public_package
def test_public_names_are_all_in_all(name: str) -> None:
    """What a package defines or re-exports of its own, under a public name, is in ``__all__``."""
    package = imported(name)
    family = name.partition(".")[0]
    own = {
        entry
        for entry, thing in vars(package).items()
        if not entry.startswith("_")
        and not isinstance(thing, ModuleType)
        and (getattr(thing, "__module__", "") or "").startswith(family)
    }
    assert own <= set(package.__all__)


@every_public_package
def test_public_names_have_docstrings(name: str) -> None:
    """Every class and function in ``__all__``, and every public method of those classes."""
    package = imported(name)
    bare = []
    for entry in package.__all__:
        thing = getattr(package, entry)
        if is_generated(thing) or not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        if not inspect.getdoc(thing):
            bare.append(entry)
        members = vars(thing).items() if inspect.isclass(thing) else []
        bare += [
            f"{entry}.{member}"
            for member, value in members
            if not member.startswith("_")
            and (inspect.isfunction(value) or isinstance(value, property))
            and not inspect.getdoc(getattr(thing, member))
        ]
    assert bare == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_packages_are_typed(package: Path) -> None:
    """Each tells type checkers so."""
    assert (package / "py.typed").exists()


def test_every_test_says_its_fact() -> None:
    """Every test function has a docstring."""
    silent = [
        f"{place(path, node)} {node.name}"
        for path in files(ROOT / "tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_files_can_be_read_in_one_go() -> None:
    """No file of the packages that people wrote is longer than 400 lines."""
    lengths = {
        place(p): len(p.read_text(encoding="utf-8").splitlines())
        for package in PACKAGES
        for p in files(package)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
