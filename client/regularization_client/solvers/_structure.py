"""How a caller's arrays lie in one vector, with which a solver computes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from .._errors import ArgumentError

Vector: TypeAlias = npt.NDArray[np.float64]
"""All elements, array after array."""

Arrays: TypeAlias = npt.ArrayLike | Mapping[str, npt.ArrayLike]
"""An array, or arrays by name."""


@dataclass(frozen=True, slots=True)
class Structure:
    """Shapes by name, in order; a single array has the name "parameters"."""

    shapes: Mapping[str, tuple[int, ...]]
    named: bool
    """Whether the caller names the arrays, and has not one alone."""

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """Return the structure of a caller's arrays."""
        if isinstance(arrays, Mapping):
            return cls({name: np.shape(array) for name, array in arrays.items()}, named=True)
        return cls({"parameters": np.shape(arrays)}, named=False)

    @property
    def size(self) -> int:
        """The number of all elements."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def vector(self, arrays: Arrays, what: str) -> Vector:
        """Return a new vector with the elements of arrays of this structure.

        Args:
            arrays: Real numbers of any type; whole ones are numbers, too, and not fixed point.
            what: What they are, for messages.

        Raises:
            ArgumentError: If names or shapes are others, or an element is no real number.
        """
        by_name: Mapping[str, Any] = arrays if isinstance(arrays, Mapping) else {"parameters": arrays}
        if isinstance(arrays, Mapping) != self.named or by_name.keys() != self.shapes.keys():
            got = _named(by_name) if isinstance(arrays, Mapping) else "one array"
            raise ArgumentError(
                f"{what} must be {_named(self.shapes) if self.named else 'one array'}, got {got}"
            )
        vector = np.empty(self.size)
        for name, place in self.by_name(vector).items():
            array = _real(by_name[name], f"{what}[{name!r}]" if self.named else what)
            if array.shape != place.shape:
                raise ArgumentError(
                    f"{what} must have the shape {place.shape}, got {array.shape}",
                    segment=name if self.named else None,
                )
            place[...] = array
        return vector

    def by_name(self, vector: Vector) -> dict[str, Vector]:
        """Return views of a vector's stretches, by name."""
        views, begin = {}, 0
        for name, shape in self.shapes.items():
            end = begin + math.prod(shape)
            views[name] = vector[begin:end].reshape(shape)
            begin = end
        return views

    def arrays(self, vector: Vector) -> Any:
        """Return views of a vector's stretches, structured as the caller's arrays are."""
        views = self.by_name(vector)
        return views if self.named else views["parameters"]

    def shown(self, vector: Vector) -> Any:
        """Return the same, read-only, for a caller's function."""
        view = vector.view()
        view.flags.writeable = False
        return self.arrays(view)


def _real(array: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    numbers = np.asarray(array)
    if numbers.dtype.kind not in "fiub" and numbers.dtype.name != "bfloat16":
        raise ArgumentError(f"{what} must be of real numbers, got {numbers.dtype}")
    return numbers


def _named(arrays: Mapping[str, object]) -> str:
    return f"a mapping of {', '.join(map(repr, arrays))}"
