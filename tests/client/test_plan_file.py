"""Plan files: a model's regularizers in TOML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from google.protobuf.message import Message
from regularization.plan_file import KEYS
from regularization.v1 import regularizers_pb2
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    GroupLasso,
    Groups,
    Joint,
    L1Norm,
    Modified,
    Plan,
    Planned,
    PlanRule,
    Ramp,
    Regularizer,
    Schedule,
    TopK,
    load_plan,
)
from regularization_client._cli.plan_file import SYNTAX, read_plan
from regularization_client.command import main

KINDS = regularizers_pb2.Regularizer.DESCRIPTOR.oneofs_by_name["kind"].fields
RANDOM = np.random.default_rng(5)
MODEL = {
    "layers.0.weight": RANDOM.standard_normal((6, 4)),
    "layers.1.weight": RANDOM.standard_normal((4, 4)),
    "layers.0.bias": RANDOM.standard_normal(4),
    "head": RANDOM.standard_normal(5),
}
PLAN = """
["layers.*.weight"]
regularizer = "group_lasso"
strength = 0.5
groups = {axis = 0, sqrt_size = true}
step_size = 0.25

["*.bias"]
exempt = true

[head]
regularizer = "l1_norm"
strength = 1
"""


def written(folder: Path, text: str) -> Path:
    """A plan file of that text."""
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def setting(folder: Path, table: str) -> Any:
    """What the table of a plan says."""
    return read_plan(written(folder, f'["*"]\n{table}'), None).of(["w"])["w"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of a small model."""
    np.savez(tmp_path / "model.npz", **MODEL)  # type: ignore[arg-type] # arrays by name
    return tmp_path / "model.npz"


def run(target: str, command: str, model: Path, *arguments: object) -> Result:
    """Run the command in this process, against the shared server."""
    return CliRunner().invoke(main, [command, str(model), *map(str, arguments), "--target", target])


def test_a_model_by_a_plan(target: str, model: Path, tmp_path: Path) -> None:
    """It does what the same regularizers and step sizes by pattern do in a call."""
    output = tmp_path / "out.npz"
    done = run(target, "prox", model, "-p", written(tmp_path, PLAN), "-s", 0.1, "-o", output)
    assert done.exit_code == 0, done.output
    lasso = GroupLasso(strength=0.5, groups=Groups(axis=0, sqrt_size=True))
    with Client(target) as client:
        expected = client.proximal_step(
            MODEL,
            {"*.weight": lasso, "*.bias": None, "head": L1Norm(strength=1)},
            step_size={"*.weight": 0.25, "*": 0.1},
        )
    with np.load(output) as result:
        for name in MODEL:
            np.testing.assert_array_equal(result[name], expected.parameters[name])


@pytest.mark.parametrize("command", ["penalty", "gradient"])
def test_every_command_takes_a_plan(target: str, model: Path, tmp_path: Path, command: str) -> None:
    """Where a step size means nothing, it does no harm."""
    done = run(target, command, model, "--plan", written(tmp_path, PLAN), "--json")
    assert done.exit_code == 0, done.output


def test_every_regularizer_can_be_in_a_plan(tmp_path: Path) -> None:
    """By its name, whatever fields it has, and no field has the name of a key."""
    for field in KINDS:
        assert field.message_type is not None
        assert setting(tmp_path, f'regularizer = "{field.name}"').regularizer == getattr(
            regularizers_pb2.Regularizer(), field.name
        )
        assert not {each.name for each in field.message_type.fields} & set(KEYS)


RIGHT: dict[str, Message | None] = {
    "exempt = true": None,
    'exempt = false\nregularizer = "l1_norm"\nstrength = 0.1': L1Norm(strength=0.1),
    'regularizer = "l1_norm"\nstrength = inf': L1Norm(strength=float("inf")),
    'regularizer = "group_lasso"\ngroups = {sizes = [2, 3], weights = [1, 0.5]}': GroupLasso(
        groups=Groups(
            sizes=regularizers_pb2.GroupSizes(values=[2, 3]),
            weights=regularizers_pb2.GroupWeights(values=[1, 0.5]),
        )
    ),
    'regularizer = "slope"\nstrengths = [3, 2.5]': regularizers_pb2.Slope(
        strengths=regularizers_pb2.SlopeStrengths(values=[3, 2.5])
    ),
    'regularizer = "slope"\noscar.l1_strength = 1\noscar.pairwise_strength = 2': regularizers_pb2.Slope(
        oscar=regularizers_pb2.Oscar(l1_strength=1, pairwise_strength=2)
    ),
    'regularizer = "tree_group_lasso"\nnested_groups = [{size = 2}, {axis = 0}]': (
        regularizers_pb2.TreeGroupLasso(nested_groups=[Groups(size=2), Groups(axis=0)])
    ),
    'regularizer = "n_of_m"\nn = 2\nm = 4': regularizers_pb2.NOfM(n=2, m=4),
    'regularizer = "spectral_normalization"\ntarget = 1\nscale_up = true': (
        regularizers_pb2.SpectralNormalization(target=1, scale_up=True)
    ),
}


@pytest.mark.parametrize(("table", "expected"), RIGHT.items(), ids=RIGHT)
def test_tables(tmp_path: Path, table: str, expected: Message | None) -> None:
    """A regularizer's fields are keys, and their tables are the messages in it."""
    assert setting(tmp_path, table).regularizer == expected


L1 = 'regularizer = "l1_norm"\n'


def test_modifiers(tmp_path: Path) -> None:
    """Bounds and smoothing, on top of a regularizer or alone."""
    both = setting(tmp_path, L1 + "strength = 1\nbox = {lower = 0}\nsmoothing = 0.5").regularizer
    assert both == Modified(L1Norm(strength=1), box=Box(lower=0), smoothing=0.5)
    alone = setting(tmp_path, "exempt = true\nbox = {lower = -1, upper = 1}\nstep_size = 2")
    assert (alone.regularizer, alone.step_size) == (Modified(None, box=Box(lower=-1, upper=1)), 2.0)


def test_modifiers_reach_the_server(target: str, model: Path, tmp_path: Path) -> None:
    """The step ends inside of the bounds, and a smoothed norm has Huber's gradient."""
    plan = written(tmp_path, f'["*"]\n{L1}strength = 0.25\nbox = {{lower = -0.5, upper = 0.25}}')
    output = tmp_path / "out.npz"
    assert run(target, "prox", model, "-p", plan, "-s", 1, "-o", output).exit_code == 0
    with np.load(output) as result:
        for name, array in MODEL.items():
            shrunk = np.sign(array) * np.maximum(np.abs(array) - 0.25, 0)
            np.testing.assert_allclose(result[name], np.clip(shrunk, -0.5, 0.25))
    plan = written(tmp_path, f'["*"]\n{L1}strength = 0.25\nsmoothing = 2')
    assert run(target, "gradient", model, "-p", plan, "-o", output).exit_code == 0
    with np.load(output) as result:
        for name, array in MODEL.items():
            np.testing.assert_allclose(result[name], np.clip(array / 2, -0.25, 0.25))


GROUPS = 'regularizer = "group_lasso"\n'
TREE = 'regularizer = "tree_group_lasso"\n'
WRONG = {
    'regularizer = "lasso"': "'lasso' is no regularizer; did you mean 'group_lasso' or 'fused_lasso'\\?$",
    "regularizer = 1": "1 is no regularizer: there are l1_norm, ",
    "strength = 1": (
        "'strength' is no key: there are regularizer, exempt, step_size, box, smoothing, "
        "joint, every, schedules, freeze_from$"
    ),
    L1 + "box = 1": "box must be a table of lower, upper, got 1",
    L1 + "box = {low = 1}": "'box.low' is no key; did you mean 'box.lower'\\?$",
    L1 + "box = {minimum = 1}": "'box.minimum' is no key: there are lower, upper",
    L1 + "step_sizes = 1": "'step_sizes' is no key; did you mean 'step_size'\\?$",
    L1 + "smoothing = 0": "smoothing must be a number, finite and > 0, got 0",
    L1 + "strengt = 1": "'strengt' is no key; did you mean 'strength'\\?$",
    L1 + "lambda = 1": "'lambda' is no key: there are regularizer, exempt, step_size.*, strength$",
    L1 + 'strength = "1"': "strength must be a number, got '1'",
    L1 + "strength = true": "strength must be a number, got True",
    L1 + "strength = {x = 1}": "strength must be a number",
    L1 + "exempt = true": "either regularizer = or exempt = true",
    "step_size = 1": "either regularizer = or exempt = true",
    "exempt = 1": "exempt must be true or false, got 1",
    L1 + "step_size = -1": "step_size must be a number, finite and >= 0, got -1",
    L1 + "step_size = inf": "step_size must be a number, finite and >= 0, got inf",
    L1 + "step_size = true": "step_size must be a number, finite and >= 0, got True",
    L1 + f"strength = 0x1{'0' * 300}": "strength is out of its type's range$",
    L1 + f"step_size = 0x1{'0' * 300}": "step_size is out of its type's range$",
    L1 + "joint = 1": "joint must be true or false, got 1$",
    L1 + "joint = true\nsmoothing = 1": "joint = true goes with a regularizer, without box and smoothing$",
    "exempt = true\njoint = true": "joint = true goes with a regularizer, without box and smoothing$",
    GROUPS + "groups = 4": "groups must be a table of size, sizes, axis, sqrt_size, weights, got 4",
    GROUPS + "groups = {axes = 0}": "'groups.axes' is no key; did you mean 'groups.axis'\\?$",
    GROUPS + "groups = {size = 4.5}": "groups.size must be a whole number, got 4.5",
    GROUPS + f"groups = {{axis = {2**40}}}": "groups.axis is out of its type's range",
    TREE + "nested_groups = {size = 4}": "nested_groups must be a list, got {",
    TREE + "nested_groups = [4]": r"nested_groups\[0\] must be a table of size, sizes, .*, got 4",
    TREE + "nested_groups = [{size = 2}, {sise = 4}]": r"'nested_groups\[1\]\.sise' is no key; did you mean",
    GROUPS + "groups = {sizes = 4}": "groups.sizes must be a table of values, got 4",
    GROUPS + "groups = {sizes = {values = 4}}": "groups.sizes.values must be a list, got 4",
    GROUPS + "groups = {sqrt_size = 1}": "groups.sqrt_size must be true or false, got 1",
    L1 + "every = 0": "every must be >= 1, got 0$",
    L1 + "every = 1.5": "every must be a whole number, got 1.5$",
    L1 + "freeze_from = -1": "freeze_from must be >= 0, got -1$",
    L1 + "freeze_from = true": "freeze_from must be a whole number, got True$",
    L1 + "schedules = {linear = {}}": "schedules must be a list, got ",
    L1 + "schedules = [1]": "schedules\\[0\\] must be a table of field, constant, linear, .*, got 1$",
    L1 + "schedules = [{linar = {}}]": "'schedules\\[0\\].linar' is no key; did you mean .*linear'",
    L1 + "schedules = [{field = 1}]": "schedules\\[0\\].field must be a text, got 1$",
    L1
    + "schedules = [{linear = {}, cubic = {}}]": "'schedules\\[0\\].cubic' and .*linear' exclude each other$",
    GROUPS + "groups = {size = 4, axis = 0}": "'groups.axis' and 'groups.size' exclude each other",
}


@pytest.mark.parametrize(("table", "reason"), WRONG.items(), ids=WRONG)
def test_what_cannot_be_is_refused(tmp_path: Path, table: str, reason: str) -> None:
    """With the file, the pattern, the key, and what it may be."""
    with pytest.raises(ArgumentError, match=r"plan\.toml: \['\*'\]: ") as caught:
        setting(tmp_path, table)
    assert re.search(reason, str(caught.value))


def test_a_name_with_dots_needs_quotes(tmp_path: Path) -> None:
    """TOML takes it for tables in tables otherwise, and the message says what to do."""
    with pytest.raises(ArgumentError, match=r"\['layers'\]: '0' is no key.* has dots needs quotes"):
        read_plan(written(tmp_path, f"[layers.0.weight]\n{L1}"), None)


def test_a_setting_outside_of_tables_is_refused(tmp_path: Path) -> None:
    """Every key of the file is a pattern."""
    with pytest.raises(ArgumentError, match=r"\['step_size'\]: must be a table"):
        read_plan(written(tmp_path, "step_size = 1"), None)


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    """With the place."""
    with pytest.raises(ArgumentError, match=r"plan\.toml: .*line 1"):
        read_plan(written(tmp_path, "[layers.*.weight]"), None)
    for text in (f"[a]\nsize = {'9' * 5000}", "a = " + "[" * 100_000):
        with pytest.raises(ArgumentError, match=r"plan\.toml: "):
            read_plan(written(tmp_path, text), None)
    (tmp_path / "plan.toml").write_bytes(b"\xff")
    with pytest.raises(ArgumentError, match=r"plan\.toml: "):
        read_plan(tmp_path / "plan.toml", None)


def test_the_first_pattern_counts_and_a_name_before_it(tmp_path: Path) -> None:
    """As everywhere in the client."""
    tables = [("l*", 1.0), ("*.bias", 2.0), ("layers.0.bias", 3.0), ("*", 4.0)]
    text = "".join(f'["{pattern}"]\n{L1}strength = {strength}\n' for pattern, strength in tables)
    settings = read_plan(written(tmp_path, text), None).of([*MODEL, "a.bias"])
    strengths = [each.regularizer.strength for each in settings.values() if each.regularizer is not None]
    assert strengths == [1.0, 1.0, 3.0, 4.0, 2.0]


CHANGING = """
["*.weight"]
regularizer = "top_k"
joint = true
schedules = [{cubic = {initial = 1, final = 0.25, begin = 0, end = 100}}]
every = 10

[head]
regularizer = "l1_norm"
schedules = [{field = "strength", piecewise = [{begin = 0, value = 0}, {begin = 50, value = 0.125}]}]
step_size = 2

["*"]
exempt = true
"""


FAILURES: dict[str, tuple[str, list[str], int, str]] = {
    "a tensor that no pattern matches": (
        PLAN.replace("[head]", "[foot]"),
        ["-s", "1"],
        1,
        "plan.toml: 'foot' matches none of 'layers.0.weight'",
    ),
    "nothing for a tensor": (
        PLAN.partition("[head]")[0],
        ["-s", "1"],
        1,
        """nothing matches 'head'; add ["*"] with exempt = true to leave alone what no other fits""",
    ),
    "a name that is nearly one": (PLAN.replace("[head]", "[haed]"), ["-s", "1"], 1, "did you mean 'head'?"),
    "no step size": (PLAN, [], 1, "nothing says the step size of 'head'"),
    "a number out of range": (PLAN.replace("0.5", "-1"), ["-s", "1"], 1, "strength must be"),
    "no step of training": (
        CHANGING,
        ["-s", "1"],
        1,
        "['*.weight'] changes over steps of training: say which",
    ),
    "step sizes by pattern": (PLAN, ["-s", "head=1"], 2, "stand in the plan"),
    "a regularizer beside it": (PLAN, ["-r", "none"], 2, "--plan and --regularizer exclude each other"),
}


@pytest.mark.parametrize(("text", "arguments", "code", "reason"), FAILURES.values(), ids=FAILURES)
def test_failures_have_a_line_and_a_status(
    target: str, model: Path, tmp_path: Path, text: str, arguments: list[str], code: int, reason: str
) -> None:
    """2 where the command line is wrong, 1 otherwise."""
    done = run(target, "prox", model, "--plan", written(tmp_path, text), *arguments)
    assert done.exit_code == code
    assert reason in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1


def test_tensors_that_share_a_regularizer(target: str, model: Path, tmp_path: Path) -> None:
    """All of a table, as in a call; and of no other table."""
    plan = '["*weight"]\nregularizer = "top_k"\nfraction = 0.2\njoint = true\n["*"]\nexempt = true'
    output = tmp_path / "out.npz"
    done = run(target, "prox", model, "-p", written(tmp_path, plan), "-s", 1, "-o", output)
    assert done.exit_code == 0, done.output
    weights = np.concatenate([MODEL[name].ravel() for name in MODEL if name.endswith("weight")])
    least = np.sort(np.abs(weights))[-8]
    with np.load(output) as result:
        for name, array in MODEL.items():
            kept = np.where(np.abs(array) >= least, array, 0.0) if name.endswith("weight") else array
            np.testing.assert_array_equal(result[name], kept)


@pytest.mark.parametrize(
    ("step", "fraction", "strength"), [(0, 1.0, 0.0), (50, 0.34375, 0.125), (55, None, 0.125)]
)
def test_a_plan_that_changes_is_taken_at_a_step(
    target: str, model: Path, tmp_path: Path, step: int, fraction: float | None, strength: float
) -> None:
    """The file's figures are those of the regularizers that hold at the step, and so are the elements."""
    output = tmp_path / "out.npz"
    plan = written(tmp_path, CHANGING)
    done = run(target, "prox", model, "-p", plan, "--step", step, "-s", 1, "-o", output)
    assert done.exit_code == 0, done.output
    weights = None if fraction is None else Joint(TopK(fraction=fraction))
    with Client(target) as client:
        expected = client.proximal_step(
            MODEL,
            {"*.weight": weights, "head": L1Norm(strength=strength), "*": None},
            step_size={"head": 2.0, "*": 1.0},
        )
        same = client.proximal_step(MODEL, Planned(load_plan(plan), step), step_size=1.0)
    with np.load(output) as result:
        for name in MODEL:
            np.testing.assert_array_equal(result[name], expected.parameters[name])
            np.testing.assert_array_equal(same.parameters[name], expected.parameters[name])
    assert same.exact_penalty == expected.exact_penalty
    assert same.plan_digest is not None
    assert expected.plan_digest is None


def test_zeros_of_a_file_stay_from_a_step_on(target: str, tmp_path: Path) -> None:
    """Whatever the loss gradients beside it; without a step there is none that the plan is for."""
    x, slopes, output = tmp_path / "w.npy", tmp_path / "g.npy", tmp_path / "out.npy"
    np.save(x, np.array([0.0, 2.0, 0.0]))
    np.save(slopes, np.ones(3))
    plan = written(tmp_path, f'["*"]\n{L1}strength = 0.5\nfreeze_from = 3\n')
    arguments = ("-p", plan, "-s", 1, "--loss-gradients", slopes, "-o", output)
    for step, expected in {2: [-0.5, 0.5, -0.5], 3: [0.0, 0.5, 0.0]}.items():
        done = run(target, "prox", x, *arguments, "--step", step)
        assert done.exit_code == 0, done.output
        np.testing.assert_array_equal(np.load(output), expected)
    assert "changes over steps of training: say which" in run(target, "prox", x, *arguments).output


def test_a_plan_that_changes_needs_no_step_size_of_what_stays(
    target: str, model: Path, tmp_path: Path
) -> None:
    """Exempt tensors have none, and are left alone."""
    plan = written(tmp_path, CHANGING.replace("every = 10", "every = 10\nstep_size = 1"))
    assert run(target, "prox", model, "-p", plan, "--step", 7).exit_code == 0


def test_what_a_whole_plan_says_stands_before_its_tables(target: str, model: Path, tmp_path: Path) -> None:
    """Names without a rule are exempt, and rules without a name are left, where it says so."""
    text = f'["head*"]\n{L1}strength = 1\n[tail]\n{L1}strength = 1\n'
    flags = "exempt_unmatched_names = true\nallow_unmatched_rules = true\n"
    assert run(target, "penalty", model, "-p", written(tmp_path, text)).exit_code == 1
    done = run(target, "penalty", model, "-p", written(tmp_path, flags + text), "--json")
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["segments"]["layers.0.bias"]["penalty"] == 0
    assert figures["penalty"] == pytest.approx(np.abs(MODEL["head"]).sum())


def test_a_plan_that_changes_in_parts(target: str) -> None:
    """Cut into streams, a joint regularizer is measured by the plan, with the same bits."""
    big = {f"{name}.weight": RANDOM.standard_normal(300_000).astype(np.float32) for name in "ab"}
    rule = PlanRule(
        pattern="*",
        regularizer=Regularizer(top_k=TopK()),
        joint=True,
        schedules=[Schedule(linear=Ramp(initial=1, final=0, begin=0, end=10))],
    )
    with Client(target) as client:
        planned = Planned(Plan(rules=[rule]), 7)
        one = client.proximal_step(big, planned, step_size=1.0)
        several = client.proximal_step(big, planned, step_size=1.0, streams=3)
    assert one.nonzeros == several.nonzeros == 180_000
    for name in big:
        np.testing.assert_array_equal(one.parameters[name], several.parameters[name])


def test_plans_that_are_none_are_refused(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(ArgumentError, match="plan must be a Plan or a name, got int"):
        Planned(1, 1)  # type: ignore[arg-type]
    for step in (-1, 1 << 63):
        with pytest.raises(ArgumentError, match="step must be from 0 to"):
            Planned(Plan(), step)
    with pytest.raises(ArgumentError, match=r"plan\.toml: .*'strengt' is no key"):
        load_plan(written(tmp_path, f"[a]\n{L1}strengt = 1"))
    with (
        Client("localhost:1") as client,
        pytest.raises(ArgumentError, match="step_size must be one number beside a plan"),
    ):
        client.proximal_step(MODEL, Planned(Plan(), 1), step_size={"*": 1.0})


def test_the_help_s_plan_is_one(target: str, tmp_path: Path) -> None:
    """The example in the help text is read as it stands."""
    model = tmp_path / "model.npz"
    more = {"embedding.rows": np.ones(10), "blocks.0": np.ones(4)}
    np.savez(model, **MODEL, **more)  # type: ignore[arg-type] # arrays by name
    example = SYNTAX.partition("\b\n")[2].replace("\b\n", "")
    shown = [line.strip() for line in CliRunner().invoke(main, ["prox", "--help"]).output.splitlines()]
    assert {line.strip() for line in example.splitlines()} <= set(shown)
    plan = written(tmp_path, example + '\n["*"]\nexempt = true\n')
    assert run(target, "prox", model, "-p", plan, "-s", 1, "--step", 500).exit_code == 0
