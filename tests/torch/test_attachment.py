"""Which optimizers can be followed by a proximal step, and steps that are none."""

from __future__ import annotations

from typing import Any

import pytest
from regularization_client import ArgumentError, Client, L1Norm

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from regularization_client.torch import ProximalStep  # noqa: E402 - it needs PyTorch
from torch import nn  # noqa: E402 - likewise

RULE = L1Norm(strength=1.0)


def layer(value: float = 1.0) -> nn.Linear:
    """A layer with equal weights."""
    made = nn.Linear(2, 1, bias=False)
    nn.init.constant_(made.weight, value)
    return made


def test_lbfgs_is_refused(client: Client) -> None:
    """It takes several steps in one."""
    model = layer()
    with pytest.raises(ArgumentError, match="LBFGS"):
        ProximalStep(client, model, torch.optim.LBFGS(model.parameters()), RULE, attach=False)


def test_what_is_no_optimizer_is_refused(client: Client) -> None:
    """As DeepSpeed's, whose parameters are flat partitions."""

    class ZeroOptimizer:
        param_groups: Any = ()

    with pytest.raises(ArgumentError, match=r"torch.optim.Optimizer, got ZeroOptimizer.*flat partitions"):
        ProximalStep(client, layer(), ZeroOptimizer(), RULE)


def test_an_optimizer_of_other_parameters_is_refused(client: Client) -> None:
    """Flat copies of the model's have no names."""
    model = layer()
    flat = torch.cat([each.detach().reshape(-1) for each in model.parameters()]).requires_grad_()
    with pytest.raises(ArgumentError, match="flat partitions"):
        ProximalStep(client, model, torch.optim.SGD([flat], lr=1.0), RULE)


def test_parameters_on_the_meta_device_are_refused(client: Client) -> None:
    """By name."""
    model = nn.Linear(2, 1, device="meta")
    with pytest.raises(ArgumentError, match="'weight' is on the meta device"):
        ProximalStep(client, model, torch.optim.SGD(model.parameters(), lr=1.0), RULE)


def test_data_types_that_the_service_does_not_know_are_refused(client: Client) -> None:
    """By name."""
    model = nn.Linear(2, 1, bias=False, dtype=torch.complex64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    ProximalStep(client, model, optimizer, RULE)
    with pytest.raises(TypeError, match="'weight' must be of"):
        optimizer.step()


def test_a_step_that_calls_no_hooks_is_refused(client: Client) -> None:
    """Where a class has its own, or it was replaced, before or after; by hand it works."""

    class Unhooked(torch.optim.SGD):
        """Whose step took the place of the one with hooks."""

    model = layer()
    unhooked = Unhooked(model.parameters(), lr=1.0)
    Unhooked.step = lambda self: None
    with pytest.raises(ArgumentError, match="the step of Unhooked calls no hooks"):
        ProximalStep(client, model, unhooked, RULE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    prox = ProximalStep(client, model, optimizer, RULE)
    optimizer.step = torch.compile(optimizer.step, backend="eager")
    for look in (lambda: prox.last, prox.state_dict):
        with pytest.raises(ArgumentError, match="was replaced"):
            look()
    with pytest.raises(ArgumentError, match=r"torch.compile.*attach=False"):
        ProximalStep(client, model, optimizer, RULE)
    by_hand = ProximalStep(client, model, optimizer, RULE, attach=False)
    by_hand.step()
    assert model.weight.tolist() == [[0.5, 0.5]]
    assert by_hand.last.nonzeros == 2


def test_a_scheduler_s_wrapper_is_no_replacement(client: Client) -> None:
    """It calls the step with its hooks."""
    model = layer()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    prox = ProximalStep(client, model, optimizer, RULE)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    assert model.weight.tolist() == [[0.5, 0.5]]
    assert prox.last.nonzeros == 2


def test_a_step_by_hand_beside_the_hook_is_refused(client: Client) -> None:
    """It would be taken twice; after detaching it is not."""
    model = layer()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    prox = ProximalStep(client, model, optimizer, RULE)
    with pytest.raises(ArgumentError, match="already"):
        prox.step()
    prox.detach()
    prox.detach()
    optimizer.step()
    assert model.weight.tolist() == [[1.0, 1.0]]
    prox.step()
    assert model.weight.tolist() == [[0.5, 0.5]]


def test_wrappers_of_optimizers_and_models_are_looked_through(client: Client) -> None:
    """Those of trainers, which keep the optimizer under this name; and of torch.compile."""

    class Wrapped(torch.optim.Optimizer):
        def __init__(self, optimizer: Any) -> None:
            self.optimizer = optimizer

    model = layer()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    prox = ProximalStep(client, torch.compile(model, backend="eager"), Wrapped(optimizer), {"weight": RULE})
    optimizer.step()
    assert list(prox.last.segments) == ["weight"]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_step_that_overflowed_changes_nothing(client: Client, fused: bool) -> None:
    """A scaler skips it, or a fused optimizer does so by itself; the next one counts."""
    model = layer()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.25, fused=fused)
    prox = ProximalStep(client, model, optimizer, RULE)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(model(torch.full((1, 2), float("inf"))).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert (model.weight.tolist(), prox.steps, prox.last) == ([[1.0, 1.0]], 0, None)
    optimizer.zero_grad()
    scaler.scale(model(torch.zeros(1, 2)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert (model.weight.tolist(), prox.steps) == ([[0.75, 0.75]], 1)


def test_accumulated_gradients_are_one_step(client: Client) -> None:
    """Of several backward passes."""
    model = layer(4.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    prox = ProximalStep(client, model, optimizer, RULE)
    for batch in range(4):
        model(torch.ones(1, 2)).sum().backward()
        if batch % 2:
            optimizer.step()
            optimizer.zero_grad()
    # Each step goes down by the sum of two gradients, times the rate, and then by rate times strength.
    assert (model.weight.tolist(), prox.steps) == ([[1.0, 1.0]], 2)


def test_closures_are_for_the_optimizer(client: Client) -> None:
    """It evaluates them before its step; the proximal step comes after."""
    model = layer(2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    ProximalStep(client, model, optimizer, RULE)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert model.weight.tolist() == [[1.0, 1.0]]
