"""Calls of ranks that hold a part: where it may lie in the whole, and what its answer is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Client,
    GroupLasso,
    Groups,
    InvalidRequestError,
    L1Norm,
    NuclearNorm,
    Part,
    combine,
)

BLOCK = 1 << 18
THETA = np.array([0.8, -0.3, 0.5])
L1 = L1Norm(strength=0.1)


def soft(values: Any, threshold: Any) -> Any:
    """The proximal step of the L1 norm."""
    return np.sign(values) * np.maximum(np.abs(values) - threshold, 0)


def some(shape: tuple[int, ...], seed: int = 5, data_type: str = "f4") -> NDArray[Any]:
    """Arbitrary numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(data_type)


def test_parts_of_a_vector_add_up_to_the_whole(client: Client) -> None:
    """Ranks that hold parts get their results, and figures with the bits of a single call."""
    whole = some((2 * BLOCK + 100,))
    one = client.proximal_step(whole, L1, step_size=0.5)
    parts = []
    for begin, end in ((0, BLOCK), (BLOCK, whole.size)):
        part = Part(shapes=whole.size, begin=begin)
        parts.append(client.proximal_step(whole[begin:end], L1, step_size=0.5, part=part))
    np.testing.assert_array_equal(np.concatenate([each.parameters for each in parts]), one.parameters)
    combined = combine(parts)
    assert (combined.exact_penalty, combined.nonzeros) == (one.exact_penalty, one.nonzeros)
    assert combined.segments["parameters"] == one.segments["parameters"]


def test_a_part_may_span_named_arrays(client: Client) -> None:
    """Settings are by the names of the whole; operands are vectors of the part, too."""
    part = Part(shapes={"w": (2, 3), "b": (2,), "v": (4,)}, begin=6)
    here, slope = some((6,), 1), some((6,), 2)
    step = client.proximal_step(
        here, {"w": L1, "b": None, "v": L1}, step_size={"v": 2.0, "*": 1.0}, loss_gradients=slope, part=part
    )
    np.testing.assert_allclose(step.parameters[:2], here[:2] - slope[:2])
    np.testing.assert_allclose(step.parameters[2:], soft(here[2:] - 2 * slope[2:], 0.2), rtol=1e-5, atol=1e-7)
    assert list(step.segments) == ["b", "v"]


@pytest.mark.parametrize(
    ("parameters", "part", "text"),
    [
        (THETA.reshape(1, 3), Part(shapes=3, begin=0), "must be one vector"),
        ({"a": THETA}, Part(shapes=3, begin=0), "must be one vector"),
        (THETA, Part(shapes=3, begin=1), "must lie in the 3 elements of the whole, got 1 to 4"),
        (THETA, Part(shapes={"w": (2, 2)}, begin=-1), "must lie in the 4 elements"),
        (THETA, Part(shapes={"w": (2, -2)}, begin=0), r"lengths of 'w' must be >= 0, got \(2, -2\)"),
        (THETA, Part.rows((2, 3), begin=0), r"must have shape \(rows, 3\), as 'parameters' has, got \(3,\)"),
        (np.ones((1, 4)), Part.rows((2, 3), begin=0), r"must have shape \(rows, 3\)"),
        (
            np.ones((2, 3)),
            Part.rows((2, 3), begin=1),
            "must be rows of the 2 that 'parameters' has, got 1 to 3",
        ),
        (np.float64(1), Part.rows((2, 3), begin=0), r"must have shape \(rows, 3\)"),
        (np.ones(3), Part.rows({"w": (3,)}, {"w": 0}), "part must say which rows of 'parameters' these are"),
        ({"v": np.ones(3)}, Part.rows({"w": (3,)}, {"w": 0}), "part must say which rows of 'v' these are"),
        ({"w": np.ones(1)}, Part.rows({"w": ()}, {"w": 0}), r"must have shape \(\), as 'w' has, got \(1,\)"),
        ({"w": np.ones(3)}, Part({"v": (3,)}, first_rows={"w": 0}), "no array 'w' in the whole: it has v"),
        (
            {"w": np.ones(2)},
            Part({"w": (3,)}, first_rows={"w": -1}),
            "must be rows of the 3 that 'w' has, got -1",
        ),
    ],
)
def test_parts_that_are_none_are_refused(client: Client, parameters: Any, part: Part, text: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ArgumentError, match=text):
        client.penalty(parameters, L1, part=part)


@pytest.mark.parametrize("begin", [1, 500, BLOCK - 1, BLOCK + 1])
@pytest.mark.parametrize("streams", [1, 3])
def test_a_part_may_begin_at_any_element(client: Client, begin: int, streams: int) -> None:
    """Its elements have the bits of a single call, rounded at random too, over several streams too."""
    whole = some((2 * BLOCK,)).astype("f2")
    rest, part = whole[begin:], Part(shapes=whole.size, begin=begin)
    for method in (client.proximal_step, client.gradient):
        options: dict[str, Any] = {"rounding": "stochastic", "seed": 7}
        if method == client.proximal_step:
            options["step_size"] = 0.25
        one = method(whole, L1, **options)
        several = method(rest, L1, part=part, streams=streams, **options)
        what = "parameters" if "step_size" in options else "gradient"
        assert getattr(several, what).tobytes() == getattr(one, what)[begin:].tobytes()


def test_sums_of_a_part_do_not_depend_on_streams(client: Client) -> None:
    """Wherever it begins: streams are cut between the blocks of the whole."""
    whole = some((4 * BLOCK,))
    part = Part(shapes=whole.size, begin=999)
    results = [client.penalty(whole[999:-5], L1, part=part, streams=streams) for streams in (1, 2, 4)]
    assert len({each.exact_penalty for each in results}) == 1


def test_groups_may_be_cut_where_they_end(client: Client) -> None:
    """And nowhere else: the server says where, and what it was asked."""
    groups = GroupLasso(strength=0.3, groups=Groups(size=8))
    whole = some((96,))
    one = client.proximal_step(whole, groups, step_size=1.0).parameters
    part = Part(shapes=whole.size, begin=40)
    np.testing.assert_array_equal(
        client.proximal_step(whole[40:64], groups, step_size=1.0, part=part).parameters, one[40:64]
    )
    with pytest.raises(InvalidRequestError, match="at its element 41: cuts are where groups end") as caught:
        client.penalty(whole[41:64], groups, part=Part(shapes=whole.size, begin=41))
    assert caught.value.reason == "ERROR_REASON_ELEMENT_RANGE_INVALID"
    assert (caught.value.field, caught.value.element) == ("header.element_range.begin", 41)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_ranks_may_hold_rows_of_a_matrix(client: Client, world_size: int) -> None:
    """As many each, and the last ones fewer or none; their groups are their own rows."""
    rule = GroupLasso(strength=0.5, groups=Groups(axis=0))
    whole, slopes = some((11, 6, 2)), some((11, 6, 2), 6)
    one = client.proximal_step(whole, rule, step_size=0.5, loss_gradients=slopes)
    share = -(-len(whole) // world_size)
    ends = [min(rank * share, len(whole)) for rank in range(world_size + 1)]
    steps = [
        client.proximal_step(
            whole[begin:end],
            rule,
            step_size=0.5,
            loss_gradients=slopes[begin:end],
            part=Part.rows(whole.shape, begin),
        )
        for begin, end in pairwise(ends)
    ]
    assert [step.parameters.shape for step in steps] == [(e - b, 6, 2) for b, e in pairwise(ends)]
    np.testing.assert_array_equal(np.concatenate([step.parameters for step in steps]), one.parameters)
    # A lane has one term at most here, so the sums have the bits of a single call.
    assert combine(steps).exact_penalty == one.exact_penalty


def test_rows_may_be_of_one_array_of_several(client: Client) -> None:
    """Of any strides, in place, with settings by name."""
    shapes = {"bias": (3,), "weight": (8, 5), "head": (2,)}
    wide = some((4, 10))
    rows, before = wide[:, ::2], wide[:, ::2].copy()
    part = Part.rows(shapes, {"weight": 2})
    step = client.proximal_step(
        {"weight": rows}, {"weight": L1, "*": None}, step_size={"*": 1.0}, part=part, out={"weight": rows}
    )
    assert step.parameters["weight"] is rows
    np.testing.assert_array_equal(rows, client.proximal_step(before, L1, step_size=1.0).parameters)
    assert list(step.segments) == ["weight"]


MODEL = {
    "a": some((10, 4), 1),
    "scale": some((), 2),
    "b": some((3, 2), 3),
    "empty": some((0, 5)),
    "c": some((7,), 4),
}
RULES = {"a": GroupLasso(strength=0.2, groups=Groups(axis=0)), "scale": None, "*": L1}


def shards(rank: int, of: int) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """The rows of each array that a rank has, and the first of them: as many each, the last fewer or none."""
    rows, begins = {}, {}
    for name, array in MODEL.items():
        if array.ndim:
            share = -(-len(array) // of)
            begins[name] = min(rank * share, len(array))
            rows[name] = array[begins[name] : begins[name] + share].copy()
        elif rank == 0:
            rows[name], begins[name] = array.copy(), 0
    return rows, begins


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("streams", [1, 2])
def test_ranks_may_hold_rows_of_every_array(client: Client, ranks: int, streams: int) -> None:
    """Each result goes to its own array; random bits go by the index in the whole."""
    model = {name: array.astype(np.float16) for name, array in MODEL.items()}
    options: dict[str, Any] = {"step_size": 0.5, "rounding": "stochastic", "seed": 3}
    one = client.proximal_step(model, RULES, loss_gradients={"a": model["a"]}, **options)
    whole = {name: array.shape for name, array in model.items()}
    steps, seen = [], list[tuple[int, int]]()
    for rank in range(ranks):
        rows, begins = shards(rank, ranks)
        rows = {name: array.astype(np.float16) for name, array in rows.items()}
        seen.clear()
        step = client.proximal_step(
            rows,
            RULES,
            loss_gradients={"a": rows["a"]},
            part=Part.rows(whole, begins),
            streams=streams,
            progress=lambda done, total: seen.append((done, total)),
            **options,
        )
        assert list(step.parameters) == list(rows)
        assert step.elements == sum(array.size for array in rows.values())
        assert not seen or seen[-1] == (step.elements, step.elements)
        for name, array in rows.items():
            here = slice(begins[name], begins[name] + len(array)) if array.ndim else ...
            assert step.parameters[name].tobytes() == one.parameters[name][here].tobytes()
        steps.append(step)
    figures = combine(steps)
    assert (figures.exact_penalty, figures.nonzeros) == (one.exact_penalty, one.nonzeros)
    assert figures.exact_squared_distance == one.exact_squared_distance


def test_rows_in_place_change_all_together_or_not_at_all(client: Client) -> None:
    """Where the rows of one array are refused, those of another stay as they were."""
    rows, begins = shards(0, 2)
    rows["c"][0] = np.nan
    before = {name: array.copy() for name, array in rows.items()}
    part = Part.rows({name: array.shape for name, array in MODEL.items()}, begins)
    with pytest.raises(InvalidRequestError, match="must be finite") as caught:
        client.proximal_step(rows, RULES, step_size=1.0, part=part, out=rows)
    assert (caught.value.segment, caught.value.element) == ("c", 47)
    for name, array in rows.items():
        np.testing.assert_array_equal(array, before[name])


def test_rows_of_what_cannot_be_cut_are_refused_by_the_server(client: Client) -> None:
    """All rows are the whole."""
    whole = some((6, 4))
    step = client.proximal_step(whole, NuclearNorm(strength=0.1), step_size=1.0, part=Part.rows((6, 4), 0))
    assert step.elements == whole.size
    with pytest.raises(InvalidRequestError, match="it is needed whole"):
        client.penalty(whole[2:], NuclearNorm(strength=0.1), part=Part.rows((6, 4), 2))


@pytest.mark.parametrize(
    ("shapes", "begin", "text"),
    [
        ((4, 2), 5, "must be from 0 to the 4 rows of 'parameters', got 5"),
        ((4, 2), -1, "must be from 0 to the 4 rows"),
        ((), 2, "must be from 0 to the 1 rows"),
        ({"w": (4, 2)}, 0, "begin must be by name where shapes are"),
        ((4, 2), {"w": 0}, "begin must be by name where shapes are"),
        ({"w": (4, 2), "v": (1,)}, {"x": 0}, "no array 'x' in the whole: it has w, v"),
        ({"w": (4, -2)}, {"w": 0}, "lengths of 'w' must be >= 0"),
    ],
)
def test_rows_that_are_none_are_refused(shapes: Any, begin: Any, text: str) -> None:
    """At once."""
    with pytest.raises(ArgumentError, match=text):
        Part.rows(shapes, begin)


@pytest.mark.parametrize("wrong", [0.0, "0", None])
def test_a_part_begins_at_a_whole_number(wrong: Any) -> None:
    """What is none is no index."""
    with pytest.raises(TypeError):
        Part.rows((4, 2), wrong)
