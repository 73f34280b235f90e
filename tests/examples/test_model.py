from __future__ import annotations

import numpy as np
import pytest

from examples.digits.model import accuracy, initial_parameters, loss, loss_gradients

INPUTS, HIDDEN_UNITS, CLASSES, SAMPLES = 6, 5, 3, 11
SHIFT = 1e-6


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and their classes."""
    random = np.random.default_rng(7)
    return random.normal(size=(SAMPLES, INPUTS)), random.integers(CLASSES, size=SAMPLES)


@pytest.mark.parametrize("name", ["hidden.weight", "hidden.bias", "output.weight", "output.bias"])
def test_loss_gradients_are_the_slopes_of_the_loss(name: str, samples: tuple[np.ndarray, np.ndarray]) -> None:
    """Backpropagation agrees with central differences of the loss, element by element."""
    parameters = initial_parameters(INPUTS, HIDDEN_UNITS, CLASSES, seed=1)
    gradient = loss_gradients(parameters, *samples)[name]
    slopes = np.empty_like(gradient)
    for place in np.ndindex(gradient.shape):
        ahead, behind = ({**parameters, name: parameters[name].copy()} for _ in range(2))
        ahead[name][place] += SHIFT
        behind[name][place] -= SHIFT
        slopes[place] = (loss(ahead, *samples) - loss(behind, *samples)) / (2 * SHIFT)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-9)


def test_loss_without_weights_is_that_of_a_guess(samples: tuple[np.ndarray, np.ndarray]) -> None:
    """With all parameters 0 every class has the same probability, and the loss is its logarithm."""
    parameters = {
        name: np.zeros_like(array)
        for name, array in initial_parameters(INPUTS, HIDDEN_UNITS, CLASSES, seed=1).items()
    }
    assert loss(parameters, *samples) == pytest.approx(np.log(CLASSES), rel=1e-15)


def test_accuracy_counts_the_largest_output() -> None:
    """The class of an input is where its output is largest."""
    identity = {
        "hidden.weight": np.eye(2),
        "hidden.bias": np.zeros(2),
        "output.weight": np.eye(2),
        "output.bias": np.zeros(2),
    }
    inputs = np.array([[2.0, 1.0], [1.0, 2.0], [3.0, 1.0], [1.0, 3.0]])
    assert accuracy(identity, inputs, np.array([0, 1, 1, 1])) == 75.0
