"""The project's source files, read without importing them."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "server" / "regularization_kernels"
SERVER = ROOT / "server" / "regularization_server"
CLIENT = ROOT / "client" / "regularization_client"
CONTRACT = ROOT / "protos" / "regularization"
PACKAGES = (CONTRACT, KERNELS, SERVER, CLIENT)


def files(folder: Path) -> list[Path]:
    """Every Python file below a folder that people wrote."""
    return sorted(path for path in folder.rglob("*.py") if "_pb2" not in path.name)


def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    """Where something stands, for messages."""
    line = getattr(node, "lineno", None)
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def imports(path: Path, *, at_import_time: bool = False) -> Iterator[tuple[str, ast.AST]]:
    """The modules that a file imports by absolute name; where asked, only those at its own import."""
    module = tree(path)
    nodes = _at_import_time(module) if at_import_time else ast.walk(module)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node


def module_name(package: Path, path: Path) -> str:
    """The dotted name of a package's module, or of a package inside it."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(package: Path, path: Path, modules: Collection[str]) -> set[str]:
    """Which of some modules a file imports, by absolute or relative name."""
    here = module_name(package, path).split(".")
    if path.name != "__init__.py":
        here.pop()
    found = set[str]()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            inside = {f"{module}.{alias.name}" for alias in node.names}
            found |= inside if inside <= set(modules) else inside | {module}
    return found & set(modules)


def _at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for statement in node.orelse:
            yield from _at_import_time(statement)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _at_import_time(child)
