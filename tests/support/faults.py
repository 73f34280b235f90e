"""A server whose functions can be made to fail, one after the other.

``python -m tests.support.faults`` is ``regularization-server`` with this added: a line on its standard input
lets a function fail from then on (``fail NAME``), or all be watched (``watch``), or none (``rest``). Each is
answered by which of those that were chosen before were called since.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = (
    "regularization_server.calls",
    "regularization_server.contract",
    "regularization_server.shared_memory",
)
"""What a call runs through, before and after the engine."""

CANARY = "canary"
"""What no log and no status may have."""


@dataclass(frozen=True)
class Function:
    """A function, and where it is looked up."""

    owner: Any
    name: str
    function: Any


def functions() -> dict[str, Function]:
    """Every function and method of the packages, by its full name."""
    found = {}
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            loaded = importlib.import_module(module.name)
            for owner in [loaded, *filter(inspect.isclass, vars(loaded).values())]:
                if owner is loaded or owner.__module__ == module.name:
                    found.update(_functions_of(owner, module.name))
    return found


def _functions_of(owner: Any, module: str) -> Iterator[tuple[str, Function]]:
    for name, function in list(vars(owner).items()):
        plain = _plain(function)
        # Neither what is imported, nor what dataclasses and named tuples make by themselves.
        if inspect.isfunction(plain) and plain.__code__.co_filename == sys.modules[module].__file__:
            yield f"{module}.{plain.__qualname__}", Function(owner, name, function)


def _plain(function: Any) -> Any:
    if isinstance(function, classmethod | staticmethod):
        return function.__func__
    return function.fget if isinstance(function, property) else function


class Fault:
    """A function that is watched, and before which something happens.

    Args:
        target: The function.
        happens: Called before it with its positional and its named arguments; what it raises, the function
            raises.
    """

    def __init__(
        self, target: Function, happens: Callable[[tuple[Any, ...], dict[str, Any]], None] | None = None
    ) -> None:
        self._target = target
        self._happens = happens
        self.called = False
        self._places = [
            (module, name)
            for key, module in list(sys.modules.items())
            if key.startswith("regularization")
            for name, value in list(vars(module).items())
            if value is target.function
        ] or [(target.owner, target.name)]

    def begin(self) -> None:
        """Begin."""
        kind = type(self._target.function)
        plain = _plain(self._target.function)

        def instead(*arguments: Any, **keywords: Any) -> Any:
            self.called = True
            if self._happens is not None:
                self._happens(arguments, keywords)
            return plain(*arguments, **keywords)

        wrapped: Any = kind(instead) if kind in (classmethod, staticmethod, property) else instead
        for owner, name in self._places:
            setattr(owner, name, wrapped)

    def end(self) -> None:
        """Be as before."""
        for owner, name in self._places:
            setattr(owner, name, self._target.function)


def _fail(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Raise an error whose text has what the function is given."""
    raise ValueError(f"{CANARY} {arguments!r} {keywords!r}")


def _obey() -> None:
    known = functions()
    chosen: dict[str, Fault] = {}
    for line in sys.stdin:
        command, _, name = line.strip().partition(" ")
        called = [each for each, fault in chosen.items() if fault.called]
        for fault in chosen.values():
            fault.end()
        names = {"watch": list(known), "fail": [name], "rest": []}[command]
        chosen = {each: Fault(known[each], _fail if command == "fail" else None) for each in names}
        for fault in chosen.values():
            fault.begin()
        print(*called, flush=True)


if __name__ == "__main__":
    from regularization_server.command import main

    threading.Thread(target=_obey, daemon=True).start()
    main()
