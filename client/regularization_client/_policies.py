"""What the parameters of a training are regularized with: by name and pattern, or by a plan at a step."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from google.protobuf.message import Message
from regularization.v1.plan_pb2 import Plan, PlanRule

from ._errors import ArgumentError
from ._joint import Joint
from ._modified import Modified
from ._planned import Planned, holds_at
from ._request.layout import Regularizer, Regularizers, StepSizes
from ._request.names import resolve

Policy: TypeAlias = Regularizers | Plan | str
"""A regularizer for all, or by name or pattern; a plan, or the name of one that the server holds."""

Kinds: TypeAlias = Mapping[str, Hashable]
"""What parameters of one call have in common, such as their data type, by name."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one call asks: of which parameters, with which regularizers and step sizes."""

    names: Sequence[str]
    regularizer: Regularizers
    step_size: StepSizes


class Rules(Protocol):
    """What parameters are regularized with."""

    def is_exempt(self, name: str, step: int) -> bool:
        """Whether a parameter is known to stay as it is at a step, so that it need not be asked about."""

    def regularizer(self, name: str) -> Regularizer:
        """Return what a parameter is regularized with, where it is not exempt.

        Raises:
            ArgumentError: If only the server knows.
        """

    def questions(self, step: int, kinds: Kinds, sizes: Mapping[str, float]) -> list[Question]:
        """Return the calls of a step, each of parameters of one kind.

        Args:
            step: Of training.
            kinds: The kind of each parameter.
            sizes: The step size of each parameter.

        Raises:
            ArgumentError: If what belongs together cannot be in one call.
        """


def rules_of(policy: Policy, names: Collection[str]) -> Rules:
    """Return the rules of a policy.

    Args:
        policy: The policy.
        names: Those of the parameters that it is for.

    Raises:
        ArgumentError: If a rule fits no name, or a name has no rule, or it is no policy.
    """
    digest = policy.digest if isinstance(policy, Planned) else None
    if isinstance(policy, Planned):
        policy = policy.plan
    if isinstance(policy, str):
        return HeldPlan(policy, digest)
    if isinstance(policy, Plan):
        if digest is not None:
            raise ArgumentError("digest is for a plan that the server holds: this one cannot change there")
        return InlinePlan(policy, names)
    return NamedRules(policy if isinstance(policy, Mapping) else {"*": policy}, names)


class NamedRules:
    """Regularizers by name or pattern."""

    def __init__(self, rules: Mapping[str, Regularizer], names: Collection[str]) -> None:
        self._regularizers = resolve(rules, names, "plan")
        for name, regularizer in self._regularizers.items():
            if regularizer is not None and not isinstance(regularizer, Message | Modified | Joint):
                kind = type(regularizer).__name__
                raise ArgumentError(
                    f"plan: what {name!r} has must be a regularizer, got {kind}", segment=name
                )
        if all(each is None for each in self._regularizers.values()):
            raise ArgumentError("plan: every parameter is exempt, so there is nothing to do")

    def is_exempt(self, name: str, step: int) -> bool:
        """See ``Rules``."""
        del step
        return self._regularizers[name] is None

    def regularizer(self, name: str) -> Regularizer:
        """See ``Rules``."""
        return self._regularizers[name]

    def questions(self, step: int, kinds: Kinds, sizes: Mapping[str, float]) -> list[Question]:
        """See ``Rules``."""
        del step
        together = _by(kinds)
        shared = {name: _shared(self._regularizers[name]) for name in kinds}
        _check_together(together, shared, "be of one data type and placed alike")
        return [
            Question(names, {name: self._regularizers[name] for name in names}, _sizes(names, sizes))
            for names in together
        ]


class InlinePlan:
    """A plan that goes with every call."""

    def __init__(self, plan: Plan, names: Collection[str]) -> None:
        self._rules: dict[str, PlanRule] = resolve(
            {rule.pattern: rule for rule in plan.rules},
            names,
            "plan",
            optional=names if plan.exempt_unmatched_names else (),
            all_used=not plan.allow_unmatched_rules,
        )
        self._plan = plan
        self._names = list(names)
        # Where some of the parameters are asked about, some of the rules may be left without any.
        self._of_some = Plan()
        self._of_some.CopyFrom(plan)
        self._of_some.allow_unmatched_rules = True

    def is_exempt(self, name: str, step: int) -> bool:
        """See ``Rules``."""
        rule = self._rules.get(name)
        return rule is None or not holds_at(rule, step) or not (rule.HasField("regularizer") or _bounds(rule))

    def regularizer(self, name: str) -> Regularizer:
        """See ``Rules``."""
        rule = self._rules[name]
        choice = rule.regularizer if rule.HasField("regularizer") else None
        if choice is not None and rule.joint:
            return Joint(choice)
        return Modified(choice, rule.box if rule.HasField("box") else None) if _bounds(rule) else choice

    def questions(self, step: int, kinds: Kinds, sizes: Mapping[str, float]) -> list[Question]:
        """See ``Rules``."""
        together = _by({name: (kind, sizes[name]) for name, kind in kinds.items()})
        joint = {name: self._joint(name) for name in kinds}
        _check_together(together, joint, "be of one data type, placed alike, and have one step size")
        return [Question(names, self._planned(names, step), sizes[names[0]]) for names in together]

    def _planned(self, names: Sequence[str], step: int) -> Planned:
        return Planned(self._plan if list(names) == self._names else self._of_some, step)

    def _joint(self, name: str) -> str | None:
        rule = self._rules.get(name)
        return rule.pattern if rule is not None and rule.joint else None


class HeldPlan:
    """A plan that the server holds, by its name."""

    def __init__(self, name: str, digest: str | None) -> None:
        self._name = name
        self._digest = digest

    def is_exempt(self, name: str, step: int) -> bool:
        """See ``Rules``: only the server knows."""
        del name, step
        return False

    def regularizer(self, name: str) -> Regularizer:
        """See ``Rules``."""
        raise ArgumentError(
            "where parameters are divided among ranks, what they are regularized with must be known here, "
            f"and {self._name!r} is a plan that the server holds: give the plan itself (load_plan)",
            segment=name,
        )

    def questions(self, step: int, kinds: Kinds, sizes: Mapping[str, float]) -> list[Question]:
        """See ``Rules``."""
        together = _by({name: (kind, sizes[name]) for name, kind in kinds.items()})
        if len(together) > 1:
            first, other = together[0][0], together[1][0]
            raise ArgumentError(
                f"parameters must be of one data type, placed alike and have one step size where a plan is "
                f"named, which {first!r} and {other!r} are not; give the plan itself (load_plan)",
                segment=other,
            )
        planned = Planned(self._name, step, self._digest)
        return [Question(names, planned, sizes[names[0]]) for names in together]


def _bounds(rule: PlanRule) -> bool:
    return rule.HasField("box") or rule.HasField("smoothing")


def _by(keys: Mapping[str, Hashable]) -> list[list[str]]:
    """Return names that have one key together, in their order."""
    together: dict[Hashable, list[str]] = {}
    for name, key in keys.items():
        together.setdefault(key, []).append(name)
    return list(together.values())


def _shared(regularizer: Regularizer) -> int | None:
    return id(regularizer) if isinstance(regularizer, Joint) else None


def _check_together(calls: Sequence[Sequence[str]], shared: Mapping[str, Hashable], rule: str) -> None:
    """Check that parameters that share a regularizer are in one call."""
    if len(calls) == 1:
        return
    first: dict[Hashable, tuple[int, str]] = {}
    for place, names in enumerate(calls):
        for name in names:
            other, known = first.setdefault(shared[name], (place, name))
            if shared[name] is not None and other != place:
                text = f"{known!r} and {name!r} share a regularizer, so they must {rule}"
                raise ArgumentError(text, segment=name)


def _sizes(names: Sequence[str], sizes: Mapping[str, float]) -> StepSizes:
    """Return the step sizes of some parameters: one number where they are all the same."""
    chosen = {name: sizes[name] for name in names}
    first = sizes[names[0]]
    return first if all(size == first for size in chosen.values()) else chosen
