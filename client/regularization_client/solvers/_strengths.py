"""A regularizer at a multiple of its strengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from google.protobuf.message import Message
from regularization.v1 import regularizers_pb2

from .._joint import Joint
from .._modified import Modified
from .._request.layout import Regularizer, Unplanned


def scaled(regularizer: Unplanned, factor: float) -> Unplanned:
    """Return a regularizer with all its strengths multiplied by a factor.

    A ``strength`` that is unset counts as 1. What has no strength, such as a set, stays as it is.

    Args:
        regularizer: As a call of the client takes it; it is not changed.
        factor: >= 0.
    """
    joints: dict[int, Joint] = {}
    if isinstance(regularizer, Mapping):
        return {name: _scaled(each, factor, joints) for name, each in regularizer.items()}
    return _scaled(regularizer, factor, joints)


def strengths_of(regularizer: Regularizer) -> list[float]:
    """Return the strengths of one regularizer; none where it has none."""
    inner = regularizer.regularizer if isinstance(regularizer, Joint | Modified) else regularizer
    return [] if inner is None else [value for _, _, value in _strengths(inner)]


def _scaled(regularizer: Regularizer, factor: float, joints: dict[int, Joint]) -> Regularizer:
    if isinstance(regularizer, Joint):
        # One and the same object is one regularizer of several arrays: so must be what is made of it.
        if id(regularizer) not in joints:
            joints[id(regularizer)] = Joint(_multiplied(regularizer.regularizer, factor))
        return joints[id(regularizer)]
    if isinstance(regularizer, Modified):
        inner = regularizer.regularizer
        return replace(regularizer, regularizer=None if inner is None else _multiplied(inner, factor))
    return _multiplied(regularizer, factor) if isinstance(regularizer, Message) else regularizer


def _multiplied(message: Message, factor: float) -> Message:
    multiplied = type(message)()
    multiplied.CopyFrom(message)
    for owner, name, value in list(_strengths(multiplied)):
        if name == "values":
            explicit = [each * factor for each in getattr(owner, name)]
            owner.ClearField(name)
            getattr(owner, name).extend(explicit)
        else:
            setattr(owner, name, value * factor)
    return multiplied


def _strengths(message: Message) -> Iterator[tuple[Message, str, float]]:
    """Yield where in a message, by which name, there is a strength, and how much it is.

    Explicit strengths, one for each rank, come as one, which is the largest.
    """
    if isinstance(message, regularizers_pb2.SlopeStrengths):
        yield message, "values", max(message.values, default=0.0)
        return
    for field in message.DESCRIPTOR.fields:
        is_set = field.has_presence and message.HasField(field.name)
        if field.message_type is not None:
            if is_set:
                yield from _strengths(getattr(message, field.name))
        elif field.name == "strength":
            yield message, field.name, getattr(message, field.name) if is_set else 1.0
        elif field.name.endswith("_strength") and is_set:
            yield message, field.name, getattr(message, field.name)
