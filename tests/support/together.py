"""Values that one test tries one after the other, where each takes less time than a test of its own."""

from __future__ import annotations

from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


def for_each(name: str, values: Iterable[T]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Try a test with every value of an argument: as ``parametrize`` does, but as one test.

    A test of its own costs milliseconds, whatever it does; many take less than that. The first value that
    fails ends the test, and the failure says which it was. What fixtures give is the same for all values.

    Args:
        name: The argument's.
        values: All are tried, in this order; there must be one.
    """
    tried = tuple(values)
    assert tried, f"there is no {name} to try"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        taken = signature(test)

        @wraps(test)
        def try_all(**arguments: Any) -> None:
            for value in tried:
                try:
                    test(**arguments, **{name: value})
                except BaseException as failure:
                    failure.add_note(f"with {name} = {value!r}")
                    raise

        left = [each for each in taken.parameters.values() if each.name != name]
        try_all.__signature__ = taken.replace(parameters=left)  # type: ignore[attr-defined]
        return try_all

    return decorate
