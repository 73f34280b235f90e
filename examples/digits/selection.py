"""A linear classifier of the digits over a path of strengths, and the one that cross-validation chooses."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from data import DIGITS, PIXELS, Data, Images
from model import log_softmax
from numpy.typing import NDArray
from regularization_client import Client, GroupLasso, Groups
from regularization_client.solvers import CrossValidation, cross_validate

Parameters = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Search:
    """Which strengths are tried, and how.

    Args:
        strengths: How many there are on the path.
        ratio: The last over the first, from which on no pixel is read.
        folds: In how many parts the training images are held out.
        tol: How exactly each minimum is found; see ``minimize``.
    """

    strengths: int = 12
    ratio: float = 5e-3
    folds: int = 5
    tol: float = 1e-2


SEARCH = Search()


@dataclass(frozen=True)
class Choice:
    """The path and what came of it.

    Args:
        validation: The path, and the share of held-out images that are misread at each of its strengths.
        test_accuracy: Percent of the test images that the chosen solution recognizes.
        seconds: Time that it took.
    """

    validation: CrossValidation
    test_accuracy: float
    seconds: float

    @property
    def pixel_norms(self) -> NDArray[np.float64]:
        """How much is read from each pixel at each strength: (strengths, pixels)."""
        norms: NDArray[np.float64] = np.linalg.norm(self.validation.path.x["weight"], axis=2)
        return norms

    @property
    def pixels_kept(self) -> int:
        """How many pixels the chosen solution reads."""
        return int(np.count_nonzero(self.pixel_norms[self.validation.index]))


def select(client: Client, data: Data, search: Search) -> Choice:
    """Minimize the cross-entropy plus the group lasso of the pixels at all strengths, and choose one.

    It is the strongest whose error on held-out training images is within one standard error of the least.
    """
    images = data.training
    began = time.perf_counter()
    validation = cross_validate(
        lambda rows: _Loss(Images(images.pixels[rows], images.digits[rows])),
        lambda parameters, rows: _error(parameters, Images(images.pixels[rows], images.digits[rows])),
        len(images.digits),
        {"weight": np.zeros((PIXELS, DIGITS)), "bias": np.zeros(DIGITS)},
        {"weight": GroupLasso(strength=1.0, groups=Groups(axis=0)), "bias": None},
        client,
        folds=search.folds,
        selection="1se",
        count=search.strengths,
        ratio=search.ratio,
        tol=search.tol,
    )
    accuracy = 100 * (1 - _error(validation.solution.x, data.test))
    return Choice(validation, accuracy, time.perf_counter() - began)


class _Loss:
    """The mean cross-entropy of a linear classifier, and its gradient."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._places = np.arange(len(images.digits)), images.digits

    def __call__(self, parameters: Parameters) -> tuple[float, Parameters]:
        pixels = self._images.pixels
        logarithms = log_softmax(pixels @ parameters["weight"] + parameters["bias"])
        by_outputs = np.exp(logarithms)
        by_outputs[self._places] -= 1
        by_outputs /= len(pixels)
        gradients = {"weight": pixels.T @ by_outputs, "bias": by_outputs.sum(axis=0)}
        return -float(logarithms[self._places].mean()), gradients


def _error(parameters: Parameters, images: Images) -> float:
    outputs = images.pixels @ parameters["weight"] + parameters["bias"]
    return float(np.mean(outputs.argmax(axis=1) != images.digits))
