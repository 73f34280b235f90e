"""Fixed point and stochastic rounding, over the wire and in shared memory: the bits of the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from regularization.v1 import layout_pb2
from regularization.v1.layout_pb2 import ElementRange, ParameterLayout, Rounding, Segment
from regularization.v1.regularizers_pb2 import Regularizer, SquaredL2Norm
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_kernels import L1Norm, engine, gradient, proximal_step

from tests.support.messages import answers, header, l1_norm, request
from tests.support.shared_memory import in_shared_memory, operands_for, over_the_wire

if TYPE_CHECKING:
    import grpc

    from tests.support.shared_memory import HandOffClient

SIZE = 300_000
TYPES = {
    layout_pb2.DATA_TYPE_Q7: np.dtype(np.int8),
    layout_pb2.DATA_TYPE_Q15: np.dtype(np.int16),
    layout_pb2.DATA_TYPE_Q31: np.dtype(np.int32),
    layout_pb2.DATA_TYPE_BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    layout_pb2.DATA_TYPE_FLOAT16: np.dtype(np.float16),
}
SEED = (1 << 64) - 2
every_type = pytest.mark.parametrize("data_type", TYPES, ids=layout_pb2.DataType.Name)
roundings = pytest.mark.parametrize(
    ("message", "kernel"),
    [
        (Rounding(), engine.Rounding()),
        (Rounding(mode=layout_pb2.ROUNDING_MODE_NEAREST_EVEN, seed=1), engine.Rounding()),
        (
            Rounding(mode=layout_pb2.ROUNDING_MODE_STOCHASTIC, seed=SEED),
            engine.Rounding(engine.RoundingMode.STOCHASTIC, SEED),
        ),
    ],
    ids=["unset", "nearest_even", "stochastic"],
)


def layout_in(data_type: Any, size: int = SIZE) -> ParameterLayout:
    """One segment under the L1 norm."""
    return ParameterLayout(
        data_type=data_type, segments=[Segment(name="w", shape=[size], regularizer=l1_norm(0.02))]
    )


@every_type
@roundings
@pytest.mark.parametrize("method", ["gradient", "proximal_step"])
def test_the_bits_of_the_kernels(
    process_channel: grpc.Channel,
    process_client: HandOffClient,
    data_type: Any,
    message: Rounding,
    kernel: engine.Rounding,
    method: str,
) -> None:
    """In chunks and in place, with a loss gradient."""
    form = TYPES[data_type]
    operands = operands_for(SIZE, "loss_gradients", data_type=form)
    arrays = {name: np.frombuffer(raw, form) for name, raw in operands.items()}
    x, g, norm = arrays["parameters"], arrays["loss_gradients"], L1Norm(strength=0.02)
    if method == "gradient":
        expected, summary = gradient(x, norm, loss_gradients=g, rounding=kernel)
    else:
        expected, summary = proximal_step(x, norm, 0.1, loss_gradients=g, rounding=kernel)
    assert summary.total.penalty is not None
    of = layout_in(data_type)
    for got in (
        over_the_wire(process_channel, method, of, operands, rounding=message),
        in_shared_memory(
            process_client, process_channel, method, of, operands, "parameters", rounding=message
        ),
    ):
        assert got[0] == expected.tobytes()
        assert got[1].total.penalty.value == summary.total.penalty.value


@every_type
def test_a_part_of_the_vector_has_its_own_random_bits(process_channel: grpc.Channel, data_type: Any) -> None:
    """Those of the elements' indices in the whole."""
    form, cut = TYPES[data_type], 1 << 18
    operands = operands_for(SIZE, data_type=form)
    rounding = Rounding(mode=layout_pb2.ROUNDING_MODE_STOCHASTIC, seed=SEED)
    of = layout_in(data_type)
    whole, _ = over_the_wire(process_channel, "proximal_step", of, operands, rounding=rounding)
    part = request(
        "proximal_step",
        header=header(
            "proximal_step", of, rounding=rounding, element_range=ElementRange(begin=cut, end=SIZE)
        ),
        chunk=TensorChunk(element_offset=cut, parameters=operands["parameters"][cut * form.itemsize :]),
    )
    (answer,) = answers(process_channel, "proximal_step", [part])
    assert answer.chunk.values == whole[cut * form.itemsize :]


def test_the_penalty_of_small_weights(process_channel: grpc.Channel, process_client: HandOffClient) -> None:
    """In Q15, 0.0005 · |(.01, .02, .05, .08)|² is 4.7e-6, though that rounds to 0 in Q15 itself."""
    ridge = Regularizer(squared_l2_norm=SquaredL2Norm(strength=0.001))
    of = ParameterLayout(
        data_type=layout_pb2.DATA_TYPE_Q15, segments=[Segment(name="w", shape=[4], regularizer=ridge)]
    )
    integers = [328, 655, 1638, 2621]
    operands = {"parameters": np.array(integers, "<i2").tobytes()}
    for ask in (
        lambda: over_the_wire(process_channel, "penalty", of, operands),
        lambda: in_shared_memory(process_client, process_channel, "penalty", of, operands),
    ):
        penalty = ask()[1].total.penalty.value
        assert penalty == pytest.approx(0.0005 * sum((each / 32768) ** 2 for each in integers), rel=1e-14)
        assert penalty == pytest.approx(4.7e-6, rel=1e-3)


def test_sparse_results_of_fixed_point(process_channel: grpc.Channel) -> None:
    """A bitmap and the integers that are not 0."""
    x = np.where(np.arange(SIZE) % 20 == 0, -20_000, 50).astype("<i2")
    of = layout_in(layout_pb2.DATA_TYPE_Q15)
    operands = {"parameters": x.tobytes()}
    dense, _ = over_the_wire(process_channel, "proximal_step", of, operands)
    first = header("proximal_step", of, accept_sparse_results=True)
    chunk = TensorChunk(parameters=x.tobytes())
    message = request("proximal_step", header=first, chunk=chunk)
    (answer,) = answers(process_channel, "proximal_step", [message])
    marks = np.unpackbits(np.frombuffer(answer.chunk.nonzero_bitmap, np.uint8), bitorder="little")[:SIZE]
    values = np.zeros(SIZE, "<i2")
    values[marks == 1] = np.frombuffer(answer.chunk.values, "<i2")
    assert marks.sum() == SIZE // 20
    assert values.tobytes() == dense


def test_saturation(process_channel: grpc.Channel) -> None:
    """A step that leaves the range ends at its end, on either side."""
    operands = {
        "parameters": np.array([30_000, -30_000, 32_767, -32_768], "<i2").tobytes(),
        "loss_gradients": np.array([-32_768, 32_767, -1, 1], "<i2").tobytes(),
    }
    of = layout_in(layout_pb2.DATA_TYPE_Q15, 4)
    of.segments[0].regularizer.Clear()
    of.segments[0].ClearField("regularizer")
    values, _ = over_the_wire(process_channel, "proximal_step", of, operands, step_size=1e9)
    assert np.frombuffer(values, "<i2").tolist() == [32_767, -32_768, 32_767, -32_768]
