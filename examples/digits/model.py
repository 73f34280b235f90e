"""The classifier: a network with one hidden layer, in NumPy.

Parameters, and gradients with respect to them, are mappings of name to array: the names are what the
regularizers of `experiment` are assigned to.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Parameters: TypeAlias = dict[str, Array]


def initial_parameters(inputs: int, hidden_units: int, outputs: int, seed: int) -> Parameters:
    """Draw weights after He et al. (2015), and set biases to 0."""
    random = np.random.default_rng(seed)
    return {
        "hidden.weight": random.normal(scale=np.sqrt(2 / inputs), size=(inputs, hidden_units)),
        "hidden.bias": np.zeros(hidden_units),
        "output.weight": random.normal(scale=np.sqrt(2 / hidden_units), size=(hidden_units, outputs)),
        "output.bias": np.zeros(outputs),
    }


def loss(parameters: Parameters, inputs: Array, classes: NDArray[np.int64]) -> float:
    """The mean cross-entropy of the softmax of the outputs."""
    outputs = _outputs(parameters, _hidden(parameters, inputs))
    return -float(log_softmax(outputs)[np.arange(len(classes)), classes].mean())


def loss_gradients(parameters: Parameters, inputs: Array, classes: NDArray[np.int64]) -> Parameters:
    """The gradient of `loss` with respect to each parameter, by backpropagation."""
    hidden = _hidden(parameters, inputs)
    by_outputs = np.exp(log_softmax(_outputs(parameters, hidden)))
    by_outputs[np.arange(len(classes)), classes] -= 1
    by_outputs /= len(classes)
    by_hidden = (by_outputs @ parameters["output.weight"].T) * (hidden > 0)
    return {
        "hidden.weight": inputs.T @ by_hidden,
        "hidden.bias": by_hidden.sum(axis=0),
        "output.weight": hidden.T @ by_outputs,
        "output.bias": by_outputs.sum(axis=0),
    }


def accuracy(parameters: Parameters, inputs: Array, classes: NDArray[np.int64]) -> float:
    """The share of inputs whose largest output is that of their class, in percent."""
    outputs = _outputs(parameters, _hidden(parameters, inputs))
    return 100 * float(np.mean(outputs.argmax(axis=1) == classes))


def log_softmax(outputs: Array) -> Array:
    """The logarithm of the share that each output has in the softmax of its row."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    logarithms: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logarithms


def _hidden(parameters: Parameters, inputs: Array) -> Array:
    rectified: Array = np.maximum(inputs @ parameters["hidden.weight"] + parameters["hidden.bias"], 0)
    return rectified


def _outputs(parameters: Parameters, hidden: Array) -> Array:
    return hidden @ parameters["output.weight"] + parameters["output.bias"]
