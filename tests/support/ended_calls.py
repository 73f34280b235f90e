"""Calls that end in each way that there is, and what their caller was told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from regularization.v1.layout_pb2 import Segment

from tests.support.messages import (
    SERVICE,
    TIMEOUT,
    Failed,
    OpenCall,
    chunk,
    header,
    l1_norm,
    layout_of,
    nuclear_norm,
    request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS_TO_BE_TOO_LATE = 1.0
"""Deadline of a call that is not done by it; it must have begun until then."""


class Told(NamedTuple):
    """How a call has ended, by what its caller knows."""

    status: str
    reason: str | None = None
    """Without its prefix."""


def called(channel: grpc.Channel, method: str, *stream: bytes) -> Told:
    """Make a call of any method, with messages of any bytes."""
    return _told(channel.stream_stream(f"/{method}")(iter(stream), timeout=TIMEOUT))


def good(channel: grpc.Channel) -> Told:
    """A call that goes well."""
    message = request("gradient", header=header("gradient"), chunk=chunk())
    return called(channel, f"{SERVICE}/Gradient", message.SerializeToString())


def refused(channel: grpc.Channel) -> Told:
    """One with a header that breaks a rule."""
    of = layout_of(Segment(name="w", shape=[8], regularizer=l1_norm(-1.0)))
    message = request("gradient", header=header("gradient", of))
    return called(channel, f"{SERVICE}/Gradient", message.SerializeToString())


def too_short(channel: grpc.Channel) -> Told:
    """One whose stream ends before its elements do."""
    message = request("gradient", header=header("gradient"), chunk=chunk((1, 2)))
    return called(channel, f"{SERVICE}/Gradient", message.SerializeToString())


def unreadable(channel: grpc.Channel) -> Told:
    """One whose message is none."""
    return called(channel, f"{SERVICE}/Penalty", b"\xff")


def without_header(channel: grpc.Channel) -> Told:
    """One that begins with elements."""
    return called(channel, f"{SERVICE}/Penalty", request("penalty", chunk=chunk((1, 2))).SerializeToString())


def too_large(channel: grpc.Channel) -> Told:
    """One that must have more at once than there is."""
    of = layout_of(Segment(name="w", shape=[1 << 20, 1 << 20], regularizer=nuclear_norm()))
    message = request("penalty", header=header("penalty", of), chunk=chunk((1, 2)))
    return called(channel, f"{SERVICE}/Penalty", message.SerializeToString())


def unknown(channel: grpc.Channel) -> Told:
    """One of a method that there is not."""
    return called(channel, f"{SERVICE}/Guess", b"")


def cancelled(channel: grpc.Channel) -> Told:
    """One that its client leaves in the middle."""
    half = OpenCall(channel)
    half.cancel()
    return Told(str(half.answers.code().name))


def too_late(channel: grpc.Channel) -> Told:
    """One that is not done by its deadline."""
    half = OpenCall(channel, SECONDS_TO_BE_TOO_LATE)
    told = _told(half.answers)
    half.close()
    return told


KINDS: tuple[Callable[[grpc.Channel], Told], ...] = (
    good,
    refused,
    too_short,
    unreadable,
    without_header,
    too_large,
    unknown,
    cancelled,
    too_late,
)
"""One of each."""


def by_status(told: Counter[Told]) -> Counter[str]:
    """How many calls have ended with each status."""
    return _summed(told, lambda each: each.status)


def by_reason(told: Counter[Told]) -> Counter[str]:
    """How many have each reason, of those that have one."""
    return _summed(told, lambda each: each.reason)


def _summed(told: Counter[Told], key: Callable[[Told], str | None]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for each, count in told.items():
        if (of := key(each)) is not None:
            sums[of] += count
    return sums


def _told(ended: Any) -> Told:
    try:
        for _ in ended:
            pass
    except grpc.RpcError as error:
        failed = Failed.of(error)
        return Told(failed.code.name, (failed.reason or "").removeprefix("ERROR_REASON_") or None)
    return Told(str(ended.code().name))
