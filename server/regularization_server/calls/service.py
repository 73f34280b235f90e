"""The methods of the service: messages in, engine, messages out. Errors become statuses elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from regularization import wire
from regularization.v1 import regularization_service_pb2
from regularization.v1.regularization_service_pb2 import (
    CombineHeader,
    CombineResponse,
    ListPlansRequest,
    ListPlansResponse,
    ListRegularizersRequest,
    ListRegularizersResponse,
    MeasureHeader,
    MeasureResponse,
    PenaltyResponse,
)
from regularization_kernels.engine import Combination, Measuring, Method, Reservation, Run
from regularization_kernels.errors import RegularizationError, StreamTooLong

from ..contract.answers import Answer, combined
from ..contract.binding import within
from ..contract.catalogue import catalogue
from ..contract.header_bytes import read_header
from ..contract.headers import HEADERS, call_of, range_of, round_of
from ..contract.known_layouts import KnownLayouts
from ..contract.planned import planned_layout
from ..contract.summaries import LARGEST_MESSAGE, check_summary_fits, summary_of
from ..contract.tensors import chunk_of
from ..shared_memory.shared_calls import SHARED, SharedElements, SharedRun
from ..units import MIB
from .messages import chunks_of, first_of, statistics_of

if TYPE_CHECKING:
    from regularization.v1.summary_pb2 import Summary as SummaryMessage
    from regularization_kernels.arrays import DataType
    from regularization_kernels.engine import Call, Chunk, ResultChunk, Round, Summary

    from ..contract.header_bytes import ReadHeader
    from ..contract.planned import PlannedLayout
    from ..observability.plan_metrics import PlanMetrics
    from ..process.plan_folder import PlanFolder
    from ..shared_memory.regions import Regions
    from .context import CallContext

    Requests = Iterator[wire.Request]

SERVICE = regularization_service_pb2.DESCRIPTOR.services_by_name["RegularizationService"].full_name
"""Full name of the service."""

CHUNK = "chunk"
"""Name of the field of a message that a chunk stands in."""

LARGEST_SHARED_CHUNK = MIB
"""Bytes of the largest last chunk that shares a message with the summary, where both fit one."""

_FRAMES = 64
"""Bytes of a response message beside its elements and its summary: tags, lengths and an offset."""


T = TypeVar("T")
Fed = TypeVar("Fed", covariant=True)


class Taker(Protocol[Fed]):
    """What takes the chunks of a stream."""

    def feed(self, chunk: Chunk) -> Fed:
        """Take the next chunk."""


class _Opened(NamedTuple):
    """What a stream's first message asks for."""

    call: Call
    shared: SharedRun | None
    """Where its elements lie in shared memory, if they do."""
    may_be_sparse: bool
    """Whether the client takes sparse results."""
    plan_digest: str | None
    """That of its plan, if it has one."""
    named_plan: tuple[str, int] | None
    """The name of its plan and the step of training, if the server holds the plan."""
    requests: Requests
    """All messages, the first included."""


class _OpenedPart(NamedTuple):
    """What the first message of a part asks for."""

    asked: Round
    part: tuple[int, int]
    shared: SharedElements | None
    """Its elements in shared memory, if they lie there."""
    requests: Requests
    """All messages, the first included."""


class RegularizationService:
    """The service of the contract.

    Args:
        regions: The memory that is shared with clients; None where none is.
        threads: How many work at once on a call in shared memory.
        plans: The plans that headers may name; None for none.
        figures: Who is told what steps that named a plan gave; None for nobody.
    """

    def __init__(
        self,
        regions: Regions | None = None,
        threads: int = 1,
        plans: PlanFolder | None = None,
        figures: PlanMetrics | None = None,
    ) -> None:
        self._regions = regions
        self._threads = threads
        self._plans = plans
        self._figures = figures
        self._layouts = KnownLayouts()

    def penalty(self, requests: Requests, context: CallContext) -> PenaltyResponse:
        """Compute the penalty of a stream of chunks."""
        with Reservation(context.memory) as held:
            opened = self._opened(requests, context, Method.PENALTY, held)
            call = opened.call
            if opened.shared is not None:
                _check_no_elements(opened.requests, call.layout.data_type, call.begin)
                return PenaltyResponse(summary=self._computed(opened, opened.shared, context))
            with Run(call, context.memory, check=context.check) as run:
                for chunk in chunks_of(opened.requests):
                    feed(run, chunk, call.layout.data_type, context)
                return PenaltyResponse(summary=summary_of(run.finish(), opened.plan_digest))

    def gradient(self, requests: Requests, context: CallContext) -> Generator[Answer]:
        """Answer each chunk with its gradient."""
        return self._answers(requests, context, Method.GRADIENT)

    def proximal_step(self, requests: Requests, context: CallContext) -> Generator[Answer]:
        """Answer each chunk with its new parameters."""
        return self._answers(requests, context, Method.PROXIMAL_STEP)

    def measure(self, requests: Requests, context: CallContext) -> MeasureResponse:
        """Measure a part of a vector."""
        with Reservation(context.memory) as held:
            asked, part, shared, requests = self._opened_part(requests, context, held)
            threads = 1 if shared is None else self._threads
            with Measuring(asked, part, context.memory, threads, context.check) as measuring:
                if shared is None:
                    for chunk in chunks_of(requests):
                        feed(measuring, chunk, asked.data_type, context)
                else:
                    _check_no_elements(requests, asked.data_type, part[0])
                    shared.used(lambda chunk, _: measuring.feed(chunk))
                return MeasureResponse(statistics=measuring.finish())

    def combine(self, requests: Iterator[wire.CombineRequest], context: CallContext) -> CombineResponse:
        """Combine the statistics of parts."""
        with Reservation(context.memory) as held:
            raw, first = first_of(requests)
            asked = self._charged_round(read_header(raw, CombineHeader), context, held)
            with Combination(asked, context.memory, context.check) as parts:
                for index, statistics in statistics_of(chain([first], requests)):
                    _combine(parts, statistics, index)
                return combined(parts)

    def list_regularizers(self, request: ListRegularizersRequest) -> ListRegularizersResponse:
        """List the regularizers."""
        return catalogue()

    def list_plans(self, request: ListPlansRequest) -> ListPlansResponse:
        """List the plans that headers may name."""
        return ListPlansResponse(plans=() if self._plans is None else self._plans.listed())

    def _answers(self, requests: Requests, context: CallContext, method: Method) -> Generator[Answer]:
        with Reservation(context.memory) as held:
            opened = self._opened(requests, context, method, held)
            if opened.shared is None:
                yield from self._streamed(opened, context)
                return
            data_type, begin = opened.call.layout.data_type, opened.call.begin
            _check_no_elements([next(opened.requests)], data_type, begin)
            yield Answer(summary=self._computed(opened, opened.shared, context))
            _check_no_elements(opened.requests, data_type, begin, first=1)

    def _streamed(self, opened: _Opened, context: CallContext) -> Iterator[Answer]:
        call, may_be_sparse = opened.call, opened.may_be_sparse
        is_whole = False
        with Run(call, context.memory, check=context.check) as run:
            for chunk in chunks_of(opened.requests):
                for result in feed(run, chunk, call.layout.data_type, context):
                    if result.element_offset + result.values.size < call.end:
                        yield Answer(result, None, may_be_sparse)
                    else:
                        # All elements are there: the summary is known. It does not wait for the half-close,
                        # for a caller may wait for this answer first. What is sent yet is still checked.
                        is_whole = True
                        summary = self._told(opened, run.summary())
                        yield from _last_answers(result, summary, may_be_sparse)
            if not is_whole:
                yield Answer(summary=self._told(opened, run.finish()))

    def _computed(self, opened: _Opened, shared: SharedRun, context: CallContext) -> SummaryMessage:
        return self._told(opened, shared.compute(context.memory, self._threads, context.check))

    def _told(self, opened: _Opened, summary: Summary) -> SummaryMessage:
        """The message of a call's figures, of which those of a step are noted."""
        call, plan = opened.call, opened.named_plan
        if self._figures is not None and plan is not None and call.method is Method.PROXIMAL_STEP:
            self._figures.note(*plan, call, summary)
        return summary_of(summary, opened.plan_digest)

    def _opened(self, requests: Requests, context: CallContext, method: Method, held: Reservation) -> _Opened:
        """What the first message asks for; ``held`` is what its header takes of the budget."""
        raw, first = first_of(requests)
        header = read_header(raw, HEADERS[method], self._layouts)
        planned, call = self._charged(
            header, held, context, lambda planned: call_of(header, method, context.check, planned)
        )
        plan_digest = None if planned is None else planned.plan.digest
        check_summary_fits(call, plan_digest)
        message, shared = header.message, None
        # Where something was measured, the call's layout knows what is true of these elements alone.
        if header.layout_bytes is not None and not message.measurement:
            self._layouts.keep(header.layout_bytes, call.layout)
        if message.HasField("shared"):
            context.in_shared_memory = True
            shared = SharedRun(message.shared, call, self._regions)
            context.elements += call.end - call.begin
        may_be_sparse = getattr(message, "accept_sparse_results", False)
        # The header's bytes are not kept.
        named = None
        if planned is not None and message.layout.planned.HasField("name"):
            named = message.layout.planned.name, message.layout.planned.step
        return _Opened(call, shared, may_be_sparse, plan_digest, named, chain([first], requests))

    def _opened_part(self, requests: Requests, context: CallContext, held: Reservation) -> _OpenedPart:
        """What the first message of a part asks for; ``held`` is what its header takes of the budget."""
        raw, first = first_of(requests)
        header = read_header(raw, MeasureHeader)
        asked = self._charged_round(header, context, held)
        with within("header"):
            part = asked.element_range(range_of(header))
        message, shared = header.message, None
        if message.HasField("shared"):
            context.in_shared_memory = True
            shared = SharedElements(message.shared, part, asked.data_type, "measure", self._regions)
            context.elements += part[1] - part[0]
        # The header's bytes are not kept.
        return _OpenedPart(asked, part, shared, chain([first], requests))

    def _charged_round(self, header: ReadHeader, context: CallContext, held: Reservation) -> Round:
        _, asked = self._charged(
            header, held, context, lambda planned: round_of(header, context.check, planned)
        )
        return asked

    def _charged(
        self,
        header: ReadHeader,
        held: Reservation,
        context: CallContext,
        make: Callable[[PlannedLayout | None], T],
    ) -> tuple[PlannedLayout | None, T]:
        """What a header's plan is and what is made of it, the memory taken from the budget before.

        A small header takes none, but for the lists of a plan.
        """
        if header.memory:
            with within("header"):
                held.add(header.memory)
        planned = planned_layout(header, context.check, held.add, self._plans)
        made = make(planned)
        if header.memory:
            held.reduce_to(header.memory_kept + (0 if planned is None else planned.memory))
        return planned, made


def _combine(parts: Combination, statistics: bytes, message: int) -> None:
    """Take in the statistics of a message with this index in its stream."""
    try:
        parts.add(statistics)
    except RegularizationError as error:
        error.metadata["message"] = message
        raise


def feed(taker: Taker[T], message: wire.Chunk, data_type: DataType, context: CallContext) -> T:
    """Give the engine a chunk, and return what it gives for it. Chunks are fed here only."""
    with within(CHUNK):
        chunk = chunk_of(message, data_type)
    context.elements += chunk.parameters.size
    try:
        return taker.feed(chunk)
    except RegularizationError as error:
        if error.field is not None:  # the engine names fields of a chunk alone
            error.within(CHUNK)
        raise


def _check_no_elements(
    requests: Iterable[wire.Request], data_type: DataType, begin: int, first: int = 0
) -> None:
    """Go through messages of a call on shared memory, the first of which has this index in its stream."""
    for message in chunks_of(requests, first):
        with within(CHUNK):
            chunk = chunk_of(message, data_type)
            if chunk.parameters.size:
                raise StreamTooLong(
                    f"must be empty where {SHARED} is set, got {chunk.parameters.size} elements",
                    field="parameters",
                    element=chunk.element_offset,
                    expected=begin,
                    received=chunk.end,
                )


def _last_answers(result: ResultChunk, summary: SummaryMessage, may_be_sparse: bool) -> Iterator[Answer]:
    together = result.values.nbytes + summary.ByteSize() + _FRAMES
    if result.values.nbytes <= LARGEST_SHARED_CHUNK and together <= LARGEST_MESSAGE:
        yield Answer(result, summary, may_be_sparse)
    else:
        yield Answer(result, None, may_be_sparse)
        yield Answer(summary=summary)
