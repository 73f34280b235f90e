"""One regularizer of several arrays together: in calls, over streams and in shared memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Client,
    InvalidRequestError,
    Joint,
    L1Norm,
    L2Norm,
    LinfNorm,
    Modified,
    Part,
    TopK,
)

from tests.support.processes import serving

TENTH = Joint(TopK(fraction=0.1))
RULES = {"*.weight": TENTH, "scale": L1Norm(strength=0.5), "*": None}


def model(data_type: str = "f4", rows: int = 400) -> dict[str, NDArray[Any]]:
    """Weights with ties, and other arrays between them."""
    random = np.random.default_rng(11)
    return {
        "first.weight": np.round(random.standard_normal((rows, 30)), 2).astype(data_type),
        "first.bias": random.standard_normal(30).astype(data_type),
        "scale": random.standard_normal(500).astype(data_type),
        "second.weight": (3 * np.round(random.standard_normal((rows, 7)), 2)).astype(data_type),
        "last": random.standard_normal(9).astype(data_type),
    }


def pruned(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What the rules make of a model, by a sort of all its weights."""
    weights = [name for name in arrays if name.endswith(".weight")]
    together = np.concatenate([arrays[name].ravel() for name in weights])
    kept = np.zeros_like(together)
    places = np.argsort(-np.abs(together), kind="stable")[: int(0.1 * together.size + 0.5)]
    kept[places] = together[places]
    expected = dict(arrays)
    begin = 0
    for name in weights:
        expected[name] = kept[begin : begin + arrays[name].size].reshape(arrays[name].shape)
        begin += arrays[name].size
    scale = arrays["scale"]
    shrunk = np.sign(scale) * np.maximum(np.abs(scale.astype(np.float64)) - 0.5, 0)
    expected["scale"] = shrunk.astype(scale.dtype)
    return expected


@pytest.mark.parametrize("data_type", ["f4", "f8", "f2"])
@pytest.mark.parametrize("streams", [1, 4])
def test_the_largest_of_all_weights_stay(client: Client, data_type: str, streams: int) -> None:
    """Whichever array they are in; other arrays have their own, over any number of streams."""
    arrays = model(data_type, 12_000)
    step = client.proximal_step(arrays, RULES, step_size=1.0, streams=streams)
    for name, expected in pruned(arrays).items():
        np.testing.assert_array_equal(step.parameters[name], expected)
    assert step.segments["first.weight"].nonzeros + step.segments["second.weight"].nonzeros == 44_400
    assert step.segments["first.weight"].convex is False


def test_in_shared_memory_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, socket_folder: Path
) -> None:
    """In place, bits and figures."""
    arrays = model()
    with serving(socket_folder) as server, Client(server.address) as client:
        expected = client.proximal_step(arrays, RULES, step_size=1.0)
        with client.shared_arrays({name: array.shape for name, array in arrays.items()}) as shared:
            for name, array in arrays.items():
                shared[name][...] = array
            step = client.proximal_step(shared, RULES, step_size=1.0, out=shared)
            assert step.shared
            assert step.sums == expected.sums
            assert dict(step.segments) == dict(expected.segments)
            for name in arrays:
                np.testing.assert_array_equal(shared[name], expected.parameters[name])


def test_one_object_is_one_regularizer(client: Client) -> None:
    """Under several patterns; equal ones are as many as there are objects. Calls before change nothing."""
    arrays = {"a": np.array([3.0]), "b": np.array([4.0]), "c": np.array([12.0])}
    both = Joint(L2Norm(strength=1.0))
    for _ in range(2):
        together = client.penalty(arrays, {"a": both, "b": both, "c": both})
        apart = client.penalty(
            arrays, {"a": Joint(L2Norm(strength=1.0)), "b": Joint(L2Norm(strength=1.0)), "c": None}
        )
        assert (together.penalty, apart.penalty) == (13.0, 7.0)
        assert [each.penalty for each in together.segments.values()] == [13.0, 0.0, 0.0]
    assert client.penalty(arrays, both).penalty == 13.0
    assert client.penalty(np.array([3.0, 4.0]), both).penalty == 5.0


def test_the_step_size_is_one(client: Client) -> None:
    """Of all arrays that share a regularizer; others may have another."""
    arrays = {"a": np.array([3.0]), "b": np.array([4.0]), "c": np.array([2.0])}
    rules = {"c": L1Norm(strength=1.0), "*": Joint(L2Norm(strength=1.0))}
    step = client.proximal_step(arrays, rules, step_size={"c": 0.5, "*": 2.5})
    assert [float(step.parameters[name][0]) for name in arrays] == pytest.approx([1.5, 2.0, 1.5])
    with pytest.raises(ArgumentError, match=r"must have the same, got 1\.0 for 'a' and 2\.0 for 'b'"):
        client.proximal_step(arrays, rules, step_size={"a": 1.0, "*": 2.0})


def test_gradients_step_along_the_loss(client: Client) -> None:
    """Loss gradients are taken, of some arrays alone too."""
    arrays = {"a": np.array([3.0, 0.0]), "b": np.array([4.0])}
    found = client.gradient(arrays, Joint(L2Norm(strength=5.0)), loss_gradients={"b": np.array([10.0])})
    np.testing.assert_allclose(found.gradient["a"], [3.0, 0.0])
    np.testing.assert_allclose(found.gradient["b"], [14.0])


def test_what_cannot_be_shared_is_refused(client: Client) -> None:
    """Here where it is no regularizer, by the server where it is not one that can be joint."""
    for wrong in (None, Modified(L2Norm(strength=1.0), smoothing=1.0), 3):
        with pytest.raises(ArgumentError):
            Joint(wrong)  # type: ignore[arg-type] # that is the point
    arrays = {"a": np.ones(3), "b": np.ones(3)}
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(arrays, Joint(L1Norm(strength=1.0)))
    assert caught.value.reason == "ERROR_REASON_JOINT_INVALID"
    assert caught.value.field == "header.layout.joints[0].regularizer"
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(arrays, Joint(LinfNorm(strength=1.0)), reference=arrays)
    assert caught.value.reason == "ERROR_REASON_OPERAND_UNSUPPORTED"
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(np.ones(3), Joint(TopK(count=1)), part=Part({"a": [2], "b": [4]}, 0))
    assert caught.value.reason == "ERROR_REASON_ELEMENT_RANGE_INVALID"
