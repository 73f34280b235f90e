"""Calls whose arrays lie in memory that client and server share, against a real server."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_client import (
    Box,
    Client,
    ElasticNet,
    GradientUndefinedError,
    GroupLasso,
    Groups,
    InvalidRequestError,
    Isotonic,
    L1Norm,
    NuclearNorm,
    Part,
    SquaredL2Norm,
)
from scipy.optimize import isotonic_regression

L1 = L1Norm(strength=0.1)
THETA = np.array([0.8, -0.3, 0.5])
SHAPES = {"fc.weight": (30, 20), "fc.bias": (20,), "none": (0, 3), "out": (40, 10)}
RULES = {"fc.weight": GroupLasso(strength=0.2, groups=Groups(axis=0)), "*.bias": None, "*": L1}


def some(shape: tuple[int, ...], seed: int = 5, data_type: str = "f4") -> NDArray[Any]:
    """Arbitrary numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(data_type)


def fill(arrays: dict[str, NDArray[Any]], seed: int = 5) -> dict[str, NDArray[Any]]:
    """Write arbitrary numbers to arrays; return copies of them in ordinary memory."""
    for index, array in enumerate(arrays.values()):
        array[...] = some(array.shape, seed + index)
    return {name: array.copy() for name, array in arrays.items()}


def test_the_worked_example_in_place(client: Client) -> None:
    """θ = (0.8, -0.3, 0.5), λ = 0.1: the numbers that hold everywhere."""
    with client.shared_array(3, float) as theta:
        theta[:] = THETA
        assert client.penalty(theta, L1).penalty == pytest.approx(0.16)
        step = client.proximal_step(theta, L1, step_size=1.0, out=theta)
        assert step.parameters is theta
        assert step.shared
        np.testing.assert_allclose(theta, [0.7, -0.2, 0.4])


REGULARIZERS: dict[str, Any] = {
    "l1_norm": L1,
    "squared_l2_norm": SquaredL2Norm(strength=0.5),
    "elastic_net": ElasticNet(l1_strength=0.1, l2_strength=0.3),
    "box": Box(lower=-9, upper=9),
    "group_lasso": GroupLasso(strength=0.2, groups=Groups(axis=0)),
    "nuclear_norm": NuclearNorm(strength=0.2),
    "none": None,
}


@pytest.mark.parametrize("data_type", ["f4", "f8", "f2"])
@pytest.mark.parametrize("regularizer", REGULARIZERS.values(), ids=REGULARIZERS)
def test_the_bits_are_those_of_chunks(client: Client, regularizer: Any, data_type: str) -> None:
    """For every method, with operands and in place; and no operand or parameter changes."""
    theta, slope = some((600, 50), 1, data_type), some((600, 50), 2, data_type)
    steps: dict[str, Any] = {"step_size": 0.5, "loss_gradients": slope}
    expected = client.proximal_step(theta, regularizer, **steps)
    with client.shared_arrays(dict.fromkeys("abc", theta.shape), data_type) as shared:
        a, b, c = shared.values()
        a[...], b[...] = theta, slope
        penalty = client.penalty(a, regularizer)
        assert (penalty, penalty.shared) == (client.penalty(theta, regularizer), True)
        gradient = client.gradient(a, regularizer, loss_gradients=b, out=c)
        chunks = client.gradient(theta, regularizer, loss_gradients=slope)
        assert (gradient.sums, gradient.shared, chunks.shared) == (chunks.sums, True, False)
        assert c.tobytes() == chunks.gradient.tobytes()
        step = client.proximal_step(a, regularizer, step_size=0.5, loss_gradients=b, out=c)
        assert (step.sums, step.counts, step.shared) == (expected.sums, expected.counts, True)
        assert c.tobytes() == expected.parameters.tobytes()
        assert a.tobytes() == theta.tobytes()
        assert b.tobytes() == slope.tobytes()
        step = client.proximal_step(a, regularizer, step_size=0.5, loss_gradients=b, out=b)
        assert (step.sums, step.shared) == (expected.sums, True)
        assert b.tobytes() == expected.parameters.tobytes()


@given(
    size=st.integers(1, 2000),
    places=st.tuples(*[st.integers(0, 6000)] * 3),
    regularizer=st.sampled_from([L1, SquaredL2Norm(strength=0.5), Box(lower=-1, upper=0.5), None]),
    in_place=st.booleans(),
)
@settings(max_examples=40)
def test_places_in_memory_change_no_bit(
    client: Client, size: int, places: tuple[int, int, int], regularizer: Any, in_place: bool
) -> None:
    """Wherever parameters, operand and result lie, beside or over one another, shared or not."""
    with client.shared_array(8000) as memory:
        before = fill({"": memory})[""]
        theta, slope, out = (memory[place : place + size] for place in places)
        out = theta if in_place else out
        copies = theta.copy(), slope.copy()
        step = client.proximal_step(theta, regularizer, step_size=0.5, loss_gradients=slope, out=out)
        expected = client.proximal_step(copies[0], regularizer, step_size=0.5, loss_gradients=copies[1])
        assert out.tobytes() == expected.parameters.tobytes()
        assert (step.sums, step.counts) == (expected.sums, expected.counts)
        outside = np.ones(memory.size, bool)
        place = places[0] if in_place else places[2]
        outside[place : place + size] = False
        np.testing.assert_array_equal(memory[outside], before[outside])
        inputs = places[:2]
        assert step.shared == all(place == each or abs(place - each) >= size for each in inputs)


def test_all_operands(client: Client) -> None:
    """Each in an array of its own."""
    names = ("parameters", "loss_gradients", "reference", "weights", "step_scales", "out")
    with client.shared_arrays(dict.fromkeys(names, 1000)) as shared:
        fill(shared)
        for name in ("weights", "step_scales"):
            np.abs(shared[name], out=shared[name])
        operands: dict[str, Any] = {name: shared[name] for name in names[1:5]}
        step = client.proximal_step(shared["parameters"], L1, step_size=0.5, out=shared["out"], **operands)
        copies: dict[str, Any] = {name: array.copy() for name, array in operands.items()}
        expected = client.proximal_step(shared["parameters"].copy(), L1, step_size=0.5, **copies)
        assert step.shared
        assert step.parameters.tobytes() == expected.parameters.tobytes()
        assert step.exact_squared_distance == expected.exact_squared_distance


def test_scales_of_lines_in_order(client: Client, target: str) -> None:
    """A weighted fit of columns is SciPy's, and has the same bits in small chunks and in shared memory."""
    random = np.random.default_rng(8)
    v, scales = random.normal(size=(200, 3)), 10.0 ** random.uniform(-2, 2, (200, 3))
    with Client(target, chunk_bytes=1024) as other:
        fitted = other.proximal_step(v, Isotonic(axis=0), step_size=0.5, step_scales=scales).parameters
    for column, line, sizes in zip(fitted.T, v.T, scales.T, strict=True):
        expected = isotonic_regression(line, weights=1 / sizes).x
        np.testing.assert_allclose(column, expected, rtol=0, atol=1e-14)
    with client.shared_arrays(dict.fromkeys(("v", "scales"), v.shape), float) as shared:
        shared["v"][...], shared["scales"][...] = v, scales
        operands = {"step_scales": shared["scales"], "out": shared["v"]}
        step = client.proximal_step(shared["v"], Isotonic(axis=0), step_size=0.5, **operands)
        assert step.shared
        assert step.parameters.tobytes() == fitted.tobytes()


def test_a_whole_model(client: Client) -> None:
    """One call for all its arrays, side by side, with settings by name and figures for each."""
    with client.shared_arrays(SHAPES) as model, client.shared_arrays(SHAPES) as slopes:
        before, slopes_before = fill(model, 1), fill(slopes, 2)
        assert [array.shape for array in model.values()] == list(SHAPES.values())
        step = client.proximal_step(model, RULES, step_size=0.5, loss_gradients=slopes, out=model)
        expected = client.proximal_step(before, RULES, step_size=0.5, loss_gradients=slopes_before)
        assert step.shared
        assert list(step.segments.items()) == list(expected.segments.items())
        for name, array in model.items():
            assert step.parameters[name] is array
            assert array.tobytes() == expected.parameters[name].tobytes()
        some_slopes = {"out": slopes["out"]}
        assert not client.gradient(model, RULES, loss_gradients=some_slopes, out=slopes).shared


class Tensor:
    """As a tensor of another library: no array, but NumPy can view it."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._array.view()


def test_views_are_found_by_where_they_lie(client: Client) -> None:
    """Reshaped, sliced, or as the tensor of another library: for parameters, operands and out."""
    with client.shared_array((8, 100)) as whole:
        before = fill({"": whole})[""]
        rows, flat = whole[2:4], whole.reshape(-1)[600:800]
        step = client.proximal_step(
            rows, L1, step_size=0.5, loss_gradients=whole[4:6], out=flat.reshape(2, 100)
        )
        expected = client.proximal_step(before[2:4], L1, step_size=0.5, loss_gradients=before[4:6])
        assert step.shared
        np.testing.assert_array_equal(whole[6:], expected.parameters)
        np.testing.assert_array_equal(whole[:6], before[:6])
        step = client.proximal_step(
            Tensor(rows), L1, step_size=0.5, loss_gradients=whole[4:6], out=Tensor(rows)
        )
        assert step.shared
        np.testing.assert_array_equal(rows, expected.parameters)
        layers = {"b": whole[0, 50:], "c": whole[1]}
        assert client.penalty(layers, L1).shared


def test_a_part_of_a_larger_whole(client: Client) -> None:
    """A rank may share what it holds."""
    block = 1 << 18
    whole = some((2 * block,))
    with client.shared_array(block) as theta:
        theta[:] = whole[block:]
        part = Part(shapes=whole.size, begin=block)
        step = client.proximal_step(theta, L1, step_size=0.5, part=part, out=theta)
        assert step.shared
        np.testing.assert_array_equal(
            theta, client.proximal_step(whole, L1, step_size=0.5).parameters[block:]
        )


def test_rows_of_a_matrix(client: Client) -> None:
    """They lie there as they do elsewhere."""
    whole = some((60, 40))
    with client.shared_array((20, 40)) as rows:
        rows[:] = whole[30:50]
        part = Part.rows(whole.shape, begin=30)
        step = client.proximal_step(rows, L1, step_size=0.5, part=part, out=rows)
        assert step.shared
        np.testing.assert_array_equal(rows, client.proximal_step(whole, L1, step_size=0.5).parameters[30:50])


def test_rows_of_several_matrices(client: Client) -> None:
    """Each is computed where it lies; with one elsewhere, all of them travel."""
    whole = {"a": some((60, 40)), "b": some((8, 3), 6)}
    one = client.proximal_step(whole, L1, step_size=0.5).parameters
    part = Part.rows({name: array.shape for name, array in whole.items()}, {"a": 30, "b": 2})
    here = {"a": slice(30, 50), "b": slice(2, 3)}
    with client.shared_arrays({"a": (20, 40), "b": (1, 3)}) as rows:
        for name, array in rows.items():
            array[:] = whole[name][here[name]]
        elsewhere = client.proximal_step({**rows, "b": rows["b"].copy()}, L1, step_size=0.5, part=part)
        seen: list[tuple[int, int]] = []
        step = client.proximal_step(
            rows, L1, step_size=0.5, part=part, out=rows, progress=lambda *done: seen.append(done)
        )
        assert step.shared
        assert not elsewhere.shared
        assert step.sums == elsewhere.sums
        assert seen == [(803, 803)]
        for name, array in rows.items():
            np.testing.assert_array_equal(array, one[name][here[name]])
            np.testing.assert_array_equal(elsewhere.parameters[name], array)


@pytest.mark.parametrize(
    "case",
    ["no out", "ordinary out", "ordinary operand", "strided", "big-endian", "overlap", "order", "gap", "odd"],
)
def test_what_is_not_all_shared_goes_in_chunks(client: Client, case: str) -> None:
    """With the same result, which says so."""
    with client.shared_array(4000) as memory:
        before = fill({"": memory})[""]
        theta: Any = memory[:1000]
        options: dict[str, Any] = {"out": memory[1000:2000]}
        if case == "no out":
            options = {}
        elif case == "ordinary out":
            options = {"out": np.empty(1000, np.float32)}
        elif case == "ordinary operand":
            options["loss_gradients"] = before[:1000]
        elif case == "strided":
            theta = memory[:2000:2]
            options = {"out": memory[2000:3000]}
        elif case == "big-endian":
            theta = memory[:1000].view(">f4")
            options = {"out": memory[1000:2000].view(">f4"), "non_finite": "propagate"}
        elif case == "overlap":
            options = {"out": memory[1:1001]}
        elif case == "order":
            theta, options = (
                {"b": memory[10:20], "a": memory[:10]},
                {"out": {"b": memory[30:40], "a": memory[20:30]}},
            )
        elif case == "gap":
            theta, options = (
                {"a": memory[:10], "b": memory[11:20]},
                {"out": {"a": memory[20:30], "b": memory[30:39]}},
            )
        elif case == "odd":
            theta = memory.view(np.uint8)[2:4002].view(np.float32)
            options["non_finite"] = "propagate"
        copy = (
            {name: array.copy() for name, array in theta.items()} if isinstance(theta, dict) else theta.copy()
        )
        slopes = {name: each for name, each in options.items() if name != "out"}
        expected: Any = client.proximal_step(copy, L1, step_size=0.5, **slopes)
        step: Any = client.proximal_step(theta, L1, step_size=0.5, **options)
        assert not step.shared
        pairs = (
            [(step.parameters[name], expected.parameters[name]) for name in theta]
            if isinstance(theta, dict)
            else [(step.parameters, expected.parameters)]
        )
        assert all(one.tobytes() == two.tobytes() for one, two in pairs)


def test_one_can_find_out_why_a_call_went_in_chunks(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The log says which argument was not shared, at its lowest level."""
    with client.shared_array(10) as theta, caplog.at_level(logging.DEBUG, "regularization_client"):
        client.proximal_step(theta, L1, step_size=1.0, reference=np.ones(10, np.float32), out=theta)
    assert "in chunks, for reference is not" in caplog.text


def test_progress_is_told_once(client: Client) -> None:
    """There is nothing between nothing and all."""
    seen: list[tuple[int, int]] = []
    with client.shared_array(10) as theta:
        client.penalty(theta, L1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10, 10)]


def test_errors_are_those_of_chunks(client: Client) -> None:
    """With their reason and place."""
    with client.shared_array(10) as theta:
        theta[7] = np.nan
        calls: tuple[Any, ...] = (client.penalty, client.gradient)
        for call in calls:
            options: dict[str, Any] = {"out": theta} if call is client.gradient else {}
            with pytest.raises(InvalidRequestError) as caught:
                call(theta, L1, **options)
            assert (caught.value.reason, caught.value.element) == ("ERROR_REASON_VALUE_NOT_FINITE", 7)
        theta[7] = 5
        with pytest.raises(GradientUndefinedError):
            client.gradient(theta, Box(upper=1), out=theta)
        with pytest.raises(InvalidRequestError, match="strength"):
            client.penalty(theta, L1Norm(strength=-1))


def test_many_arrays_are_looked_for_anew_where_something_has_changed(client: Client) -> None:
    """Where they lie is remembered for the next step; not when they are others, or are shared no longer."""
    sizes = {str(index): 3 for index in range(40)}
    sharing = client.shared_arrays(sizes)
    theta = sharing.arrays

    def step(arrays: dict[str, NDArray[Any]]) -> bool:
        before = np.concatenate(list(arrays.values()))
        result = client.proximal_step(arrays, L1, step_size=1.0, out=arrays)
        expected = np.sign(before) * np.maximum(np.abs(before.astype(float)) - 0.1, 0)
        np.testing.assert_array_equal(np.concatenate(list(arrays.values())), expected.astype("f4"))
        return result.shared

    fill(theta)
    assert [step(theta) for _ in range(2)] == [True, True]
    assert step(dict(reversed(theta.items()))) is False
    assert step({**theta, "7": theta["7"].copy()}) is False
    assert step({name: array[...] for name, array in theta.items()}) is True
    more = client.shared_array(1)
    assert step(theta) is True
    sharing.release()
    assert step(theta) is False
    more.release()
