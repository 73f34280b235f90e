"""Plans in the loop: by type of module, and schedules over the steps that are counted."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    ConstantSchedule,
    Joint,
    L1Norm,
    Modified,
    Plan,
    Planned,
    PlanRule,
    Ramp,
    RegularizationError,
    Regularizer,
    Schedule,
    SquaredL2Norm,
    TopK,
)

from tests.support.processes import serving

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from regularization_client.torch import ProximalStep, plan_for  # noqa: E402 - it needs PyTorch
from torch import nn  # noqa: E402 - likewise

L1 = Regularizer(l1_norm=L1Norm())


def warm_up(pattern: str, **options: Any) -> PlanRule:
    """An L1 norm whose strength goes from 0 to 1 in four steps."""
    ramp = Schedule(linear=Ramp(initial=0.0, final=1.0, begin=0, end=4))
    return PlanRule(pattern=pattern, regularizer=L1, schedules=[ramp], **options)


def pruning(end: int) -> Plan:
    """All weights together to a tenth, as Zhu and Gupta do it, at every fifth step."""
    cubic = Schedule(cubic=Ramp(initial=1.0, final=0.1, begin=0, end=end))
    rule = PlanRule(
        pattern="*.weight", regularizer=Regularizer(top_k=TopK()), schedules=[cubic], joint=True, every=5
    )
    return Plan(rules=[rule, PlanRule(pattern="*", exempt=True)])


def scalar(value: float = 10.0) -> nn.ParameterDict:
    """A model of two numbers."""
    return nn.ParameterDict({name: nn.Parameter(torch.tensor([value], dtype=torch.float64)) for name in "ab"})


def test_a_plan_is_gone_by_at_the_step_that_is_counted(client: Client) -> None:
    """From 0 on, or from where one says; the strength is that of the step."""
    for first in (0, 2):
        model = scalar()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        plan = Plan(rules=[warm_up("a"), PlanRule(pattern="b", exempt=True)])
        prox = ProximalStep(client, model, optimizer, Planned(plan, first) if first else plan)
        expected = 10.0
        for step in range(first, first + 4):
            optimizer.step()
            expected -= min(step / 4, 1.0)
            assert (model["a"].item(), model["b"].item()) == (expected, 10.0)
        assert prox.steps == first + 4


def test_step_sizes_of_groups_go_with_a_plan(client: Client) -> None:
    """Each group its own, though a call with a plan has but one; rules that are left out are no error."""
    model = scalar()
    optimizer = torch.optim.SGD([{"params": [model["a"]], "lr": 1.0}, {"params": [model["b"]], "lr": 0.5}])
    constant = Schedule(constant=ConstantSchedule(value=1.0))
    plan = Plan(rules=[PlanRule(pattern=name, regularizer=L1, schedules=[constant]) for name in "ab"])
    prox = ProximalStep(client, model, optimizer, plan)
    optimizer.step()
    assert (model["a"].item(), model["b"].item()) == (9.0, 9.5)
    assert set(prox.last.segments) == {"a", "b"}


def test_a_joint_rule_over_groups_with_other_step_sizes_is_refused(client: Client) -> None:
    """It is one vector with one step."""
    model = scalar()
    optimizer = torch.optim.SGD([{"params": [model["a"]], "lr": 1.0}, {"params": [model["b"]], "lr": 0.5}])
    rule = PlanRule(pattern="*", regularizer=Regularizer(top_k=TopK(count=1)), joint=True)
    ProximalStep(client, model, optimizer, Plan(rules=[rule]))
    with pytest.raises(
        ArgumentError,
        match="'a' and 'b' share a regularizer, so they must be of one data type, placed",
    ):
        optimizer.step()


@pytest.mark.parametrize(
    "plan",
    [
        Plan(rules=[warm_up("a")]),
        Plan(rules=[warm_up("*"), warm_up("c")]),
        Plan(rules=[warm_up("*"), warm_up("b.*")]),
    ],
)
def test_a_plan_that_does_not_fit_the_model_is_refused_at_once(client: Client, plan: Plan) -> None:
    """A name without a rule, and a rule without a name."""
    model = scalar()
    with pytest.raises(ArgumentError, match="plan"):
        ProximalStep(client, model, torch.optim.SGD(model.parameters(), lr=1.0), plan)


def test_what_is_wrong_with_a_schedule_the_server_says(client: Client) -> None:
    """At the first step, before anything changes."""
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    falling = Schedule(linear=Ramp(initial=1.0, final=-1.0, begin=0, end=4))
    ProximalStep(
        client, model, optimizer, Plan(rules=[PlanRule(pattern="*", regularizer=L1, schedules=[falling])])
    )
    with pytest.raises(RegularizationError, match="strength"):
        optimizer.step()
    assert model["a"].item() == 10.0


def test_a_cubic_schedule_ends_at_its_sparsity_over_all_layers(client: Client) -> None:
    """To the element: a tenth of all weights, rounded; biases stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 57), nn.ReLU(), nn.Linear(57, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    prox = ProximalStep(client, model, optimizer, pruning(40))
    for _ in range(43):
        optimizer.zero_grad()
        model(torch.randn(16, 64)).square().mean().backward()
        optimizer.step()
        if prox.steps == 41:
            kept = sum(each.nonzeros for name, each in prox.last.segments.items() if name.endswith("weight"))
            zeros = sum(int((each == 0).sum()) for name, each in model.named_parameters() if "weight" in name)
    total = 57 * 64 + 10 * 57
    assert kept == round(total / 10) == total - zeros
    assert all((model[place].bias != 0).all() for place in (0, 2))


def trained(client: Client, steps: int, resumed: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Train with momentum and a plan; the digest of the parameters, and a checkpoint."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80)
    prox = ProximalStep(client, model, optimizer, pruning(60))
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "prox": prox}
    if resumed is not None:
        for name, part in parts.items():
            part.load_state_dict(resumed[name])
    for step in range(prox.steps, steps):
        random = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(8, 16, generator=random)).square().sum().backward()
        optimizer.step()
        scheduler.step()
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest(), {name: part.state_dict() for name, part in parts.items()}


def test_a_run_that_was_cut_off_ends_with_the_same_bits(client: Client, tmp_path: Path) -> None:
    """Resumed from a checkpoint on disk, at a step that is no multiple of the plan's."""
    _, checkpoint = trained(client, 37)
    torch.save(checkpoint, tmp_path / "checkpoint")
    resumed = torch.load(tmp_path / "checkpoint", weights_only=True)
    assert trained(client, 80, resumed)[0] == trained(client, 80)[0]


def test_a_plan_that_the_server_holds_is_gone_by_its_name() -> None:
    """With one step size; with several the client cannot tell which rule is whose."""
    with tempfile.TemporaryDirectory(prefix="regularization-") as folder:
        plans = Path(folder) / "plans"
        plans.mkdir()
        (plans / "policy.toml").write_text('["*"]\nregularizer = "l1_norm"\nstrength = 1.0\n')
        with serving(Path(folder), "--plans", str(plans)) as server, Client(server.address) as client:
            model = scalar()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
            ProximalStep(client, model, optimizer, "policy")
            optimizer.step()
            assert model["a"].item() == 9.5
            groups = [{"params": [model["a"]], "lr": 1.0}, {"params": [model["b"]], "lr": 2.0}]
            optimizer = torch.optim.SGD(groups)
            ProximalStep(client, model, optimizer, "policy")
            with pytest.raises(ArgumentError, match="one step size where a plan is named"):
                optimizer.step()


def mixed() -> nn.Module:
    """Modules of several types, norms among them."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_types_of_modules_say_what_their_parameters_have() -> None:
    """The first type that fits; words exempt by name and by type."""
    plan = plan_for(
        mixed(),
        {nn.Linear: L1Norm(strength=0.5), nn.Module: SquaredL2Norm(strength=0.25)},
        exempt=("bias", "norm"),
    )
    assert dict(plan) == {
        "0.weight": SquaredL2Norm(strength=0.25),
        "0.bias": None,
        "1.weight": None,
        "1.bias": None,
        "3.weight": L1Norm(strength=0.5),
        "3.bias": None,
    }
    assert plan_for(mixed(), {nn.Module: L1Norm(strength=1.0)}, exempt=())["1.weight"] is not None


def test_types_that_are_left_out_are_told() -> None:
    """A parameter without a rule, and a rule without a parameter."""
    with pytest.raises(ArgumentError, match=r"'0.weight', whose module is a Conv2d"):
        plan_for(mixed(), {nn.Linear: L1Norm(strength=1.0)})
    with pytest.raises(ArgumentError, match="LSTM"):
        plan_for(mixed(), {nn.LSTM: None, nn.Module: L1Norm(strength=1.0)})


def test_a_plan_says_what_it_does() -> None:
    """Line by line, tied parameters once."""
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    model[1].weight = model[0].weight
    rules = {nn.Embedding: Modified(L1Norm(strength=0.5), box=Box(lower=0)), nn.Module: Joint(TopK(count=3))}
    assert plan_for(model, rules, exempt=()).explain(model).splitlines() == [
        "parameter  shape  by         regularizer",
        "0.weight   5x4    Embedding  l1_norm strength: 0.5, box { lower: 0.0 }",
        "1.bias     5      Module     joint top_k count: 3",
    ]


def test_a_plan_by_types_goes_with_an_optimizer_of_a_part(client: Client) -> None:
    """Of the parameters that it does not train, the plan has more than is needed."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    nn.init.ones_(model[1].weight)
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.5)
    ProximalStep(client, model, optimizer, plan_for(model, {nn.Linear: L1Norm(strength=1.0)}))
    optimizer.step()
    assert model[1].weight.tolist() == [[0.5, 0.5]]
