"""Adam's metric: the step size that Adam itself takes, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from regularization_client import (
    ArgumentError,
    Client,
    Isotonic,
    L1Norm,
    RegularizationError,
    TotalVariation,
)
from scipy.optimize import isotonic_regression

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from regularization_client.torch import ProximalStep  # noqa: E402 - it needs PyTorch
from torch import nn  # noqa: E402 - likewise

GRADIENTS = torch.tensor([[1e-3, 1.0, 1e3], [0.0, -2.0, 0.5]], dtype=torch.float64)


def one_more(model: nn.Linear, optimizer: Any, scale: float = 1.0) -> None:
    """A step along given gradients."""
    optimizer.zero_grad()
    (model.weight * GRADIENTS * scale).sum().backward()
    optimizer.step()


def layer() -> nn.Linear:
    """Some weights."""
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False, dtype=torch.float64)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_thresholds_are_those_of_adam_s_own_steps(client: Client, amsgrad: bool) -> None:
    """Strength times lr over the root of the mean squared gradient, by Kingma and Ba's formulas."""
    model, plain = layer(), layer()
    options = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-6, "amsgrad": amsgrad}
    optimizer, alone = (torch.optim.Adam(each.parameters(), **options) for each in (model, plain))
    ProximalStep(client, model, optimizer, L1Norm(strength=0.3), metric="adam")
    squares, largest = np.zeros((2, 3)), np.zeros((2, 3))
    for step, scale in enumerate([1.0, 3.0, 0.25], 1):
        with torch.no_grad():
            plain.weight.copy_(model.weight)
        one_more(model, optimizer, scale)
        one_more(plain, alone, scale)
        squares = 0.99 * squares + 0.01 * (GRADIENTS.numpy() * scale) ** 2
        largest = np.maximum(largest, squares)
        rate = 0.01 / (np.sqrt((largest if amsgrad else squares) / (1 - 0.99**step)) + 1e-6)
        moved = plain.weight.detach().numpy()
        expected = np.sign(moved) * np.maximum(np.abs(moved) - 0.3 * rate, 0)
        assert np.allclose(model.weight.detach().numpy(), expected, rtol=1e-12, atol=0)


def test_lines_in_order_are_fitted_with_adam_s_weights(client: Client) -> None:
    """Each row is the fit that weighs an element by the root of its mean squared gradient."""
    model, plain = layer(), layer()
    options = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-6}
    optimizer, alone = (torch.optim.Adam(each.parameters(), **options) for each in (model, plain))
    ProximalStep(client, model, optimizer, Isotonic(), metric="adam")
    one_more(model, optimizer)
    one_more(plain, alone)
    weights = np.abs(GRADIENTS.numpy()) + 1e-6
    moved = plain.weight.detach().numpy()
    for got, row, of_row in zip(model.weight.detach().numpy(), moved, weights, strict=True):
        expected = isotonic_regression(row, weights=of_row).x
        np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert not np.allclose(model.weight.detach().numpy(), moved)


def test_what_adam_has_not_moved_stays(client: Client) -> None:
    """A parameter without a gradient has no moments yet."""
    model = nn.Sequential(layer(), layer())
    before = model[1].weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    ProximalStep(client, model, optimizer, L1Norm(strength=1e-3), metric="adam")
    one_more(model[0], optimizer)
    assert torch.equal(model[1].weight, before)
    assert model[0].weight[1, 0] == 0.0  # no gradient, so any threshold is large there


def test_bfloat16_has_scales_of_its_own_type(client: Client) -> None:
    """Also where they are larger than a coarse type can say."""
    for kind in (torch.bfloat16, torch.float16):
        model = layer().to(kind)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-6)
        ProximalStep(client, model, optimizer, L1Norm(strength=1e-3), metric="adam")
        # Without a gradient the scale is a million, which float16 has no number for.
        model.weight.grad = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]], dtype=kind)
        before = model.weight.detach().clone()
        optimizer.step()
        assert model.weight.isfinite().all()
        assert (model.weight != before).all()


def test_rows_without_step_scales_are_refused(client: Client) -> None:
    """By the server, which names the parameter."""
    model = layer()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    ProximalStep(client, model, optimizer, TotalVariation(strength=1.0), metric="adam")
    with pytest.raises(RegularizationError, match="step_scales") as caught:
        one_more(model, optimizer)
    assert caught.value.segment == "weight"


def test_optimizers_that_keep_other_moments_are_refused(client: Client) -> None:
    """As Adafactor, or one that keeps them under other names."""

    class Other(torch.optim.SGD):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, lr=0.1, momentum=0.9)
            self.param_groups[0].update(betas=(0.9, 0.99), eps=1e-8)

    model = layer()
    adafactor = torch.optim.Adafactor(model.parameters())
    with pytest.raises(ArgumentError, match="second moments"):
        ProximalStep(client, model, adafactor, L1Norm(strength=1.0), metric="adam")
    optimizer = Other(model.parameters())
    ProximalStep(client, model, optimizer, L1Norm(strength=1.0), metric="adam")
    with pytest.raises(ArgumentError, match="there are none of 'weight'"):
        one_more(model, optimizer)
