"""Augmentation: functions of seed, epoch and index alone, each against its words."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels.engine import Chunk, MemoryBudget
from regularization_kernels.errors import (
    BudgetExceeded,
    ElementRangeInvalid,
    FieldOutOfRange,
    LayoutInvalid,
    OperandUnsupported,
    RegularizationError,
    StreamTooShort,
    ValueNotFinite,
)
from regularization_kernels.training.augmentation import (
    Augmentation,
    Augmenting,
    Cutmix,
    Cutout,
    Mixup,
    Noise,
    SampleMixes,
    Scaling,
    Shift,
)

from tests.support.oracles import augmentation as oracle

FLOAT64 = np.dtype(np.float64)
PLENTY = 1 << 30
SHAPE = (2, 5, 4)

EACH: dict[str, Any] = {
    "noise": Noise(standard_deviation=0.3),
    "scaling": Scaling(lower=0.5, upper=1.5),
    "cutout": Cutout(size=3, fill=-1.0),
    "shift": Shift(rows=2, columns=5, fill=9.0),
    "mixup": Mixup(lowest=0.2, block=8),
    "cutmix": Cutmix(highest=0.9, block=8),
}
ALL = (EACH["shift"], EACH["cutmix"], EACH["cutout"], EACH["scaling"], EACH["noise"])


def samples_of(count: int, shape: tuple[int, ...] = SHAPE, data_type: Any = FLOAT64) -> NDArray[Any]:
    """Random samples."""
    return np.random.default_rng(count).normal(size=(count, *shape)).astype(data_type)


def augmented(
    samples: NDArray[Any], *transformations: Any, cuts: Any = (), total: int | None = None, **more: Any
) -> tuple[NDArray[Any], list[SampleMixes]]:
    """What comes of samples, whose elements are cut at these places."""
    augmentation = Augmentation(
        samples.dtype,
        samples.shape[1:],
        len(samples) if total is None else total,
        more.pop("seed", 7),
        transformations=transformations,
        **more,
    )
    flat, first = samples.reshape(-1), augmentation.begin * augmentation.sample_size
    budget = MemoryBudget(PLENTY)
    results, mixes = [], []
    with Augmenting(augmentation, budget) as augmenting:
        for begin, end in pairwise([0, *sorted(cuts), flat.size]):
            given = augmenting.feed(Chunk(first + begin, flat[begin:end]))
            results += [result.values.copy() for result in given.results]
            mixes += given.mixes
        augmenting.finish()
        assert (budget.used > 0) is bool(flat.size)
    assert budget.used == 0
    values = np.concatenate(results) if results else flat.copy()
    return values.reshape(samples.shape), mixes


@pytest.mark.parametrize("name", EACH)
def test_each_is_what_its_words_say(name: str) -> None:
    """By a reading of the schema in plain Python, sample by sample, of a later epoch and a second place."""
    samples, transformation = samples_of(21), EACH[name]
    got, mixes = augmented(samples, Scaling(lower=1.0, upper=1.0), transformation, epoch=3)
    expected, partners, shares = oracle.augmented(samples, transformation, seed=7, epoch=3, place=1, first=0)
    np.testing.assert_array_equal(got, expected)
    assert [partner for each in mixes for partner in each.partners] == partners
    assert [share for each in mixes for share in each.shares] == shares


@pytest.mark.parametrize("name", EACH)
def test_a_shard_has_the_bits_of_the_whole(name: str) -> None:
    """Of samples from the second block on, with their places among all."""
    samples = samples_of(21)
    whole, mixes = augmented(samples, EACH[name])
    shard, its = augmented(samples[8:16], EACH[name], sample_range=(8, 16), total=21)
    assert shard.tobytes() == whole[8:16].tobytes()
    assert its == mixes[1:2]


@pytest.mark.parametrize("data_type", ["float64", "float32", "float16", "bfloat16", "int16"])
def test_any_chunks_give_the_same_bits(data_type: str) -> None:
    """Cut inside samples and elements of blocks, of every kind of data type, all transformations together."""
    if data_type == "bfloat16":
        import ml_dtypes

        samples = samples_of(30).astype(ml_dtypes.bfloat16)
    elif data_type == "int16":
        samples = (samples_of(30) * 5_000).astype(np.int16)
    else:
        samples = samples_of(30, data_type=np.dtype(data_type))
    whole, mixes = augmented(samples, *ALL)
    assert whole.dtype == samples.dtype
    random = np.random.default_rng(1)
    for count in (1, 7, 200):
        cuts = random.integers(0, samples.size, count).tolist()
        cut, its = augmented(samples, *ALL, cuts=cuts)
        assert cut.tobytes() == whole.tobytes()
        assert its == mixes


def test_samples_that_are_not_mixed_may_come_in_any_order() -> None:
    """Each one alone has the bits that it has among all, so any permutation of calls gives the same."""
    samples = samples_of(9)
    own = (EACH["shift"], EACH["cutout"], EACH["scaling"], EACH["noise"])
    whole, _ = augmented(samples, *own)
    for index in np.random.default_rng(2).permutation(9).tolist():
        one, _ = augmented(samples[index : index + 1], *own, sample_range=(index, index + 1), total=9)
        assert one[0].tobytes() == whole[index].tobytes()


def test_seeds_epochs_and_places_have_other_numbers() -> None:
    """What differs in one of them has nothing in common."""
    samples, noise = np.zeros((50, 40)), Noise(standard_deviation=1.0)
    first, _ = augmented(samples, noise)
    others = [
        augmented(samples, noise, seed=8)[0],
        augmented(samples, noise, epoch=1)[0],
        augmented(samples, Scaling(lower=1.0, upper=1.0), noise)[0],
    ]
    for other in others:
        correlation = float(np.corrcoef(first.ravel(), other.ravel())[0, 1])
        assert abs(correlation) < 4 / math.sqrt(first.size)


def test_noise_has_its_mean_and_its_deviation() -> None:
    """Within four standard errors, the fourth moment, too, and tails are as heavy as a normal number's."""
    noise, _ = augmented(np.zeros((250, 1000)), Noise(standard_deviation=2.0))
    z = noise.ravel() / 2.0
    assert abs(z.mean()) < 4 / math.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 4 * math.sqrt(2 / z.size)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / z.size)
    for size, share in ((1.0, 0.31731050786), (2.0, 0.04550026390), (3.0, 0.00269979606)):
        assert abs(np.mean(np.abs(z) > size) - share) < 4 * math.sqrt(share / z.size)


def test_normal_numbers_are_as_near_to_the_quantile_as_is_said() -> None:
    """By Python's own inverse of the normal distribution: off by less than 5e-5, at most 8.3 away from 0."""
    random = np.random.default_rng(3)
    words = random.integers(0, 1 << 64, 50_000, dtype=np.uint64)
    words[:2_000] >>= random.integers(0, 52, 2_000).astype(np.uint64)  # far tails
    got = oracle.kernels_normal(words)
    exact = np.array([oracle.quantile(word) for word in words.tolist()])
    assert np.abs(got - exact).max() < 5e-5
    assert np.abs(oracle.kernels_normal(np.array([0, 1 << 63], np.uint64))).max() < 8.3


def test_the_variance_of_normal_numbers_is_as_is_said() -> None:
    """Of the pieces between two entries of the table, which are uniform, added up: 1 to within 2e-5."""
    assert abs(oracle.variance() - 1) < 2e-5


def test_the_table_is_the_one_that_is_said() -> None:
    """Its entries are whole numbers next to quantiles, far enough from ties that double precision decides."""
    table, exact = oracle.kernels_table(), oracle.exact_table()
    assert len(table) == len(exact) + 1
    assert table[-1] == 0
    off = np.abs(table[:-1] - exact)
    assert off.max() < 0.5 - 1e-5


def test_mixed_samples_have_the_mean_of_all() -> None:
    """For partners are a permutation of a block: what one gives, another takes."""
    samples = samples_of(512, (3,))
    halves, mixes = augmented(samples, Mixup(lowest=0.5, highest=0.5))
    np.testing.assert_allclose(halves.mean(axis=0), samples.mean(axis=0), rtol=0, atol=1e-15)
    partners = [partner for each in mixes for partner in each.partners]
    assert sorted(partners[:256]) == list(range(256))
    assert sorted(partners[256:]) == list(range(256, 512))
    assert sum(partner == index for index, partner in enumerate(partners)) < 12


def test_shares_are_what_a_sample_keeps() -> None:
    """In the rectangles of ones and zeros, the mean of a sample is what it kept."""
    samples = np.ones((64, 1, 8, 8))
    samples[::2] = 0.0
    cut, mixes = augmented(samples, Cutmix(block=64))
    (all_,) = mixes
    for index, (partner, share) in enumerate(zip(all_.partners, all_.shares, strict=True)):
        own, other = samples[index].mean(), samples[partner].mean()
        assert cut[index].mean() == pytest.approx(share * own + (1 - share) * other, abs=1e-12)


def test_a_sample_alone_is_its_own_partner() -> None:
    """And mixing changes nothing."""
    samples = samples_of(1)
    got, mixes = augmented(samples, Mixup())
    np.testing.assert_allclose(got, samples, rtol=1e-15)
    assert mixes[0].partners == (0,)


def test_nothing_is_done_without_transformations_and_to_no_samples() -> None:
    """Samples come back to the bit, and an empty stream is whole."""
    samples = samples_of(5)
    assert augmented(samples)[0].tobytes() == samples.tobytes()
    assert augmented(samples_of(0), *ALL)[0].shape == (0, *SHAPE)


def test_what_is_not_finite_is_refused_or_goes_through() -> None:
    """The first such element is named."""
    samples = samples_of(3)
    samples[1, 0, 0, 2] = np.nan
    with pytest.raises(ValueNotFinite, match="element 42") as caught:
        augmented(samples, EACH["scaling"])
    assert caught.value.element == 42
    got, _ = augmented(samples, EACH["scaling"], propagate_non_finite=True)
    assert np.isnan(got).sum() == 1


def test_a_block_is_taken_from_the_budget() -> None:
    """Before it is allocated, however large it is."""
    augmentation = Augmentation(FLOAT64, (1 << 20,), 256, 7, transformations=(Mixup(),))
    budget = MemoryBudget(1 << 30)
    with pytest.raises(BudgetExceeded):
        Augmenting(augmentation, budget)
    assert budget.used == 0


def test_samples_that_have_not_come_take_nothing() -> None:
    """Of a block of 256 MiB whose first element is there, a page is held, and what it takes to compute it."""
    augmentation = Augmentation(FLOAT64, (1 << 17,), 256, 7, transformations=(Mixup(block=256),))
    budget = MemoryBudget(1 << 40)
    with Augmenting(augmentation, budget) as augmenting:
        assert budget.used == 0
        augmenting.feed(Chunk(0, np.ones(1)))
        assert 4096 <= budget.used < 1 << 16
        augmenting.feed(Chunk(1, np.ones(1 << 17)))
        assert 1 << 20 <= budget.used < 1 << 23
    assert budget.used == 0


def test_answers_that_wait_are_taken_from_the_budget() -> None:
    """One for each chunk, however small; they go back as they are given."""
    augmentation = Augmentation(FLOAT64, (1 << 10,), 96, 7, transformations=(Mixup(block=32),))
    budget = MemoryBudget(20 << 20)
    samples = np.ones(augmentation.samples * augmentation.sample_size)
    block = samples.size // 3
    with Augmenting(augmentation, budget) as augmenting:
        augmenting.feed(Chunk(0, samples[:block]))
        held = budget.used
        augmenting.feed(Chunk(block, samples[:5]))
        assert budget.used > held
        augmenting.feed(Chunk(block + 5, samples[5:block]))
        assert budget.used == held

        def element_by_element() -> None:
            for at in range(2 * block, samples.size - 1):
                augmenting.feed(Chunk(at, samples[at : at + 1]))

        with pytest.raises(BudgetExceeded):
            element_by_element()
    assert budget.used == 0


def test_streams_that_break_a_rule_are_refused() -> None:
    """Operands beside the samples, and an end before the last."""
    augmentation = Augmentation(FLOAT64, (4,), 2, 7)
    with Augmenting(augmentation, MemoryBudget(PLENTY)) as augmenting:
        with pytest.raises(OperandUnsupported, match="weights is not taken"):
            augmenting.feed(Chunk(0, np.ones(4), weights=np.ones(4)))
        augmenting.feed(Chunk(0, np.ones(4)))
        with pytest.raises(StreamTooShort):
            augmenting.finish()


MIXING, MOVING = (EACH["mixup"],), (EACH["shift"],)

WRONG: list[tuple[dict[str, Any], type[RegularizationError], str]] = [
    ({"sample_shape": (3, 0)}, LayoutInvalid, "sample_shape[1]"),
    ({"sample_shape": (-3,)}, LayoutInvalid, "sample_shape[0]"),
    ({"sample_shape": (1,) * 32}, LayoutInvalid, "sample_shape"),
    ({"sample_shape": (1 << 62, 1 << 62)}, LayoutInvalid, "sample_shape"),
    ({"samples": -1}, LayoutInvalid, "samples"),
    ({"samples": 1 << 60}, LayoutInvalid, "samples"),
    ({"seed": 1 << 64}, FieldOutOfRange, "seed"),
    ({"epoch": -1}, FieldOutOfRange, "epoch"),
    ({"sample_range": (-1, 2)}, ElementRangeInvalid, "sample_range.begin"),
    ({"sample_range": (3, 2)}, ElementRangeInvalid, "sample_range.end"),
    ({"sample_range": (0, 21)}, ElementRangeInvalid, "sample_range.end"),
    (
        {"sample_range": (3, 20), "transformations": MIXING},
        ElementRangeInvalid,
        "sample_range.begin",
    ),
    ({"sample_range": (8, 19), "transformations": MIXING}, ElementRangeInvalid, "sample_range.end"),
    ({"transformations": (EACH["mixup"], EACH["cutmix"])}, FieldOutOfRange, "transformations[1]"),
    ({"transformations": (EACH["noise"],) * 17}, FieldOutOfRange, "transformations"),
    ({"sample_shape": (5,), "transformations": (EACH["cutout"],)}, LayoutInvalid, "sample_shape"),
    ({"sample_shape": (5,), "transformations": MOVING}, LayoutInvalid, "sample_shape"),
    ({"sample_shape": (5,), "transformations": (EACH["cutmix"],)}, LayoutInvalid, "sample_shape"),
    (
        {"sample_shape": (1, (1 << 31) + 1), "transformations": MOVING},
        LayoutInvalid,
        "sample_shape",
    ),
]


@pytest.mark.parametrize(("changed", "error", "field"), WRONG)
def test_what_is_asked_is_checked(changed: dict[str, Any], error: type[Exception], field: str) -> None:
    """In whole numbers, before anything is made of them."""
    good: dict[str, Any] = {"data_type": FLOAT64, "sample_shape": SHAPE, "samples": 20, "seed": 7}
    with pytest.raises(error) as caught:
        Augmentation(**{**good, **changed})
    assert isinstance(caught.value, RegularizationError)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("build", "parameters", "field"),
    [
        (Noise, {"standard_deviation": -1.0}, "standard_deviation"),
        (Noise, {"standard_deviation": math.inf}, "standard_deviation"),
        (Scaling, {"lower": math.nan, "upper": 1.0}, "lower"),
        (Scaling, {"lower": 2.0, "upper": 1.0}, "lower"),
        (Scaling, {"lower": -1e308, "upper": 1e308}, "upper"),
        (Cutout, {"size": -1}, "size"),
        (Cutout, {"size": 1, "fill": math.nan}, "fill"),
        (Shift, {"rows": -1, "columns": 0}, "rows"),
        (Shift, {"rows": 0, "columns": 1 << 31}, "columns"),
        (Mixup, {"lowest": -0.1}, "lowest"),
        (Mixup, {"highest": 1.1}, "highest"),
        (Mixup, {"lowest": 0.6, "highest": 0.5}, "lowest"),
        (Mixup, {"block": 1}, "block"),
        (Cutmix, {"block": 4097}, "block"),
        (Cutmix, {"lowest": math.nan}, "lowest"),
    ],
)
def test_parameters_have_ranges(build: Any, parameters: dict[str, Any], field: str) -> None:
    """What is outside is named."""
    with pytest.raises(FieldOutOfRange) as caught:
        build(**parameters)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "transformation",
    [Cutout(size=1 << 62), Cutout(size=0), Shift(rows=(1 << 31) - 1, columns=(1 << 31) - 1)],
    ids=repr,
)
def test_huge_squares_and_moves_leave_nothing_else(transformation: Any) -> None:
    """A square larger than the sample may cover it, a move beyond it empties it; none changes nothing."""
    samples = samples_of(20)
    got, _ = augmented(samples, transformation)
    expected, _, _ = oracle.augmented(samples, transformation, seed=7, epoch=0, place=0, first=0)
    np.testing.assert_array_equal(got, expected)
