"""What becomes of samples, by the comments of augmentation.proto: in binary64, one operation at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

from mpmath import mp
from regularization.training.v1.augmentation_pb2 import (
    AugmentHeader,
    AugmentRequest,
    AugmentResponse,
    Cutmix,
    Cutout,
    Mixup,
    Noise,
    SampleMixes,
    Scaling,
    Shift,
    Transformation,
)
from regularization.v1.tensor_pb2 import ResultChunk, TensorChunk

from ...runner.streams import random_bits
from ..numbers import BY_NUMBER

Sample = list[float]
BLOCK = 256
"""Samples of a block, unless a transformation says another number."""
BLOCKS_FROM = 2**63
"""The index that the first block has among the samples, for its key."""


def share_of(word: int) -> float:
    """The number from 0 to 1 that a word gives."""
    return (word >> 11) / 2**53


def below(word: int, count: int) -> int:
    """The whole number below a count that a word gives."""
    return ((word >> 32) * count) >> 32


@cache
def _table(octave: int, place: int) -> int:
    """T(b, i): how far out a normal number is with that probability, in units of 2^-24."""
    probability = mp.mpf(64 + place) * mp.mpf(2) ** (octave - 60)
    return int(mp.nint(mp.mpf(2) ** 24 * mp.sqrt(2) * mp.erfinv(1 - probability)))


def normal(word: int) -> float:
    """The normal number that a word gives."""
    q = 2 * ((word >> 11) % 2**52) + 1
    octave = q.bit_length()
    f = q * 2 ** (53 - octave) - 2**52
    place, rest = f >> 46, (f % 2**46) >> 16
    here = _table(octave, place)
    beyond = _table(octave, place + 1) if place < 63 else _table(octave + 1, 0) if octave < 53 else 0
    magnitude: float = (here + ((beyond - here) * rest >> 30)) / 2**24
    return -magnitude if word >> 63 else magnitude


@dataclass(frozen=True)
class Batch:
    """A call of Augment.

    Attributes:
        header: What is asked.
        values: The elements of the samples that it carries.
    """

    header: AugmentHeader
    values: list[float]

    @property
    def first(self) -> int:
        """Index of the first sample."""
        return int(self.header.sample_range.begin)

    @property
    def size(self) -> int:
        """Elements of a sample."""
        return math.prod(self.header.sample_shape)

    @property
    def count(self) -> int:
        """How many samples it carries."""
        return len(self.values) // self.size

    def requests(self, cuts: list[int]) -> list[AugmentRequest]:
        """The messages, the header with the first chunk, cut at these elements."""
        data_type = BY_NUMBER[self.header.data_type]
        ends = [0, *cuts, len(self.values)]
        messages = [
            AugmentRequest(chunk=TensorChunk(element_offset=offset, parameters=data_type.encode(part)))
            for offset, part in self._cut(self.values, ends)
        ]
        messages[0].header.CopyFrom(self.header)
        return messages

    def responses(self, cuts: list[int]) -> list[AugmentResponse]:
        """The messages: how samples were mixed, where they were, and their chunks."""
        samples = [self.values[at : at + self.size] for at in range(0, len(self.values), self.size)]
        mixes: list[AugmentResponse] = []
        for index, transformation in enumerate(self.header.transformations):
            samples, mixed = self._transformed(index, transformation, samples)
            mixes += [AugmentResponse(mixes=each) for each in mixed]
        data_type = BY_NUMBER[self.header.data_type]
        values = [data_type.nearest(Fraction(value)) for sample in samples for value in sample]
        ends = [0, *cuts, len(values)]
        return mixes + [
            AugmentResponse(chunk=ResultChunk(element_offset=offset, values=data_type.encode(part)))
            for offset, part in self._cut(values, ends)
        ]

    def _cut(self, values: list[float], ends: list[int]) -> list[tuple[int, list[float]]]:
        offset = self.first * self.size
        return [(offset + begin, values[begin:end]) for begin, end in pairwise(ends)]

    def _transformed(
        self, index: int, transformation: Transformation, samples: list[Sample]
    ) -> tuple[list[Sample], list[SampleMixes]]:
        epoch = random_bits(self.header.seed, self.header.epoch)
        key = random_bits(epoch, index)
        kind = str(transformation.WhichOneof("kind"))
        rule = getattr(transformation, kind)
        if kind in ("mixup", "cutmix"):
            return self._mixed(rule, key, samples)
        step = _ALONE[kind]
        keys = [random_bits(key, self.first + place) for place in range(len(samples))]
        shape = list(self.header.sample_shape)
        return [step(rule, k, sample, shape) for k, sample in zip(keys, samples, strict=True)], []

    def _mixed(
        self, rule: Mixup | Cutmix, key: int, samples: list[Sample]
    ) -> tuple[list[Sample], list[SampleMixes]]:
        block = rule.block if rule.HasField("block") else BLOCK
        mixed: list[Sample] = []
        mixes: list[SampleMixes] = []
        for begin in range(0, len(samples), block):
            there = samples[begin : begin + block]
            first = self.first + begin
            partners = _partners(random_bits(key, BLOCKS_FROM + first // block), len(there))
            shares = []
            for place, sample in enumerate(there):
                other = there[partners[place]]
                became, share = self._pair(rule, random_bits(key, first + place), sample, other)
                mixed.append(became)
                shares.append(share)
            mixes.append(
                SampleMixes(first_sample=first, partners=[first + p for p in partners], shares=shares)
            )
        return mixed, mixes

    def _pair(self, rule: Mixup | Cutmix, key: int, x: Sample, y: Sample) -> tuple[Sample, float]:
        lowest = rule.lowest if rule.HasField("lowest") else 0.0
        highest = rule.highest if rule.HasField("highest") else 1.0
        share = lowest + (highest - lowest) * share_of(random_bits(key, 0))
        if isinstance(rule, Mixup):
            return [share * a + (1 - share) * b for a, b in zip(x, y, strict=True)], share
        height, width = self.header.sample_shape[-2:]
        side = math.sqrt(1 - share)
        rows, columns = math.floor(height * side), math.floor(width * side)
        top = below(random_bits(key, 1), height) - rows // 2
        left = below(random_bits(key, 2), width) - columns // 2
        inside = _rectangle(top, left, rows, columns, height, width)
        became = [
            b if at % (height * width) in inside else a for at, (a, b) in enumerate(zip(x, y, strict=True))
        ]
        return became, 1 - len(inside) / (height * width)


def _partners(key: int, count: int) -> list[int]:
    """Whose partner everybody in a block is, by place."""
    places = list(range(count))
    for i in range(count - 1, 0, -1):
        other = below(random_bits(key, i), i + 1)
        places[i], places[other] = places[other], places[i]
    return places


def _rectangle(top: int, left: int, rows: int, columns: int, height: int, width: int) -> set[int]:
    """The places of an image that a rectangle covers."""
    return {
        row * width + column
        for row in range(max(top, 0), min(top + rows, height))
        for column in range(max(left, 0), min(left + columns, width))
    }


def _noise(rule: Noise, key: int, sample: Sample, shape: list[int]) -> Sample:
    return [x + rule.standard_deviation * normal(random_bits(key, j)) for j, x in enumerate(sample)]


def _scaling(rule: Scaling, key: int, sample: Sample, shape: list[int]) -> Sample:
    factor = rule.lower + (rule.upper - rule.lower) * share_of(random_bits(key, 0))
    return [x * factor for x in sample]


def _cutout(rule: Cutout, key: int, sample: Sample, shape: list[int]) -> Sample:
    height, width = shape[-2:]
    top = below(random_bits(key, 0), height) - rule.size // 2
    left = below(random_bits(key, 1), width) - rule.size // 2
    inside = _rectangle(top, left, rule.size, rule.size, height, width)
    return [rule.fill if at % (height * width) in inside else x for at, x in enumerate(sample)]


def _shift(rule: Shift, key: int, sample: Sample, shape: list[int]) -> Sample:
    height, width = shape[-2:]
    down = below(random_bits(key, 0), 2 * rule.rows + 1) - rule.rows
    right = below(random_bits(key, 1), 2 * rule.columns + 1) - rule.columns
    moved = []
    for at in range(len(sample)):
        image, place = divmod(at, height * width)
        row, column = place // width - down, place % width - right
        there = 0 <= row < height and 0 <= column < width
        moved.append(sample[image * height * width + row * width + column] if there else rule.fill)
    return moved


_ALONE: dict[str, Callable[[Any, int, Sample, list[int]], Sample]] = {
    "noise": _noise,
    "scaling": _scaling,
    "cutout": _cutout,
    "shift": _shift,
}
"""What is done to each sample by itself."""
