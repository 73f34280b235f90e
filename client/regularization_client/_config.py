"""How a client is configured, beyond its target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from ._errors import ArgumentError
from ._part import Part

Figure = Literal["penalty", "nonzeros", "squared_distance"]
"""A figure that a call may compute beside its result."""


RoundingMode = Literal["nearest_even", "stochastic"]
"""How numbers become elements of the result's data type."""

Compression = Literal["gzip", "deflate"]
"""How gRPC compresses messages."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Encrypt the connection, and say who is who.

    Raises:
        TypeError: If there is a text, such as a path, in place of what a file holds.
        ValueError: If there is a certificate without its key, or a key without its certificate.
    """

    root_certificates: bytes | None = None
    """The authorities to trust, in PEM; None trusts those that grpc comes with."""

    certificate: bytes | None = None
    """The client's own certificate chain, in PEM, for servers that ask for one."""

    private_key: bytes | None = None
    """The key of ``certificate``, in PEM."""

    server_name: str | None = None
    """The name that the server's certificate must bear, where that is not the target's."""

    def __post_init__(self) -> None:
        for name in ("root_certificates", "certificate", "private_key"):
            if not isinstance(getattr(self, name), bytes | None):
                kind = type(getattr(self, name)).__name__
                raise TypeError(
                    f"{name} must be bytes in PEM, as Path(...).read_bytes() gives them, got {kind}"
                )
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key must be given together")


@dataclass(frozen=True, slots=True)
class Retry:
    """What to do where a server goes away, or asks to wait: replay the call from its start.

    That is after UNAVAILABLE, and where a call breaks off on the way without a word of the server: INTERNAL,
    UNKNOWN or CANCELLED without a reason, as proxies put it. The replay goes to another replica, if there is
    one. A call that is refused for want of memory, or of room for a call, is replayed where the server says
    after what time, and no sooner; whatever else a server refuses is not.

    Every method is a pure function of its request, so a replay cannot do harm. Only calls on shared memory
    are not always replayed: see ``Client.shared_array``. Pauses between attempts double from ``first_pause``
    to ``longest_pause``, and each is drawn at random between half of that and all of it; all attempts and
    pauses together stay within the call's timeout. By default seven attempts take 3.2 to 6.3 seconds, within
    which a server that was started again is found.

    Raises:
        ValueError: If a number is out of its range.
    """

    attempts: int = 7
    """How often to try in all, >= 1; 1 never replays."""

    first_pause: float = 0.1
    """Upper bound of the first pause, in seconds: >= 0, and at most ``longest_pause``."""

    longest_pause: float = 5.0
    """Upper bound of every pause, in seconds, >= ``first_pause``."""

    longest_silence: float | None = 10.0
    """Seconds, > 0, without a sign of life from one of several targets after which the call goes to another,
    and later ones go there first until it answers again; at most half of the timeout. None for no limit.

    A sign of life is that bytes come or go, or that the server's health service answers: it is asked when
    nothing has moved for 0.4 of that time. A long computation goes on; a server that is stopped, or out of
    reach, does not cost the whole timeout. One target alone is waited for."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be >= 1, got {self.attempts}")
        if not 0 <= self.first_pause <= self.longest_pause:
            raise ValueError(
                f"need 0 <= first_pause <= longest_pause, got {self.first_pause}, {self.longest_pause}"
            )
        if self.longest_silence is not None and not self.longest_silence > 0:
            raise ValueError(f"longest_silence must be > 0 seconds, or None, got {self.longest_silence}")


Gather = Callable[[bytes], Sequence[bytes]]
"""Gives the bytes that every part was given, this one's among them, in any order: an all-gather."""


class CallOptions(TypedDict, total=False):
    """Keywords that every call of ``Client`` takes."""

    timeout: float | None
    """Seconds that the whole call may take, replays included; None for no limit. Default: the client's."""

    progress: Callable[[int, int], object] | None
    """Called with the number of elements done and of all, now and then, maybe from another thread."""

    figures: Collection[Figure] | None
    """The figures to compute; None computes all of them."""

    by_segment: bool
    """Whether the answer has the figures of each array beside the total. Default: True. False for layouts of
    thousands of small arrays whose figures nobody looks at, or would not fit a message.
    """

    non_finite: Literal["reject", "propagate"]
    """What to do about NaN and infinity in the data: refuse the call (the default), or compute with them."""

    rounding: RoundingMode
    """How each element of the result is rounded: to nearest, ties to even, which is the default; or to one of
    its two neighbours at random, so that the mean is exact.

    With 16 bits or fewer, steps that are too small for the data type are lost to nearest; at random they act
    in expectation. Of float64 there is nothing to round.
    """

    seed: int
    """Where stochastic rounding takes its bits from, 0 to 2^64 - 1. It is required for that, and should be
    another for every step. The same seed gives the same result, over any number of streams and in chunks of
    any size.
    """

    sparse: bool
    """Whether a stretch of the result that is mostly zeros may come as a bitmap and the nonzeros alone.

    That is exact, to the bit. By default it may where the answer comes over a network: of float32 with 95 %
    zeros it is a twelfth of the bytes. On one host moving bytes takes no longer than packing them.
    """

    streams: int
    """Over how many connections to send a call's chunks at once, 1 to 64: for large calls where one stream
    leaves processors idle, or where replicas share the work. Default: 1. No bit depends on it.

    The call is cut at ends of arrays, and at multiples of 2^18 elements inside arrays whose regularizer works
    element by element, or needs a few figures of the whole array, as ``TopK`` does: these come first,
    in rounds for which the parameters are sent again. Where that gives fewer pieces, there are fewer streams.
    All share the timeout, each is replayed by itself, and if one fails, all end. Of a client with a
    ``channel`` of yours, all go over that. A call on shared arrays needs none of this.
    """

    part: Part | None
    """Which part of a larger whole the parameters are; None for all of it."""

    gather: Gather | None
    """An all-gather among the ranks that hold the other parts, for regularizers that need a few figures of a
    whole array, such as ``TopK``: with it, parts may cut such an array anywhere. All ranks must make the same
    call at the same time, each with its own part, and together with every element that is asked about.

    It is called once a round, of which there are a few, or none where no regularizer needs any: with bytes
    that mean something to the server alone, below 2 MiB, to return those of all ranks, in any order. If a
    rank cannot measure its part, the others get a ``PartFailedError``. Elements and counts have the bits of a
    single call on the whole, and sums as ``Part`` says. Such an array takes no reference.
    """


def check_names(options: CallOptions) -> None:
    """Check that there are no others.

    Raises:
        TypeError: If a keyword is none of the options.
    """
    for name in options:
        if name not in CallOptions.__annotations__:
            known = ", ".join(CallOptions.__annotations__)
            raise TypeError(f"unknown keyword {name!r}: the options of a call are {known}")


def checked_timeout(timeout: float | None) -> float | None:
    """Return a timeout in seconds, if it is one; None stands for no limit.

    Raises:
        ArgumentError: If it is not.
    """
    if timeout is not None and not timeout > 0:
        raise ArgumentError(f"timeout must be > 0 seconds, or None for no limit, got {timeout}")
    return timeout
