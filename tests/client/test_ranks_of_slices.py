"""An array's rows over ranks, with groups that are slices along another axis: the bits of one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    Client,
    GroupLasso,
    GroupMcp,
    Groups,
    InvalidRequestError,
    Joint,
    L1Norm,
    MaxNorm,
    Part,
    SparseGroupLasso,
    TopK,
    combine,
)

from tests.support.ranks import Ranks

METHODS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "penalty": (None, {}),
    "gradient": ("gradient", {}),
    "proximal_step": ("parameters", {"step_size": 0.5}),
}


def some(size: int, seed: int = 5) -> NDArray[np.float32]:
    """Arbitrary numbers."""
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def along(axis: int, **options: Any) -> Groups:
    """Groups that are the slices along an axis."""
    return Groups(axis=axis, **options)


SLICES: dict[str, Any] = {
    "group_lasso": GroupLasso(strength=2.0, groups=along(1)),
    "of three axes": GroupLasso(strength=2.0, groups=along(2, sqrt_size=True)),
    "sparse_group_lasso": SparseGroupLasso(l1_strength=0.1, group_strength=1.0, groups=along(1)),
    "max_norm": MaxNorm(radius=2.0, groups=along(1)),
    "group_mcp": GroupMcp(strength=2.0, concavity=3.0, groups=along(2)),
}


@pytest.mark.parametrize("rule", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("method", METHODS)
def test_ranks_measure_slices_that_lie_across_their_rows(client: Client, method: str, rule: Any) -> None:
    """A group of the second or third axis has elements on every rank: here of uneven rows, and of none."""
    theta = some(31 * 6 * 5).reshape(31, 6, 5)
    result, options = METHODS[method]
    operands = {} if method == "penalty" else {"loss_gradients": some(theta.size, 77).reshape(theta.shape)}
    if method == "gradient" and isinstance(rule, MaxNorm):
        theta = client.proximal_step(theta, rule, step_size=1.0).parameters
    whole = getattr(client, method)(theta, rule, **operands, **options)
    ends, ranks = [0, 1, 1, 18, 31], Ranks(4)

    def of_rank(rank: int) -> Any:
        rows = slice(ends[rank], ends[rank + 1])
        return getattr(client, method)(
            theta[rows],
            rule,
            part=Part.rows(theta.shape, begin=ends[rank]),
            gather=ranks.gather,
            **{name: array[rows] for name, array in operands.items()},
            **options,
        )

    parts = ranks.run(of_rank)
    if result is not None:
        assert not np.array_equal(getattr(whole, result), theta)
        together = np.concatenate([getattr(part, result) for part in parts])
        assert together.tobytes() == getattr(whole, result).tobytes()
    figures = combine(parts)
    assert figures.nonzeros == whole.nonzeros
    if isinstance(rule, SparseGroupLasso):
        # Its sum over elements is added in lanes, which parts cut inside a block each round by themselves.
        assert figures.penalty == pytest.approx(whole.penalty, rel=1e-14)
    else:
        assert figures.exact_penalty == whole.exact_penalty
    assert 0 < max(ranks.sizes) < 1 << 20


def test_slices_of_one_array_among_others_over_ranks(client: Client) -> None:
    """Beside groups that every rank has whole, a joint regularizer and what is computed by itself."""
    model = {
        "conv": some(16 * 6 * 9).reshape(16, 6, 9),
        "rows": some(20 * 8, 6).reshape(20, 8),
        "a": some(300, 7).reshape(30, 10),
        "bias": some(12, 8),
        "b": some(90, 9).reshape(9, 10),
    }
    together = Joint(TopK(fraction=0.2))
    rules = {
        "conv": GroupLasso(strength=2.0, groups=along(1)),
        "rows": GroupLasso(strength=1.0, groups=along(0)),
        "a": together,
        "b": together,
        "bias": L1Norm(strength=0.1),
    }
    whole = client.proximal_step(model, rules, step_size=0.5)
    shapes, ranks = {name: array.shape for name, array in model.items()}, Ranks(3)

    def of_rank(rank: int) -> Any:
        shards = {name: np.array_split(array, 3) for name, array in model.items()}
        firsts = {name: sum(map(len, each[:rank])) for name, each in shards.items()}
        own = {name: each[rank] for name, each in shards.items()}
        part = Part.rows(shapes, firsts)
        return client.proximal_step(own, rules, step_size=0.5, part=part, gather=ranks.gather)

    steps = ranks.run(of_rank)
    for name in model:
        joined = np.concatenate([step.parameters[name] for step in steps])
        assert joined.tobytes() == whole.parameters[name].tobytes()
    assert combine(steps).exact_penalty == whole.exact_penalty


def test_ranks_without_gather_cannot_cut_slices(client: Client) -> None:
    """A group that goes across the rows of all is an error that says so, not a step on what is there."""
    part, rule = Part.rows((31, 6, 5), begin=1), GroupLasso(strength=2.0, groups=along(1))
    with pytest.raises(InvalidRequestError) as caught:
        client.proximal_step(some(510).reshape(17, 6, 5), rule, step_size=0.5, part=part)
    assert caught.value.reason == "ERROR_REASON_ELEMENT_RANGE_INVALID"
