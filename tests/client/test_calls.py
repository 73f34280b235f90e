"""Calls over arrays, against a real server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    DataTypeError,
    GroupLasso,
    Groups,
    GroupSizes,
    L1Norm,
    NuclearNorm,
    SquaredL2Norm,
)

THETA = np.array([0.8, -0.3, 0.5])
L1 = L1Norm(strength=0.1)


def soft(values: Any, threshold: Any) -> Any:
    """The proximal step of the L1 norm."""
    return np.sign(values) * np.maximum(np.abs(values) - threshold, 0)


def some(shape: tuple[int, ...], seed: int = 5, data_type: str = "f4") -> NDArray[Any]:
    """Arbitrary numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(data_type)


def test_the_worked_example(client: Client) -> None:
    """θ = (0.8, -0.3, 0.5), λ = 0.1: the numbers that hold everywhere."""
    ridge = SquaredL2Norm(strength=0.1)
    assert client.penalty(THETA, ridge).penalty == pytest.approx(0.049)
    np.testing.assert_allclose(client.gradient(THETA, ridge).gradient, [0.08, -0.03, 0.05])
    assert client.penalty(THETA, L1).penalty == pytest.approx(0.16)
    np.testing.assert_allclose(client.gradient(THETA, L1).gradient, [0.1, -0.1, 0.1])
    step = client.proximal_step(THETA, L1, step_size=1.0)
    np.testing.assert_allclose(step.parameters, [0.7, -0.2, 0.4])
    assert step.penalty == pytest.approx(0.13)
    assert step.nonzeros == 3
    assert step.squared_distance == pytest.approx(0.03)


def test_proximal_steps_reach_zero(client: Client) -> None:
    """At η = 0.1 the second component is exactly 0 after at most 31 steps."""
    theta = THETA
    for _ in range(31):
        theta = client.proximal_step(theta, L1, step_size=0.1).parameters
    assert theta[1] == 0.0
    assert theta[0] > 0


ARRAYS = {
    "scalar": np.float32(0.8),
    "zero-dimensional": np.array(-0.3),
    "list": [[0.8, -0.3], [0.5, 0.0]],
    "empty": np.zeros((3, 0, 2), np.float32),
    "matrix": some((7, 5)),
    "transposed": some((7, 5)).T,
    "strided": some((20,))[::-3],
    "fortran": np.asfortranarray(some((7, 5), data_type="f8")),
    "big-endian": some((7, 5)).astype(">f4"),
    "big-endian and strided": some((9, 8)).astype(">f8")[::2, 1::3],
    "read-only": np.broadcast_to(np.float64(0.25), (4, 6)),
}


@pytest.mark.parametrize("parameters", ARRAYS.values(), ids=ARRAYS)
def test_results_have_the_shape_and_data_type_of_the_parameters(client: Client, parameters: Any) -> None:
    """Whatever the strides, the byte order and the axes are; and the parameters stay as they are."""
    given, before = np.asarray(parameters), np.array(parameters)
    step = client.proximal_step(parameters, L1, step_size=1.0)
    assert (step.parameters.shape, step.parameters.dtype) == (given.shape, given.dtype)
    np.testing.assert_allclose(step.parameters, soft(given, 0.1), rtol=1e-6)
    gradient = client.gradient(parameters, L1).gradient
    assert (gradient.shape, gradient.dtype) == (given.shape, given.dtype)
    np.testing.assert_allclose(gradient, 0.1 * np.sign(given), rtol=1e-6)
    assert client.penalty(parameters, L1).penalty == pytest.approx(0.1 * np.abs(given).sum(dtype=float))
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("data_type", ["i8", "u2", "c8", "O", "U3", "?"])
def test_other_data_types_are_refused(client: Client, data_type: str) -> None:
    """The error says which are supported, and is a TypeError."""
    with pytest.raises(DataTypeError, match="float32 or float64") as caught:
        client.penalty(np.zeros(3).astype(data_type), L1)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("chunk_bytes", [64, 1000, 1 << 16, 3 << 20])
def test_the_chunk_size_changes_no_bit(client: Client, target: str, chunk_bytes: int) -> None:
    """Of results and of figures, for regularizers that are cut anywhere, at groups, and not at all."""
    parameters = {"a": some((50, 30)), "b": some((30,)), "c": some((40, 25), seed=6), "d": some((7,))}
    regularizers = {
        "a": GroupLasso(strength=0.2, groups=Groups(axis=0, sqrt_size=True)),
        "b": None,
        "c": NuclearNorm(strength=0.5),
        "d": L1,
    }
    slopes = {"a": some((50, 30), seed=8), "d": some((7,), seed=9)}
    one = client.proximal_step(parameters, regularizers, step_size=0.3, loss_gradients=slopes)
    with Client(target, chunk_bytes=chunk_bytes) as other:
        two = other.proximal_step(parameters, regularizers, step_size=0.3, loss_gradients=slopes)
        assert other.gradient(parameters, L1).exact_penalty == client.gradient(parameters, L1).exact_penalty
    for name, array in one.parameters.items():
        assert array.tobytes() == two.parameters[name].tobytes()
    assert (one.exact_penalty, one.exact_squared_distance) == (two.exact_penalty, two.exact_squared_distance)
    assert dict(one.segments) == dict(two.segments)


def test_operands(client: Client) -> None:
    """Each where its formula has it."""
    theta, slope, middle = some((20,), 1, "f8"), some((20,), 2, "f8"), some((20,), 3, "f8")
    factors, scales = np.abs(some((20,), 4, "f8")), np.abs(some((20,), 5, "f8"))
    step = client.proximal_step(
        theta, L1, step_size=0.5, loss_gradients=slope, reference=middle, weights=factors, step_scales=scales
    )
    moved = theta - 0.5 * scales * slope - middle
    np.testing.assert_allclose(step.parameters, middle + soft(moved, 0.05 * scales * factors))
    result = client.gradient(theta, L1, loss_gradients=slope, reference=middle, weights=factors)
    np.testing.assert_allclose(result.gradient, slope + 0.1 * factors * np.sign(theta - middle))
    penalty = client.penalty(theta, L1, reference=middle, weights=factors).penalty
    assert penalty == pytest.approx(0.1 * np.sum(factors * np.abs(theta - middle)))


def test_operands_may_be_for_some_names_only(client: Client) -> None:
    """The others go without."""
    parameters = {"a": THETA, "b": THETA, "c": THETA}
    step = client.proximal_step(
        parameters, {"*": L1, "c": None}, step_size=1.0, loss_gradients={"b": THETA / 2}
    )
    np.testing.assert_allclose(step.parameters["a"], soft(THETA, 0.1))
    np.testing.assert_allclose(step.parameters["b"], soft(THETA / 2, 0.1))
    np.testing.assert_array_equal(step.parameters["c"], THETA)


def test_mappings_give_mappings(client: Client) -> None:
    """With the names in their order, regularizers by pattern, and figures for each."""
    parameters = {"fc.weight": some((4, 3)), "fc.bias": some((3,)), "out": some((2,))}
    regularizers = {"*.weight": L1Norm(strength=1.0), "*.bias": None, "out": SquaredL2Norm(strength=2.0)}
    result = client.gradient(parameters, regularizers)
    assert list(result.gradient) == list(result.segments) == list(parameters)
    np.testing.assert_array_equal(result.gradient["fc.weight"], np.sign(parameters["fc.weight"]))
    np.testing.assert_array_equal(result.gradient["fc.bias"], 0)
    np.testing.assert_allclose(result.gradient["out"], 2 * parameters["out"])
    assert result.segments["fc.bias"].penalty == 0
    assert result.penalty == pytest.approx(sum(figures.penalty for figures in result.segments.values()))


def test_step_sizes_by_name(client: Client) -> None:
    """Parameter groups with learning rates of their own."""
    step = client.proximal_step({"a": THETA, "b": THETA}, L1, step_size={"a": 1.0, "*": 2.0})
    np.testing.assert_allclose(step.parameters["a"], soft(THETA, 0.1))
    np.testing.assert_allclose(step.parameters["b"], soft(THETA, 0.2))


def test_messages_of_the_schema_are_written_as_they_are(client: Client) -> None:
    """Groups by explicit sizes; the choice around a regularizer may be there already."""
    lasso = GroupLasso(strength=1.0, groups=Groups(sizes=GroupSizes(values=[1, 2])))
    expected = 0.8 + np.hypot(0.3, 0.5)
    assert client.penalty(THETA, lasso).penalty == pytest.approx(expected)
    from regularization_client import Regularizer

    assert client.penalty(THETA, Regularizer(group_lasso=lasso)).penalty == pytest.approx(expected)


def test_an_exempt_array(client: Client) -> None:
    """None regularizes nothing, and a loss gradient is still stepped along."""
    assert client.penalty(THETA, None).penalty == 0
    step = client.proximal_step(THETA, None, step_size=0.5, loss_gradients=np.ones(3))
    np.testing.assert_allclose(step.parameters, THETA - 0.5)


def test_no_parameters_at_all(client: Client) -> None:
    """An empty mapping is a right question."""
    step = client.proximal_step({}, L1, step_size=1.0)
    assert (step.parameters, step.penalty, step.elements) == ({}, 0.0, 0)


def test_nonfinite_numbers_are_refused_or_carried_through(client: Client) -> None:
    """As the caller chooses."""
    step = client.proximal_step([np.nan, 1.0], L1, step_size=1.0, non_finite="propagate")
    np.testing.assert_array_equal(step.parameters, [np.nan, 0.9])
    assert np.isnan(step.penalty)
    with pytest.raises(ArgumentError, match="reject, propagate"):
        client.penalty(THETA, L1, non_finite="ignore")  # type: ignore[arg-type]


def test_progress_goes_up_to_all(client: Client, target: str) -> None:
    """For every method, in elements."""
    theta = some((1000,))
    with Client(target, chunk_bytes=256) as other:
        for call in (
            lambda report: other.penalty(theta, L1, progress=report),
            lambda report: other.gradient(theta, L1, progress=report),
            lambda report: other.proximal_step(theta, L1, step_size=1.0, progress=report),
        ):
            seen: list[tuple[int, int]] = []
            call(lambda done, total, seen=seen: seen.append((done, total)))
            assert [done for done, _ in seen] == [*range(64, 1000, 64), 1000]
            assert {total for _, total in seen} == {1000}


@pytest.mark.parametrize("method", ["penalty", "gradient"])
def test_an_error_of_the_caller_s_own_comes_out_as_it_is(target: str, method: str) -> None:
    """From the progress callback, in whichever thread it was called; and the client goes on working."""

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopError

    with Client(target, chunk_bytes=256) as client:
        with pytest.raises(StopError):
            getattr(client, method)(some((1000,)), L1, progress=stop)
        assert client.penalty(THETA, L1).nonzeros == 3


def test_out_is_filled_and_returned(client: Client) -> None:
    """One array or a mapping of them, of any strides and byte order."""
    out = np.zeros((6, 2), ">f8")[::2, 0]
    step = client.proximal_step(THETA, L1, step_size=1.0, out=out)
    assert step.parameters is out
    np.testing.assert_allclose(out, soft(THETA, 0.1))
    outs = {"b": np.empty(3), "a": np.empty(3)}
    result = client.gradient({"a": THETA, "b": -THETA}, L1, out=outs)
    assert all(result.gradient[name] is outs[name] for name in outs)
    np.testing.assert_allclose(outs["b"], -0.1 * np.sign(THETA))


def test_out_may_be_the_parameters(client: Client) -> None:
    """Then, and only then, they change."""
    theta, slope = some((5000,), 1), some((5000,), 2)
    expected = client.proximal_step(theta, L1, step_size=0.5, loss_gradients=slope).parameters
    assert client.proximal_step(theta, L1, step_size=0.5, loss_gradients=slope, out=theta).parameters is theta
    np.testing.assert_array_equal(theta, expected)


def test_out_may_be_the_parameters_backwards(client: Client) -> None:
    """Memory that the two share in another order is not mixed up."""
    theta = some((5000,))
    expected = client.proximal_step(theta, L1, step_size=0.5).parameters
    client.proximal_step(theta, L1, step_size=0.5, out=theta[::-1])
    np.testing.assert_array_equal(theta[::-1], expected)


def test_parameters_that_are_out_survive_a_failed_call(target: str) -> None:
    """Nothing is lost: they change only once the whole result is there."""
    theta = np.append(some((5000,)), np.float32(np.nan))
    before = theta.copy()
    with Client(target, chunk_bytes=1024) as client, pytest.raises(Exception, match=r"NaN|finite"):
        client.proximal_step(theta, L1, step_size=0.5, out=theta)
    np.testing.assert_array_equal(theta, before)


WRONG: dict[str, tuple[Any, dict[str, Any]]] = {
    "out must be a writable NumPy array": (THETA, {"out": [0.0, 0.0, 0.0]}),
    "out must be a writable": (THETA, {"out": np.broadcast_to(0.0, 3)}),
    r"out must have the parameters' shape \(3,\), got \(4,\)": (THETA, {"out": np.zeros(4)}),
    "out must have the parameters' data type float64, got float32": (THETA, {"out": np.zeros(3, "f4")}),
    "out has no array for 'b'": ({"a": THETA, "b": THETA}, {"out": {"a": np.zeros(3)}}),
    "out must be a mapping, as the parameters are": ({"a": THETA}, {"out": np.zeros(3)}),
    "reference must be one array": (THETA, {"reference": {"a": THETA}}),
    r"weights\['b'\]: there are no parameters of that name": ({"a": THETA}, {"weights": {"b": THETA}}),
    r"weights\['a'\] must have the parameters' shape": ({"a": THETA}, {"weights": {"a": THETA[:2]}}),
    "loss_gradients must have the parameters' data type": (THETA, {"loss_gradients": THETA.astype("f4")}),
    "all parameters of a call must have one data type": ({"a": THETA, "b": THETA.astype("f4")}, {}),
    "names of parameters must be strings, got 1": ({1: THETA}, {}),
    "timeout must be > 0": (THETA, {"timeout": 0}),
    "figures must be a collection of penalty, nonzeros": (THETA, {"figures": ["norm"]}),
    "figures must be a collection": (THETA, {"figures": "penalty"}),
}


@pytest.mark.parametrize(("text", "arguments"), WRONG.items(), ids=WRONG)
def test_arguments_that_do_not_fit_are_refused(
    client: Client, text: str, arguments: tuple[Any, dict[str, Any]]
) -> None:
    """Before anything is sent, with rule, value and place."""
    parameters, options = arguments
    with pytest.raises(ArgumentError, match=text):
        client.gradient(parameters, L1, **{"out": None, **options}) if "out" in options else (
            client.proximal_step(parameters, L1, step_size=1.0, **options)
        )


class NeedsGradient:
    """As a tensor of PyTorch's is that needs a gradient."""

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        """Refuse to be an array."""
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.mark.parametrize("value", [NeedsGradient(), [[1.0, 2.0], [3.0]]], ids=["tensor", "ragged"])
def test_what_no_array_is_made_of_is_refused_by_name(client: Client, value: Any) -> None:
    """With what NumPy, or the library whose tensor it is, says of it."""
    with pytest.raises(
        ArgumentError, match=r"^parameters\['w'\] must be something that NumPy makes an array"
    ):
        client.penalty({"v": THETA, "w": value}, L1)
    with pytest.raises(ArgumentError, match=r"^loss_gradients must be something"):
        client.proximal_step(THETA, L1, step_size=1.0, loss_gradients=value)


@pytest.mark.parametrize("regularizer", ["l1_norm", 0.1, Groups(size=3)])
def test_what_is_no_regularizer_is_refused(client: Client, regularizer: Any) -> None:
    """The error has one that is."""
    with pytest.raises(ArgumentError, match=r"must be made as L1Norm\(strength=0.1\) is, or be None, got"):
        client.penalty(THETA, regularizer)


def test_one_array_takes_no_settings_by_name(client: Client) -> None:
    """It has no name that they could be for."""
    with pytest.raises(ArgumentError, match="regularizer must not be a mapping"):
        client.penalty(THETA, {"*": L1})
    with pytest.raises(ArgumentError, match="step_size must not be a mapping"):
        client.proximal_step(THETA, L1, step_size={"*": 1.0})


def test_threads_may_share_a_client(client: Client) -> None:
    """Small calls and streams at the same time, each with its own answer."""

    def work(seed: int) -> bool:
        theta = some((400_000 if seed % 3 == 0 else 20,), seed)
        result = client.proximal_step(theta, L1, step_size=1.0).parameters
        return np.allclose(result, soft(theta, 0.1), rtol=1e-5, atol=1e-7)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(100)))


def test_the_catalogue(client: Client) -> None:
    """Every regularizer of the schema that the server knows, with its formulas."""
    known = {each.name: each for each in client.list_regularizers(timeout=10)}
    assert {"l1_norm", "box", "nuclear_norm"} <= set(known)
    assert known["l1_norm"].message == "L1Norm"
    assert known["l1_norm"].penalty_formula
    assert Box.DESCRIPTOR.name == known["box"].message


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int16])
def test_a_box_around_a_reference_bounds_element_by_element(client: Client, dtype: Any) -> None:
    """From below and then from above; in float64 to the rounding of a difference, else to the bit."""
    lower, upper, x = np.random.default_rng(0).normal(0.0, 0.3, (3, 1000))
    lower, upper, x = (
        (np.clip(each, -0.99, 0.99) * (2**15 if dtype is np.int16 else 1)).astype(dtype)
        for each in (np.minimum(lower, upper), np.maximum(lower, upper), x)
    )
    above = client.proximal_step(x, Box(lower=0.0), step_size=1.0, reference=lower).parameters
    between = client.proximal_step(above, Box(upper=0.0), step_size=1.0, reference=upper).parameters
    rounding = 2.0**-51 if dtype is np.float64 else 0.0
    np.testing.assert_allclose(between, np.clip(x, lower, upper), rtol=0, atol=rounding)
