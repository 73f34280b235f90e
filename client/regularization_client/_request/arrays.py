"""The caller's arrays: one or a mapping of them, checked against each other and turned into stretches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from .._errors import ArgumentError
from .._messages import wire_type
from .._part import SINGLE, Part
from .call import Stretch
from .stores import ArrayStore

AnyArray = npt.NDArray[Any]
Arrays = npt.ArrayLike | Mapping[str, npt.ArrayLike]
"""What a caller may give: anything that ``numpy.asarray`` takes, or a mapping of name to such."""


class _Place(NamedTuple):
    """Where an array lies in the vector, or a stretch of one."""

    begin: int
    end: int
    name: str
    """The array's."""
    here: slice | None = None
    """Which stretch of it; None for all."""

    def of(self, array: AnyArray) -> AnyArray:
        """Return what lies here of an array of that name."""
        return array if self.here is None else array[self.here]


class Structure:
    """The parameters of a call: arrays by name, and how they lie in the flat vector."""

    def __init__(self, parameters: Arrays, part: Part | None) -> None:
        self.single = not isinstance(parameters, Mapping)
        self.arrays = _by_name(parameters, SINGLE)
        self.data_type = self._common_data_type()
        self._part = part
        self.shapes = self._shapes()
        if part is not None:
            _ = self._places  # which says where the part is wrong

    @property
    def named(self) -> bool:
        """Whether the segments have names of the caller's."""
        return not self.single if self._part is None else isinstance(self._part.shapes, Mapping)

    @property
    def element_range(self) -> tuple[int, int] | None:
        """Begin and end of the part of the vector that the arrays are; None where they are all of it."""
        if self._part is None:
            return None
        return (self._places[0].begin, self._places[-1].end) if self._places else (0, 0)

    @property
    def scattered(self) -> bool:
        """Whether elements of the vector that are none of these lie between them."""
        places = () if self._part is None else self._places
        return any(one.end != other.begin for one, other in pairwise(places))

    def operand(self, value: Arrays | None, what: str) -> dict[str, AnyArray]:
        """Return an operand's arrays by name, for as many of the parameters as it has them.

        Raises:
            ArgumentError: If its structure, a shape or a data type is not that of the parameters.
        """
        if value is None:
            return {}
        if isinstance(value, Mapping) is self.single:
            raise ArgumentError(
                f"{what} must be {'one array' if self.single else 'a mapping'}, as the parameters are"
            )
        arrays = _by_name(value, SINGLE, what)
        for name, array in arrays.items():
            own = self.arrays.get(name)
            # What is the same to the last word needs no second look: a model has many arrays.
            if own is None or array.dtype is not own.dtype or array.shape != own.shape:
                self._check_like_parameters(array, name, what if self.single else f"{what}[{name!r}]")
        return arrays

    def outputs(self, out: Arrays | None) -> dict[str, AnyArray]:
        """Return the arrays to write results into: those given, or new ones.

        Raises:
            ArgumentError: If those given cannot take the results.
        """
        if out is None:
            return {name: np.empty(array.shape, array.dtype) for name, array in self.arrays.items()}
        if isinstance(out, Mapping):
            arrays = self.operand(dict(zip(out, map(_view, out.values()), strict=True)), "out")
        else:
            arrays = self.operand(_view(out), "out")
        for name in self.arrays:
            if name not in arrays:
                raise ArgumentError(f"out has no array for {name!r}", segment=name)
        return arrays

    def restored(self, arrays: Mapping[str, AnyArray]) -> Any:
        """Return results in the structure of the parameters."""
        return arrays[SINGLE] if self.single else {name: arrays[name] for name in self.arrays}

    def stretches(
        self, operands: Mapping[str, Mapping[str, AnyArray]], outputs: Mapping[str, AnyArray]
    ) -> Sequence[Stretch]:
        """Return where the elements of each segment come from and go.

        Args:
            operands: Arrays by name, by field of TensorChunk in the schema's order, "parameters" first.
            outputs: Arrays for the results by name; empty for a call that has none.
        """

        def made() -> list[Stretch]:
            stretches, fields = [], list(operands.items())
            for place in self._places:
                begin, end, name, _ = place
                if begin == end:
                    continue
                sources = {
                    field: ArrayStore(place.of(arrays[name])) for field, arrays in fields if name in arrays
                }
                sink = ArrayStore(place.of(outputs[name])) if name in outputs else None
                stretches.append(Stretch(begin, end, sources, sink))
            return stretches

        return made() if self._part is not None else WholeArrays(made, operands, outputs)

    def _common_data_type(self) -> np.dtype[Any]:
        kinds = {id(array.dtype): array.dtype for array in self.arrays.values()}
        if len(kinds) == 1 and not self.single:
            # One name stands for all: a model has many arrays, and words for each take time.
            return wire_type(next(iter(kinds.values())), f"parameters[{next(iter(self.arrays))!r}]")
        types = {
            name: wire_type(array.dtype, "parameters" if self.single else f"parameters[{name!r}]")
            for name, array in self.arrays.items()
        }
        first = next(iter(types), None)
        for name, data_type in types.items():
            if first is not None and data_type != types[first]:
                raise ArgumentError(
                    f"all parameters of a call must have one data type: {first!r} is {types[first]}, "
                    f"{name!r} is {data_type}",
                    segment=name,
                )
        return types[first] if first is not None else np.dtype("<f4")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if self._part is None:
            return {name: array.shape for name, array in self.arrays.items()}
        return self._part.shapes_by_name()

    @cached_property
    def _places(self) -> list[_Place]:
        """Return where in the vector the arrays lie, in its order: at least one place for a part."""
        starts = dict(
            zip(self.shapes, accumulate(map(math.prod, self.shapes.values()), initial=0), strict=False)
        )
        if self._part is None:
            return [
                _Place(starts[name], starts[name] + array.size, name) for name, array in self.arrays.items()
            ]
        ranges = self._part.ranges_of(self.arrays)
        if self._part.first_rows is not None:
            return [_Place(begin, end, name) for name, (begin, end) in ranges.items() if begin < end]
        ((first, last),) = ranges.values()
        places = []
        for segment, start in starts.items():
            begin, end = max(start, first), min(start + math.prod(self.shapes[segment]), last)
            if begin < end:
                places.append(_Place(begin, end, SINGLE, slice(begin - first, end - first)))
        return places or [_Place(first, last, SINGLE)]

    def _check_like_parameters(self, array: AnyArray, name: str, what: str) -> None:
        parameters = self.arrays.get(name)
        if parameters is None:
            raise ArgumentError(f"{what}: there are no parameters of that name", segment=name)
        if array.shape != parameters.shape:
            raise ArgumentError(
                f"{what} must have the parameters' shape {parameters.shape}, got {array.shape}", segment=name
            )
        if wire_type(array.dtype, what) != self.data_type:
            raise ArgumentError(
                f"{what} must have the parameters' data type {self.data_type}, got {array.dtype}",
                segment=name,
            )


class WholeArrays(Sequence[Stretch]):
    """Where the elements of whole arrays come from and go.

    Args:
        made: Gives the stretches. Where a call's memory is shared nobody needs them, so they wait until then.
        operands: See ``Structure.stretches``.
        outputs: Likewise.
    """

    def __init__(
        self,
        made: Callable[[], list[Stretch]],
        operands: Mapping[str, Mapping[str, AnyArray]],
        outputs: Mapping[str, AnyArray],
    ) -> None:
        self._made = made
        self._operands = operands
        self._outputs = outputs

    @overload
    def __getitem__(self, place: int) -> Stretch: ...

    @overload
    def __getitem__(self, place: slice) -> list[Stretch]: ...

    def __getitem__(self, place: int | slice) -> Stretch | list[Stretch]:
        """Return a stretch, or some."""
        return self._stretches[place]

    def __iter__(self) -> Iterator[Stretch]:
        """Yield each."""
        return iter(self._stretches)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._stretches)

    def arrays(self, result: str) -> dict[str, list[AnyArray]] | None:
        """Return the arrays of the parameters, of each operand and of the result, in their order.

        Args:
            result: What the result's are named; there are none where the call has none.

        Returns:
            None where an operand is given for some arrays only.
        """
        names = self._operands["parameters"]
        by_field = {**self._operands, result: self._outputs} if self._outputs else self._operands
        if any(arrays.keys() != names.keys() for arrays in by_field.values()):
            return None
        return {field: [arrays[name] for name in names] for field, arrays in by_field.items()}

    @cached_property
    def _stretches(self) -> list[Stretch]:
        return self._made()


def _view(out: npt.ArrayLike) -> AnyArray:
    """Return the array that writing to writes to what the caller gave."""
    array = np.asarray(out)
    # What is no array itself, but stands for one, such as a tensor of PyTorch, gives views of one memory.
    same = array is out or array.size == 0 or np.may_share_memory(array, np.asarray(out))
    if not same or not array.flags.writeable:
        raise ArgumentError("out must be a writable NumPy array, or a mapping of name to such")
    return array


def _by_name(value: Arrays, single: str, what: str = "parameters") -> dict[str, AnyArray]:
    if not isinstance(value, Mapping):
        return {single: _array(value, what, None)}
    for name in value:
        if not isinstance(name, str):
            raise ArgumentError(f"names of parameters must be strings, got {name!r}")
    return {name: _array(array, what, name) for name, array in value.items()}


def _array(value: npt.ArrayLike, what: str, name: str | None) -> AnyArray:
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        # As of a tensor that needs a gradient or lies on another device, or of lists of several lengths.
        place = what if name is None else f"{what}[{name!r}]"
        raise ArgumentError(f"{place} must be something that NumPy makes an array of: {error}") from error
