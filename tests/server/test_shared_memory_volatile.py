"""A client that writes to its shared memory during its calls harms nobody: neither a thread nor a caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import numpy as np
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT64, ParameterLayout, Segment
from regularization.v1.regularization_service_pb2 import NON_FINITE_POLICY_PROPAGATE

from tests.support.cases import CASES
from tests.support.instances import message_of
from tests.support.messages import METHODS, Failed, good_call
from tests.support.shared_memory import ALLOCATE, OK, HandOffClient, Memory, shared_call
from tests.support.volatile_memory import writing_to

if TYPE_CHECKING:
    from regularization.v1.shared_memory_pb2 import SharedStretch

    from tests.support.processes import ServerProcess

ROOM = 8 * max(int(np.prod(case.shape)) for case in CASES)
"""Bytes of the longest case's elements."""


def reason(
    channel: grpc.Channel, method: str, of: ParameterLayout, stretches: dict[str, SharedStretch]
) -> str | None:
    """Why a call on shared memory failed; None where it did not."""
    try:
        shared_call(channel, method, of, stretches, non_finite_policy=NON_FINITE_POLICY_PROPAGATE)
    except grpc.RpcError as error:
        return Failed.of(error).reason
    return None


def test_calls_on_memory_that_its_client_changes_end(
    server_process: ServerProcess, process_channel: grpc.Channel, process_client: HandOffClient
) -> None:
    """Every regularizer and method answers in time, or says that a gradient is undefined; so do others."""
    reply, (descriptor,) = process_client.ask(ALLOCATE, 2 * ROOM)
    assert reply.status == OK
    with writing_to(descriptor, 2 * ROOM):
        memory = Memory(reply.handle, descriptor, 2 * ROOM)
        for case in CASES:
            segment = Segment(name="w", shape=case.shape, regularizer=message_of(case.regularizer))
            of = ParameterLayout(data_type=DATA_TYPE_FLOAT64, segments=[segment])
            for method in METHODS:
                stretches = {"parameters": memory.at()}
                if method != "penalty":
                    stretches["result"] = memory.at(ROOM)
                got = reason(process_channel, method, of, stretches)
                assert got in (None, "ERROR_REASON_GRADIENT_UNDEFINED"), (case.label, method)
            good_call(process_channel)
    assert "Traceback" not in server_process.log
