"""The images: scikit-learn's bundled handwritten digits, split into training, validation and test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped] # has none
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped] # has none

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 8
"""An image is so many pixels wide and high."""

PIXELS = SIDE * SIDE
DIGITS = 10
WHITEST = 16.0
"""The largest value of a pixel in the data set."""


@dataclass(frozen=True)
class Images:
    """Images and the digits that they show.

    Args:
        pixels: One row of 64 pixels for each image.
        digits: What each image shows, 0 to 9.
    """

    pixels: NDArray[np.float64]
    digits: NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """All images, centred on the mean training image.

    Args:
        training: Half of the images: they give the loss gradients.
        validation: A quarter: they choose the strengths.
        test: A quarter: they are looked at for the report, and decide nothing.
        mean: The mean training image, 64 pixels from 0 (black) to 1 (white).
    """

    training: Images
    validation: Images
    test: Images
    mean: NDArray[np.float64]


def load(seed: int) -> Data:
    """Load the images and split them at random, with the same share of each digit in each part."""
    bunch = load_digits()
    pixels = np.asarray(bunch.data, dtype=np.float64) / WHITEST
    digits = np.asarray(bunch.target, dtype=np.int64)
    training, rest = train_test_split(
        np.arange(len(digits)), test_size=0.5, stratify=digits, random_state=seed
    )
    validation, test = train_test_split(rest, test_size=0.5, stratify=digits[rest], random_state=seed)
    mean = pixels[training].mean(axis=0)

    def part(rows: NDArray[np.int64]) -> Images:
        return Images(pixels[rows] - mean, digits[rows])

    return Data(part(training), part(validation), part(test), mean)
