"""From a plan, a step of training, names and shapes to a layout: which rule is whose."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from regularization.patterns import EVERYTHING
from regularization.v1 import plan_pb2
from regularization_kernels.engine import MAX_NAME_BYTES, Joint, Layout, Segment
from regularization_kernels.errors import FieldMissing, FieldOutOfRange, RegularizationError

from ..units import KIB
from .binding import within
from .header_memory import VALUE_BYTES_KEPT
from .plans import Plan, Setting
from .refusals import PlanChanged, PlanInvalid, PlanNameUnmatched, PlanRuleUnmatched, PlanUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from regularization.v1 import layout_pb2
    from regularization_kernels.arrays import DataType

    from .header_bytes import ReadHeader

FIELD = "planned"
"""Name of the layout's field."""

_MATCHES_BETWEEN_CHECKS = 4096
"""A pattern of 256 bytes may take some 50 microseconds to find that it does not fit."""

_SMALL, _KEPT = 16 * KIB, 16
"""Bytes of a plan that is kept once it is read, and how many are."""

_ALONE = ("regularizer", "step_size", "box", "smoothing", "joint")
"""What a segment has in place of a plan."""

_OF_A_RULE = re.compile(rf"layout\.(segments|joints)\[(\d+)\]\.(?=({'|'.join(_ALONE)})\b)")


class PlannedLayout:
    """What a plan makes of segments at a step of training.

    Args:
        plan: The plan.
        step: The step, >= 0.
        charge: Called with the bytes that lists of the plan take in each segment, before they do.

    Attributes:
        plan: The plan.
        memory: These bytes, once there is a layout.
    """

    def __init__(self, plan: Plan, step: int, charge: Callable[[int], None]) -> None:
        self.plan = plan
        self.memory = 0
        self._charge = charge
        self._settings = plan.at(step)
        self._rules_of: dict[str, list[int | None]] = {"segments": [], "joints": []}

    def layout(
        self, data_type: DataType, messages: Iterable[layout_pb2.Segment], check: Callable[[], None]
    ) -> Layout:
        """The layout of segments of which names and shapes are known.

        Args:
            data_type: Of the elements.
            messages: The segments, to go through once.
            check: Called now and then; what it raises ends this.

        Raises:
            PlanInvalid: If a segment says more.
            PlanNameUnmatched: If no rule fits a segment.
            PlanRuleUnmatched: If a rule fits none.
            RegularizationError: If the layout breaks a rule.
        """
        names, segments = self.plan.names, []
        places = self._rules_of["segments"]
        between = max(_MATCHES_BETWEEN_CHECKS // max(len(names), 1), 1)
        for index, message in enumerate(messages):
            if index % between == 0:
                check()
            place = self._place(index, message)
            places.append(place)
            setting = Setting() if place is None else self._settings[place]
            joint = names[place] if place is not None and setting.is_joint else None
            segments.append(_segment(message, setting, joint))
            self.memory += VALUE_BYTES_KEPT * setting.list_values
        self._check_used([segment.name for segment in segments])
        if self.memory:
            self._charge(self.memory)
        joint_places = sorted({place for place in places if place is not None and self._is_joint(place)})
        self._rules_of["joints"] = list(joint_places)
        return Layout(data_type, tuple(segments), tuple(map(self._joint, joint_places)))

    @contextmanager
    def telling_rules(self) -> Iterator[None]:
        """Let errors name the rule's field in place of a segment's, which the caller has not set."""
        try:
            yield
        except PlanInvalid:
            raise
        except RegularizationError as error:
            found = _OF_A_RULE.match(error.field or "")
            if found is not None and error.field is not None:
                place = self._rules_of[found[1]][int(found[2])]
                error.field = f"layout.{FIELD}.plan.rules[{place}].{error.field[found.end() :]}"
            raise

    def _place(self, index: int, message: layout_pb2.Segment) -> int | None:
        """The place of a segment's rule; None where it is exempt for want of one."""
        with within(f"segments[{index}]", segment=message.name):
            for field in _ALONE:
                if message.HasField(field):  # type: ignore[arg-type] # each is one that has presence
                    raise PlanInvalid(f"must be unset where there is {FIELD}", field=field)
            if message.keeps_zeros:
                raise PlanInvalid(f"must be unset where there is {FIELD}", field="keeps_zeros")
            if len(message.name) > MAX_NAME_BYTES:
                return None  # the layout refuses it
            place = self.plan.patterns.first(message.name)
            if place is None and not self.plan.exempts_unmatched_names:
                text = f"must match a rule of the plan, got {message.name!r}"
                raise PlanNameUnmatched(text, field="name")
            return place

    def _is_joint(self, place: int) -> bool:
        return self._settings[place].is_joint

    def _joint(self, place: int) -> Joint:
        setting = self._settings[place]
        assert setting.regularizer is not None  # noqa: S101 - a joint rule has one
        return Joint(self.plan.names[place], setting.regularizer, setting.step_size)

    def _check_used(self, names: Sequence[str]) -> None:
        """Check that every rule is left a segment."""
        if self.plan.allows_unmatched_rules:
            return
        used = set(self._rules_of["segments"])
        for place, pattern in enumerate(self.plan.names):
            if place in used or pattern == EVERYTHING:
                continue
            left = "that earlier rules leave" if self.plan.patterns.match(place, names) else "of the layout"
            text = f"must match a segment {left}, got {pattern!r}"
            raise PlanRuleUnmatched(text, field=f"{FIELD}.plan.rules[{place}].pattern")


@lru_cache(_KEPT)
def _read(raw: bytes) -> Plan:
    """The plan of these bytes; a trainer sends the same at every step."""
    return Plan(plan_pb2.Plan.FromString(raw))


class HeldPlans(Protocol):
    """The plans that the server holds."""

    def find(self, name: str) -> Plan:
        """The plan of this name, as it is now.

        Raises:
            PlanUnknown: If there is none.
        """


def planned_layout(
    header: ReadHeader,
    check: Callable[[], None],
    charge: Callable[[int], None] = lambda size: None,
    held: HeldPlans | None = None,
) -> PlannedLayout | None:
    """What a header's plan makes of its segments; None where it has no plan.

    Args:
        header: The header, of which the segments are not looked at.
        check: Called now and then; what it raises ends this.
        charge: Called with the bytes that lists of the plan take in each segment, before they do.
        held: The plans that a header may name; None for none.

    Raises:
        FieldMissing: If the plan, or the step of training, is unset.
        FieldOutOfRange: If the step is negative.
        PlanUnknown: If there is no plan of the name.
        PlanChanged: If the plan has another digest than it must have.
        RegularizationError: If the plan breaks a rule.
    """
    if not header.message.layout.HasField(FIELD):
        return None
    message = header.message.layout.planned
    with within(f"header.layout.{FIELD}"):
        if not message.HasField("step"):
            raise FieldMissing("is required and unset", field="step")
        if message.step < 0:
            raise FieldOutOfRange(f"must be >= 0, got {message.step}", field="step")
        plan = _plan_of(message, check, held)
        if message.HasField("digest") and message.digest != plan.digest:
            text = f"must be that of the plan, which is {plan.digest}, got {message.digest!r}"
            raise PlanChanged(text, field="digest")
        return PlannedLayout(plan, message.step, charge)


def _plan_of(message: plan_pb2.PlanAtStep, check: Callable[[], None], held: HeldPlans | None) -> Plan:
    if message.HasField("plan"):
        raw = message.plan.SerializeToString(deterministic=True)
        with within("plan"):
            return _read(raw) if len(raw) <= _SMALL else Plan(message.plan, check)
    if not message.HasField("name"):
        raise FieldMissing("or name is required, and both are unset", field="plan")
    if held is None:
        raise PlanUnknown(
            f"must be that of a plan, and there are none here, got {message.name!r}", field="name"
        )
    with within("name"):
        return held.find(message.name)


def _segment(message: layout_pb2.Segment, setting: Setting, joint: str | None) -> Segment:
    name, shape = message.name, tuple(message.shape)
    if joint is not None:
        return Segment(name, shape, joint=joint, keeps_zeros=setting.keeps_zeros)
    return Segment(
        name,
        shape,
        setting.regularizer,
        setting.step_size,
        box=setting.box,
        smoothing=setting.smoothing,
        keeps_zeros=setting.keeps_zeros,
    )
