"""From a plan's message to its rules: what each does with its segments, at any step of training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import regularization_kernels
from regularization.patterns import Patterns
from regularization.v1.regularizers_pb2 import Regularizer as RegularizerMessage
from regularization_kernels import SCHEDULES, Piecewise, Schedule, nearest_whole
from regularization_kernels.engine import MAX_JOINTS, MAX_NAME_BYTES, Segment, require_zeros_kept
from regularization_kernels.errors import FieldMissing, FieldOutOfRange, RegularizationError

from .binding import construct, regularizer_of, within
from .refusals import PlanInvalid, ScheduleUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message
    from regularization.v1 import plan_pb2
    from regularization_kernels import Dropout
    from regularization_kernels.regularizer import Regularizer

MAX_RULES = 256
"""Rules of a plan."""

_LARGEST_WHOLE = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Setting:
    """What is done with a segment.

    Args:
        regularizer: None where it is exempt.
        step_size: None for the call's.
        box: See ``engine.Segment``.
        smoothing: See ``engine.Segment``.
        is_joint: Whether the regularizer is of all segments of its rule together.
        list_values: Numbers in the lists of the regularizer's message.
        keeps_zeros: See ``engine.Segment``.
    """

    regularizer: Regularizer | None = None
    step_size: float | None = None
    box: Any = None
    smoothing: float | None = None
    is_joint: bool = False
    list_values: int = 0
    keeps_zeros: bool = False


@dataclass(frozen=True, slots=True)
class _Scheduled:
    """A field of a regularizer's message that changes."""

    field: FieldDescriptor
    schedule: Schedule

    def set_in(self, message: RegularizerMessage, step: int) -> None:
        """Give the field its value at a step."""
        kind = message.WhichOneof("kind") or ""
        value: float = self.schedule.at(step)
        if self.field.cpp_type == self.field.CPPTYPE_INT64:
            value = nearest_whole(value)
            if abs(value) > _LARGEST_WHOLE:
                text = f"must be at most {_LARGEST_WHOLE}, got {value}"
                raise FieldOutOfRange(text, field=f"{kind}.{self.field.name}")
        setattr(getattr(message, kind), self.field.name, value)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule, checked."""

    setting: Setting
    """That of steps at which the regularizer holds, where nothing is scheduled."""
    every: int
    message: RegularizerMessage
    scheduled: tuple[_Scheduled, ...]
    freeze_from: int | None
    follows_step: bool
    """Whether the regularizer is of a step of training that it does not say: it is the call's."""

    def at(self, step: int) -> Setting:
        """What it does at a step of training."""
        setting = self.setting
        if self.freeze_from is not None and step >= self.freeze_from:
            setting = replace(setting, keeps_zeros=True)
        if step % self.every:
            return Setting(step_size=setting.step_size, keeps_zeros=setting.keeps_zeros)
        if self.scheduled:
            setting = replace(setting, regularizer=_scheduled_at(step, self.message, self.scheduled))
        if self.follows_step:
            setting = replace(setting, regularizer=replace(cast("Dropout", setting.regularizer), step=step))
        return setting


class Plan:
    """A plan, checked; an immutable value.

    Args:
        message: As a caller or a file says it.
        check: Called now and then; what it raises ends this.

    Attributes:
        digest: SHA-256 of what it says, in hexadecimal digits.
        patterns: Those of its rules.
        exempts_unmatched_names: Whether a segment that no rule fits is exempt.
        allows_unmatched_rules: Whether a rule may be left without segments.

    Raises:
        PlanInvalid: If it contradicts itself.
        RegularizationError: If a rule's parameters are not in their ranges, at some step.
    """

    __slots__ = (
        "_names",
        "_rules",
        "allows_unmatched_rules",
        "digest",
        "exempts_unmatched_names",
        "patterns",
    )

    def __init__(self, message: plan_pb2.Plan, check: Callable[[], None] = lambda: None) -> None:
        self._names = _patterns_of(message.rules)
        self._rules = tuple(_rule(index, rule, check) for index, rule in enumerate(message.rules))
        joints = [index for index, rule in enumerate(self._rules) if rule.setting.is_joint]
        if len(joints) > MAX_JOINTS:
            text = f"must be true for at most {MAX_JOINTS} rules, got more"
            raise PlanInvalid(text, field=f"rules[{joints[MAX_JOINTS]}].joint")
        self.patterns = Patterns(self._names)
        self.exempts_unmatched_names = message.exempt_unmatched_names
        self.allows_unmatched_rules = message.allow_unmatched_rules
        self.digest = sha256(message.SerializeToString(deterministic=True)).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """The names and patterns of the rules, in order."""
        return self._names

    def at(self, step: int) -> list[Setting]:
        """What each rule does at a step of training."""
        settings = []
        for index, rule in enumerate(self._rules):
            with within(f"rules[{index}]"):
                settings.append(rule.at(step))
        return settings


def _patterns_of(rules: Sequence[plan_pb2.PlanRule]) -> tuple[str, ...]:
    if len(rules) > MAX_RULES:
        raise PlanInvalid(f"must be at most {MAX_RULES}, got {len(rules)}", field="rules")
    patterns = tuple(rule.pattern for rule in rules)
    counted = Counter(patterns)
    for index, pattern in enumerate(patterns):
        path, size = f"rules[{index}].pattern", len(pattern.encode())
        if not pattern:
            raise FieldMissing("is required and unset", field=path)
        if size > MAX_NAME_BYTES:
            raise PlanInvalid(f"must have at most {MAX_NAME_BYTES} bytes, got {size}", field=path)
        if counted[pattern] > 1:
            raise PlanInvalid(f"must be of one rule only, got {pattern!r} again", field=path)
    return patterns


def _rule(index: int, message: plan_pb2.PlanRule, check: Callable[[], None]) -> _Rule:
    with within(f"rules[{index}]"):
        _check_alone(message)
        every = message.every if message.HasField("every") else 1
        if every < 1:
            raise FieldOutOfRange(f"must be >= 1, got {every}", field="every")
        scheduled = _all_scheduled(message)
        regularizer = None
        if message.HasField("regularizer") and not scheduled:
            with within("regularizer"):
                regularizer = regularizer_of(message.regularizer)
        for step in sorted({knot for each in scheduled for knot in each.schedule.knots}):
            check()
            _check_at(step, message.regularizer, scheduled)
        box = None
        if message.HasField("box"):
            with within("box"):
                box = construct(regularization_kernels.Box, message.box)
        step_size = message.step_size if message.HasField("step_size") else None
        smoothing = message.smoothing if message.HasField("smoothing") else None
        values = _values_in(message.regularizer)
        setting = Setting(regularizer, step_size, box, smoothing, message.joint, values)
        follows_step = message.regularizer.HasField("dropout") and not message.regularizer.dropout.HasField(
            "step"
        )
        rule = _Rule(setting, every, message.regularizer, scheduled, _freeze_from(message), follows_step)
        if rule.freeze_from is not None:
            _check_zeros_kept(rule)
        return rule


def _freeze_from(message: plan_pb2.PlanRule) -> int | None:
    if not message.HasField("freeze_from"):
        return None
    if message.freeze_from < 0:
        raise FieldOutOfRange(f"must be >= 0, got {message.freeze_from}", field="freeze_from")
    return message.freeze_from


def _check_zeros_kept(rule: _Rule) -> None:
    """Check that the regularizer leaves zeros at 0, whatever its numbers and its segments will be.

    Raises:
        ModifierUnsupported: If it does not.
    """
    setting = rule.at(0)
    segment = Segment("", (), setting.regularizer, box=setting.box, smoothing=setting.smoothing)
    require_zeros_kept(segment, "freeze_from")


def _check_alone(message: plan_pb2.PlanRule) -> None:
    """Refuse what a rule must not have beside something else."""
    if message.exempt == message.HasField("regularizer"):
        raise PlanInvalid(
            "must be unset where there is an exemption"
            if message.exempt
            else "must be set, or exempt must be true",
            field="regularizer",
        )
    if message.exempt and message.schedules:
        raise PlanInvalid("must be unset where there is an exemption", field="schedules")
    if not message.joint:
        return
    if message.exempt:
        raise PlanInvalid("must be false where there is an exemption", field="joint")
    for modifier in ("box", "smoothing"):
        if message.HasField(modifier):
            raise PlanInvalid("must be unset where the rule is joint", field=modifier)


def _values_in(message: Message) -> int:
    """How many numbers are in the lists of a message and of those inside it."""
    values = 0
    for field, value in message.ListFields():
        if field.is_repeated:
            values += len(value)
        elif field.message_type is not None:
            values += _values_in(value)
    return values


def _all_scheduled(message: plan_pb2.PlanRule) -> tuple[_Scheduled, ...]:
    found: dict[str, _Scheduled] = {}
    for index, each in enumerate(message.schedules):
        with within(f"schedules[{index}]"):
            field = _field_of(each.field, message.regularizer)
            if field.name in found:
                text = f"must be of one schedule only, got {field.name!r} again"
                raise PlanInvalid(text, field="field")
            found[field.name] = _Scheduled(field, _schedule_of(each))
    return tuple(found.values())


def _field_of(name: str, message: RegularizerMessage) -> FieldDescriptor:
    """The field of a regularizer's message that a schedule is for."""
    kind = message.WhichOneof("kind")
    if kind is None:
        regularizer_of(message)  # which says what it must be
    inner = getattr(message, kind or "")
    numbers = {
        field.name: field
        for field in inner.DESCRIPTOR.fields
        if not field.is_repeated and field.cpp_type in {field.CPPTYPE_DOUBLE, field.CPPTYPE_INT64}
    }
    chosen = name or next((usual for usual in ("strength", "fraction") if usual in numbers), "")
    if chosen not in numbers:
        known = ", ".join(numbers) or "it has none"
        got = repr(name) if name else "none"
        raise PlanInvalid(f"must be a number of {kind} ({known}), got {got}", field="field")
    if inner.HasField(chosen):
        text = f"must be unset in the regularizer where there is a schedule for it, got {chosen!r}"
        raise PlanInvalid(text, field="field")
    field: FieldDescriptor = numbers[chosen]
    return field


def _schedule_of(message: plan_pb2.Schedule) -> Schedule:
    kind = message.WhichOneof("kind")
    if kind is None or kind not in SCHEDULES:
        got = kind or "none that this server knows"
        raise ScheduleUnknown(f"must have one of {', '.join(SCHEDULES)}, got {got}")
    with within(kind):
        if kind == "piecewise":
            return _piecewise(message.piecewise)
        schedule: Schedule = construct(SCHEDULES[kind], getattr(message, kind))
        return schedule


def _piecewise(message: plan_pb2.PiecewiseSchedule) -> Piecewise:
    for index, piece in enumerate(message.pieces):
        if not piece.HasField("value"):
            raise FieldMissing("is required and unset", field=f"pieces[{index}].value")
    return Piecewise(tuple((piece.begin, piece.value) for piece in message.pieces))


def _scheduled_at(step: int, message: RegularizerMessage, scheduled: tuple[_Scheduled, ...]) -> Regularizer:
    complete = RegularizerMessage()
    complete.CopyFrom(message)
    with within("regularizer"):
        for each in scheduled:
            each.set_in(complete, step)
        return regularizer_of(complete)


def _check_at(step: int, message: RegularizerMessage, scheduled: tuple[_Scheduled, ...]) -> None:
    """Check the regularizer that the schedules give at a step.

    Raises:
        RegularizationError: If it is none; the text says at which step.
    """
    try:
        _scheduled_at(step, message, scheduled)
    except RegularizationError as error:
        error.text += f", by its schedule at step {step}"
        raise
