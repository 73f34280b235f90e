"""What each package may know: the kernels no transport, the server no arithmetic, the client no server."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.sources import (
    CLIENT,
    CONTRACT,
    KERNELS,
    PACKAGES,
    SERVER,
    files,
    imported_modules,
    imports,
    module_name,
    place,
    tree,
)

FIRST_PARTY = {"regularization", "regularization_kernels", "regularization_server", "regularization_client"}
TRANSPORT = ("grpc", "google", "regularization", "regularization_server", "regularization_client")
SERVER_ONLY = (
    "regularization_kernels",
    "regularization_server",
    "grpc_health",
    "grpc_reflection",
    "ml_dtypes",
    "prometheus_client",
    "structlog",
    "threadpoolctl",
    "scipy",
)

IMPORT_WITHOUT = """
import sys, importlib, pkgutil
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
package = importlib.import_module({package!r})
if {whole!r}:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
assert not set({blocked!r}) & set(sys.modules), set({blocked!r}) & set(sys.modules)
"""


def import_without(package: str, blocked: tuple[str, ...], *, whole: bool) -> None:
    """Import a package in a fresh interpreter where other packages do not exist."""
    code = IMPORT_WITHOUT.format(package=package, blocked=blocked, whole=whole)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_kernels_import_without_grpc_and_protobuf() -> None:
    """Every module of the kernels, where grpc, protobuf and the other packages are not there."""
    import_without("regularization_kernels", TRANSPORT, whole=True)


def test_the_client_imports_without_server_and_kernels() -> None:
    """The base install is enough: server, kernels and their dependencies are not imported with it."""
    import_without("regularization_client", SERVER_ONLY, whole=False)


def test_solvers_need_numpy_alone() -> None:
    """Beside what the client needs: no SciPy, no scikit-learn."""
    import_without("regularization_client.solvers", (*SERVER_ONLY, "sklearn"), whole=True)


ALLOWED = {
    CONTRACT: set[str](),
    KERNELS: set[str](),
    SERVER: {"regularization", "regularization_kernels"},
    CLIENT: {"regularization"},
}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_packages_import_only_what_is_below_them(package: Path) -> None:
    """Kernels nothing of ours, the server the kernels and the contract, the client the contract alone."""
    wrong = [
        f"{place(path, node)} imports {name}"
        for path in files(package)
        for name, node in imports(path, at_import_time=True)
        if name.partition(".")[0] in FIRST_PARTY - ALLOWED[package] - {package.name}
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_modules_import_each_other_in_a_circle(package: Path) -> None:
    """Not for the types alone either, so every module can be understood from those below it."""
    modules = {module_name(package, path): path for path in files(package)}
    graph = {name: imported_modules(package, path, modules) - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_only_the_embedded_server_takes_the_client_to_the_server() -> None:
    """The client names the server's package where it starts one by itself, and the kernels' nowhere."""
    named = {
        (path.name, name.partition(".")[0])
        for path in files(CLIENT)
        for name, _ in imports(path)
        if name.partition(".")[0] in {"regularization_server", "regularization_kernels"}
    }
    assert {name for _, name in named} <= {"regularization_server"}
    assert len({file for file, _ in named}) <= 1


CARRYING = {"grpc", "threading", "concurrent", "socket", "regularization_client._transport"}


@pytest.mark.parametrize(
    "path", [*files(CLIENT / "_request"), CLIENT / "_transport" / "answers.py"], ids=lambda path: path.name
)
def test_what_is_asked_and_answered_knows_no_way(path: Path) -> None:
    """Requests are made, and answers read, without gRPC, threads and sockets."""
    modules = {module_name(CLIENT, other): other for other in files(CLIENT)}
    own = imported_modules(CLIENT, path, modules)
    named = {name.partition(".")[0] for name, _ in imports(path)} | {
        ".".join(name.split(".")[:2]) for name in own
    }
    allowed = {"regularization_client._transport"} if path.name == "answers.py" else set()
    assert named & CARRYING <= allowed


NUMPY_OF_THE_SERVER = {"dtype", "float32", "float64", "floating", "frombuffer", "ndarray", "typing"}
ARITHMETIC_METHODS = {"clip", "cumprod", "cumsum", "dot", "max", "mean", "min", "prod", "std", "sum", "var"}


@pytest.mark.parametrize("path", files(SERVER), ids=lambda path: path.name)
def test_the_server_does_no_arithmetic_on_elements(path: Path) -> None:
    """Of NumPy it uses views of bytes and the names of types, and no array method that computes."""
    wrong = []
    for node in ast.walk(tree(path)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in {"np", "numpy"}
        ):
            if node.attr not in NUMPY_OF_THE_SERVER:
                wrong.append(f"{place(path, node)} uses {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom) and node.module == "numpy":
            wrong.append(f"{place(path, node)}: {ast.unparse(node)}")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ARITHMETIC_METHODS
        ):
            wrong.append(f"{place(path, node)} calls {ast.unparse(node.func)}")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            wrong.append(f"{place(path, node)}: {ast.unparse(node)}")
    assert wrong == []


def test_the_server_uses_the_kernels_public_side() -> None:
    """The engine, the registry, training, errors, types, and a queue; no formula by its module."""
    public = {
        "regularization_kernels",
        "regularization_kernels.arrays",
        "regularization_kernels.engine",
        "regularization_kernels.errors",
        "regularization_kernels.fair_queue",
        "regularization_kernels.regularizers.groups.base",
        "regularization_kernels.regularizer",
        "regularization_kernels.summation",
        "regularization_kernels.training",
    }
    wrong = [
        f"{place(path, node)} imports {name}"
        for path in files(SERVER)
        for name, node in imports(path)
        if name.startswith("regularization_kernels") and name not in public
    ]
    assert wrong == []


ENGINE = KERNELS / "engine"


@pytest.mark.parametrize("path", files(ENGINE), ids=lambda path: path.name)
def test_the_engine_knows_no_family_of_regularizers(path: Path) -> None:
    """It asks a regularizer for what it needs, and imports no file of the catalogue but for annotations."""
    module = tree(path)
    for_types = [
        node
        for block in module.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
    ]
    wrong = [
        f"{place(path, node)}: {ast.unparse(node)}"
        for node in ast.walk(module)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in {"isinstance", "issubclass", "type"})
        or (
            isinstance(node, ast.ImportFrom)
            and "regularizers" in (node.module or "").split(".")
            and node not in for_types
        )
    ]
    assert wrong == []


def test_the_engine_names_no_field_of_the_transport() -> None:
    """What a chunk is a field of, whoever feeds it says."""
    wrong = [
        f"{place(path, node)} says {node.value!r}"
        for path in files(ENGINE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(("chunk.", "header."))
    ]
    assert wrong == []
