"""Proximal steps of pytrees: names, bits, states, and what is refused."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import pytest
from regularization_client import (
    ArgumentError,
    Client,
    DataTypeError,
    GroupLasso,
    Groups,
    InvalidRequestError,
    Joint,
    L1Norm,
    Plan,
    Planned,
    PlanRule,
    Ramp,
    Regularizer,
    Schedule,
    TopK,
)

jax = pytest.importorskip("jax", reason="JAX is not installed: it is the extra 'jax'")
ours: Any = importlib.import_module("regularization_client.jax")
ProximalState, ProximalStep = ours.ProximalState, ours.ProximalStep
jnp = jax.numpy
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

L1 = L1Norm(strength=0.5)


class Pair(NamedTuple):
    """A tree of two."""

    weight: Any
    bias: Any


def model(dtype: Any = np.float32) -> dict[str, Any]:
    """Two layers."""
    random = np.random.default_rng(0)
    return {
        name: {
            "weight": jnp.asarray(random.normal(size=shape), dtype),
            "bias": jnp.asarray(random.normal(size=shape[1:]), dtype),
        }
        for name, shape in (("first", (12, 7)), ("last", (7, 3)))
    }


def bits(array: Any) -> bytes:
    """An array's bytes."""
    return np.asarray(array).tobytes()


def test_a_name_is_the_path_to_the_leaf(client: Client) -> None:
    """Keys of mappings, places in sequences and names of fields, joined by dots."""
    leaf = jnp.ones(2)
    tree = {"layers": [Pair(leaf, leaf), (leaf,)], "scale": leaf}
    rules = {"layers.0.weight": L1, "layers.0.bias": None, "layers.1.0": L1, "scale": L1}
    prox = ProximalStep(client, rules)
    new, state = prox.apply(tree, prox.init(tree), 0.5)
    assert isinstance(new["layers"][0], Pair)
    assert sorted(state.last.segments) == ["layers.0.weight", "layers.1.0", "scale"]
    by_number = ProximalStep(client, {"3.x": L1})
    assert sorted(by_number.apply({3: {"x": leaf}}, ProximalState(), 0.5)[1].last.segments) == ["3.x"]


def test_one_array_is_a_tree(client: Client) -> None:
    """It goes by the name that an array without one has."""
    new, state = ProximalStep(client, L1).apply(jnp.array([1.0, -0.25]), ProximalState(), 1.0)
    assert new.tolist() == [0.5, 0.0]
    assert list(state.last.segments) == ["parameters"]


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_elements_are_those_of_a_call_on_arrays(client: Client, name: str) -> None:
    """Of every data type, to the bit; what is exempt is the same object, and nothing given changes."""
    params = model(jnp.dtype(name))
    before = {at: bits(leaf) for at, leaf in enumerate(jax.tree_util.tree_leaves(params))}
    rules = {
        "first.weight": GroupLasso(strength=0.9, groups=Groups(axis=0)),
        "last.weight": L1,
        "*.bias": None,
    }
    prox = ProximalStep(client, rules)
    new, state = prox.apply(params, prox.init(params), 0.3)
    arrays = {f"{layer}.weight": np.asarray(params[layer]["weight"]) for layer in params}
    expected = client.proximal_step(arrays, {k: rules[k] for k in arrays}, step_size=0.3)
    for layer in params:
        assert new[layer]["weight"].dtype == name
        assert bits(new[layer]["weight"]) == bits(expected.parameters[f"{layer}.weight"])
        assert new[layer]["bias"] is params[layer]["bias"]
    assert state.last.nonzeros == expected.nonzeros
    assert state.last.segments.keys() == arrays.keys()
    assert before == {at: bits(leaf) for at, leaf in enumerate(jax.tree_util.tree_leaves(params))}


def test_float64_works_where_it_is_enabled(client: Client) -> None:
    """With ``jax_enable_x64``."""
    with enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).normal(size=9))
        new, _ = ProximalStep(client, L1).apply(x, ProximalState(), 0.3)
        assert new.dtype == np.float64
        assert bits(new) == bits(client.proximal_step(np.asarray(x), L1, step_size=0.3).parameters)


def test_whole_numbers_are_left_alone_or_refused(client: Client) -> None:
    """A counter is exempt or an error: it is never taken for fixed point."""
    params = {"weight": jnp.ones(3), "count": jnp.int32(7), "key": jax.random.key(0)}
    prox = ProximalStep(client, {"weight": L1, "*": None})
    new, _ = prox.apply(params, prox.init(params), 0.5)
    assert new["count"] is params["count"]
    assert new["key"] is params["key"]
    for name in ("count", "key"):
        with pytest.raises(DataTypeError, match=f"'{name}' must be of float64, .* or exempt, got") as caught:
            ProximalStep(client, L1).apply({name: params[name]}, ProximalState(), 0.5)
        assert caught.value.segment == name


def test_arrays_of_numpy_stay_arrays_of_numpy(client: Client) -> None:
    """And a number becomes an array of JAX."""
    params = {"a": np.array([1.0, -2.0]), "b": 3.0}
    new, _ = ProximalStep(client, L1).apply(params, ProximalState(), 1.0)
    assert isinstance(new["a"], np.ndarray)
    assert new["a"].tolist() == [0.5, -1.5]
    assert isinstance(new["b"], jax.Array)
    assert float(new["b"]) == 2.5


def test_one_tree_may_have_several_data_types(client: Client) -> None:
    """Each is a call of its own, and the figures are of all."""
    params = {"a": jnp.ones(4, jnp.float32), "b": jnp.ones(5, jnp.bfloat16)}
    new, state = ProximalStep(client, L1).apply(params, ProximalState(), 1.0)
    assert (new["a"].dtype, new["b"].dtype) == (np.float32, jnp.bfloat16)
    assert (state.last.elements, state.last.nonzeros) == (9, 9)
    joint = ProximalStep(client, Joint(TopK(count=3)))
    with pytest.raises(ArgumentError, match="'a' and 'b' share a regularizer, so they must be of one"):
        joint.apply(params, ProximalState(), 1.0)


CUBIC = Plan(
    rules=[
        PlanRule(
            pattern="*.weight",
            regularizer=Regularizer(top_k=TopK()),
            joint=True,
            schedules=[Schedule(cubic=Ramp(initial=1.0, final=0.1, begin=0, end=6))],
            every=2,
        ),
        PlanRule(pattern="*", exempt=True),
    ]
)


def test_a_plan_is_gone_by_at_the_states_step(client: Client) -> None:
    """Its schedules, its steps without a regularizer, and its joint rules; in the end the share is exact."""
    params = model()
    prox = ProximalStep(client, CUBIC)
    state = prox.init(params)
    for step in range(7):
        assert state.step == step
        flat = {f"{a}.{b}": np.asarray(leaf) for a, layer in params.items() for b, leaf in layer.items()}
        expected = client.proximal_step(flat, Planned(CUBIC, step), step_size=0.3).parameters
        params, state = prox.apply(params, state, 0.3)
        for layer in params:
            assert bits(params[layer]["weight"]) == bits(expected[f"{layer}.weight"])
    weights = [params[layer]["weight"] for layer in params]
    assert sum(weight.size for weight in weights) == 105
    assert sum(int(jnp.count_nonzero(weight)) for weight in weights) == 11


def test_counting_may_begin_elsewhere(client: Client) -> None:
    """At the step of a ``Planned``."""
    prox = ProximalStep(client, Planned(CUBIC, 4))
    assert prox.init(model()).step == 4
    with pytest.raises(ArgumentError, match="digest is for a plan that the server holds"):
        ProximalStep(client, Planned(CUBIC, 0, "0" * 64)).init(model())


def test_some_steps_may_be_left_out(client: Client) -> None:
    """With ``every``, the parameters of others are given back as they are, and count."""
    prox = ProximalStep(client, L1, every=3)
    params, state = jnp.full(4, 10.0), ProximalState()
    seen = []
    for _ in range(7):
        new, state = prox.apply(params, state, 1.0)
        seen.append(new is params)
        params = new
    assert seen == [False, True, True, False, True, True, False]
    assert (state.step, params.tolist()) == (7, [8.5] * 4)


def test_the_state_is_a_pytree_of_its_step(client: Client) -> None:
    """A checkpoint has the step alone, and a training that goes on from it has the same bits."""
    params = model()
    prox = ProximalStep(client, CUBIC)
    state = prox.init(params)
    for _ in range(3):
        params, state = prox.apply(params, state, 0.3)
    leaves, structure = jax.tree_util.tree_flatten(state)
    assert leaves == [3]
    assert structure == jax.tree_util.tree_structure(ProximalState())
    resumed = jax.tree_util.tree_map(jnp.asarray, jax.tree_util.tree_unflatten(structure, leaves))
    assert resumed.last is None
    again = ProximalStep(client, CUBIC)
    for _ in range(4):
        params, state = prox.apply(params, state, 0.3)
    there = model()
    back = again.init(there)
    for _ in range(3):
        there, back = again.apply(there, back, 0.3)
    for _ in range(4):
        there, resumed = again.apply(there, resumed, 0.3)
    assert resumed.step == 7
    for one, other in zip(jax.tree_util.tree_leaves(params), jax.tree_util.tree_leaves(there), strict=True):
        assert bits(one) == bits(other)


def test_step_sizes_go_by_name_or_by_step(client: Client) -> None:
    """One number, an array of JAX, a mapping of patterns, or a schedule."""
    params = {"a": jnp.full(2, 4.0), "b": jnp.full(2, 4.0)}
    prox = ProximalStep(client, {"*": L1})
    for size, a, b in (
        (2.0, 3.0, 3.0),
        (jnp.float32(2.0), 3.0, 3.0),
        ({"a": 2.0, "*": 4.0}, 3.0, 2.0),
        (lambda step: 2.0 * (step - 3), 3.0, 3.0),
        (lambda step: {"a": step, "b": jnp.float32(0.0)}, 2.0, 4.0),
    ):
        new, _ = prox.apply(params, ProximalState(4), size)
        assert (new["a"][0], new["b"][0]) == (a, b)


def test_of_stochastic_rounding_each_step_has_its_own_seed(client: Client) -> None:
    """The same steps give the same bits again, and no two steps round alike."""
    prox = ProximalStep(client, L1, rounding="stochastic", seed=5)
    params = jnp.asarray(np.random.default_rng(3).normal(size=500), jnp.bfloat16)
    first, again, other = (bits(prox.apply(params, ProximalState(step), 1e-3)[0]) for step in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("transformation", ["jit", "grad", "vmap"])
def test_inside_of_a_transformation_it_is_refused(client: Client, transformation: str) -> None:
    """A call of the server needs the elements."""
    prox = ProximalStep(client, L1)

    def loss(x: Any) -> Any:
        return prox.apply({"weight": x}, ProximalState(), 0.5)[0]["weight"].sum()

    x = jnp.ones((3, 2)) if transformation == "vmap" else jnp.ones(3)
    with pytest.raises(
        ArgumentError, match=r"'weight' has no elements yet: .* outside of jit, grad and vmap"
    ):
        getattr(jax, transformation)(loss)(x)


def test_bad_arguments_are_named(client: Client) -> None:
    """Rules, names, numbers and states."""
    params = {"weight": jnp.ones(3), "bias": jnp.ones(3)}
    with pytest.raises(ArgumentError, match=r"'weigth' matches none of .* did you mean 'weight'"):
        ProximalStep(client, {"weigth": L1, "*": None}).init(params)
    with pytest.raises(ArgumentError, match="nothing matches 'bias'"):
        ProximalStep(client, {"weight": L1}).init(params)
    with pytest.raises(ArgumentError, match=r"two parameters must not have one name, got 'a.b' twice"):
        ProximalStep(client, L1).init({"a": {"b": 1.0}, "a.b": 2.0})
    with pytest.raises(ArgumentError, match="every must be >= 1, got 0"):
        ProximalStep(client, L1, every=0)
    with pytest.raises(ArgumentError, match="gather is found from how the arrays lie"):
        ProximalStep(client, L1, gather=lambda own: [own])
    prox = ProximalStep(client, {"weight": L1, "*": None})
    for state, message in (
        (ProximalState(-1), "state must have a step >= 0, got -1"),
        (None, "state must be what init or apply returned"),
        (ProximalState(0.5), "state must be what init or apply returned"),
    ):
        with pytest.raises(ArgumentError, match=message):
            prox.apply(params, state, 0.5)
    with pytest.raises(ArgumentError, match="step_size must be a number, got 'lr'"):
        prox.apply(params, ProximalState(), "lr")
    with pytest.raises(InvalidRequestError, match="step_size"):
        prox.apply(params, ProximalState(), -1.0)


def test_a_tree_that_changes_is_looked_at_anew(client: Client) -> None:
    """Rules are found again where names are others."""
    prox = ProximalStep(client, {"*weight": L1, "*": None})
    for tree in ({"weight": jnp.ones(2)}, {"a": {"weight": jnp.ones(2)}, "b": jnp.ones(1)}):
        _, state = prox.apply(tree, ProximalState(), 0.5)
        assert state.last.elements == 2
