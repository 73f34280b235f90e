"""Servers with one fault each, and vectors that must find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from regularization.v1 import errors_pb2, summary_pb2
from regularization_kernels import errors, schedules, summation
from regularization_kernels.engine import Operand
from regularization_kernels.formats import nearest, stochastic
from regularization_kernels.training import early_stopping
from regularization_kernels.training.augmentation import augmenting
from regularization_server.calls import messages, service
from regularization_server.contract import answers, plans, refusals, statuses

Change = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes:
        name: What is wrong.
        change: Puts it into the server of this process.
        vectors: Patterns of the names of some vectors, of which one at least must find it.
    """

    name: str
    change: Change
    vectors: str


def _wrapped(owner: Any, name: str, around: Callable[[Any], Any]) -> Change:
    """Put something around a function."""
    return lambda patch: patch.setattr(owner, name, around(getattr(owner, name)))


def _status(error: type[Exception], code: grpc.StatusCode, reason: int) -> Change:
    return lambda patch: patch.setitem(statuses.STATUSES, error, (code, reason))


def _one_bit(of: Any) -> Any:
    def bytes_of(values: Any) -> memoryview:
        raw = bytearray(of(values))
        raw[0] ^= 1
        return memoryview(raw)

    return bytes_of


def _no_negative_zero(of: Any) -> Any:
    return lambda values: of(np.where(values == 0, values.dtype.type(0), values))


def _other_offset(of: Any) -> Any:
    return lambda offset, *rest: of(offset + 1, *rest)


def _other_bit_order(of: Any) -> Any:
    def packed(elements: Any) -> Any:
        found = of(elements)
        if found is None:
            return None
        bits = np.unpackbits(np.frombuffer(found[1], np.uint8), bitorder="little")
        return found[0], np.packbits(bits, bitorder="big").data

    return packed


def _one_nonzero_more(figures: summary_pb2.Figures) -> None:
    figures.nonzeros += 1


def _last_bit(figures: summary_pb2.Figures) -> None:
    figures.penalty.value = float(np.nextafter(figures.penalty.value, 9.0))


def _rest_left_out(figures: summary_pb2.Figures) -> None:
    del figures.penalty.expansion[1:]


def _summarized(change: Callable[[summary_pb2.Summary], None]) -> Callable[[Any], Any]:
    def around(of: Any) -> Any:
        def summary_of(*arguments: Any) -> summary_pb2.Summary:
            summary: summary_pb2.Summary = of(*arguments)
            change(summary)
            return summary

        return summary_of

    return around


def _everywhere(change: Callable[[summary_pb2.Figures], None]) -> Callable[[Any], Any]:
    def changed(summary: summary_pb2.Summary) -> None:
        for figures in (summary.total, *(each.figures for each in summary.segments)):
            change(figures)

    return _summarized(changed)


def _convex_left_out(summary: summary_pb2.Summary) -> None:
    for each in summary.segments:
        each.ClearField("convex")


def _last_segment_left_out(summary: summary_pb2.Summary) -> None:
    del summary.segments[-1:]


def _without(operand: str) -> Callable[[Any], Any]:
    def around(of: Any) -> Any:
        def chunk_of(message: Any, data_type: Any) -> Any:
            setattr(message, operand, b"")
            return of(message, data_type)

        return chunk_of

    return around


def _alone(_: Any) -> Any:
    def last_answers(result: Any, summary: Any, may_be_sparse: bool) -> Any:
        yield answers.Answer(result, None, may_be_sparse)
        yield answers.Answer(summary=summary)

    return last_answers


def _at_once(of: Any) -> Any:
    def combined(parts: Any) -> Any:
        answer = of(parts)
        answer.complete = True
        return answer

    return combined


def _rounded_sum(_: Any) -> Any:
    def of(numbers: Any) -> summation.ExactSum:
        total = float(sum(numbers))
        return summation.ExactSum(total, (total,) if total else ())

    return of


def _wrapping(_: Any) -> Any:
    def into(whole: Any, out: Any) -> None:
        out[...] = whole.astype(np.int64).astype(out.dtype)

    return into


def _later(of: Any) -> Any:
    return lambda self, step: of(self, step + 1)


def _without_metadata(name: str) -> Callable[[Any], Any]:
    return lambda of: lambda error: {key: value for key, value in of(error).items() if key != name}


def _ignored(_: Any) -> Any:
    return lambda *arguments: None


INVALID = grpc.StatusCode.INVALID_ARGUMENT
MUTANTS = [
    Mutant("one bit of the results", _wrapped(answers, "bytes_of", _one_bit), "chunking/one_chunk/*"),
    Mutant("no result is -0", _wrapped(answers, "bytes_of", _no_negative_zero), "zeros/*"),
    Mutant(
        "the offset of result chunks", _wrapped(answers.wire, "Result", _other_offset), "chunking/one_chunk/*"
    ),
    Mutant("the bitmap's order of bits", _wrapped(answers.sparse, "packed", _other_bit_order), "sparse/*"),
    Mutant(
        "one nonzero too many", _wrapped(service, "summary_of", _everywhere(_one_nonzero_more)), "shapes/*"
    ),
    Mutant(
        "the last bit of the penalty", _wrapped(service, "summary_of", _everywhere(_last_bit)), "shapes/*"
    ),
    Mutant(
        "expansions cut short", _wrapped(service, "summary_of", _everywhere(_rest_left_out)), "rows/l1_norm/*"
    ),
    Mutant("sums that round", _wrapped(summation.ExactSum, "of", _rounded_sum), "rows/l1_norm/*"),
    Mutant("convex is unset", _wrapped(service, "summary_of", _summarized(_convex_left_out)), "shapes/*"),
    Mutant(
        "a segment less in summaries",
        _wrapped(service, "summary_of", _summarized(_last_segment_left_out)),
        "shapes/*",
    ),
    Mutant(
        "another reason",
        _status(errors.ChunkOutOfOrder, INVALID, errors_pb2.ERROR_REASON_STREAM_TOO_LONG),
        "errors/chunk_*/*",
    ),
    Mutant(
        "another code",
        _status(errors.GradientUndefined, INVALID, errors_pb2.ERROR_REASON_GRADIENT_UNDEFINED),
        "errors/gradient_*/*",
    ),
    Mutant(
        "another domain", lambda patch: patch.setattr(statuses, "DOMAIN", "regularization"), "errors/plan_*/*"
    ),
    Mutant(
        "the segment is not named",
        _wrapped(statuses, "_metadata", _without_metadata("segment")),
        "errors/value_*/*",
    ),
    Mutant(
        "the element is not named",
        _wrapped(statuses, "_metadata", _without_metadata("element")),
        "errors/value_*/*",
    ),
    Mutant(
        "fields without index",
        _wrapped(statuses, "clipped", lambda of: lambda text, size: of(text, size).replace("[0]", "")),
        "errors/layout_*/*",
    ),
    Mutant(
        "a second header is taken", _wrapped(messages, "_check_header", _ignored), "errors/header_repeated/*"
    ),
    Mutant(
        "unknown fields are taken", _wrapped(messages, "_check_known", _ignored), "errors/field_unknown/*"
    ),
    Mutant(
        "negative weights are taken",
        lambda patch: patch.setattr(Operand, "may_be_negative", property(lambda _: True)),
        "errors/operand_out_of_range/*",
    ),
    Mutant("the summary comes by itself", _wrapped(service, "_last_answers", _alone), "chunking/one_chunk/*"),
    Mutant(
        "another seed",
        _wrapped(stochastic, "_first_output", lambda of: lambda seed: of(seed + 1)),
        "rounding/stochastic_float32_*",
    ),
    Mutant("fixed point wraps", _wrapped(nearest, "saturate_into", _wrapping), "rounding/nearest_q*"),
    Mutant(
        "step scales have no effect",
        _wrapped(service, "chunk_of", _without("step_scales")),
        "operands/l1_norm/*",
    ),
    Mutant(
        "weights have no effect", _wrapped(service, "chunk_of", _without("weights")), "operands/l1_norm/*"
    ),
    Mutant(
        "weights of differences have no effect",
        _wrapped(service, "chunk_of", _without("weights")),
        "operands/total_variation/*",
    ),
    Mutant("schedules are a step late", _wrapped(schedules.Ramp, "at", _later), "plans/schedule_linear_*"),
    Mutant("rules hold a step early", _wrapped(plans._Rule, "at", _later), "plans/every_*"),
    Mutant(
        "ties are improvements",
        _wrapped(
            early_stopping.Patience,
            "_improves",
            lambda of: lambda self, value, on: value == on or of(self, value, on),
        ),
        "early_stopping/patience/ties_*",
    ),
    Mutant(
        "another partner",
        _wrapped(augmenting, "partners", lambda of: lambda key, *sizes: of(key + 1, *sizes)),
        "augmentation/transformations/mixup",
    ),
    Mutant("measured after one round", _wrapped(service, "combined", _at_once), "measured/l2_norm/*"),
    Mutant(
        "any digest will do",
        _status(refusals.PlanChanged, INVALID, errors_pb2.ERROR_REASON_PLAN_INVALID),
        "errors/plan_changed/*",
    ),
]
"""One bit, one figure, one reason, one field, one rule: each of these servers is wrong."""
