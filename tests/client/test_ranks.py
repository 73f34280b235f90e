"""A vector over ranks, replicas or streams, with rows that look at whole arrays: the bits of one call."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_client import (
    Client,
    InvalidRequestError,
    Joint,
    L1Ball,
    L1Norm,
    L2Ball,
    L2Norm,
    LinfNorm,
    Part,
    PartFailedError,
    RegularizationError,
    Simplex,
    TopK,
    combine,
)

from tests.support.processes import serving
from tests.support.ranks import Ranks

BLOCK = 1 << 18
RULES: dict[str, Any] = {
    "l2_norm": L2Norm(strength=5.0),
    "linf_norm": LinfNorm(strength=40.0),
    "l1_ball": L1Ball(radius=30.0),
    "l2_ball": L2Ball(radius=3.0),
    "simplex": Simplex(radius=2.0),
    "top_k": TopK(count=400),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def some(size: int, seed: int = 5) -> NDArray[np.float32]:
    """Arbitrary numbers, with many equal magnitudes and zeros."""
    values = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    values[::3] = np.round(values[::3], 1)
    return values


@pytest.fixture(scope="module")
def replicas() -> Iterator[list[str]]:
    """The addresses of two servers."""
    folders = [Path(tempfile.mkdtemp(prefix="regularization-")) for _ in range(2)]
    with ExitStack() as stack:
        yield [stack.enter_context(serving(folder)).address for folder in folders]
    for folder in folders:
        shutil.rmtree(folder)


METHODS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "penalty": (None, {}),
    "gradient": ("gradient", {}),
    "proximal_step": ("parameters", {"step_size": 0.5}),
}


def inside(rule: Any, theta: NDArray[np.float32], client: Client) -> NDArray[np.float32]:
    """The parameters, where the rule has a gradient."""
    is_set = not isinstance(rule, L2Norm | LinfNorm)
    return client.proximal_step(theta, rule, step_size=1.0).parameters if is_set else theta


@every_rule
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=6)
@given(st.data())
def test_ranks_get_the_bits_of_one_call(client: Client, method: str, rule: Any, data: st.DataObject) -> None:
    """Wherever their parts end, with loss gradients too, and figures that say what one call says."""
    theta = some(data.draw(st.sampled_from([1, 7, 3000, 40_000])), data.draw(st.integers(0, 9)))
    if isinstance(rule, TopK):
        rule = TopK(count=theta.size // 10)
    result, options = METHODS[method]
    operands = {}
    if method != "penalty" and data.draw(st.booleans(), label="loss gradients"):
        operands["loss_gradients"] = some(theta.size, 77)
    if method == "gradient":
        theta = inside(rule, theta, client)
    cuts = data.draw(st.lists(st.integers(0, theta.size), max_size=4))
    ends = list(pairwise([0, *sorted(cuts), theta.size]))
    whole = getattr(client, method)(theta, rule, **operands, **options)
    ranks = Ranks(len(ends))

    def of_rank(rank: int) -> Any:
        begin, end = ends[rank]
        return getattr(client, method)(
            theta[begin:end],
            rule,
            part=Part(shapes=theta.size, begin=begin),
            gather=ranks.gather,
            **{name: array[begin:end] for name, array in operands.items()},
            **options,
        )

    parts = ranks.run(of_rank)
    if result is not None:
        together = np.concatenate([getattr(part, result) for part in parts])
        assert together.tobytes() == getattr(whole, result).tobytes()
    figures = combine(parts)
    assert (figures.exact_penalty, figures.nonzeros) == (whole.exact_penalty, whole.nonzeros)
    assert max(ranks.sizes, default=0) < 1 << 20


@every_rule
def test_ranks_may_each_have_a_server(replicas: list[str], client: Client, rule: Any) -> None:
    """Of their own, with their parts in memory that is shared with it."""
    theta = some(2 * BLOCK + 77)
    whole = client.proximal_step(theta, rule, step_size=0.5, loss_gradients=theta)
    cut, ranks = BLOCK + 5, Ranks(2)

    def of_rank(rank: int) -> Any:
        here = slice(0, cut) if rank == 0 else slice(cut, None)
        own = theta[here]
        with (
            Client(replicas[rank]) as client,
            client.shared_arrays({"w": own.shape, "g": own.shape}) as memory,
        ):
            memory["w"][:] = memory["g"][:] = own
            step = client.proximal_step(
                memory["w"],
                rule,
                step_size=0.5,
                loss_gradients=memory["g"],
                out=memory["w"],
                part=Part(shapes=theta.size, begin=rank * cut),
                gather=ranks.gather,
            )
            assert step.shared
            return memory["w"].copy()

    assert np.concatenate(ranks.run(of_rank)).tobytes() == whole.parameters.tobytes()


@every_rule
def test_streams_get_the_bits_of_one(client: Client, replicas: list[str], rule: Any) -> None:
    """Of one server, or over replicas: of results and of all sums, among rows of other kinds."""
    model = {"head": some(1000), "weight": some(4 * BLOCK + 1000), "bias": some(30)}
    rules = {"head": L1Norm(strength=0.2), "weight": rule, "bias": None}
    one = client.proximal_step(model, rules, step_size=0.5, loss_gradients=model)
    with Client(replicas) as spread:
        for several in (client, spread):
            step = several.proximal_step(model, rules, step_size=0.5, loss_gradients=model, streams=3)
            for name in model:
                assert step.parameters[name].tobytes() == one.parameters[name].tobytes()
            assert (step.sums, step.counts) == (one.sums, one.counts)
            assert dict(step.segments) == dict(one.segments)


def test_a_vector_over_several_streams_needs_no_room_on_the_server() -> None:
    """What one stream would have to hold as a whole is refused there, and is computed over four."""
    theta = some(16 * BLOCK)
    halves, together = dict(zip("ab", np.split(theta, 2), strict=True)), {"*": Joint(TopK(count=400))}
    with (
        tempfile.TemporaryDirectory(prefix="regularization-") as folder,
        serving(Path(folder), "--memory-budget", "16MiB") as server,
        Client(server.address) as client,
    ):
        with pytest.raises(RegularizationError, match="budget"):
            client.proximal_step(theta, TopK(count=400), step_size=1.0)
        step = client.proximal_step(theta, TopK(count=400), step_size=1.0, streams=4)
        with pytest.raises(RegularizationError, match="budget"):
            client.proximal_step(halves, together, step_size=1.0)
        joint = client.proximal_step(halves, together, step_size=1.0, streams=4)
    kept = np.sort(np.abs(theta))[-400:]
    np.testing.assert_array_equal(np.sort(np.abs(step.parameters))[-400:], kept)
    assert step.nonzeros == 400
    np.testing.assert_array_equal(np.concatenate(list(joint.parameters.values())), step.parameters)


@every_rule
def test_streams_of_16_bits_get_the_bits_of_one(client: Client, rule: Any) -> None:
    """Also of sets, which are then rounded inwards by all elements together, and so go whole."""
    theta = (some(3 * BLOCK) * np.float32(0.01)).astype(np.float16)
    options: dict[str, Any] = {"step_size": 0.5, "rounding": "stochastic", "seed": 7}
    one, three = (client.proximal_step(theta, rule, streams=streams, **options) for streams in (1, 3))
    assert one.parameters.tobytes() == three.parameters.tobytes()
    assert (one.sums, one.counts) == (three.sums, three.counts)


def test_rows_of_several_arrays_are_measured_together(client: Client) -> None:
    """Each array by itself, wherever its rows are cut, and one that a single rank has."""
    model = {"a": some(90 * 40).reshape(90, 40), "b": some(3000, 6), "c": some(7, 7), "d": some(20, 8)}
    rules = {"a": TopK(count=400), "b": L2Norm(strength=5.0), "c": None, "d": Simplex(radius=2.0)}
    whole = client.proximal_step(model, rules, step_size=0.5)
    shapes = {name: array.shape for name, array in model.items()}
    ends = {name: [0, len(array) // 2, len(array)] for name, array in model.items()} | {"d": [0, 0, 20]}
    ranks = Ranks(2)

    def of_rank(rank: int) -> Any:
        rows = {name: model[name][each[rank] : each[rank + 1]] for name, each in ends.items()}
        part = Part.rows(shapes, {name: each[rank] for name, each in ends.items()})
        return client.proximal_step(rows, rules, step_size=0.5, part=part, gather=ranks.gather)

    steps = ranks.run(of_rank)
    for name in model:
        together = np.concatenate([step.parameters[name] for step in steps])
        assert together.tobytes() == whole.parameters[name].tobytes()
    assert combine(steps).nonzeros == whole.nonzeros
    assert combine(steps).exact_penalty == whole.exact_penalty


@every_rule
def test_arrays_together_over_ranks(client: Client, rule: Any) -> None:
    """A regularizer of several arrays, each of which every rank has rows of: global pruning of shards."""
    model = {"a.weight": some(90 * 40).reshape(90, 40), "bias": some(7, 7), "b.weight": some(3000, 6)}
    rules = {"*.weight": Joint(rule), "*": None}
    slopes = {name: some(array.size, 9).reshape(array.shape) for name, array in model.items()}
    whole = client.proximal_step(model, rules, step_size=0.5, loss_gradients=slopes)
    shapes, ranks = {name: array.shape for name, array in model.items()}, Ranks(3)

    def rows_of(arrays: dict[str, NDArray[np.float32]], rank: int) -> dict[str, NDArray[np.float32]]:
        return {name: np.array_split(array, 3)[rank] for name, array in arrays.items()}

    def of_rank(rank: int) -> Any:
        firsts = {
            name: sum(len(part) for part in np.array_split(array, 3)[:rank]) for name, array in model.items()
        }
        return client.proximal_step(
            rows_of(model, rank),
            rules,
            step_size=0.5,
            loss_gradients=rows_of(slopes, rank),
            part=Part.rows(shapes, firsts),
            gather=ranks.gather,
        )

    steps = ranks.run(of_rank)
    for name in model:
        together = np.concatenate([step.parameters[name] for step in steps])
        assert together.tobytes() == whole.parameters[name].tobytes()
    assert combine(steps).nonzeros == whole.nonzeros
    assert combine(steps).exact_penalty == whole.exact_penalty


@every_rule
def test_arrays_together_over_streams(client: Client, rule: Any) -> None:
    """They are cut wherever one of them may be, once all are measured."""
    model = {"a.weight": some(2 * BLOCK + 5), "bias": some(1000, 7), "b.weight": some(BLOCK, 6)}
    rules = {"*.weight": Joint(rule), "*": None}
    one, three = (client.proximal_step(model, rules, step_size=0.5, streams=streams) for streams in (1, 3))
    for name in model:
        assert one.parameters[name].tobytes() == three.parameters[name].tobytes()
    assert (one.sums, one.counts) == (three.sums, three.counts)


def test_a_reference_keeps_an_array_whole(client: Client) -> None:
    """Its elements less the reference are not what is measured; the answer is that of one stream."""
    theta, reference = some(3 * BLOCK), some(3 * BLOCK, 6)
    one, three = (
        client.proximal_step(theta, L2Norm(strength=5.0), step_size=1.0, reference=reference, streams=streams)
        for streams in (1, 3)
    )
    assert one.parameters.tobytes() == three.parameters.tobytes()


def test_rows_of_a_matrix_over_ranks(client: Client) -> None:
    """As a sharded trainer has them: the largest elements of the whole matrix are kept."""
    weight = some(96 * 40).reshape(96, 40)
    whole = client.proximal_step(weight, TopK(count=400), step_size=1.0)
    ranks = Ranks(4)

    def of_rank(rank: int) -> Any:
        shard = weight[rank * 24 : (rank + 1) * 24]
        part = Part.rows(weight.shape, begin=rank * 24)
        return client.proximal_step(shard, TopK(count=400), step_size=1.0, part=part, gather=ranks.gather)

    steps = ranks.run(of_rank)
    np.testing.assert_array_equal(np.concatenate([step.parameters for step in steps]), whole.parameters)
    assert combine(steps).nonzeros == whole.nonzeros == 400


def failures(ranks: Ranks, work: Any) -> list[RegularizationError]:
    """What each rank's work raises."""

    def failing(rank: int) -> RegularizationError:
        with pytest.raises(RegularizationError) as caught:
            work(rank)
        return caught.value

    return ranks.run(failing)


def test_an_element_that_is_not_finite_fails_all_ranks(client: Client) -> None:
    """The one that has it says where, and the others that another did."""
    theta, ranks = some(3000), Ranks(3)
    theta[1500] = np.nan

    def of_rank(rank: int) -> Any:
        part = Part(shapes=theta.size, begin=rank * 1000)
        own = theta[rank * 1000 :][:1000]
        return client.penalty(own, L2Norm(strength=1.0), part=part, gather=ranks.gather)

    first, second, third = failures(ranks, of_rank)
    assert isinstance(first, PartFailedError)
    assert isinstance(third, PartFailedError)
    assert second.element == 1500
    assert second.reason == "ERROR_REASON_VALUE_NOT_FINITE"


def test_ranks_must_ask_the_same(client: Client) -> None:
    """Statistics belong to what was asked; those of another question are refused."""
    theta, ranks = some(2000), Ranks(2)

    def of_rank(rank: int) -> Any:
        part = Part(shapes=theta.size, begin=rank * 1000)
        own = theta[rank * 1000 :][:1000]
        return client.penalty(own, TopK(count=3 + rank), part=part, gather=ranks.gather)

    for error in failures(ranks, of_rank):
        assert error.reason == "ERROR_REASON_STATISTICS_INVALID"


def test_ranks_must_have_the_whole_once(client: Client) -> None:
    """An element that two have, or none, is named."""
    theta = some(2000)

    def step(rank: int, begin: int, end: int, ranks: Ranks) -> Any:
        part = Part(shapes=theta.size, begin=begin)
        return client.penalty(theta[begin:end], TopK(count=3), part=part, gather=ranks.gather)

    ranks = Ranks(2)
    for error in failures(ranks, lambda rank: step(rank, *((0, 1100), (1000, 2000))[rank], ranks)):
        assert error.reason == "ERROR_REASON_STATISTICS_OVERLAP"
        assert error.element == 1000
    ranks = Ranks(2)
    for error in failures(ranks, lambda rank: step(rank, *((0, 900), (1000, 2000))[rank], ranks)):
        assert isinstance(error, InvalidRequestError)
        assert error.element == 900
