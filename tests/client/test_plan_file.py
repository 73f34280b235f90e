"""Plan files: a model's regularizers in TOML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from google.protobuf.message import Message
from regularization.v1 import regularizers_pb2
from regularization_client import ArgumentError, Box, Client, GroupLasso, Groups, L1Norm, Modified
from regularization_client._cli.plan_file import KEYS, SYNTAX, read_plan
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
    return read_plan(written(folder, f'["*"]\n{table}'), None).rules["*"]


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
WRONG = {
    'regularizer = "lasso"': "'lasso' is no regularizer; did you mean 'group_lasso' or 'fused_lasso'\\?$",
    "regularizer = 1": "1 is no regularizer: there are l1_norm, ",
    "strength = 1": "'strength' is no key: there are regularizer, exempt, step_size, box, smoothing, joint$",
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
    GROUPS + "groups = {sizes = 4}": "groups.sizes must be a table of values, got 4",
    GROUPS + "groups = {sizes = {values = 4}}": "groups.sizes.values must be a list, got 4",
    GROUPS + "groups = {sqrt_size = 1}": "groups.sqrt_size must be true or false, got 1",
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


def test_the_help_s_plan_is_one(target: str, tmp_path: Path) -> None:
    """The example in the help text is read as it stands."""
    model = tmp_path / "model.npz"
    np.savez(model, **MODEL, **{"embedding.rows": np.ones(10)})  # type: ignore[arg-type] # arrays by name
    example = SYNTAX.partition("\b\n")[2].replace("\b\n", "")
    shown = [line.strip() for line in CliRunner().invoke(main, ["prox", "--help"]).output.splitlines()]
    assert {line.strip() for line in example.splitlines()} <= set(shown)
    plan = written(tmp_path, example + '\n["*"]\nexempt = true\n')
    assert run(target, "prox", model, "-p", plan, "-s", 1).exit_code == 0
