"""Masks of dropout: the bits that the definition gives, wherever a tensor is cut."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization_client import ArgumentError
from regularization_client import dropout_mask as numpy_mask

from tests.support.oracles.number_formats import random_word

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from regularization_client.torch import DropConnect, Dropout, dropout_mask  # noqa: E402 - it needs PyTorch
from torch import nn  # noqa: E402 - likewise

LAST = (1 << 64) - 1
WORDS = st.integers(0, LAST)
RATES = st.floats(0.0, 1.0, exclude_max=True)


@given(RATES, WORDS, WORDS, st.integers(0, 40), st.sampled_from([0, 1, 65_530, (1 << 63) - 40]))
def test_an_element_is_dropped_where_its_word_is_small(
    rate: float, seed: int, step: int, size: int, offset: int
) -> None:
    """By the definition in exact whole numbers, and as NumPy has it."""
    bound = math.ceil(math.ldexp(rate, 64))
    of_step = random_word(seed, step)
    expected = [random_word(of_step, offset + place) >= bound for place in range(size)]
    mask = dropout_mask(size, rate, seed, step, offset)
    assert mask.tolist() == expected
    assert np.array_equal(mask.numpy(), numpy_mask(size, rate, seed, step, offset))


def test_a_long_mask_is_numpy_s_and_keeps_its_share() -> None:
    """Of a million elements, in any pieces, within four deviations."""
    size, rate = 1_000_000, 0.3
    mask = dropout_mask(size, rate, seed=LAST, step=12)
    assert np.array_equal(mask.numpy(), numpy_mask(size, rate, LAST, 12))
    cuts = [0, 1, 65_535, 65_536, 700_001, size]
    pieces = [dropout_mask(end - begin, rate, LAST, 12, begin) for begin, end in pairwise(cuts)]
    assert torch.equal(torch.cat(pieces), mask)
    assert abs(mask.float().mean().item() - 0.7) < 4 * math.sqrt(0.3 * 0.7 / size)


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 0.5, 0, 0),
        (1, 1.0, 0, 0),
        (1, -0.1, 0, 0),
        (1, 0.5, -1, 0),
        (1, 0.5, 0, LAST + 1),
        (1, 0.5, 0, 0, -1),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: Any) -> None:
    """As NumPy's mask refuses them."""
    with pytest.raises(ArgumentError):
        dropout_mask(*arguments)


def test_activations_are_masked_step_by_step() -> None:
    """What is kept is divided by its share, in evaluation nothing is; gradients go where elements do."""
    layer = Dropout(0.25, seed=7)
    x = torch.arange(1.0, 25.0).reshape(2, 3, 4).requires_grad_()
    for step in range(3):
        kept = numpy_mask(24, 0.25, 7, step).reshape(2, 3, 4)
        y = layer(x)
        assert np.array_equal(y.detach().numpy(), np.where(kept, x.detach().numpy() / np.float32(0.75), 0))
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert np.array_equal(gradient.numpy() != 0, kept)
    layer.eval()
    assert layer(x) is x
    assert layer.train().state_dict()["steps"] == 3


def test_a_checkpoint_goes_on_with_the_masks() -> None:
    """And a step that is given is the one that counts."""
    layer, other = Dropout(0.5, seed=1), Dropout(0.5, seed=1)
    layer(torch.ones(8))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(torch.ones(64)), other(torch.ones(64)))
    given_step = Dropout(0.5, seed=1, step=lambda: 1)
    assert torch.equal(given_step(torch.ones(64)) != 0, dropout_mask(64, 0.5, 1, 1))
    assert torch.equal(given_step(torch.ones(64)) != 0, dropout_mask(64, 0.5, 1, 1))


def test_ranks_have_their_part_of_one_mask() -> None:
    """By the offset of what they have, a number or a function of the tensor."""
    whole = Dropout(0.5, seed=3)(torch.ones(6, 5))
    parts = [
        Dropout(0.5, seed=3, offset=10)(torch.ones(2, 5)),
        Dropout(0.5, seed=3, offset=lambda x: 30 - x.numel())(torch.ones(2, 5)),
    ]
    assert torch.equal(torch.cat(parts), whole[2:])


def test_weights_are_masked_before_each_use() -> None:
    """The parameter stays, and gets the gradient of what was used of it."""
    layer = nn.Linear(6, 4)
    masked = DropConnect(layer, 0.5, seed=9)
    before = layer.weight.detach().clone()
    x = torch.randn(3, 6)
    kept = dropout_mask(24, 0.5, 9, 0).reshape(4, 6)
    y = masked(x)
    expected = nn.functional.linear(x, torch.where(kept, before / 0.5, 0.0), layer.bias)
    assert torch.equal(y, expected)
    y.sum().backward()
    assert torch.equal(layer.weight, before)
    assert torch.equal(layer.weight.grad != 0, kept)
    masked.eval()
    assert torch.equal(masked(x), layer(x))
    with pytest.raises(ArgumentError, match="'weight'"):
        DropConnect(nn.ReLU(), 0.5, seed=0)


def test_masks_are_the_same_in_a_compiled_model() -> None:
    """Where the step is given; compiling changes no bit of them."""
    layer = Dropout(0.5, seed=5, step=lambda: 4)
    compiled = torch.compile(layer, backend="eager")
    assert torch.equal(compiled(torch.ones(100)), layer(torch.ones(100)))
