"""Messages of an answer that are none."""

from __future__ import annotations

import pytest
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2
from regularization_client import ProtocolError
from regularization_client._request.method import PENALTY, PROXIMAL_STEP
from regularization_client._transport.answers import read


@pytest.mark.parametrize(
    "damaged", [b"\x0a", b"\x0a\x05ab", b"\x0a\x02\x12\x05", b"\x13", b"\x12\x01\x0f", b"\xff" * 12]
)
def test_bytes_that_are_no_message_are_refused(damaged: bytes) -> None:
    """With the package's own error."""
    with pytest.raises(ProtocolError):
        read(PROXIMAL_STEP, damaged)
    with pytest.raises(ProtocolError):
        read(PENALTY, b"\x0a\x05ab")


def test_the_answer_to_penalty_is_a_summary() -> None:
    """Without one, there is none."""
    summary = summary_pb2.Summary(total=summary_pb2.Figures(elements=7))
    assert read(PENALTY, service.PenaltyResponse(summary=summary).SerializeToString()) == (None, summary)
    assert read(PENALTY, b"") == (None, None)
