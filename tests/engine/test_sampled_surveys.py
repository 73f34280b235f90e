"""Searches of long vectors with a sample: the same answers, and most of them by one look."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import TopK, compilation
from regularization_kernels.engine import Call, Chunk, Layout, MemoryBudget, Method, Segment, run_whole
from regularization_kernels.reductions.array_survey import ArraySurvey, at_once
from regularization_kernels.reductions.census import Order
from regularization_kernels.reductions.sampled_survey import SampledSurvey
from regularization_kernels.reductions.splits import Room, Split, SplitQuestion
from regularization_kernels.reductions.statistics import Question
from regularization_kernels.reductions.survey import Search, Survey

from tests.support.engine_streams import AnyArray

SIZE = 40_000


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """As the engine has it: what overflows is seen by its result."""
    with np.errstate(all="ignore"):
        yield


def vectors() -> dict[str, AnyArray]:
    """Vectors of all kinds, each as hard in another way."""
    random = np.random.default_rng(3)
    normal = random.normal(size=SIZE)
    return {
        "normal": normal,
        "positive": np.abs(normal),
        "float32": normal.astype(np.float32),
        "sparse": np.where(random.random(SIZE) < 0.95, 0.0, normal),
        "coarse": np.round(normal, 1),
        "two numbers": random.choice([1.0, 2.0], SIZE),
        "equal": np.full(SIZE, 0.25),
        "zeros": np.zeros(SIZE),
        "sorted": np.sort(normal),
        "periodic": np.tile(normal[: SIZE // 100], 100),
        "heavy tails": random.standard_cauchy(SIZE) ** 3,
        "subnormal": normal * 5e-324 * 2**20,
        "huge": normal * 1e305,
        "one outlier": np.append(normal[1:], 1e30),
    }


def sample_of(x: AnyArray) -> Callable[[], AnyArray]:
    """Numbers at regular distances, which no period is a multiple of."""
    return lambda: x[::7].astype(np.float64)


def misled(x: AnyArray) -> Callable[[], AnyArray]:
    """The start of the vector, at a third of its size: no sample at all."""
    return lambda: x[: x.size // 9].astype(np.float64) / 3.0


def answered(search: Search[Any], x: AnyArray, asked: list[Question[Any]]) -> Any:
    """What a search finds, which asks of a vector in parts that are merged in another order."""
    try:
        question = next(search)
        while True:
            asked.append(question)
            cuts = [0, 1, x.size // 3, x.size // 2, x.size]
            parts = [question.of_nothing() for _ in cuts[1:]]
            for part, begin, end in zip(parts, cuts, cuts[1:], strict=False):
                numbers = x[begin:end]
                part.add(numbers if question.in_own_type else numbers.astype(np.float64), begin)
            whole = question.of_nothing()
            for part in (parts[2], parts[0], parts[3], parts[1]):
                whole.merge(part)
            question = search.send(whole)
    except StopIteration as done:
        return done.value


@pytest.mark.parametrize("sampled", [sample_of, misled], ids=["sample", "misled"])
@pytest.mark.parametrize("name", list(vectors()))
def test_places_are_those_of_the_array(name: str, sampled: Callable[[AnyArray], Any]) -> None:
    """With their ties and positions, whatever the sample says."""
    x = vectors()[name]
    for count in (1, SIZE // 10, SIZE // 2, SIZE - 1):
        if count > np.count_nonzero(x):
            continue
        survey = SampledSurvey(Order.MAGNITUDES, x.size, sampled(x))
        survey.expect_place(count)
        asked: list[Question[Any]] = []
        assert answered(survey.facts(), x, asked).nonzeros == np.count_nonzero(x)
        place = answered(survey.place(count), x, asked)
        exact = ArraySurvey(Order.MAGNITUDES, x.astype(np.float64))
        assert place == at_once(exact.place(count))
        rank = count - place.above
        position = answered(survey.position_of_tie(place.number, rank), x, asked)
        assert position == at_once(exact.position_of_tie(place.number, rank))


@pytest.mark.parametrize("order", list(Order)[:2])
@pytest.mark.parametrize("sampled", [sample_of, misled], ids=["sample", "misled"])
@pytest.mark.parametrize("name", list(vectors()))
def test_thresholds_are_exact(name: str, sampled: Callable[[AnyArray], Any], order: Order) -> None:
    """As fractions; and so is the sum."""
    x = vectors()[name]
    exact = ArraySurvey(order, x.astype(np.float64))
    mass = min(float(np.abs(x).sum(dtype=np.float64)), 1e308)
    for radius in (1e-6 * mass, 0.3 * mass, 0.99 * mass):
        if radius == 0:
            continue
        survey = SampledSurvey(order, x.size, sampled(x))
        survey.expect_threshold(radius)
        asked: list[Question[Any]] = []
        facts = answered(survey.facts(), x, asked)
        if order is Order.MAGNITUDES or facts.first_negative is None:
            total = at_once(exact.total())
            for bound in (Fraction(radius), total, total * Fraction(1, 2), total - Fraction(5e-324)):
                assert answered(survey.exceeds(bound), x, asked) == (total > bound)
            assert answered(survey.total(), x, asked) == total
        assert answered(survey.threshold(radius), x, asked) == at_once(exact.threshold(radius))


@pytest.mark.parametrize("name", ["normal", "float32", "periodic", "sorted", "heavy tails"])
def test_one_look_is_enough(name: str) -> None:
    """Where a sample tells something, for a place with its tie, and for a threshold with the sum of all.

    Of a threshold among a few outliers it tells nothing.
    """
    x = vectors()[name]
    radius = 0.1 * float(np.abs(x).sum())
    searches: list[tuple[Callable[[SampledSurvey], None], Callable[[Survey], Search[Any]]]] = [
        (lambda survey: survey.expect_place(SIZE // 10), lambda survey: survey.place(SIZE // 10)),
        (lambda survey: survey.expect_threshold(radius), lambda survey: survey.threshold(radius)),
    ]
    for expect, search in searches[: 1 if name == "heavy tails" else None]:
        survey = SampledSurvey(Order.MAGNITUDES, x.size, sample_of(x))
        expect(survey)
        asked: list[Question[Any]] = []
        answered(survey.facts(), x, asked)
        answered(search(survey), x, asked)
        assert [type(each) for each in asked] == [SplitQuestion]


def test_a_vector_inside_takes_one_look() -> None:
    """Where all may stay, or the sum is below the radius, facts and sum are all that is needed."""
    x = vectors()["sparse"]
    few = SampledSurvey(Order.MAGNITUDES, x.size, sample_of(x))
    few.expect_place(SIZE // 2)
    small = SampledSurvey(Order.MAGNITUDES, x.size, sample_of(x))
    small.expect_threshold(2.0 * float(np.abs(x).sum()))
    asked: list[Question[Any]] = []
    assert answered(few.facts(), x, asked).nonzeros == np.count_nonzero(x)
    assert answered(small.facts(), x, asked).nan == 0
    assert not answered(small.exceeds(2.0 * float(np.abs(x).sum())), x, asked)
    assert answered(small.total(), x, asked) == sum(map(Fraction, np.abs(x).tolist()))
    assert [type(each) for each in asked] == [SplitQuestion] * 2


def test_room_is_for_all_parts_together() -> None:
    """What does not fit is not kept, and the whole says so."""
    question = SplitQuestion(Order.MAGNITUDES, 1.0, 2.0, summing=False, room=Room(10))
    first, second = question.of_nothing(), question.of_nothing()
    first.add(np.full(6, 1.5), 0)
    second.add(np.full(6, 1.5), 6)
    assert first.is_complete
    assert not second.is_complete
    assert second.between()[0].size == 0
    first.merge(second)
    assert not first.is_complete


@pytest.mark.parametrize(
    ("order", "data_type", "summing"),
    [
        (Order.MAGNITUDES, np.float32, False),
        (Order.MAGNITUDES, np.float64, True),
        (Order.NUMBERS, np.float32, True),
    ],
)
def test_compiled_splits_are_the_same(
    monkeypatch: pytest.MonkeyPatch, order: Order, data_type: Any, summing: bool
) -> None:
    """To the last number, of elements that are aligned or not."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    random = np.random.default_rng(1)
    specials = np.array([0.0, -0.0, 1e30, -1e30, 1e-40, -1e-40, math.inf, -math.inf, math.nan])
    plain = random.normal(size=70_001)
    wide = plain * 2.0 ** random.integers(-120, 100, plain.size)
    with_specials = np.concatenate((plain, specials, wide))
    random.shuffle(with_specials)
    inputs: list[NDArray[Any]] = [plain, wide, with_specials, np.zeros(40_000), np.full(40_000, 1.75)]
    if data_type is np.float64:
        inputs += [plain * 1e300, plain * 1e-310]
    Split(SplitQuestion(order, 1.5, 1.75, summing, Room(1))).add(np.zeros(1 << 15, data_type), 0)
    compilation.wait_until_compiled()
    for x in inputs:
        numbers = x.astype(data_type)
        unaligned = np.frombuffer(b" " + numbers.tobytes(), data_type, offset=1)
        compiled, plainly = (Split(SplitQuestion(order, 1.5, 1.75, summing, Room(1 << 20))) for _ in range(2))
        compiled.add(unaligned, 7)
        monkeypatch.setattr(compilation, "SMALLEST", x.size + 1)
        plainly.add(numbers, 7)
        monkeypatch.setattr(compilation, "SMALLEST", 1)
        assert compiled.facts == plainly.facts
        assert compiled.is_complete == plainly.is_complete
        if compiled.is_complete:
            assert compiled.sum_above == plainly.sum_above
            np.testing.assert_array_equal(compiled.between(), plainly.between())
    terms = np.abs(plain.astype(data_type)) if order is Order.MAGNITUDES else plain.astype(data_type)
    counted = Split(SplitQuestion(order, 1.5, 1.75, summing, Room(1 << 20)))
    counted.add(plain.astype(data_type), 0)
    assert counted.facts.above == np.count_nonzero(terms > 1.75)
    assert counted.sum_above == (sum(map(Fraction, terms[terms > 1.75].tolist())) if summing else 0)


@pytest.mark.parametrize("order", list(Order)[:2])
def test_sums_of_float32_are_exact_at_any_threshold(monkeypatch: pytest.MonkeyPatch, order: Order) -> None:
    """Where multiples of one unit add up without rounding, where they do not, and where that changes."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    random = np.random.default_rng(2)
    plain = random.normal(size=33_001).astype(np.float32)
    growing = plain * np.float32(2.0) ** np.repeat(np.arange(-40, 30), 501)[: plain.size].astype(np.float32)
    fine = np.float32(1.0) + random.integers(0, 1 << 23, plain.size).astype(np.float32) * np.float32(2.0**-23)
    Split(SplitQuestion(order, 1.5, 1.75, True, Room(1))).add(np.zeros(1 << 15, np.float32), 0)
    compilation.wait_until_compiled()
    highs = [-0.5, 2.0**-149, 2.0**-20, 1.75]
    for x in (
        plain,
        growing,
        fine,
        plain[::-1].copy() * np.float32(1e37),
        np.full(33_000, 1e-45, np.float32),
    ):
        terms = np.abs(x) if order is Order.MAGNITUDES else x
        for high in map(float, np.float32(highs)):
            split = Split(SplitQuestion(order, high, high, True, Room(1 << 20)))
            split.add(x, 0)
            higher = terms[np.isfinite(terms) & (terms > np.float32(high))]
            assert split.is_complete
            assert split.sum_above == sum(map(Fraction, higher.tolist()))


@pytest.mark.parametrize("room", [1 << 20, 1 << 30])
def test_the_room_for_a_sample_is_the_budget_s(room: int) -> None:
    """Where there is too little the answer is the same, and afterwards nothing is held."""
    x = np.random.default_rng(0).normal(size=1 << 20).astype(np.float32)
    layout = Layout(np.dtype(np.float32), (Segment("w", x.shape, TopK(count=1000)),))
    budget, out = MemoryBudget(room), np.empty_like(x)
    summary = run_whole(Call(Method.PROXIMAL_STEP, layout, step_size=1.0), Chunk(0, x), out, budget)
    assert summary.total.nonzeros == np.count_nonzero(out) == 1000
    assert np.abs(x[out == 0]).max() <= np.abs(out[out != 0]).min()
    assert budget.used == 0
