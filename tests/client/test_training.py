"""Early stopping and augmentation as the client offers them."""

from __future__ import annotations

import copy
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.training.v1 import augmentation_pb2, early_stopping_pb2
from regularization.v1.tensor_pb2 import ResultChunk
from regularization_client import (
    ArgumentError,
    Client,
    DeadlineExceededError,
    InvalidRequestError,
    ProtocolError,
    TruncatedStreamError,
    UnavailableError,
)
from regularization_client.training import (
    MODE_MAX,
    MODE_MIN,
    Cutmix,
    Goal,
    MedianOfRuns,
    Mixup,
    Noise,
    Patience,
    Shift,
    Stopper,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LOSSES = (0.9, 0.5, 0.6, 0.4, 0.7, 0.8, 0.1)
PATIENCE = Patience(mode=MODE_MIN, patience=2)


def test_a_verdict_is_true_where_training_stops(client: Client) -> None:
    """And says why, where, and what was best."""
    verdict = client.should_stop(PATIENCE, LOSSES)
    assert verdict
    assert verdict == Verdict(True, "STOP_REASON_PATIENCE", 3, 2, 5)
    going_on = client.should_stop(PATIENCE, LOSSES[:5])
    assert not going_on
    assert going_on == Verdict(False, None, 3, 1, None)
    assert client.should_stop(Goal(mode=MODE_MAX, target=0.9), LOSSES).stop_index == 0
    assert client.should_stop(MedianOfRuns(mode=MODE_MIN), [0.5], [[0.4], [0.2]])


def test_what_is_no_rule_and_no_number_is_refused_here(client: Client) -> None:
    """With the names of those that there are; what breaks a rule of a field, the server names."""
    with pytest.raises(ArgumentError, match="must be one of Patience, Goal, MedianOfRuns, got Noise"):
        client.should_stop(Noise(standard_deviation=1.0), [0.5])  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must be of numbers"):
        client.should_stop(PATIENCE, ["much"])  # type: ignore[list-item]
    with pytest.raises(InvalidRequestError) as caught:
        client.should_stop(Patience(mode=MODE_MIN), [0.5])
    assert caught.value.field == "rule.patience.patience"


def test_a_stopper_restores_the_best_parameters(client: Client) -> None:
    """It has copied them: what the loop does to its arrays afterwards does not matter."""
    model = {"w": np.zeros((2, 2)), "b": np.zeros(3, np.float32)}
    stopper = Stopper(client, PATIENCE)
    for loss in LOSSES:
        for array in model.values():
            array += 1
        if stopper.update(loss, model):
            break
    assert stopper.history == list(LOSSES[:6])
    places = dict(model)
    stopper.restore_best(model)
    assert all(model[name] is array for name, array in places.items())
    assert all((array == 4).all() for array in model.values())


def test_a_stopper_goes_on_from_its_history(client: Client) -> None:
    """One that was resumed stops where the other one does."""
    whole, resumed = Stopper(client, PATIENCE), Stopper(client, PATIENCE, history=LOSSES[:4])
    for loss in LOSSES[:4]:
        whole.update(loss)
    assert whole.history == resumed.history
    for loss in LOSSES[4:6]:
        assert whole.update(loss) == resumed.update(loss)
    assert resumed.verdict == Verdict(True, "STOP_REASON_PATIENCE", 3, 2, 5)


def test_a_value_whose_call_failed_is_not_taken() -> None:
    """So it can be given again."""
    with Client("localhost:1", timeout=0.2) as client:
        stopper = Stopper(client, PATIENCE)
        with pytest.raises((UnavailableError, DeadlineExceededError)):
            stopper.update(0.5, np.zeros(2))
    assert stopper.history == []
    assert stopper.verdict is None


def test_what_cannot_be_restored_is_said(client: Client) -> None:
    """No copy, another structure, another name, another shape, or memory that cannot be written to."""
    stopper = Stopper(client, PATIENCE, history=[0.1])
    stopper.update(0.5, np.zeros(2))
    with pytest.raises(ArgumentError, match="no copy"):
        stopper.restore_best(np.zeros(2))
    stopper.update(0.05, {"w": np.zeros(2)})
    fixed = np.zeros(2)
    fixed.flags.writeable = False
    for wrong, message in (
        (np.zeros(2), "one array, or a mapping"),
        ({"w": np.zeros(2), "b": np.zeros(1)}, "names that update was given, not 'b'"),
        ({"w": np.zeros(3)}, r"of shape \(2,\), got \(3,\)"),
        ({"w": fixed}, "writable"),
    ):
        before = copy.deepcopy(wrong)
        with pytest.raises(ArgumentError, match=message):
            stopper.restore_best(wrong)  # type: ignore[arg-type]
        np.testing.assert_equal(wrong, before)


class Tensor:
    """What PyTorch gives, as far as a stopper looks at it: no array while gradients are kept for it."""

    def __init__(self, memory: np.ndarray[Any, Any], *, keeps_gradients: bool = True) -> None:
        self.memory = memory
        self.keeps_gradients = keeps_gradients

    def detach(self) -> Tensor:
        """The same memory, without gradients."""
        return Tensor(self.memory, keeps_gradients=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """The memory itself."""
        if self.keeps_gradients:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        return self.memory


def test_tensors_that_gradients_are_kept_for_are_restored_in_place(client: Client) -> None:
    """By the memory that they share with NumPy."""
    weight = Tensor(np.ones(4, np.float32))
    stopper = Stopper(client, PATIENCE)
    stopper.update(0.5, {"weight": weight})
    weight.memory *= 7
    stopper.update(0.9, {"weight": weight})
    stopper.restore_best({"weight": weight})
    assert weight.memory.tolist() == [1, 1, 1, 1]


def test_samples_come_back_in_their_shape_and_type(client: Client) -> None:
    """Of every data type, in one message or in many, with the same bits."""
    samples = np.random.default_rng(0).normal(size=(40, 3, 8, 8))
    steps = [Shift(rows=1, columns=2), Cutmix(block=8), Noise(standard_deviation=0.1)]
    for data_type in ("float64", "float32", "float16", ">f4"):
        given = samples.astype(data_type)
        got = client.augment(given, steps, seed=1, epoch=2)
        assert (got.samples.shape, got.samples.dtype) == (given.shape, given.dtype)
        assert got.partners is not None
        assert got.shares is not None
        assert got.partners.shape == got.shares.shape == (40,)
    in_pieces = Client(chunk_bytes=1000)
    with in_pieces:
        again = in_pieces.augment(given, steps, seed=1, epoch=2)
    assert again.samples.tobytes() == got.samples.tobytes()
    assert (again.partners == got.partners).all()
    assert (again.shares == got.shares).all()


def test_a_shard_has_its_samples_of_the_whole(client: Client) -> None:
    """By the index of its first one, and the number of all."""
    samples = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    steps = [Mixup(block=4), Noise(standard_deviation=0.1)]
    whole = client.augment(samples, steps, seed=9)
    shard = client.augment(samples[8:16], steps, seed=9, first=8, total=20)
    assert shard.samples.tobytes() == whole.samples[8:16].tobytes()
    assert whole.partners is not None
    assert shard.partners is not None
    assert (shard.partners == whole.partners[8:16]).all()
    nothing = client.augment(samples[:0], steps, seed=9)
    assert nothing.samples.shape == (0, 5)
    plain = client.augment(samples, [], seed=9)
    assert plain.samples.tobytes() == samples.tobytes()
    assert plain.partners is None


def test_what_is_asked_wrongly_is_refused_here(client: Client) -> None:
    """With the name of the argument; the rest the server names."""
    samples = np.zeros((4, 2))
    with pytest.raises(ArgumentError, match="must be one of Noise, Scaling"):
        client.augment(samples, [PATIENCE], seed=1)  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match="must have an axis"):
        client.augment(1.0, [], seed=1)
    with pytest.raises(ArgumentError, match="non_finite must be one of reject, propagate"):
        client.augment(samples, [], seed=1, non_finite="ignore")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must be in range"):
        client.augment(samples, [], seed=-1)
    with pytest.raises(ArgumentError, match="data type"):
        client.augment(np.zeros((4, 2), np.uint8), [], seed=1)
    with pytest.raises(InvalidRequestError) as caught:
        client.augment(samples, [Mixup(block=1)], seed=1)
    assert caught.value.field == "header.transformations[0].mixup.block"


class Lying(grpc.GenericRpcHandler):
    """A server that answers whatever it is told to."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of any method."""
        if details.method.endswith("Check"):
            return grpc.unary_unary_rpc_method_handler(lambda _, __: self.answers[0])
        return grpc.stream_stream_rpc_method_handler(lambda _, __: iter(self.answers))


@pytest.fixture
def lying() -> Iterator[tuple[Lying, Client]]:
    """Such a server, and a client of it."""
    handler = Lying()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(handler,))
    port = server.add_insecure_port("localhost:0")
    server.start()
    with Client(f"localhost:{port}", timeout=5) as client:
        yield handler, client
    server.stop(None)


def test_answers_of_early_stopping_are_checked(lying: tuple[Lying, Client]) -> None:
    """A stop without its place or its reason is none."""
    server, client = lying
    response = early_stopping_pb2.CheckResponse
    for answer in (
        b"\xff\xff",
        response(stop=True, reason=early_stopping_pb2.STOP_REASON_GOAL).SerializeToString(),
        response(stop=True, stop_index=0).SerializeToString(),
        response(stop_index=0).SerializeToString(),
        response(reason=early_stopping_pb2.STOP_REASON_GOAL).SerializeToString(),
    ):
        server.answers = [answer]
        with pytest.raises(ProtocolError):
            client.should_stop(PATIENCE, LOSSES)


def test_answers_of_augmentation_are_checked(lying: tuple[Lying, Client]) -> None:
    """Elements that are missing, too many or at another place, and partners that are not those of all."""
    server, client = lying
    samples = np.zeros((2, 2), np.float32)

    def chunk(offset: int, count: int, **more: Any) -> bytes:
        values = ResultChunk(element_offset=offset, values=bytes(count))
        return augmentation_pb2.AugmentResponse(chunk=values, **more).SerializeToString()

    def mixes(first: int, partners: int, shares: int) -> bytes:
        of = augmentation_pb2.SampleMixes(first_sample=first, partners=[0] * partners, shares=[0.5] * shares)
        return augmentation_pb2.AugmentResponse(mixes=of).SerializeToString()

    server.answers = [chunk(0, 16)]
    assert client.augment(samples, [], seed=1).partners is None
    for answers in (
        [b"\xff\xff"],
        [chunk(0, 15)],
        [chunk(1, 12)],
        [chunk(0, 20)],
        [mixes(1, 1, 1), chunk(0, 16)],
        [mixes(0, 1, 1), chunk(0, 16)],
        [mixes(0, 2, 1), chunk(0, 16)],
        [mixes(0, 3, 3), chunk(0, 16)],
    ):
        server.answers = answers
        with pytest.raises(ProtocolError):
            client.augment(samples, [], seed=1)
    server.answers = [chunk(0, 12)]
    with pytest.raises(TruncatedStreamError, match="after 3 of 4 elements"):
        client.augment(samples, [], seed=1)
