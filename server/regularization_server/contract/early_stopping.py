"""From the messages of early stopping to the kernels' rules, and from their verdicts to the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError
from regularization.fields import BYTES, fields, has_unknown_fields, unknown_fields
from regularization.training.v1 import early_stopping_pb2 as v1
from regularization_kernels.errors import FieldMissing, FieldOutOfRange
from regularization_kernels.training import (
    MAX_RUNS,
    Goal,
    MedianOfRuns,
    Mode,
    Patience,
    StoppingRule,
    StopReason,
    Verdict,
)

from .binding import construct, within
from .header_bytes import SMALL
from .header_memory import MOST_FIELDS
from .refusals import FieldUnknown, MessageUnreadable, StoppingRuleUnknown

if TYPE_CHECKING:
    from regularization_kernels.engine import Reservation

RULES: dict[str, type[StoppingRule]] = {"patience": Patience, "goal": Goal, "median_of_runs": MedianOfRuns}
"""The rules, by the name of their field in ``StoppingRule``."""

MODES = {v1.Mode.Value(f"MODE_{mode.name}"): mode for mode in Mode}
"""Which values are better, by the contract's mode."""

REASONS = {reason: v1.StopReason.Value(f"STOP_REASON_{reason.name}") for reason in StopReason}
"""The contract's reasons."""

# Measured, rounded up: a value of eight bytes becomes one in protobuf, and a number of Python's in a tuple.
_BYTES_FOR_ONE, _RUN_BYTES = 6, 512


class Asked(NamedTuple):
    """What a request asks."""

    rule: StoppingRule
    history: tuple[float, ...]
    completed_runs: tuple[tuple[float, ...], ...]


def asked_in(raw: bytes, held: Reservation) -> Asked:
    """Read a request.

    Args:
        raw: Its bytes.
        held: What it may take of the budget, where it is not small; taken before it is read.

    Raises:
        RegularizationError: If the request breaks a rule.
    """
    try:
        number = v1.CheckRequest.COMPLETED_RUNS_FIELD_NUMBER
        found = fields(raw, 0, len(raw), MAX_RUNS + MOST_FIELDS)
        runs = sum(field.number == number and field.wire_type == BYTES for field in found)
        if len(raw) > SMALL:
            held.add(_BYTES_FOR_ONE * len(raw) + _RUN_BYTES * runs)
        message = v1.CheckRequest.FromString(raw)
        rule = _rule_of(message)
        if has_unknown_fields(message):
            for unknown in unknown_fields(v1.CheckRequest.FromString(raw)):
                subject = "" if unknown.message else "the request "
                raise FieldUnknown.at(unknown.message, unknown.number, subject)
    except DecodeError as error:
        raise MessageUnreadable(f"the request must be what Check takes: {error}") from error
    runs_of = tuple(tuple(run.values) for run in message.completed_runs)
    return Asked(rule, tuple(message.history), runs_of)


def answer_of(verdict: Verdict) -> v1.CheckResponse:
    """The answer that tells a verdict."""
    return v1.CheckResponse(
        stop=verdict.stop,
        reason=v1.STOP_REASON_UNSPECIFIED if verdict.reason is None else REASONS[verdict.reason],
        best_index=verdict.best_index,
        wait=verdict.wait,
        stop_index=verdict.stop_index,
    )


def _rule_of(message: v1.CheckRequest) -> StoppingRule:
    if not message.HasField("rule"):
        raise FieldMissing("is required and unset", field="rule")
    with within("rule"):
        kind = message.rule.WhichOneof("kind")
        if kind is None:
            raise StoppingRuleUnknown(
                f"must have one of {', '.join(RULES)}, got none that this server knows"
            ).within("kind")
        inner = getattr(message.rule, kind)
        with within(kind):
            rule: StoppingRule = construct(RULES[kind], inner, mode=_mode_of(inner.mode))
    return rule


def _mode_of(mode: v1.Mode.ValueType) -> Mode:
    if mode == v1.MODE_UNSPECIFIED:
        raise FieldMissing("is required and unset", field="mode")
    if mode not in MODES:
        known = ", ".join(map(v1.Mode.Name, MODES))
        raise FieldOutOfRange(f"must be one of {known}, got {mode}", field="mode")
    return MODES[mode]
