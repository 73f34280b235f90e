"""However a vector is cut into chunks, results and summary keep their bits, and these are the rules'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import ElasticNet, GroupLasso, Groups, L1Norm
from regularization_kernels.engine import Chunk, Layout, MemoryBudget, Method, Run, Segment

from tests.support.engine_streams import (
    PLENTY,
    a_call,
    chunks_of,
    feed,
    operands_of,
    stream,
    takers,
    vector,
    whole_call,
)
from tests.support.oracles import summation as reference

OPERANDS = {
    Method.PENALTY: [(), ("reference",), ("weights",), ("reference", "weights")],
    Method.GRADIENT: [(), ("loss_gradients",), ("reference",), ("loss_gradients", "reference", "weights")],
    Method.PROXIMAL_STEP: [
        (),
        ("loss_gradients",),
        ("reference",),
        ("loss_gradients", "reference"),
        ("step_scales",),
        ("loss_gradients", "reference", "weights", "step_scales"),
    ],
}
COMBINATIONS = [
    pytest.param(method, names, dtype, id=f"{method.value}-{'+'.join(names) or 'plain'}-{dtype.__name__}")
    for method, choices in OPERANDS.items()
    for names in choices
    for dtype in (np.float32, np.float64)
]


@pytest.mark.parametrize(("method", "names", "dtype"), COMBINATIONS)
@settings(max_examples=4)
@given(st.data())
def test_chunks_do_not_change_a_bit(
    method: Method, names: tuple[str, ...], dtype: type[np.floating[Any]], data: st.DataObject
) -> None:
    """Every row, an exempt segment, a scalar and an empty one, with every set of operands, cut anywhere."""
    whole = whole_call(method, names, dtype)
    before = {name: array.copy() for name, array in whole.operands.items()}
    cuts = data.draw(st.lists(st.integers(0, whole.layout.size), min_size=1, max_size=25))
    assert stream(whole.call, whole.operands, cuts).bits() == whole.bits
    for name, array in whole.operands.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("method", list(Method))
@settings(max_examples=10)
@given(st.data())
def test_no_group_changes_the_bits_of_another(method: Method, data: st.DataObject) -> None:
    """Zero groups, and such as overflow or vanish when squared, in one chunk with others or not."""
    groups = (Groups(size=3), Groups(sizes=(1, 2, 3, 4, 5) * 20), Groups(axis=0, sqrt_size=True))
    layout = Layout(
        np.dtype(np.float64),
        tuple(
            Segment(str(at), (300,) if g.axis is None else (60, 5), GroupLasso(strength=0.3, groups=g))
            for at, g in enumerate(groups)
        ),
    )
    sizes = st.sampled_from([1.0, 1.0, 1.0, 0.0, 1e-170, 1e-310, 1e160])
    magnitudes = np.repeat(data.draw(st.lists(sizes, min_size=60, max_size=60)), 15)
    operands = {"parameters": np.random.default_rng(6).normal(size=layout.size) * magnitudes}
    call = a_call(method, layout)
    cuts = data.draw(st.lists(st.integers(0, layout.size), min_size=1, max_size=20))
    assert stream(call, operands, cuts).bits() == stream(call, operands).bits()


@pytest.mark.parametrize("method", list(Method))
def test_one_element_at_a_time(method: Method) -> None:
    """The finest cut of all."""
    whole = whole_call(method)
    assert stream(whole.call, whole.operands, range(whole.layout.size)).bits() == whole.bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=6)
@given(st.data())
def test_cuts_around_block_borders(dtype: type[np.floating[Any]], data: st.DataObject) -> None:
    """Segments longer than a block, of localities ELEMENT and GROUP, cut around the borders of blocks."""
    sizes = (7, 2**18 - 1, 30_001)
    layout = Layout(
        np.dtype(dtype),
        (
            Segment("odd", (3,), L1Norm(strength=0.2)),
            Segment("elements", (2**18 + 1000,), ElasticNet(l1_strength=0.3, l2_strength=0.7)),
            Segment("exempt", (2**18 + 1,)),
            Segment("runs", (2**18 + 8,), GroupLasso(strength=0.3, groups=Groups(size=8))),
            Segment("ragged", (sum(sizes),), GroupLasso(strength=0.3, groups=Groups(sizes=sizes))),
        ),
    )
    operands = operands_of(layout, ("loss_gradients",))
    borders = [start + block for start in layout.starts for block in (0, 2**18)]
    near = st.sampled_from(borders).flatmap(lambda border: st.integers(border - 2, border + 2))
    cuts = data.draw(st.lists(st.one_of(near, st.integers(0, layout.size)), min_size=1, max_size=8))
    call = a_call(Method.PROXIMAL_STEP, layout)
    assert stream(call, operands, cuts).bits() == stream(call, operands).bits()


@pytest.mark.parametrize(("method", "names", "dtype"), COMBINATIONS)
def test_sums_have_the_bits_of_the_rule(
    method: Method, names: tuple[str, ...], dtype: type[np.floating[Any]]
) -> None:
    """Penalty, nonzeros and squared distance, by segment and in total, are the rule's in plain Python."""
    cases = {case.label: case for case in takers(*names)}
    whole = whole_call(method, names, dtype)
    layout, operands = whole.layout, whole.operands
    outcome = stream(whole.call, operands, [11, 50])
    old = operands["parameters"]
    new = outcome.values.astype(dtype) if method is Method.PROXIMAL_STEP else old
    shift = operands.get("reference")
    products: list[float] = []
    moves: list[float] = []
    assert [part.name for part in outcome.summary.segments] == [segment.name for segment in layout.segments]
    for start, segment, part in zip(layout.starts, layout.segments, outcome.summary.segments, strict=False):
        place = slice(start, start + segment.size)
        x = new[place].astype(np.float64) - (0.0 if shift is None else shift[place].astype(np.float64))
        rule_products: list[float] = []
        if segment.regularizer is not None:
            weights = operands["weights"][place].astype(np.float64) if "weights" in operands else None
            rule = cases[segment.name].row.rule
            rule_products = rule.products(segment.regularizer, x.reshape(segment.shape), weights, dtype)
        figures = part.figures
        assert (figures.elements, figures.nonzeros) == (segment.size, int(np.sum(new[place] != 0)))
        assert figures.penalty is not None
        assert (figures.penalty.value, figures.penalty.expansion) == reference.exactly(rule_products), (
            segment.name
        )
        products += rule_products
        if method is Method.PROXIMAL_STEP:
            segment_moves = reference.distance_products(new[place], old[place])
            assert figures.squared_distance is not None
            assert (figures.squared_distance.value, figures.squared_distance.expansion) == reference.exactly(
                segment_moves
            ), segment.name
            moves += segment_moves
        else:
            assert figures.squared_distance is None
    total = outcome.summary.total
    assert (total.elements, total.nonzeros) == (layout.size, int(np.sum(new != 0)))
    assert total.penalty is not None
    assert (total.penalty.value, total.penalty.expansion) == reference.exactly(products)
    if total.squared_distance is not None:
        assert (total.squared_distance.value, total.squared_distance.expansion) == reference.exactly(moves)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_sums_have_the_bits_of_the_rule(dtype: type[np.floating[Any]]) -> None:
    """Over a block border, whatever the chunks."""
    layout = Layout(np.dtype(dtype), (Segment("long", (2**18 + 777,), L1Norm(strength=0.1)),))
    x = vector(layout, 3)
    products = reference.lane_products(enumerate(np.abs(x).astype(np.float64).tolist()), 0.1)
    outcome = stream(a_call(Method.PENALTY, layout), {"parameters": x}, range(0, layout.size, 9999))
    penalty = outcome.summary.total.penalty
    assert penalty is not None
    assert (penalty.value, penalty.expansion) == reference.exactly(products)


@pytest.mark.parametrize("method", [Method.GRADIENT, Method.PROXIMAL_STEP])
def test_each_chunk_with_elements_has_one_answer(method: Method) -> None:
    """Answers have the offsets and lengths of the chunks, in order; empty chunks have none."""
    whole = whole_call(method)
    chunks = chunks_of(whole.operands, [0, 0, 3, 3, 40, 41, 100])
    outcome = feed(whole.call, chunks)
    asked = [(chunk.element_offset, chunk.parameters.size) for chunk in chunks if chunk.parameters.size]
    assert [(result.element_offset, result.values.size) for result in outcome.results] == asked
    assert all(result.values.dtype == whole.layout.data_type for result in outcome.results)


@pytest.mark.parametrize("method", list(Method))
def test_the_caller_may_reuse_its_buffers(method: Method) -> None:
    """What waits inside is the engine's own: chunks may be overwritten as soon as they are fed."""
    whole = whole_call(method, () if method is Method.PENALTY else ("loss_gradients",))
    results, summary = whole.bits
    buffers = {name: np.empty(5) for name in whole.operands}
    with Run(whole.call, MemoryBudget(PLENTY)) as run:
        found = []
        for chunk in chunks_of(whole.operands, range(5, whole.layout.size, 5)):
            size = chunk.parameters.size
            for name, buffer in buffers.items():
                buffer[:size] = getattr(chunk, name)
            views = {name: buffer[:size] for name, buffer in buffers.items()}
            found += [result.values.copy() for result in run.feed(Chunk(chunk.element_offset, **views))]
            for buffer in buffers.values():
                buffer.fill(1e300)
        assert run.finish() == summary
    assert b"".join(values.tobytes() for values in found) == results


def test_penalty_answers_no_chunk() -> None:
    """Penalty has a summary and nothing else."""
    whole = whole_call(Method.PENALTY)
    assert stream(whole.call, whole.operands, [10, 20]).results == []
