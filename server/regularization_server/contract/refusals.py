"""The errors that the transport raises itself: messages, headers, plans, limits, tokens and shared memory."""

from __future__ import annotations

from regularization_kernels.errors import RegularizationError


class MessageUnreadable(RegularizationError):
    """The bytes of a message are not the message that the method takes."""


class FieldUnknown(RegularizationError):
    """A message of a request has a field that the schema, as this server knows it, does not have."""

    @classmethod
    def at(cls, path: str, number: int, subject: str = "", **metadata: int) -> FieldUnknown:
        """The error of a field with this number in the message at ``path``, ``subject`` before its text."""
        text = f"{subject}must have no field but those that this server knows, got one of number {number}"
        error = cls(text, field=path or None, number=number)
        error.metadata.update(metadata)
        return error


class HeaderMissing(RegularizationError):
    """The stream's first message has no header."""


class HeaderRepeated(RegularizationError):
    """A message after the first has a header."""


class RegularizerUnknown(RegularizationError):
    """No regularizer of that name."""


class PlanInvalid(RegularizationError):
    """A plan contradicts itself, or a segment says something beside it."""


class PlanNameUnmatched(RegularizationError):
    """No rule of the plan fits a segment's name."""


class PlanRuleUnmatched(RegularizationError):
    """A rule of the plan fits no segment."""


class PlanUnknown(RegularizationError):
    """The server holds no plan of that name."""


class PlanChanged(RegularizationError):
    """The plan's digest is another than the one that the caller asks for."""


class ScheduleUnknown(RegularizationError):
    """No schedule of that kind."""


class StoppingRuleUnknown(RegularizationError):
    """No rule of early stopping of that kind."""


class TransformationUnknown(RegularizationError):
    """No transformation of that kind."""


class ChunkSizeInvalid(RegularizationError):
    """A chunk's bytes are not whole elements."""


class SummaryTooLarge(RegularizationError):
    """The call's summary might be larger than a message that every client takes."""


class TokenMissing(RegularizationError):
    """The server asks for a bearer token, and the call shows none."""


class TokenRefused(RegularizationError):
    """The call shows something else than one bearer token of the server's."""


class TooManyCalls(RegularizationError):
    """As many calls as the server takes, or takes of one caller, are in flight.

    Args:
        text: The rule and the number that breaks it.
        scope: "caller" or "server": whose calls they are.
        seconds: After how many the call may come again.
    """

    def __init__(self, text: str, scope: str, seconds: float) -> None:
        super().__init__(text, scope=scope)
        self.seconds = seconds


class StreamIdle(RegularizationError):
    """The call waits for its caller for too long."""

    @classmethod
    def sender(cls, seconds: float) -> StreamIdle:
        """The error of a call whose next message does not come within so many seconds."""
        text = f"the next message must come within {seconds:g} seconds: send it, or smaller ones"
        return cls(text, limit_milliseconds=round(seconds * 1000))

    @classmethod
    def reader(cls, seconds: float) -> StreamIdle:
        """The error of a call whose answer is not taken within so many seconds."""
        text = f"an answer must be read within {seconds:g} seconds: read it, or send smaller messages"
        return cls(text, limit_milliseconds=round(seconds * 1000))


class CallTooLong(RegularizationError):
    """The call takes longer than a call may."""


class TooManyEmptyMessages(RegularizationError):
    """The stream has too many messages that carry nothing."""


class ShuttingDown(RegularizationError):
    """The process takes no new calls."""


class RegionUnknown(RegularizationError):
    """No such region of shared memory, or no longer."""


class RegionRangeInvalid(RegularizationError):
    """A stretch leaves its region, or does not begin at a multiple of the element size."""


class RegionOverlap(RegularizationError):
    """The result's stretch shares some bytes with another, but not all."""


class SharedMemoryUnavailable(RegularizationError):
    """The server offers no shared memory."""
