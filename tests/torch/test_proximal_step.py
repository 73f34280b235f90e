"""The hook takes the step that a loop written by hand would take, and leaves everything else alone."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Client,
    GroupLasso,
    Groups,
    InvalidRequestError,
    Joint,
    L1Norm,
    SquaredL2Norm,
    TopK,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from regularization_client.torch import ProximalStep  # noqa: E402 - it needs PyTorch
from torch import nn  # noqa: E402 - likewise

RULES = {"*.weight": GroupLasso(strength=0.02, groups=Groups(axis=0)), "*": None}


def classifier(seed: int = 0) -> nn.Module:
    """A small model with weights and biases."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def arrays(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Copies of a model's parameters."""
    return {name: each.detach().numpy().copy() for name, each in model.named_parameters()}


class Only(nn.Module):
    """A model of given parameters, whose optimizer has nothing to add: the loss is 0."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            setattr(self, name, nn.Parameter(tensor))


def sgd(model: nn.Module, lr: float = 0.5) -> torch.optim.Optimizer:
    """Plain gradient descent on all parameters."""
    return torch.optim.SGD(model.parameters(), lr=lr)


@pytest.mark.timeout(600)
def test_the_loop_written_by_hand_gives_the_same_bits(client: Client) -> None:
    """Over 200 steps on digits, with a learning rate that changes."""
    datasets = pytest.importorskip("sklearn.datasets")
    data = datasets.load_digits()
    images, labels = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    models = [classifier(), classifier()]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.02) for model in models]
    schedulers = [torch.optim.lr_scheduler.CosineAnnealingLR(each, 200) for each in optimizers]
    prox = ProximalStep(client, models[0], optimizers[0], RULES)
    order = torch.randint(len(labels), (200, 64), generator=torch.Generator().manual_seed(1))
    for batch in order:
        for model, optimizer, scheduler in zip(models, optimizers, schedulers, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            if model is models[1]:
                by_hand(client, model, optimizer)
            scheduler.step()
    ours, theirs = map(arrays, models)
    assert {name: each.tobytes() for name, each in ours.items()} == {
        name: each.tobytes() for name, each in theirs.items()
    }
    assert prox.steps == 200
    assert prox.last.segments["0.weight"].nonzeros == np.count_nonzero(ours["0.weight"])


def by_hand(client: Client, model: nn.Module, optimizer: Any) -> None:
    """The proximal step as one writes it without the hook."""
    weights = {name: each for name, each in arrays(model).items() if name.endswith("weight")}
    step = client.proximal_step(
        weights, RULES["*.weight"], step_size=optimizer.param_groups[0]["lr"]
    ).parameters
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in step:
                parameter.copy_(torch.from_numpy(step[name]))


def test_the_step_size_is_the_rate_of_the_parameter_s_group(client: Client) -> None:
    """Also after a checkpoint has put other groups in the place of those that were there."""
    model = Only(a=torch.ones(3, dtype=torch.float64), b=torch.ones(2, dtype=torch.float64))
    optimizer = torch.optim.SGD([{"params": [model.a]}, {"params": [model.b], "lr": 0.125}], lr=0.25)
    ProximalStep(client, model, optimizer, L1Norm(strength=1.0))
    optimizer.step()
    assert (model.a.tolist(), model.b.tolist()) == ([0.75] * 3, [0.875] * 2)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[1]["lr"] = torch.tensor(0.5)
    optimizer.step()
    assert (model.a.tolist(), model.b.tolist()) == ([0.5] * 3, [0.375] * 2)


@pytest.mark.parametrize("step_size", [0.125, lambda group: group["lr"] / 4])
def test_the_step_size_may_be_given(client: Client, step_size: Any) -> None:
    """As a number, or as a function of the group."""
    model = Only(a=torch.ones(3, dtype=torch.float64))
    optimizer = sgd(model)
    ProximalStep(client, model, optimizer, L1Norm(strength=1.0), step_size=step_size)
    optimizer.step()
    assert model.a.tolist() == [0.875] * 3


def test_parameters_of_every_data_type_are_stepped_as_such(client: Client) -> None:
    """Of one model, bfloat16 among them, which is no fixed point."""
    start = torch.tensor([1.5, -0.75, 0.25, -0.125])
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
    model = Only(**{f"w_{kind}".replace("torch.", ""): start.to(kind) for kind in kinds})
    optimizer = sgd(model)
    prox = ProximalStep(client, model, optimizer, L1Norm(strength=0.5))
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert f"w_{parameter.dtype}" == name.replace("_", "_torch.")
        assert parameter.tolist() == [1.25, -0.5, 0.0, 0.0]
        assert prox.last.segments[name].nonzeros == 2
    assert prox.last.elements == 16


def test_strange_parameters_are_handled(client: Client) -> None:
    """Transposed, cut out, empty and of no axis: each element of theirs, and none around them."""
    whole = torch.arange(24.0).reshape(4, 6)
    model = Only(
        turned=whole.clone().T, cut=whole.clone()[:, 1:4:2], empty=torch.empty(0, 3), one=torch.tensor(3.0)
    )
    behind = model.cut.data
    optimizer = sgd(model, lr=1.0)
    ProximalStep(client, model, optimizer, L1Norm(strength=2.0))
    optimizer.step()
    shrunk = np.maximum(whole.numpy() - 2, 0)
    assert np.array_equal(model.turned.detach().numpy(), shrunk.T)
    assert np.array_equal(model.cut.detach().numpy(), shrunk[:, 1:4:2])
    assert model.cut.data.data_ptr() == behind.data_ptr()
    assert model.one.item() == 1.0
    assert not model.turned.is_contiguous()


def test_groups_of_a_transposed_parameter_are_those_of_its_shape(client: Client) -> None:
    """Not those of its memory."""
    model = Only(w=torch.tensor([[3.0, 0.0], [4.0, 0.5]]).T)
    optimizer = sgd(model, lr=1.0)
    ProximalStep(client, model, optimizer, GroupLasso(strength=1.0, groups=Groups(axis=0)))
    optimizer.step()
    assert torch.allclose(model.w, torch.tensor([[2.4, 3.2], [0.0, 0.0]]))


def test_tied_parameters_are_stepped_once(client: Client) -> None:
    """Under their first name; a rule for another name is told so."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    model[0].weight.data.fill_(1.0)
    optimizer = sgd(model)
    prox = ProximalStep(client, model, optimizer, L1Norm(strength=1.0))
    optimizer.step()
    assert model[1].weight is model[0].weight
    assert model[1].weight.unique().tolist() == [0.5]
    assert list(prox.last.segments) == ["0.weight"]
    with pytest.raises(ArgumentError, match=r"'1\.weight' is another name of '0\.weight'"):
        ProximalStep(client, model, optimizer, {"1.weight": None, "0.weight": L1Norm(strength=1.0)})


def test_what_is_not_trained_stays(client: Client) -> None:
    """Parameters that the optimizer has not, or that require no gradient at the time; buffers too."""
    model = Only(a=torch.ones(2), b=torch.ones(2), c=torch.ones(2))
    model.register_buffer("count", torch.tensor(7))
    optimizer = torch.optim.SGD([model.a, model.b], lr=0.5)
    ProximalStep(client, model, optimizer, L1Norm(strength=1.0))
    model.b.requires_grad_(False)
    optimizer.step()
    assert (model.a.tolist(), model.b.tolist(), model.c.tolist()) == ([0.5] * 2, [1.0] * 2, [1.0] * 2)
    model.b.requires_grad_(True)
    optimizer.step()
    assert (model.a.tolist(), model.b.tolist()) == ([0.0] * 2, [0.5] * 2)
    assert model.count.item() == 7


@pytest.mark.parametrize(
    ("name", "why"), [("c", "no parameter of the optimizer"), ("count", "a buffer"), ("d", "matches none")]
)
def test_a_rule_for_what_is_not_trained_is_told(client: Client, name: str, why: str) -> None:
    """By name, and why."""
    model = Only(a=torch.ones(2), c=torch.ones(2))
    model.register_buffer("count", torch.tensor(7))
    with pytest.raises(ArgumentError, match=why):
        ProximalStep(
            client, model, torch.optim.SGD([model.a], lr=1.0), {"a": None, name: L1Norm(strength=1.0)}
        )


def test_parameters_that_are_added_later_are_stepped(client: Client) -> None:
    """As with gradual unfreezing; a name without a rule is told then."""
    model = Only(a=torch.ones(2), b=torch.ones(2))
    optimizer = torch.optim.SGD([model.a], lr=0.5)
    ProximalStep(client, model, optimizer, L1Norm(strength=1.0))
    optimizer.add_param_group({"params": [model.b]})
    optimizer.step()
    assert (model.a.tolist(), model.b.tolist()) == ([0.5] * 2, [0.5] * 2)


def test_every_says_at_which_steps(client: Client) -> None:
    """At multiples, from 0 on; the figures stay those of the last one."""
    model = Only(a=torch.full((2,), 4.0, dtype=torch.float64))
    optimizer = sgd(model, lr=1.0)
    prox = ProximalStep(client, model, optimizer, L1Norm(strength=1.0), every=3)
    assert prox.last is None
    seen = []
    for _ in range(5):
        optimizer.step()
        seen.append((model.a[0].item(), prox.last.penalty))
    assert seen == [(3.0, 6.0)] * 3 + [(2.0, 4.0)] * 2
    assert prox.steps == 5


def test_figures_and_options_are_a_call_s(client: Client) -> None:
    """Figures that were not asked for are not there; unknown options are refused by name."""
    model = Only(a=torch.ones(2))
    optimizer = sgd(model)
    prox = ProximalStep(client, model, optimizer, L1Norm(strength=1.0), figures=("nonzeros",))
    optimizer.step()
    assert prox.last.nonzeros == 2
    with pytest.raises(RuntimeError, match="penalty"):
        _ = prox.last.penalty
    for wrong in ("part", "gather"):
        with pytest.raises(ArgumentError, match=wrong):
            ProximalStep(client, model, optimizer, L1Norm(strength=1.0), **{wrong: None})


def test_autograd_notices_the_step(client: Client) -> None:
    """What it has saved of a parameter before is not taken for the parameter now."""
    model = Only(a=torch.ones(2))
    optimizer = sgd(model)
    ProximalStep(client, model, optimizer, L1Norm(strength=1.0))
    loss = (model.a * model.a).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_failed_call_is_an_error_of_the_step_and_changes_nothing(client: Client) -> None:
    """It names the parameter, and the step does not count."""
    model = Only(a=torch.ones(2), b=torch.tensor([1.0, float("nan")]))
    optimizer = sgd(model)
    prox = ProximalStep(client, model, optimizer, L1Norm(strength=1.0))
    with pytest.raises(InvalidRequestError, match="'b'"):
        optimizer.step()
    assert model.a.tolist() == [1.0, 1.0]
    assert prox.steps == 0


def test_joint_rules_are_one_over_all_that_they_are_for(client: Client) -> None:
    """The largest elements of all weights together; of two data types they cannot be."""
    model = Only(a=torch.tensor([5.0, 1.0, 2.0]), b=torch.tensor([4.0, 3.0, 0.5]), c=torch.ones(1))
    optimizer = sgd(model)
    largest = {"[ab]": Joint(TopK(count=3)), "*": None}
    prox = ProximalStep(client, model, optimizer, largest)
    optimizer.step()
    assert (model.a.tolist(), model.b.tolist()) == ([5.0, 0.0, 0.0], [4.0, 3.0, 0.0])
    prox.detach()
    model.b.data = model.b.data.to(torch.bfloat16)
    ProximalStep(client, model, optimizer, largest)
    with pytest.raises(
        ArgumentError, match="'a' and 'b' share a regularizer, so they must be of one data type"
    ):
        optimizer.step()


def test_a_checkpoint_goes_on_with_the_step(client: Client) -> None:
    """The number of the next step, and the names, which must be the same."""
    model = Only(a=torch.full((2,), 4.0), b=torch.ones(1))
    optimizer = sgd(model, lr=1.0)
    prox = ProximalStep(client, model, optimizer, L1Norm(strength=1.0), every=2)
    optimizer.step()
    state = prox.state_dict()
    assert state == {"step": 1, "parameters": ["a", "b"]}
    prox.detach()
    again = ProximalStep(client, model, optimizer, L1Norm(strength=1.0), every=2)
    again.load_state_dict(state)
    optimizer.step()
    assert (model.a.tolist(), again.steps) == ([3.0, 3.0], 2)
    for wrong, why in (
        ({"step": 1, "parameters": ["a"]}, "has no parameter 'b'"),
        ({"step": 1, "parameters": ["a", "b", "c"]}, "not trained here: 'c'"),
        ({"step": -1, "parameters": ["a", "b"]}, ">= 0"),
        ({"step": 0.5, "parameters": ["a", "b"]}, "state_dict"),
        ({}, "state_dict"),
    ):
        with pytest.raises(ArgumentError, match=why):
            again.load_state_dict(wrong)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"every": 0}, "every must be >= 1, got 0"),
        ({"step_size": "rate"}, "step_size"),
        ({"metric": "taxicab"}, "metric must be one of euclidean, adam"),
        ({"metric": "adam"}, "needs an optimizer with second moments"),
    ],
)
def test_wrong_values_are_refused_at_once(client: Client, options: dict[str, Any], why: str) -> None:
    """With the parameter's name."""
    model = Only(a=torch.ones(2))
    with pytest.raises(ArgumentError, match=why):
        ProximalStep(client, model, sgd(model), L1Norm(strength=1.0), **options)


def test_a_step_size_that_is_none_is_told_with_its_parameter(client: Client) -> None:
    """At the step that needs it."""
    model = Only(a=torch.ones(2))
    optimizer = sgd(model)
    ProximalStep(client, model, optimizer, L1Norm(strength=1.0), step_size=lambda group: None)
    with pytest.raises(ArgumentError, match="step_size of 'a' must be a number, got None"):
        optimizer.step()


@pytest.mark.parametrize("plan", [{"a": None}, None, {"a": 3}, {"b": L1Norm(strength=1.0)}, {}])
def test_a_plan_that_does_nothing_or_nothing_sensible_is_refused(client: Client, plan: Any) -> None:
    """All exempt, no regularizer, no match."""
    model = Only(a=torch.ones(2))
    with pytest.raises(ArgumentError):
        ProximalStep(client, model, sgd(model), plan)


def test_stochastic_rounding_has_another_seed_at_every_step(client: Client) -> None:
    """So that steps too small for the data type act in the mean, and a run can be done again."""

    def run(seed: int) -> torch.Tensor:
        model = Only(a=torch.ones(4096, dtype=torch.bfloat16))
        optimizer = sgd(model, lr=1.0)
        ProximalStep(
            client, model, optimizer, SquaredL2Norm(strength=2.0**-12), rounding="stochastic", seed=seed
        )
        for _ in range(16):
            optimizer.step()
        return model.a.detach().float()

    once, again, other = run(7), run(7), run(8)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    # 16 steps shrink by 16 · 2^-12; one of them moves an element by 2^-8 with probability 1/16.
    moved = (1.0 - once.mean().item()) / (16 * 2.0**-12)
    assert moved == pytest.approx(1.0, abs=4 * (15 / 16 / 4096) ** 0.5)
    assert set(once.unique().tolist()) > {1.0, 1 - 2.0**-8}


@pytest.mark.parametrize("name", ["_proximal_step", "_sharing", "_model_plan"])
def test_examples_in_docstrings_are_true(name: str) -> None:
    """They are run, and print what they say."""
    done = doctest.testmod(importlib.import_module(f"regularization_client.torch.{name}"))
    assert done.attempted
    assert not done.failed
