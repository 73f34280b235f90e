"""Arrays in memory that client and server share, against a real server."""

from __future__ import annotations

import gc
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    DataTypeError,
    ElasticNet,
    GradientUndefinedError,
    GroupLasso,
    Groups,
    InvalidRequestError,
    L1Norm,
    NuclearNorm,
    Part,
    Retry,
    SharedMemoryError,
    SquaredL2Norm,
    UnavailableError,
)

from tests.support.processes import serving

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


def test_arrays_start_at_zero_and_outlive_their_sharing(client: Client) -> None:
    """Released, they are ordinary memory, and so are views of them."""
    shared = client.shared_array((2, 3), "f8")
    theta = shared.arrays
    assert not theta.any()
    theta[...] = 0.5
    row = theta[1]
    shared.release()
    shared.release()
    assert not client.gradient(theta, L1, out=theta.copy()).shared
    del shared, theta
    gc.collect()
    np.testing.assert_array_equal(row, 0.5)


def test_empty_arrays_take_no_memory(client: Client) -> None:
    """The server gives none, and none is needed."""
    with client.shared_array((3, 0)) as empty, client.shared_arrays({}) as nothing:
        assert (empty.shape, empty.dtype.name, nothing) == ((3, 0), "float32", {})
        assert client.proximal_step(empty, L1, step_size=1.0, out=empty).elements == 0


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


def test_threads_may_share_memory_at_the_same_time(client: Client) -> None:
    """Each its own, allocated, used and released while others do the same."""

    def work(seed: int) -> bool:
        values = some((1000 + seed,), seed)
        with client.shared_array(values.size) as theta:
            theta[:] = values
            step = client.proximal_step(theta, L1, step_size=1.0, out=theta)
            expected = np.sign(values) * np.maximum(np.abs(values) - 0.1, 0)
            return step.shared and np.allclose(theta, expected, rtol=1e-5, atol=1e-7)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))


def test_a_client_without_a_target_shares_memory_with_its_own_server() -> None:
    """In one process; the arrays outlive both."""
    with Client() as client:
        theta = client.shared_array(3, "f8").arrays
        theta[:] = THETA
        assert client.proximal_step(theta, L1, step_size=1.0, out=theta).shared
    np.testing.assert_allclose(theta, [0.7, -0.2, 0.4])
    with pytest.raises(SharedMemoryError, match="the client is closed"):
        client.shared_array(3)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("localhost:1", "a target of the form unix:/path, got localhost:1"),
        (["unix:/a", "unix:/b"], "several"),
    ],
)
def test_memory_is_shared_with_one_server_on_this_host(target: Any, text: str) -> None:
    """Nothing is shared over a network, nor with replicas that each have memory of their own."""
    with Client(target) as client, pytest.raises(SharedMemoryError, match=text):
        client.shared_array(3)


def test_a_channel_does_not_say_whom_to_share_with(target: str) -> None:
    """The error says that a target does."""
    with (
        grpc.insecure_channel(target) as channel,
        Client(channel=channel) as client,
        pytest.raises(SharedMemoryError, match="needs a target"),
    ):
        client.shared_array(3)


def test_an_abstract_socket_has_a_hand_off_too(tmp_path: Path) -> None:
    """Beside it, under its name."""
    address = f"unix-abstract:regularization-{os.getpid()}"
    with serving(tmp_path, address=address), Client(address) as client, client.shared_array(3) as theta:
        assert client.penalty(theta, L1).shared


def test_a_server_that_is_not_there(socket_folder: Path) -> None:
    """Is unavailable, after as many attempts as were asked for."""
    with (
        Client(f"unix:{socket_folder / 's'}", retry=Retry(attempts=2, first_pause=0.01)) as client,
        pytest.raises(UnavailableError, match="no server is there"),
    ):
        client.shared_array(3)


def test_a_server_that_shares_nothing(socket_folder: Path) -> None:
    """The error says so, and calls work as ever."""
    with serving(socket_folder, "--no-shared-memory") as server, Client(server.address) as client:
        with pytest.raises(SharedMemoryError, match="offers no shared memory"):
            client.shared_array(3)
        assert client.penalty(THETA, L1).nonzeros == 3


def test_the_server_s_limits(socket_folder: Path) -> None:
    """Bytes and regions; what is released can be had again."""
    limits = ("--shared-memory-budget", "1MiB", "--shared-memory-regions", "2")
    with serving(socket_folder, *limits) as server, Client(server.address) as client:
        with pytest.raises(SharedMemoryError, match=r"refuses 1048580 bytes of shared memory, .* budget"):
            client.shared_array((1 << 18) + 1)
        for _ in range(5):
            with client.shared_array(1 << 18):
                pass
        with (
            client.shared_array(1),
            client.shared_array(1),
            pytest.raises(SharedMemoryError, match="as many regions"),
        ):
            client.shared_array(1)
        client.shared_array(1 << 18)
        client.close()
        with Client(server.address) as other, other.shared_array(1 << 18) as theta:
            assert other.penalty(theta, L1).shared


@pytest.mark.parametrize(("shape", "data_type"), [(3, "i8"), ((2, 2), "c16")])
def test_data_types_that_no_call_takes_are_refused(client: Client, shape: Any, data_type: str) -> None:
    """Before memory is asked for."""
    with pytest.raises(DataTypeError, match="a shared array must be of data type"):
        client.shared_array(shape, data_type)


def test_negative_lengths_are_refused(client: Client) -> None:
    """The error shows the shape."""
    with pytest.raises(ArgumentError, match=r"must have lengths >= 0, got \(3, -1\)"):
        client.shared_array((3, -1))


def test_sizes_that_no_request_can_state_are_refused(client: Client) -> None:
    """Before one is made of them, however large they are."""
    with pytest.raises(SharedMemoryError, match=f"no server has {1 << 64} bytes"):
        client.shared_array(1 << 62)
    with pytest.raises(SharedMemoryError, match="no server has"):
        client.shared_array((1 << 62, 1 << 62))


def test_only_memory_that_the_server_forgot_is_given_up(client: Client) -> None:
    """Such as an array that another thread released meanwhile; the others are shared as before."""
    with client.shared_array(10) as one, client.shared_array(10) as two:
        hand_off = client._memory._hand_off
        assert hand_off is not None
        for region in client._memory._regions:
            if np.shares_memory(region.content, one):
                hand_off.release(region.memory.handle)
        assert not client.proximal_step(one, L1, step_size=1.0, out=one).shared
        assert client.proximal_step(two, L1, step_size=1.0, out=two).shared


def test_a_server_that_was_started_anew(socket_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Knows nothing of the memory: calls on it go in chunks, and new memory is shared as before."""
    with (
        serving(socket_folder) as first,
        Client(first.address, retry=Retry(attempts=1000, longest_pause=0.2)) as client,
    ):
        one, two = client.shared_array(100).arrays, client.shared_array(100).arrays
        one[:], two[:] = 1, 2
        assert client.gradient(one, L1, out=two).shared
        first.signal(signal.SIGTERM)
        first.wait()
        with serving(socket_folder):
            result = client.gradient(one, L1, out=two)
            assert not result.shared
            np.testing.assert_array_equal(two, np.float32(0.1))
            assert "knows the shared memory no longer" in caplog.text
            assert not client.proximal_step(one, L1, step_size=1.0, out=one).shared
            with client.shared_array(100) as new:
                assert client.penalty(new, L1).shared
