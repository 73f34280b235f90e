"""The proximal step as the last transformation of a chain of optax."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from regularization_client import ArgumentError, Box, Client, L1Norm

jax = pytest.importorskip("jax", reason="JAX is not installed: it is the extra 'jax'")
optax = pytest.importorskip("optax", reason="optax is not installed: it is in the extra 'jax'")
ours: Any = importlib.import_module("regularization_client.jax")
ProximalState, ProximalStep = ours.ProximalState, ours.ProximalStep
jnp = jax.numpy

L1 = L1Norm(strength=0.5)


def arrays(seed: int) -> dict[str, Any]:
    """A layer."""
    random = np.random.default_rng(seed)
    return {
        name: jnp.asarray(random.normal(size=shape), np.float32)
        for name, shape in (("weight", (12, 7)), ("bias", (7,)))
    }


def test_it_follows_the_optimizer(client: Client) -> None:
    """Parameters plus updates are the step from where the optimizer leads, but for the last rounding."""
    params, slopes = arrays(0), arrays(1)
    prox = ProximalStep(client, {"weight": L1, "bias": None})
    chain = optax.chain(optax.sgd(0.1), prox.as_transformation(0.1))
    state = chain.init(params)
    updates, state = chain.update(slopes, state, params)
    got = optax.apply_updates(params, updates)
    ahead = jax.tree_util.tree_map(lambda x, g: x - 0.1 * g, params, slopes)
    exact, _ = prox.apply(ahead, ProximalState(), 0.1)
    for one, other in zip(jax.tree_util.tree_leaves(got), jax.tree_util.tree_leaves(exact), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-7)
    np.testing.assert_array_equal(updates["bias"], jnp.float32(-0.1) * slopes["bias"])
    assert state[-1].step == 1
    assert state[-1].last.elements == 12 * 7


def test_it_is_not_exact(client: Client) -> None:
    """Of a box's elements many end outside, as the documentation says: p + (z - p) differs from z."""
    box = Box(lower=-0.1, upper=0.1)
    params = jnp.asarray(np.random.default_rng(2).normal(size=10_000), np.float32)
    prox = ProximalStep(client, box)
    transformation = prox.as_transformation(1.0)
    updates, _ = transformation.update(jnp.zeros_like(params), transformation.init(params), params)
    bound = np.float32(0.1)
    outside = np.count_nonzero(np.abs(np.asarray(optax.apply_updates(params, updates))) > bound)
    assert outside > 1000
    assert np.abs(np.asarray(prox.apply(params, ProximalState(), 1.0)[0])).max() <= bound


def test_it_takes_schedules_and_needs_parameters(client: Client) -> None:
    """The learning rate's own schedule will do, and updates alone will not."""
    schedule = optax.linear_schedule(2.0, 0.0, 2)
    transformation = ProximalStep(client, L1).as_transformation(schedule)
    params = jnp.array([8.0])
    state = transformation.init(params)
    for expected in (7.0, 6.5, 6.5):
        updates, state = transformation.update(jnp.zeros(1), state, params)
        params = optax.apply_updates(params, updates)
        assert params.tolist() == [expected]
    with pytest.raises(ArgumentError, match=r"update\(updates, state, params\)"):
        transformation.update(jnp.zeros(1), state)
    with pytest.raises(ArgumentError, match="outside of jit"):
        jax.jit(transformation.update)(jnp.zeros(1), state, params)
