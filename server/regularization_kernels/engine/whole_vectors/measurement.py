"""What is known of the reduced vectors of a call, as it travels between rounds.

A vector that lies in parts is reduced in rounds. In each, all parts answer the same questions, and their
answers, merged, lead to the next. Nobody keeps anything in between: what is known by then is in the bytes
of a measurement, of a vector that is settled its rule, of another the answers that its search took so far.
They may come back as anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from ...errors import MeasurementIncomplete, MeasurementInvalid
from ...reductions.encoding import most_bytes, most_recorded, read_rule, read_sum, write_rule
from ...reductions.packing import Malformed, Packer, Unpacker
from ...reductions.resolved import Resolved
from ...reductions.tape import Tape, Unanswered
from ...regularizer import Locality
from ..methods import Method
from .resolution import Asked, Vector, resolution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...reductions.reduction import Reduction
    from ...reductions.statistics import Statistic
    from ..call import Call
    from ..prepared_segment import PreparedSegment

MOST_BYTES = (1 << 20) - 1024
"""Bytes of the longest measurement."""

VERSION = 2
"""The first byte of measurements and statistics: how the others are to be read."""

DIGEST_BYTES = 16
"""Bytes that say what measurements and statistics belong to."""

_ANSWERS = 800_000
"""Bytes of a round's answers, where several vectors are asked at once."""

_SETTLED = 16
"""At least the bytes of what is known of a vector that is settled, beside its rule: flags, and one term."""

MOST_GROUPS = 50_000
"""Groups of a call that are measured, all in all: so many have their figures in one measurement. Vectors
whose groups come after them stay whole."""

MOST_ELEMENTS = 1 << 39
"""Elements of a vector that is measured: what a census adds of so many does not overflow. A longer one stays
whole."""

_WHOLE_RECORD = 128 << 10
"""At least the bytes of a whole record: the first vector that is not settled always has room for its own."""


class Known(NamedTuple):
    """What is known of a vector."""

    record: bytes = b""
    """The answers that its search took."""
    found: Resolved | None = None
    """What it came to; None where it is not settled, and its record counts."""
    forward: bool | None = None
    """Whether its elements were measured after a forward step; None where that makes no difference yet."""


class Pending(NamedTuple):
    """A vector that is asked in a round."""

    number: int
    """Its place among the call's vectors."""
    vector: Vector
    asked: Asked


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known after some rounds.

    Args:
        call: The call, without a range.
        vectors: What it reduces.
        known: What is known of each of these.
        rounds: How many there were.
        owner: What tells this call from others.
    """

    call: Call
    vectors: tuple[Vector, ...]
    known: tuple[Known, ...]
    rounds: int
    owner: bytes = field(repr=False)

    @classmethod
    def read(cls, call: Call, data: bytes | memoryview) -> Measurement:
        """That of a call, from its bytes; there are none before the first round.

        Raises:
            MeasurementInvalid: If they are of another call, or no measurement.
        """
        vectors = vectors_of(call)
        owner = _owner(call, vectors)
        if not len(data):
            return cls(call, vectors, tuple(_next(call, each, Tape()) for each in vectors), 0, owner)
        if len(data) > MOST_BYTES:
            text = f"must have at most {MOST_BYTES} bytes, got {len(data)}"
            raise MeasurementInvalid(text, field="measurement")
        try:
            return cls._read(call, vectors, owner, Unpacker(data))
        except Malformed as error:
            raise _malformed(error) from error

    @classmethod
    def _read(cls, call: Call, vectors: tuple[Vector, ...], owner: bytes, unpacker: Unpacker) -> Measurement:
        if unpacker.raw(1)[0] != VERSION:
            raise Malformed("is of another version")
        if unpacker.raw(DIGEST_BYTES) != owner:
            text = "must be of the header's layout, method, step size, figures, rounding and policy"
            raise MeasurementInvalid(text, field="measurement")
        rounds = unpacker.integer()
        known = tuple(_read_known(unpacker, vector) for vector in vectors)
        unpacker.check_over()
        return cls(call, vectors, known, rounds, owner)

    def written(self) -> bytes:
        """Its bytes; none before the first round."""
        if not self.rounds:
            return b""
        packer = Packer()
        packer.integer(VERSION)
        packer.raw(self.owner)
        packer.integer(self.rounds)
        for each in self.known:
            _write_known(packer, each)
        return packer.packed()

    def digest(self) -> bytes:
        """What the statistics of the next round belong to."""
        return _digest(self.owner + self.written())

    @property
    def is_complete(self) -> bool:
        """Whether all vectors are settled."""
        return all(each.found is not None for each in self.known)

    def pending(self) -> tuple[Pending, ...]:
        """What the next round asks: of so many vectors that statistics and measurement keep their bounds.

        Raises:
            MeasurementInvalid: If a record is none.
        """
        pending: list[Pending] = []
        answers = 0
        size = sum(
            max(len(each.record), vector.reduction.most_bytes) + _SETTLED
            for vector, each in zip(self.vectors, self.known, strict=True)
        )
        for number, (vector, each) in enumerate(zip(self.vectors, self.known, strict=True)):
            if each.found is not None:
                continue
            asked = self._asked(vector, each)
            answers += most_bytes(asked.question, vector.size)
            size += most_recorded(asked.question)
            if pending and (answers > _ANSWERS or size > MOST_BYTES - _WHOLE_RECORD):
                break
            pending.append(Pending(number, vector, asked))
        return tuple(pending)

    def _asked(self, vector: Vector, known: Known) -> Asked:
        try:
            _replayed(self.call, vector, Tape(known.record))
        except Unanswered as end:
            return Asked(end.question, end.part)
        except Malformed as error:
            raise _malformed(error) from error
        raise MeasurementInvalid("must be what Combine gave: it goes on after its end", field="measurement")

    def after(self, answers: Iterable[tuple[Pending, Statistic, bool | None]]) -> Measurement:
        """What is known after the next round.

        Args:
            answers: What all elements of each pending vector answer, and whether after a forward step.

        Raises:
            GradientUndefined: If a penalty has no gradient there.
        """
        known = list(self.known)
        for (number, vector, _), statistic, forward in answers:
            known[number] = _next(self.call, vector, Tape(known[number].record, statistic), forward)
        return replace(self, known=tuple(known), rounds=self.rounds + 1)

    def applied(self, element_range: tuple[int, int] | None) -> Call:
        """The call on a range of the vector, of which all is known that its elements have in common.

        Raises:
            MeasurementIncomplete: If something is not known yet.
            ElementRangeInvalid: If the range leaves the layout, or cuts where it must not.
        """
        resolved = {}
        for vector, each in zip(self.vectors, self.known, strict=True):
            if each.found is None:
                text = f"must be complete: {self.rounds} rounds were not enough, another is due"
                raise MeasurementIncomplete(text, field="measurement", segment=vector.segments[0].name)
            resolved.update(vector.resolved(each.found, each.forward))
        return replace(
            self.call, layout=self.call.layout.with_resolved(resolved), element_range=element_range
        )


def vectors_of(call: Call) -> tuple[Vector, ...]:
    """What a call reduces wherever its elements lie, in the order of the first elements."""
    members: dict[tuple[bool, str], tuple[Reduction, list[PreparedSegment]]] = {}
    groups = 0
    for segment in call.layout.segments:
        if not segment.size or segment.locality is not Locality.REDUCTION or segment.prepared is None:
            continue
        reduction, joint = segment.prepared.reduction(), segment.joint
        if reduction is not None:
            if reduction.geometry is not None:
                groups += reduction.geometry[0]
                if groups > MOST_GROUPS:
                    continue
            key = (False, segment.name) if joint is None else (True, joint.name)
            members.setdefault(key, (reduction, []))[1].append(segment)
    vectors = [Vector(tuple(segments), reduction) for reduction, segments in members.values()]
    return tuple(vector for vector in vectors if vector.size <= MOST_ELEMENTS)


def _replayed(call: Call, vector: Vector, tape: Tape) -> Resolved:
    """What a vector comes to, by the answers of a tape.

    Raises:
        Unanswered: If these are not enough.
        Malformed: If they are none.
        GradientUndefined: If the penalty has no gradient there.
    """
    search = resolution(call, vector)
    try:
        asked = next(search)
        while True:
            asked = search.send(tape.answer(asked.question, asked.rule))
    except StopIteration as done:
        found: Resolved = done.value
        return found


def _next(call: Call, vector: Vector, tape: Tape, forward: bool | None = None) -> Known:
    """What is known of a vector by the answers of a tape."""
    try:
        return Known(b"", _replayed(call, vector, tape), forward)
    except Unanswered:
        return Known(tape.record(), None, forward)


def _write_known(packer: Packer, known: Known) -> None:
    packer.integer(known.found is not None)
    packer.optional(known.forward)
    if known.found is None:
        packer.block(known.record)
    else:
        write_rule(packer, known.found.rule)
        packer.doubles(known.found.penalty)


def _read_known(unpacker: Unpacker, vector: Vector) -> Known:
    is_settled, forward = unpacker.integer(1), unpacker.optional()
    if not is_settled:
        return Known(bytes(unpacker.block()), None, forward)
    rule = read_rule(unpacker)
    if rule.geometry not in (None, vector.reduction.geometry):
        raise Malformed("has figures of other groups")
    return Known(b"", Resolved(rule, read_sum(unpacker)), forward)


def _owner(call: Call, vectors: tuple[Vector, ...]) -> bytes:
    """A digest of all that the answers of a call depend on, beside its elements."""
    stepping = call.method is Method.PROXIMAL_STEP
    about = (
        VERSION,
        str(call.layout.data_type),
        call.layout.size,
        call.method.value,
        call.figures.penalty,
        call.propagate_non_finite,
        call.rounding.stochastic_seed,
    )
    parts = [repr(about)]
    for vector in vectors:
        step_size = vector.step_size_in(call) if stepping else None
        places = [(segment.start, segment.size, segment.regularizer) for segment in vector.segments]
        parts.append(repr((step_size, places, vector.reduction.geometry)))
    return _digest("\n".join(parts).encode())


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def _malformed(error: Malformed) -> MeasurementInvalid:
    return MeasurementInvalid(f"must be what Combine gave: it {error}", field="measurement")
