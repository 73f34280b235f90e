"""Envoy, as docker/envoy sets it up, in front of two replicas: gRPC, gRPC-web and JSON on one port."""

from __future__ import annotations

import base64
import json
import struct
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from regularization.v1.regularization_service_pb2 import ProximalStepRequest, ProximalStepResponse
from regularization_client import Client, InvalidRequestError, L1Norm

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("yaml", reason="PyYAML is not installed (the extra: deployment)")

from tests.support.envoy import ENVOY, before_replicas, calls_beside_kills

SERVICE = "/regularization.v1.RegularizationService"
KILLS = 3

pytestmark = pytest.mark.skipif(ENVOY is None, reason="Envoy is not installed (the extra: deployment)")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an Envoy before two replicas."""
    with before_replicas(tmp_path_factory.mktemp("envoy"), 2) as fronted:
        yield fronted.port


def posted(port: int, body: bytes, method: str = "ProximalStep", **headers: str) -> bytes:
    """What Envoy answers to a request over HTTP/1.1."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{SERVICE}/{method}",
        body,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )
    with urllib.request.urlopen(request, timeout=20) as got:  # noqa: S310
        data: bytes = got.read()
        return data


def in_json(*values: float, strength: float = 0.1) -> list[dict[str, Any]]:
    """A call in JSON: one message with header and elements."""
    segment = {"name": "w", "shape": [len(values)], "regularizer": {"l1Norm": {"strength": strength}}}
    layout = {"dataType": "DATA_TYPE_FLOAT32", "segments": [segment]}
    elements = base64.b64encode(np.array(values, "<f4").tobytes()).decode()
    return [{"header": {"layout": layout, "stepSize": 1.0}, "chunk": {"parameters": elements}}]


def test_grpc_goes_through(front: int) -> None:
    """In many messages; the bits are those of the server by itself."""
    x = np.random.default_rng(0).normal(size=3_000_000).astype(np.float32)
    with Client(f"127.0.0.1:{front}") as client, Client() as alone:
        through = client.proximal_step(x, L1Norm(strength=0.1), step_size=1.0)
        directly = alone.proximal_step(x, L1Norm(strength=0.1), step_size=1.0)
    assert through.parameters.tobytes() == directly.parameters.tobytes()
    assert through.penalty == directly.penalty


def test_refusals_keep_their_reason(front: int) -> None:
    """In details of the status, which a proxy must not drop."""
    with Client(f"127.0.0.1:{front}") as client, pytest.raises(InvalidRequestError) as refused:
        client.proximal_step(np.ones(3), L1Norm(strength=-1.0), step_size=1.0)
    assert refused.value.reason == "ERROR_REASON_FIELD_OUT_OF_RANGE"


def test_json_is_understood(front: int) -> None:
    """An array of requests gives an array of answers."""
    answer = json.loads(
        posted(front, json.dumps(in_json(0.8, -0.3, 0.05)).encode(), content_type="application/json")
    )
    values = b"".join(base64.b64decode(each.get("chunk", {}).get("values", "")) for each in answer)
    np.testing.assert_allclose(np.frombuffer(values, "<f4"), [0.7, -0.2, 0.0], rtol=1e-6)
    assert answer[-1]["summary"]["total"]["nonzeros"] == "2"


@pytest.mark.parametrize("method", ["ProximalStep", "Penalty"])
def test_refusals_in_json_have_a_status(front: int, method: str) -> None:
    """Of HTTP, and the reason in the body."""
    (call,) = in_json(1.0, strength=-1.0)
    if method == "Penalty":
        del call["header"]["stepSize"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        posted(front, json.dumps([call]).encode(), method, content_type="application/json")
    assert refused.value.code == 400
    said = json.loads(refused.value.read())
    assert "must be finite and >= 0, got -1.0" in said["message"]
    assert said["details"][0]["reason"] == "ERROR_REASON_FIELD_OUT_OF_RANGE"


def test_a_refusal_after_answers_leaves_json_without_a_summary(front: int) -> None:
    """Envoy ends the array all the same, with status 200: the summary tells what is whole."""
    (first,) = in_json(1.0, 2.0)
    first["chunk"]["parameters"] = base64.b64encode(np.array([1.0], "<f4").tobytes()).decode()
    nan = {
        "chunk": {"offset": 1, "parameters": base64.b64encode(np.array([np.nan], "<f4").tobytes()).decode()}
    }
    body = json.dumps([first, nan]).encode()
    answers = json.loads(posted(front, body, content_type="application/json"))
    assert not any("summary" in answer for answer in answers)


def test_browsers_call_by_grpc_web(front: int) -> None:
    """One message in, messages and a frame of trailers out."""
    message = ProximalStepRequest()
    message.header.step_size = 1.0
    segment = message.header.layout.segments.add(name="w", shape=[2])
    segment.regularizer.l1_norm.strength = 0.1
    message.header.layout.data_type = 1  # DATA_TYPE_FLOAT32
    message.chunk.parameters = np.array([0.8, -0.3], "<f4").tobytes()
    raw = message.SerializeToString()
    data = posted(
        front,
        struct.pack(">BI", 0, len(raw)) + raw,
        content_type="application/grpc-web+proto",
        x_grpc_web="1",
    )
    values, trailers = b"", b""
    while data:
        kind, size = struct.unpack(">BI", data[:5])
        frame, data = data[5 : 5 + size], data[5 + size :]
        if kind & 0x80:
            trailers += frame
        else:
            values += ProximalStepResponse.FromString(frame).chunk.values
    np.testing.assert_allclose(np.frombuffer(values, "<f4"), [0.7, -0.2], rtol=1e-6)
    assert b"grpc-status:0" in trailers.replace(b" ", b"")


def test_a_page_of_this_host_may_call(front: int) -> None:
    """And one of another may not."""
    for origin, allowed in (("http://localhost:8000", True), ("https://elsewhere.example", False)):
        request = urllib.request.Request(
            f"http://127.0.0.1:{front}{SERVICE}/ProximalStep",
            method="OPTIONS",
            headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as got:  # noqa: S310
                said = got.headers.get("access-control-allow-origin")
        except urllib.error.HTTPError as error:
            said = error.headers.get("access-control-allow-origin")
        assert (said == origin) == allowed


@pytest.mark.timeout(300)
def test_a_replica_that_dies_in_the_middle_of_a_call_costs_no_answer(tmp_path: Path) -> None:
    """The client replays what Envoy says has broken off; the other replica has the same bits."""
    calls = calls_beside_kills(tmp_path, KILLS)
    assert len(calls.seconds) == KILLS
    assert calls.right == KILLS
    assert max(calls.seconds) < 60
