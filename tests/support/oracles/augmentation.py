"""Augmentation by the schema's words, in plain Python, one sample and one element after the other."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels.training.augmentation import normal

from tests.support.oracles.number_formats import random_word

Wide = NDArray[np.float64]
NORMAL = NormalDist()


def augmented(
    samples: Wide, transformation: Any, *, seed: int, epoch: int, place: int, first: int
) -> tuple[Wide, list[int], list[float]]:
    """Other samples, with the partners and the shares of those that are mixed."""
    key = random_word(random_word(seed, epoch), place)
    name = type(transformation).__name__.lower()
    words = [random_word(key, first + index) for index in range(len(samples))]
    if name in ("mixup", "cutmix"):
        return _mixed(samples, transformation, name, key, words, first)
    own = {"noise": _noise, "scaling": _scaling, "cutout": _cutout, "shift": _shift}[name]
    out = [own(sample, transformation, word) for sample, word in zip(samples, words, strict=True)]
    return np.array(out), [], []


def share(word: int) -> float:
    """A share from 0 to 1."""
    return (word >> 11) / 2.0**53


def below(word: int, end: int) -> int:
    """A whole number below an end."""
    return (word >> 32) * end >> 32


def quantile(word: int) -> float:
    """The normal number whose share a word has, to double precision."""
    q = 2 * ((word >> 11) % (1 << 52)) + 1
    size = -NORMAL.inv_cdf(q / 2.0**54)
    return -size if word >> 63 else size


def kernels_normal(words: NDArray[np.uint64]) -> Wide:
    """What the kernels make of words."""
    return normal.normal_numbers(words)


def kernels_table() -> NDArray[np.int64]:
    """The kernels' table."""
    return normal._table()


def exact_table() -> Wide:
    """The table's entries before they are rounded, by Python's inverse of the normal distribution."""
    tails = [(64 + i) * 2.0 ** (b - 60) for b in range(1, 54) for i in range(64)]
    return np.array([-NORMAL.inv_cdf(tail / 2) * 2.0**24 for tail in tails])


def variance() -> float:
    """Of the normal numbers, were their words all there: of lines between the table's entries."""
    sizes = [int(size) / 2.0**24 for size in kernels_table()]
    edges = [Fraction((64 + i) * 2**b, 2**60) for b in range(1, 54) for i in range(64)] + [Fraction(1)]
    pieces = zip(pairwise(sizes), pairwise(edges), strict=True)
    return math.fsum(float(last - at) * (a * a + a * b + b * b) / 3 for (a, b), (at, last) in pieces)


def _normal(word: int) -> float:
    table = kernels_table()
    q = 2 * ((word >> 11) % (1 << 52)) + 1
    b = q.bit_length()
    f = q * 2 ** (53 - b) - 2**52
    i, r = f >> 46, (f % 2**46) >> 16
    at, after = int(table[(b - 1) * 64 + i]), int(table[(b - 1) * 64 + i + 1])
    size = (at + ((after - at) * r >> 30)) / 2.0**24
    return -size if word >> 63 else size


def _noise(sample: Wide, noise: Any, key: int) -> Wide:
    flat = [
        x + noise.standard_deviation * _normal(random_word(key, index))
        for index, x in enumerate(sample.ravel().tolist())
    ]
    return np.array(flat).reshape(sample.shape)


def _scaling(sample: Wide, scaling: Any, key: int) -> Wide:
    factor = scaling.lower + (scaling.upper - scaling.lower) * share(random_word(key, 0))
    return sample * factor


def _inside(sample: Wide, key: int, number: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """Which places of a sample are in a rectangle."""
    height, width = sample.shape[-2:]
    row, column = below(random_word(key, number), height), below(random_word(key, number + 1), width)
    top, left = row - rows // 2, column - columns // 2
    return np.array(
        [[top <= y < top + rows and left <= x < left + columns for x in range(width)] for y in range(height)]
    )


def _cutout(sample: Wide, cutout: Any, key: int) -> Wide:
    return np.where(_inside(sample, key, 0, cutout.size, cutout.size), cutout.fill, sample)


def _shift(sample: Wide, shift: Any, key: int) -> Wide:
    height, width = sample.shape[-2:]
    down = below(random_word(key, 0), 2 * shift.rows + 1) - shift.rows
    right = below(random_word(key, 1), 2 * shift.columns + 1) - shift.columns
    out = np.full_like(sample, shift.fill)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                out[..., y, x] = sample[..., y - down, x - right]
    return out


def _mixed(
    samples: Wide, mixing: Any, name: str, key: int, words: list[int], first: int
) -> tuple[Wide, list[int], list[float]]:
    partners: list[int] = []
    for begin in range(0, len(samples), mixing.block):
        places = list(range(min(mixing.block, len(samples) - begin)))
        of_block = random_word(key, (1 << 63) + (first + begin) // mixing.block)
        for i in range(len(places) - 1, 0, -1):
            j = below(random_word(of_block, i), i + 1)
            places[i], places[j] = places[j], places[i]
        partners += [begin + place for place in places]
    out, shares = [], []
    for sample, partner, word in zip(samples, partners, words, strict=True):
        kept = mixing.lowest + (mixing.highest - mixing.lowest) * share(random_word(word, 0))
        if name == "mixup":
            out.append(kept * sample + (1 - kept) * samples[partner])
        else:
            height, width = sample.shape[-2:]
            side = math.sqrt(1 - kept)
            inside = _inside(sample, word, 1, math.floor(height * side), math.floor(width * side))
            out.append(np.where(inside, samples[partner], sample))
            kept = 1 - int(inside.sum()) / (height * width)
        shares.append(kept)
    return np.array(out), [first + partner for partner in partners], shares
