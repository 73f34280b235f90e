"""Fixed point and stochastic rounding, from the caller's arrays and options to the server and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization.v1 import layout_pb2
from regularization_client import (
    ArgumentError,
    Client,
    DataTypeError,
    L1Norm,
    SquaredL2Norm,
    from_fixed_point,
    to_fixed_point,
)
from regularization_client._config import CallOptions
from regularization_client._request.header import Header
from regularization_client._request.layout import Layout
from regularization_client._request.method import GRADIENT, PROXIMAL_STEP, Method
from regularization_kernels import L1Norm as Kernel
from regularization_kernels import proximal_step
from regularization_kernels.engine import Rounding, RoundingMode

from tests.client.test_command import run

L1 = L1Norm(strength=0.02)
FIXED = [np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32)]
every_fixed = pytest.mark.parametrize("data_type", FIXED, ids=str)
F4 = np.dtype("<f4")


def numbers(data_type: np.dtype[Any], size: int = 5000) -> NDArray[Any]:
    """Numbers from -1 to 1 in a data type."""
    values = np.random.default_rng(4).uniform(-1, 1, size)
    return to_fixed_point(values, data_type) if data_type.kind == "i" else values.astype(data_type)


@every_fixed
@pytest.mark.parametrize("chunk_bytes", [64, 1 << 20])
def test_arrays_of_fixed_point(target: str, data_type: np.dtype[Any], chunk_bytes: int) -> None:
    """The result has the input's type and the bits of the function in-process, dense or sparse."""
    x = numbers(data_type)
    expected, summary = proximal_step(x, Kernel(strength=0.5), 1.0, loss_gradients=x)
    assert summary.total.penalty is not None
    with Client(target, chunk_bytes=chunk_bytes) as client:
        for sparse in (False, True):
            step = client.proximal_step(
                x, L1Norm(strength=0.5), step_size=1.0, loss_gradients=x, sparse=sparse
            )
            assert step.parameters.dtype == data_type
            assert step.parameters.tobytes() == expected.tobytes()
            assert step.penalty == summary.total.penalty.value
        strided = x[::-2].reshape(50, 50)
        other = client.proximal_step(strided, L1Norm(strength=0.5), step_size=1.0, loss_gradients=strided)
        assert other.parameters.tobytes() == expected[::-2].tobytes()


def test_integers_of_either_byte_order(client: Client) -> None:
    """The result has the order of the input."""
    x = numbers(FIXED[1]).astype(">i2")
    step = client.proximal_step(x, L1, step_size=1.0).parameters
    assert step.dtype == x.dtype
    assert step.tolist() == client.proximal_step(x.astype("<i2"), L1, step_size=1.0).parameters.tolist()


def test_other_integers_are_refused(client: Client) -> None:
    """int64, which NumPy makes of a list, is no fixed point, nor is what has no sign; types do not mix."""
    for data_type in (np.int64, np.uint8, np.uint16, np.uint32, np.bool_):
        with pytest.raises(DataTypeError, match=r"int16 \(Q15\) or int32 \(Q31\), got "):
            client.penalty(np.zeros(3, data_type), L1)
    x = numbers(FIXED[1])
    with pytest.raises(ArgumentError, match="data type int16, got float16"):
        client.penalty(x, L1, reference=x.astype(np.float16))


def test_the_penalty_of_small_weights(client: Client) -> None:
    """It is computed wide: 4.7e-6, though Q15 has no number between 0 and 3.1e-5."""
    weights = to_fixed_point([0.01, 0.02, 0.05, 0.08], np.int16)
    penalty = client.penalty(weights, SquaredL2Norm(strength=0.001)).penalty
    assert penalty == pytest.approx(0.0005 * (from_fixed_point(weights) ** 2).sum(), rel=1e-14)
    assert penalty == pytest.approx(4.7e-6, rel=1e-3)


def test_shared_arrays_of_fixed_point(target: str) -> None:
    """A step in place, in memory that the server shares."""
    x = numbers(FIXED[1])
    expected, _ = proximal_step(x, Kernel(strength=0.02), 1.0)
    with Client(target) as client, client.shared_array(x.size, np.int16) as theta:
        theta[:] = x
        step = client.proximal_step(theta, L1, step_size=1.0, out=theta)
        assert step.shared
        assert theta.tobytes() == expected.tobytes()


@pytest.mark.parametrize("data_type", ["int16", "float32", "float16", "bfloat16"])
def test_stochastic_rounding(target: str, data_type: str) -> None:
    """A seed decides the bits, whatever the chunks and the streams."""
    x = numbers(np.dtype(data_type), (1 << 19) + 77)
    seed = (1 << 64) - 1
    rounding = Rounding(RoundingMode.STOCHASTIC, seed)
    expected, _ = proximal_step(x, Kernel(strength=0.02), 0.7, rounding=rounding)
    plain, _ = proximal_step(x, Kernel(strength=0.02), 0.7)
    assert plain.tobytes() != expected.tobytes()
    options = CallOptions(rounding="stochastic", seed=seed)
    for chunk_bytes, streams in ((1 << 17, 1), (1 << 20, 3)):
        with Client(target, chunk_bytes=chunk_bytes) as client:
            step = client.proximal_step(x, L1, step_size=0.7, streams=streams, **options)
            assert step.parameters.tobytes() == expected.tobytes()
            other = client.proximal_step(x, L1, step_size=0.7, rounding="stochastic", seed=np.uint64(5))
            assert other.parameters.tobytes() != expected.tobytes()
            assert client.penalty(x, L1, **options).penalty == client.penalty(x, L1).penalty


def header_of(method: Method, **options: Any) -> Any:
    """A header as the server reads it."""
    header = Header(method, Layout.of(F4, []), CallOptions(**options))
    return method.header.FromString(header.to_bytes())


@pytest.mark.parametrize("method", [GRADIENT, PROXIMAL_STEP], ids=lambda method: method.name)
def test_what_a_header_says_of_rounding(method: Method) -> None:
    """Nothing where it is to nearest, as ever; mode and seed, 0 too, where it is stochastic."""
    for options in ({}, {"rounding": "nearest_even"}, {"rounding": "nearest_even", "seed": None}):
        assert not header_of(method, **options).HasField("rounding")
    for seed in (0, 7, (1 << 64) - 1):
        message = header_of(method, rounding="stochastic", seed=seed).rounding
        assert message == layout_pb2.Rounding(mode=layout_pb2.ROUNDING_MODE_STOCHASTIC, seed=seed)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rounding": "stochastic"}, "needs a seed"),
        ({"seed": 3}, "seed is for rounding"),
        ({"rounding": "nearest_even", "seed": 3}, "seed is for rounding"),
        ({"rounding": "stochastic", "seed": -1}, "from 0 to 2"),
        ({"rounding": "stochastic", "seed": 1 << 64}, "from 0 to 2"),
        ({"rounding": "up", "seed": 3}, "must be one of nearest_even, stochastic, got 'up'"),
    ],
)
def test_wrong_options_are_refused(client: Client, options: Any, text: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ArgumentError, match=text):
        client.gradient(np.ones(3, np.float32), L1, **options)


@every_fixed
def test_conversions(data_type: np.dtype[Any]) -> None:
    """To the nearest integer, ties to even, saturating; and back exactly."""
    bits = 8 * data_type.itemsize - 1
    unit, top = 2.0**-bits, (1 << bits) - 1
    values = [0.0, 0.5 * unit, 1.5 * unit, -0.5 * unit, 1.0, 1e300, np.inf, -1.0, -2.0, 1.0 - unit]
    elements = to_fixed_point(values, data_type)
    assert elements.dtype == data_type
    assert elements.tolist() == [0, 0, 2, 0, top, top, top, -top - 1, -top - 1, top]
    every = np.linspace(-top - 1, top, 1001).astype(data_type)
    assert from_fixed_point(every).tolist() == [int(each) * unit for each in every]
    assert to_fixed_point(from_fixed_point(every), data_type).tolist() == every.tolist()
    for wrong in (np.int64, np.float32):
        with pytest.raises(DataTypeError, match="int8 or int16 or int32"):
            to_fixed_point([0.5], wrong)
        with pytest.raises(DataTypeError, match="int8 or int16 or int32"):
            from_fixed_point(np.zeros(1, wrong))


@every_fixed
def test_integers_in_files_are_not_taken_for_fixed_point(
    target: str, tmp_path: Path, data_type: np.dtype[Any]
) -> None:
    """A file does not say that its integers stand for numbers."""
    np.save(tmp_path / "x.npy", np.zeros(3, data_type))
    result = run(target, "penalty", tmp_path / "x.npy", "-r", "l1_norm:strength=1")
    assert result.exit_code == 1
    assert str(data_type) in result.stderr
