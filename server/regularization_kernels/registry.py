"""The one table of regularizers, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .regularizer import Regularizer

if TYPE_CHECKING:
    from collections.abc import Callable

REGULARIZERS: dict[str, type[Regularizer]] = {}
"""Every regularizer class by its registered name, in the order of the names."""

R = TypeVar("R", bound=Regularizer)


def register(name: str) -> Callable[[type[R]], type[R]]:
    """Enter a class in ``REGULARIZERS``; the name is also its file's and its field's in the contract."""

    def enter(cls: type[R]) -> type[R]:
        cls.name = name
        REGULARIZERS[name] = cls
        return cls

    return enter
