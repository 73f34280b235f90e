"""The work in another process: by what others offer, and by ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from regularization_client import Client, L1Norm

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH, Vector
from benchmarks.harness.cases import AnyVector, Case
from benchmarks.harness.measure import CHUNK_BYTES
from benchmarks.harness.requests import METHOD, proximal_step_requests
from benchmarks.harness.servers import (
    ServerProcess,
    module_server,
    regularization_server,
    started,
    takes_connections,
)
from benchmarks.rivals import protobuf_services, socket_echo
from benchmarks.rivals.echo import ABSORB_METHOD, EchoClient, echo_server

REPEATED_SHARE = 16
"""``repeated float`` is so slow that it gets only this part of the vector."""

SPARSE_STRENGTH = 1.96
"""95 % of normally distributed numbers are nearer to 0."""

NO_CHANGE = 1e-9
"""A step size that leaves what is changed in place nearly as it is, for the next round."""

ECHO, ECHO_ARRAYS = "identity echo", "identity echo of arrays"
FLIGHT, SOCKET = "Arrow Flight", "Unix socket"
REPEATED, BYTES = "protobuf repeated float", "protobuf bytes"
WIRE, WIRE_FIGURES, WIRE_TWO = "wire", "wire, figures", "wire, figures, 2 streams"
WIRE_SPARSE = "wire, figures, 95% zeros"
WIRE_HALF = "wire, figures, float16"
SHARED, SHARED_FIGURES = "shared memory", "shared memory, figures"
IN_PLACE, IN_PLACE_FIGURES = "shared, in place", "shared, in place, figures"
PENALTY_TWO = "wire, 2 streams"
OURS = (
    WIRE,
    WIRE_FIGURES,
    WIRE_TWO,
    WIRE_SPARSE,
    WIRE_HALF,
    PENALTY_TWO,
    SHARED,
    SHARED_FIGURES,
    IN_PLACE,
    IN_PLACE_FIGURES,
)


class _PlainClient(Protocol):
    """What the clients of the other servers have in common."""

    def proximal_step(self, parameters: Vector, out: Vector) -> None:
        """Take the step."""

    def penalty(self, parameters: Vector) -> float:
        """The penalty."""


class Remote:
    """Servers, each a process of its own, clients, and the vector.

    Args:
        stack: Ends them.
        parameters: The vector.
        out: Where results go.
    """

    def __init__(self, stack: ExitStack, parameters: Vector, out: Vector) -> None:
        self._parameters = parameters
        self._out = out
        values = parameters.view(np.uint8)
        begins = range(0, values.size, CHUNK_BYTES)
        self._chunks = [values[begin : begin + CHUNK_BYTES].tobytes() for begin in begins]
        self._echo_server = stack.enter_context(started(echo_server()))
        self._echo = stack.enter_context(EchoClient(self._echo_server.address))
        self._absorb = stack.enter_context(EchoClient(self._echo_server.address, ABSORB_METHOD))
        self._plain = dict(_plain_clients(stack))
        self.server = stack.enter_context(started(regularization_server))
        self._client = stack.enter_context(Client(self.server.address))
        self._bare = stack.enter_context(EchoClient(self.server.address, METHOD))
        shapes = dict.fromkeys(("parameters", "result", "in place"), parameters.shape)
        self._shared: dict[str, Any] = stack.enter_context(self._client.shared_arrays(shapes))
        self._shared["parameters"][:] = parameters
        self._shared["in place"][:] = parameters

    def step_cases(self, expected: Vector) -> dict[str, Case]:
        """The proximal step."""
        whole, size = self._parameters, self._parameters.nbytes
        out = self._out
        cases = {
            ECHO: Case(lambda: self._echoed(self._echo, size), size, self._echo_server),
            ECHO_ARRAYS: Case(
                lambda: self._echo.arrays(whole, out, CHUNK_BYTES // 4), size, self._echo_server, out, whole
            ),
        }
        for name, (server, client) in self._plain.items():
            part = self._part(name)
            call = _plain_step(client, whole[part], self._out[part])
            cases[name] = Case(call, whole[part].nbytes, server, self._out[part], expected[part])
        cases |= {
            WIRE: self._wire(expected, figures=()),
            WIRE_FIGURES: self._wire(expected),
            WIRE_TWO: self._wire(expected, streams=2),
            WIRE_SPARSE: self._wire(
                soft_threshold_at(SPARSE_STRENGTH, whole), strength=SPARSE_STRENGTH, sparse=True
            ),
        }
        half = whole.astype(np.float16)
        half_out = np.empty_like(half)
        cases[WIRE_HALF] = Case(
            self._step(half, half_out, sparse=False),
            size,
            self.server,
            half_out,
            soft_threshold_at(STRENGTH, half).astype(np.float16),
        )
        for name, figures in ((SHARED, ()), (SHARED_FIGURES, None)):
            parameters, result = self._shared["parameters"], self._shared["result"]
            call = self._step(parameters, result, figures=figures)
            cases[name] = Case(call, size, self.server, result, expected)
        for name, figures in ((IN_PLACE, ()), (IN_PLACE_FIGURES, None)):
            array = self._shared["in place"]
            cases[name] = Case(self._step(array, array, NO_CHANGE, figures=figures), size, self.server)
        return cases

    def penalty_cases(self, expected: float) -> dict[str, Case]:
        """The penalty."""
        whole, size = self._parameters, self._parameters.nbytes
        cases = {ECHO: Case(lambda: self._echoed(self._absorb, 0), size, self._echo_server)}
        for name, (server, client) in self._plain.items():
            part = whole[self._part(name)]
            cases[name] = Case(_plain_penalty(client, part), part.nbytes, server)
        for name, array, streams in (
            (WIRE, whole, 1),
            (PENALTY_TWO, whole, 2),
            (SHARED, self._shared["parameters"], 1),
        ):
            cases[name] = Case(self._penalty(array, streams), size, self.server, expected=expected)
        return cases

    def sparse_bytes(self) -> float:
        """Bytes of the answer where 95 % of the result are zeros, sparse for each dense one."""
        sizes = [
            self._bare(
                request.SerializeToString()
                for request in proximal_step_requests(
                    self._chunks, self._parameters.nbytes, strength=SPARSE_STRENGTH, sparse=sparse
                )
            )
            for sparse in (True, False)
        ]
        return sizes[0] / sizes[1]

    def _wire(self, expected: Vector, strength: float = STRENGTH, **options: Any) -> Case:
        call = self._step(self._parameters, self._out, strength=strength, **{"sparse": False, **options})
        return Case(call, self._parameters.nbytes, self.server, self._out, expected)

    def _step(
        self,
        parameters: AnyVector,
        out: AnyVector,
        step_size: float = STEP_SIZE,
        *,
        strength: float = STRENGTH,
        **options: Any,
    ) -> Callable[[], object]:
        regularizer = L1Norm(strength=strength)

        def call() -> None:
            self._client.proximal_step(parameters, regularizer, step_size=step_size, out=out, **options)

        return call

    def _penalty(self, parameters: Vector, streams: int) -> Callable[[], float | None]:
        regularizer = L1Norm(strength=STRENGTH)

        def call() -> float | None:
            return self._client.penalty(parameters, regularizer, figures=["penalty"], streams=streams).penalty

        return call

    def _part(self, name: str) -> slice:
        return slice(self._parameters.size // (REPEATED_SHARE if name == REPEATED else 1))

    def _echoed(self, client: EchoClient, size: int) -> None:
        if (received := client(self._chunks)) != size:
            raise RuntimeError(f"{received} bytes came back in place of {size}")


def soft_threshold_at(threshold: float, values: AnyVector) -> Vector:
    """The proximal step at any threshold, computed in float64 and rounded once, as the service does."""
    wide = values.astype(np.float64)
    wide -= np.clip(wide, -threshold, threshold)
    return wide.astype(np.float32)


def _plain_clients(stack: ExitStack) -> list[tuple[str, tuple[ServerProcess, _PlainClient]]]:
    clients: list[tuple[str, tuple[ServerProcess, _PlainClient]]] = []
    if find_spec("pyarrow"):
        from benchmarks.rivals import flight

        server = stack.enter_context(started(module_server("benchmarks.rivals.flight")))
        clients.append((FLIGHT, (server, stack.enter_context(flight.Client(server.address)))))
    for name, form in ((REPEATED, "repeated"), (BYTES, "bytes")):
        command = module_server("benchmarks.rivals.protobuf_services", f"--form={form}")
        server = stack.enter_context(started(command))
        client = stack.enter_context(protobuf_services.Client(server.address, form))
        clients.append((name, (server, client)))
    server = stack.enter_context(started(module_server("benchmarks.rivals.socket_echo"), takes_connections))
    clients.append((SOCKET, (server, stack.enter_context(socket_echo.Client(server.address)))))
    return clients


def _plain_step(client: _PlainClient, parameters: Vector, out: Vector) -> Callable[[], object]:
    return lambda: client.proximal_step(parameters, out)


def _plain_penalty(client: _PlainClient, parameters: Vector) -> Callable[[], object]:
    return lambda: client.penalty(parameters)
