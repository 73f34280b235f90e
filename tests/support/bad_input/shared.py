"""Headers that say wrongly where elements lie in shared memory, of which no region is there."""

from __future__ import annotations

from regularization.v1.shared_memory_pb2 import SharedStretch, SharedTensor

from tests.support.bad_input.rows import STREAMING, Row, Stream, with_header

NOWHERE = SharedStretch(region=bytes(range(16)))


def with_stretches(**stretches: SharedStretch) -> Stream:
    """A stream whose header says that these lie in shared memory."""
    return with_header(shared=SharedTensor(**stretches))


SHARED = [
    Row("shared_without_parameters", with_stretches(), "FIELD_MISSING", "header.shared.parameters"),
    Row(
        "shared_result_without_parameters",
        with_stretches(result=NOWHERE),
        "FIELD_MISSING",
        "header.shared.parameters",
    ),
    *(
        Row(
            f"region_of_{name}",
            with_stretches(parameters=SharedStretch(region=handle), result=NOWHERE),
            "REGION_UNKNOWN",
            "header.shared.parameters.region",
        )
        for name, handle in (
            ("no_bytes", b""),
            ("one_byte", b"x"),
            ("zeros", bytes(16)),
            ("other_bytes", bytes(range(16))),
            ("too_many_bytes", bytes(17)),
            ("very_many_bytes", bytes(1 << 20)),
        )
    ),
    *(
        Row(
            f"shared_{operand}_nowhere",
            with_stretches(**{operand: NOWHERE}, parameters=NOWHERE, result=NOWHERE),
            "REGION_UNKNOWN",
            "header.shared.parameters.region",
            methods=STREAMING,
        )
        for operand in ("loss_gradients", "reference", "weights", "step_scales")
    ),
]
