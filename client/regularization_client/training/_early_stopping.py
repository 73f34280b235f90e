"""The request of early stopping, and its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message
from regularization.training.v1 import early_stopping_pb2 as v1

from .._errors import ArgumentError, ProtocolError

Rule = v1.Patience | v1.Goal | v1.MedianOfRuns | v1.StoppingRule
"""When to stop."""

_KINDS = {
    field.message_type.full_name: field.name
    for field in v1.StoppingRule.DESCRIPTOR.fields
    if field.message_type is not None
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of the values so far; true where it says to stop."""

    stop: bool
    """Whether to stop."""

    reason: str | None
    """Why: the name of the schema's ``StopReason``, such as "STOP_REASON_PATIENCE"; None where not."""

    best_index: int | None
    """Index of the best value up to the one that stops; None where there is none."""

    wait: int
    """How many values have been waited for a better one."""

    stop_index: int | None
    """Index of the value that stops; None where none does."""

    def __bool__(self) -> bool:
        """Whether to stop."""
        return self.stop


def request_bytes(rule: Rule, history: Iterable[float], completed_runs: Iterable[Sequence[float]]) -> bytes:
    """Return the request's bytes.

    Raises:
        ArgumentError: If the rule is none, or a value no number.
    """
    try:
        request = v1.CheckRequest(
            rule=_choice(rule),
            history=[float(value) for value in history],
            completed_runs=[v1.CompletedRun(values=map(float, run)) for run in completed_runs],
        )
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"history and completed_runs must be of numbers: {error}") from error
    return request.SerializeToString()


def read_answer(raw: bytes) -> Verdict:
    """Return the verdict in an answer.

    Raises:
        ProtocolError: If it is none.
    """
    try:
        answer = v1.CheckResponse.FromString(raw)
    except DecodeError as error:
        raise ProtocolError("the answer is no CheckResponse of the schema") from error
    if answer.stop is not answer.HasField("stop_index"):
        raise ProtocolError("the answer must say at which value training stops, where it does and only there")
    known = dict(v1.StopReason.items()).values()
    if answer.reason not in known or answer.stop is not bool(answer.reason):
        raise ProtocolError("the answer must say why training stops, where it does and only there")
    return Verdict(
        stop=answer.stop,
        reason=v1.StopReason.Name(answer.reason) if answer.stop else None,
        best_index=answer.best_index if answer.HasField("best_index") else None,
        wait=answer.wait,
        stop_index=answer.stop_index if answer.stop else None,
    )


def _choice(rule: Rule) -> v1.StoppingRule:
    if isinstance(rule, v1.StoppingRule):
        return rule
    kind = _KINDS.get(rule.DESCRIPTOR.full_name) if isinstance(rule, Message) else None
    if kind is None:
        names = ", ".join(name.rpartition(".")[2] for name in _KINDS)
        raise ArgumentError(f"a rule must be one of {names}, got {type(rule).__name__}")
    choice = v1.StoppingRule()
    # Copying alone would leave the choice unmade where every field is unset: the server is to name the field.
    getattr(choice, kind).SetInParent()
    getattr(choice, kind).CopyFrom(rule)
    return choice
