"""Regularizers by the types of a model's modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf import text_format
from google.protobuf.message import Message
from torch import nn

from .._errors import ArgumentError
from .._joint import Joint
from .._messages import REGULARIZERS
from .._modified import Modified
from .._request.layout import Regularizer
from ._trained import without_wrappers


@dataclass(frozen=True, slots=True)
class _Entry:
    regularizer: Regularizer
    why: str
    """What it comes from: a type, or a word that exempts."""


class ModelPlan(Mapping[str, Regularizer]):
    """The regularizer of each parameter of a model, by name; None where it is exempt.

    It is what ``plan_for`` returns, and a mapping that ``ProximalStep`` and ``Client`` take.
    """

    def __init__(self, entries: Mapping[str, _Entry]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Regularizer:
        return self._entries[name].regularizer

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        exempt = sum(each.regularizer is None for each in self._entries.values())
        return f"<ModelPlan: {len(self) - exempt} parameters regularized, {exempt} exempt>"

    def explain(self, model: nn.Module) -> str:
        """Return a table: what each parameter of a model has, and why.

        Args:
            model: The model; its parameters that the plan does not know have a "-".
        """
        lines = [["parameter", "shape", "by", "regularizer"]]
        for name, parameter in without_wrappers(model).named_parameters():
            entry = self._entries.get(name)
            shape = "x".join(map(str, parameter.shape)) or "scalar"
            words = ["-", "-"] if entry is None else [entry.why, _words(entry.regularizer)]
            lines.append([name, shape, *words])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def plan_for(
    model: nn.Module,
    rules: Mapping[type[nn.Module], Regularizer],
    *,
    exempt: Sequence[str] = ("bias", "norm"),
) -> ModelPlan:
    """Return a plan by the types of modules.

    A parameter takes the rule of the first type, in order, that the module which has it is an instance of.
    Tied parameters count once, under their first name.

    Args:
        model: The model.
        rules: Regularizers by type, None for exempt: as in ``Client.proximal_step``.
        exempt: Words. A parameter is exempt where one of them is in the last part of its name, or in the name
            of its module's type, in lower case: so "norm" is for the parameters of ``LayerNorm``.

    Raises:
        ArgumentError: If a rule is for no parameter, or a parameter has none; ``nn.Module`` as the last rule
            is for everything that is left.

    Example:
        >>> from torch import nn
        >>> from regularization_client import L1Norm
        >>> from regularization_client.torch import plan_for
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2, bias=False))
        >>> print(plan_for(model, {nn.Linear: L1Norm(strength=0.25)}).explain(model))
        parameter  shape  by      regularizer
        0.weight   3x4    Linear  l1_norm strength: 0.25
        0.bias     3      "bias"  exempt
        1.weight   3      "norm"  exempt
        1.bias     3      "bias"  exempt
        2.weight   2x3    Linear  l1_norm strength: 0.25
    """
    modules = dict(without_wrappers(model).named_modules())
    entries: dict[str, _Entry] = {}
    used: set[type[nn.Module]] = set()
    for name, _ in without_wrappers(model).named_parameters():
        path, _, last = name.rpartition(".")
        module = modules[path]
        kind = next((each for each in rules if isinstance(module, each)), None)
        word = next((each for each in exempt if _has(last, each) or _has(type(module).__name__, each)), None)
        if word is not None:
            entries[name] = _Entry(None, f'"{word}"')
        elif kind is not None:
            used.add(kind)
            entries[name] = _Entry(rules[kind], kind.__name__)
        else:
            raise ArgumentError(
                f"rules: no type fits {name!r}, whose module is a {type(module).__name__}; add a last "
                "nn.Module for everything that is left",
                segment=name,
            )
    for kind in rules:
        if kind not in used and kind is not nn.Module:
            raise ArgumentError(f"rules: no parameter of the model is left for {kind.__name__}")
    return ModelPlan(entries)


def _has(text: str, word: str) -> bool:
    return word.lower() in text.lower()


def _words(regularizer: Regularizer) -> str:
    """Return a regularizer in one line."""
    if regularizer is None:
        return "exempt"
    if isinstance(regularizer, Joint):
        return f"joint {_words(regularizer.regularizer)}"
    if isinstance(regularizer, Modified):
        box = f", box {{ {_fields(regularizer.box)} }}" if regularizer.box is not None else ""
        smoothing = f", smoothing: {regularizer.smoothing}" if regularizer.smoothing is not None else ""
        return f"{_words(regularizer.regularizer)}{box}{smoothing}"
    name = REGULARIZERS.get(regularizer.DESCRIPTOR.full_name, regularizer.DESCRIPTOR.name)
    return f"{name} {_fields(regularizer)}".rstrip()


def _fields(message: Message) -> str:
    return text_format.MessageToString(message, as_one_line=True).strip()
