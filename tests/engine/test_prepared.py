"""What is known of a regularizer is read from it; what is computed, by what it is prepared to."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from regularization_kernels import Box
from regularization_kernels.arrays import FLOAT64
from regularization_kernels.engine import Layout, Method, Segment, figure_bounds
from regularization_kernels.prepared import Prepared
from regularization_kernels.regularizer import Regularizer

from tests.support.cases import CASES, Case
from tests.support.engine_streams import a_call, operands_of, stream, without_outside
from tests.support.together import for_each

COMPUTED = {name for part in Prepared.__mro__ for name in vars(part) if not name.startswith("_")}


class Narrowed:
    """A prepared regularizer that has nothing but the protocol's methods.

    Args:
        prepared: The whole one.
    """

    def __init__(self, prepared: Any) -> None:
        self._prepared = prepared

    def __getattr__(self, name: str) -> Any:
        if name not in COMPUTED:
            raise AttributeError(f"{name} is not asked of what is prepared")
        return getattr(self._prepared, name)

    def restricted(self, begin: int, end: int) -> Narrowed:
        """The same of some elements."""
        return Narrowed(self._prepared.restricted(begin, end))


def told_alone(regularizer: Regularizer) -> Regularizer:
    """The same regularizer, which only tells of itself, and whose prepared form only computes."""
    cls: Any = type(regularizer)

    class Told(cls):  # type: ignore[misc] # any class of the catalogue
        __slots__ = ()

        def on(self, shape: tuple[int, ...], data_type: Any = FLOAT64) -> Any:
            return Narrowed(regularizer.on(shape, data_type))

        def __getattribute__(self, name: str) -> Any:
            if name in COMPUTED:
                raise AttributeError(f"{name} is not asked of what is not prepared")
            return super().__getattribute__(name)

    return Told(**{field.name: getattr(regularizer, field.name) for field in fields(cls)})


def of(case: Case, *, told: bool, box: Box | None, smoothing: float | None) -> Layout:
    """A layout of the case's regularizer with these modifiers, as it is or as it is told of."""
    regularizer = told_alone(case.regularizer) if told else case.regularizer
    segment = Segment("w", case.shape, regularizer, box=box, smoothing=smoothing)
    return Layout(np.dtype(np.float32), (segment,))


def test_the_engine_computes_with_the_protocol() -> None:
    """These methods, and no others, are asked of what a regularizer is prepared to."""
    shifted = {"add_terms", "gradient", "prox"}
    segment = {
        "cut",
        "restricted",
        "workspace",
        "longest_expansion",
        "rounds_outside",
        "settled",
        "fused",
    } | {"reduction"}
    assert shifted | segment == COMPUTED


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
@for_each("modifiers", [(False, None), (True, None), (False, 0.5), (True, 0.5)])
def test_facts_and_formulas_are_asked_apart(case: Case, modifiers: tuple[bool, float | None]) -> None:
    """Bits are the same where a regularizer only tells, and its prepared form only computes."""
    boxed, smoothing = modifiers
    traits = case.regularizer.traits
    if (boxed and not (traits.convex and traits.separable)) or (smoothing and traits.map):
        return
    box = Box(lower=-4.0, upper=4.0) if boxed else None
    plain, told = (of(case, told=told, box=box, smoothing=smoothing) for told in (False, True))
    methods = [Method.PROXIMAL_STEP] if traits.map else list(Method)
    if smoothing and not traits.convex:
        methods.remove(Method.PROXIMAL_STEP)
    for method in methods:
        operands = operands_of(plain, ("reference",) if takes_reference(plain) else ())
        if method is Method.GRADIENT:
            operands = {"parameters": without_outside(plain, operands["parameters"])}
        expected = stream(a_call(method, plain), operands, [1, 5])
        assert stream(a_call(method, told), operands, [1, 5]).bits() == expected.bits()
        assert list(figure_bounds(a_call(method, told), told.segments)) == list(
            figure_bounds(a_call(method, plain), plain.segments)
        )


def takes_reference(layout: Layout) -> bool:
    """Whether the layout's only segment takes a reference."""
    (segment,) = layout.segments
    return segment.regularizer is not None and segment.regularizer.takes_reference
