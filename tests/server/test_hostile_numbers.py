"""Every integer of the schema with values at which integers overflow: a documented error, or a whole answer.

The server is a process of its own, so that a crash is seen. After every few such calls an honest one gets the
bytes that it got at first.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from itertools import count, product
from math import prod
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from regularization.v1.layout_pb2 import ElementRange, Rounding, Segment
from regularization.v1.shared_memory_pb2 import SharedTensor

from tests.support import hostile_numbers as hostile
from tests.support.cases import CASES, Case
from tests.support.inputs import feasible, rng
from tests.support.instances import message_of
from tests.support.messages import METHODS, chunk, good_call, header, layout_of, request
from tests.support.outcomes import Outcome, outcome_of
from tests.support.processes import ServerProcess, channel_to, serving
from tests.support.shared_memory import (
    ALLOCATE,
    MALFORMED,
    NO_HANDLE,
    NO_ROOM,
    NO_SUCH_REGION,
    OK,
    RELEASE,
    TOO_MANY_REGIONS,
    HandOffClient,
    Memory,
    hand_off_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import grpc

SERVE = "from regularization_server.command import main; main()"
WITHOUT_LOOPS = f"import sys; sys.modules['numba'] = None; {SERVE}"
WITH_LOOPS = f"""
import numpy as np
from regularization_kernels import GroupLasso, Groups, compilation, proximal_step
compilation.SMALLEST = 1  # short vectors, too, are computed by loops
proximal_step(np.ones(12, np.float32), GroupLasso(strength=1.0, groups=Groups(size=2)), 0.1)
compilation.wait_until_compiled()
{SERVE}
"""
LOOPED = "group_lasso"
"""The row for which the latter has a loop, which is made of what all rows of groups have."""

SECONDS_TO_COMPILE = 200
COMBINATIONS = 300
ATTACKS_BETWEEN = 8
"""Hostile calls for each honest one."""

PATHS = {method: list(hostile.integers(METHODS[method].request.DESCRIPTOR)) for method in METHODS}


class Caller:
    """Makes hostile calls, and honest ones between them."""

    def __init__(self, channel: grpc.Channel, client: HandOffClient, cases: list[Case]) -> None:
        self._channel = channel
        self._cases = cases
        self._random = Random(0)  # noqa: S311 - the same numbers every time
        self._attacks = 0
        self._honest: dict[tuple[str, str], Outcome] = {}
        size = 4 * max(prod(case.shape) + 2 for case in cases)
        self._memory: Memory = client.allocate(2 * size)
        self._result = self._memory.at(size)

    def message(self, case: Case, method: str) -> Any:
        """An honest call, in which whatever may be set is."""
        segments = [
            Segment(name="case", shape=case.shape, regularizer=message_of(case.regularizer)),
            Segment(name="bias", shape=[2]),
        ]
        x = feasible(case, rng(case).normal(size=case.shape))
        fields = {} if method == "penalty" else {"rounding": Rounding(seed=7)}
        of, part = layout_of(*segments), ElementRange(begin=0, end=x.size + 2)
        return request(
            method,
            header=header(method, of, element_range=part, **fields),
            chunk=chunk([*x.ravel(), 0.5, -0.5]),
        )

    def in_shared_memory(self, message: Any, method: str) -> Any:
        """The same in shared memory."""
        self._memory.elements()[: len(message.chunk.parameters) // 4] = np.frombuffer(
            message.chunk.parameters, "<f4"
        )
        message.ClearField("chunk")
        result = {} if method == "penalty" else {"result": self._result}
        message.header.shared.CopyFrom(SharedTensor(parameters=self._memory.at(), **result))
        return message

    def cases_for(self, path: hostile.Path) -> list[Case]:
        """Cases in which the number is there, or may be."""
        names = [field.name for field in path]
        if "regularizer" not in names:
            return self._cases
        within = path[names.index("regularizer") + 1 :]
        of_kind = [case for case in self._cases if case.regularizer.name == within[0].name]
        return [case for case in of_kind if hostile.is_set(message_of(case.regularizer), within)] or of_kind

    def attack(self, method: str, case: Case, paths: list[hostile.Path], values: list[int | None]) -> None:
        """Make a call with these numbers in these places; without a value, with numbers that wrap around."""
        message = self.message(case, method)
        if any(field.name == "shared" for path in paths for field in path):
            message = self.in_shared_memory(message, method)
        for path, value in zip(paths, values, strict=True):
            if value is None:
                hostile.put_wrapping(message, path, self._random)
            else:
                hostile.put(message, path, value, self._random)
        got = outcome_of(self._channel, method, [message])
        assert got.is_documented, (got, message)
        if got.succeeded and not message.header.HasField("shared"):
            assert method == "penalty" or len(got.values) == len(message.chunk.parameters), (got, message)
        self._attacks += 1
        if self._attacks % ATTACKS_BETWEEN == 0:
            self.check_honest(case, method)

    def check_honest(self, case: Case, method: str) -> None:
        """Make the honest call; it gives what it gave at first."""
        got = outcome_of(self._channel, method, [self.message(case, method)])
        assert got == self._honest.setdefault((case.label, method), got)

    def attack_everywhere(self, share: int) -> int:
        """Try each value in each place, by one method after the other; how many calls that took.

        Of the values in a place one in ``2 * share`` is tried, another one in the next place.
        """
        calls, turns = 0, count()
        for at, method in enumerate(METHODS):
            for path in PATHS[method]:
                cases = self.cases_for(path)
                values: list[int | None] = [*hostile.near_values(path[-1])]
                values += [None] * (30 if path[-1].is_repeated else 0)
                for index, value in enumerate(values):
                    if cases and (index + len(path)) % len(METHODS) == at and next(turns) % (2 * share) == 0:
                        self.attack(method, cases[index % len(cases)], [path], [value])
                        calls += 1
        return calls

    def attack_in_combinations(self, combinations: int) -> None:
        """Try values in several places at once."""
        random = self._random
        for index in range(combinations):
            method = random.choice(list(METHODS))
            case = self._cases[index % len(self._cases)]
            paths = [path for path in PATHS[method] if case in self.cases_for(path)]
            some = random.sample(paths, random.randint(2, 3))
            self.attack(method, case, some, [random.choice(hostile.near_values(path[-1])) for path in some])


@contextmanager
def caller_of(folder: Path, program: str, cases: list[Case]) -> Iterator[tuple[Caller, ServerProcess]]:
    """What calls a server that a program runs."""
    command = (sys.executable, "-c", program)
    with ExitStack() as stack:
        server = stack.enter_context(serving(folder, command=command, seconds_to_start=SECONDS_TO_COMPILE))
        channel = stack.enter_context(channel_to(server.address))
        client = stack.enter_context(hand_off_of(server.address))
        yield Caller(channel, client, cases), server


@pytest.mark.timeout(2 * SECONDS_TO_COMPILE)
@pytest.mark.parametrize(
    ("program", "cases"),
    [
        pytest.param(WITHOUT_LOOPS, list(CASES), id="without_loops"),
        pytest.param(
            WITH_LOOPS, [case for case in CASES if case.regularizer.name == LOOPED], id="with_loops"
        ),
    ],
)
def test_numbers_that_overflow_do_no_harm(
    tmp_path: Path, program: str, cases: list[Case], share: int
) -> None:
    """Neither to the server nor to its other callers, whether groups are computed by loops or not."""
    with caller_of(tmp_path, program, cases) as (caller, server):
        assert caller.attack_everywhere(share) > 400 // share
        caller.attack_in_combinations(COMBINATIONS // share)
        assert server.process.poll() is None
        assert "Traceback" not in server.log


def test_numbers_of_the_hand_off_that_overflow_do_no_harm(
    process_client: HandOffClient, process_channel: grpc.Channel
) -> None:
    """Every operation with every size is allowed, or refused by its status, and the next one is served."""
    operations = [value for value in hostile.NEAR if 0 <= value < 1 << 32]
    for operation, size in product(operations, [value for value in hostile.NEAR if 0 <= value < 1 << 64]):
        reply, descriptors = process_client.ask(operation, size)
        for descriptor in descriptors:
            os.close(descriptor)
        if reply.status == OK:
            assert (operation, reply.size, len(descriptors)) == (ALLOCATE, size, 1)
            assert process_client.ask(RELEASE, handle=reply.handle)[0].status == OK
        else:
            assert reply.status in (MALFORMED, NO_ROOM, TOO_MANY_REGIONS, NO_SUCH_REGION)
            assert (reply.size, reply.handle, descriptors) == (0, NO_HANDLE, [])
    memory = process_client.holding(1.0, 2.0)
    assert memory.elements().tolist() == [1.0, 2.0]
    good_call(process_channel)


def test_no_integer_of_a_request_is_left_out() -> None:
    """Whatever type it has."""
    reals = {
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_FLOAT,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_BYTES,
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_MESSAGE,
    }
    found, messages = set(), [METHODS[method].request.DESCRIPTOR for method in METHODS]
    while messages:
        for field in messages.pop().fields:
            if field.type not in reals:
                found.add(field.full_name)
            if field.message_type is not None:
                messages.append(field.message_type)
    assert {path[-1].full_name for paths in PATHS.values() for path in paths} == found
