"""The trainings: without regularization, and with each penalty over a range of strengths."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from data import DIGITS, PIXELS, Data
from model import Parameters, accuracy, initial_parameters, loss_gradients
from pruning import DESCENT, Descent, Pruning, prune
from regularization_client import Client, GroupLasso, Groups, L1Norm
from selection import SEARCH, Choice, Search, select

Regularizers: TypeAlias = Mapping[str, L1Norm | GroupLasso | None]
"""A regularizer, or None, by pattern of the parameters' names: as the client takes it."""

L1_BESIDE_GROUPS = 0.001
"""Strength of the L1 norm that goes with the group lasso: on the output layer, or on all weights."""


@dataclass(frozen=True)
class Penalty:
    """A way to regularize.

    Args:
        name: For people.
        terms: The terms of the penalty for a strength, each a call of its own in every step. The proximal
            step of the L1 norm plus the group lasso is that of the one and then that of the other (Friedman,
            Hastie and Tibshirani 2010); for most other sums it is not.
        strengths: The strengths to try.
    """

    name: str
    terms: Callable[[float], Sequence[Regularizers]]
    strengths: Sequence[float]


def _l1_norm(strength: float) -> dict[str, L1Norm | GroupLasso | None]:
    return {"*.weight": L1Norm(strength=strength), "*.bias": None}


def _pixel_groups(strength: float) -> GroupLasso:
    # Row i of hidden.weight is what the network reads from pixel i.
    return GroupLasso(strength=strength, groups=Groups(axis=0))


NONE = Penalty("None", lambda strength: [{"*": None}], (0.0,))
L1 = Penalty(
    "L1 norm",
    lambda strength: [_l1_norm(strength)],
    (0.0001, 0.0006, 0.001, 0.002, 0.003, 0.005, 0.01),
)
# The output layer has a penalty too: without one the network would evade that on its first layer. Halve those
# weights and double these, and the outputs are the same.
GROUP_LASSO = Penalty(
    "Group lasso",
    lambda strength: [_l1_norm(L1_BESIDE_GROUPS) | {"hidden.weight": _pixel_groups(strength)}],
    (0.001, 0.003, 0.005, 0.01, 0.02, 0.05),
)
BOTH = Penalty(
    "Both",
    lambda strength: [_l1_norm(L1_BESIDE_GROUPS), {"hidden.weight": _pixel_groups(strength), "*": None}],
    (0.001, 0.002, 0.003, 0.005, 0.01),
)


@dataclass(frozen=True)
class Settings:
    """What all trainings have in common.

    Args:
        seed: Of the split and of the initial weights.
        hidden_units: Width of the hidden layer.
        steps: Steps of each training.
        step_size: The learning rate.
        momentum: Share of the last step that is repeated before each step.
        penalties: The penalties to compare with no regularization.
        tolerance: Points of validation accuracy that a chosen training may lose.
        descent: How the training goes that prunes by a plan.
        search: Which strengths of a linear classifier are tried.
    """

    seed: int = 0
    hidden_units: int = 64
    steps: int = 400
    step_size: float = 0.2
    momentum: float = 0.95
    penalties: Sequence[Penalty] = (L1, GROUP_LASSO, BOTH)
    tolerance: float = 1.0
    descent: Descent = DESCENT
    search: Search = SEARCH

    @property
    def trainings(self) -> int:
        """How many trainings there are."""
        return 2 + sum(len(penalty.strengths) for penalty in self.penalties)

    @property
    def all_steps(self) -> int:
        """How many steps these take together."""
        return (self.trainings - 1) * self.steps + self.descent.steps


@dataclass(frozen=True)
class Training:
    """One training and what came of it.

    Args:
        name: The penalty's name.
        strength: The penalty's strength.
        validation_accuracy: Percent of the validation images that it recognizes.
        test_accuracy: Percent of the test images that it recognizes.
        weights: Number of weights; biases do not count.
        nonzeros: Number of weights that are not 0, as the service counted them.
        penalty: The penalty at the end, as the service computed it.
        seconds: Time that it took.
        seconds_in_service: Time of these that its calls to the service took.
        steps: Its steps.
        calls: Calls of the service in these steps: one for each term of the penalty.
        parameters: What was learned.
    """

    name: str
    strength: float
    validation_accuracy: float
    test_accuracy: float
    weights: int
    nonzeros: int
    penalty: float
    seconds: float
    seconds_in_service: float
    steps: int
    calls: int
    parameters: Parameters = field(repr=False)

    @property
    def zeros(self) -> float:
        """Percent of the weights that are 0."""
        return 100 * (1 - self.nonzeros / self.weights)

    @property
    def pixel_norms(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """How much the network reads from each pixel: the norm of its weights, 0 for a dropped one."""
        norms: np.ndarray[tuple[int], np.dtype[np.float64]]
        norms = np.linalg.norm(self.parameters["hidden.weight"], axis=1)
        return norms

    @property
    def pixels_kept(self) -> int:
        """How many pixels the network reads at all."""
        return int(np.count_nonzero(self.pixel_norms))


@dataclass(frozen=True)
class Comparison:
    """All trainings.

    Args:
        unregularized: The training without regularization.
        trainings: Those of each penalty, by its name, from the weakest to the strongest.
        chosen: The one that was chosen for each penalty, by its name.
        pruning: The one that prunes by a plan.
        choice: A linear classifier's path of strengths, and the one that cross-validation chooses.
    """

    unregularized: Training
    trainings: Mapping[str, Sequence[Training]]
    chosen: Mapping[str, Training]
    pruning: Pruning
    choice: Choice


class Observer(Protocol):
    """Who is told how far the trainings are."""

    def started(self, name: str, strength: float) -> None:
        """A training with the penalty of this name starts."""

    def stepped(self) -> None:
        """A step is done."""

    def finished(self, training: Training | Pruning) -> None:
        """A training is done."""


def compare(client: Client, data: Data, settings: Settings, observer: Observer) -> Comparison:
    """Train without regularization and with every penalty at every strength, all from the same start."""

    def trainings_with(penalty: Penalty) -> list[Training]:
        trainings = []
        for strength in penalty.strengths:
            observer.started(penalty.name, strength)
            trainings.append(_train(client, data, settings, penalty, strength, observer))
            observer.finished(trainings[-1])
        return trainings

    unregularized = trainings_with(NONE)[0]
    trainings = {penalty.name: trainings_with(penalty) for penalty in settings.penalties}
    lowest = unregularized.validation_accuracy - settings.tolerance
    chosen = {name: choose(tried, lowest) for name, tried in trainings.items()}
    start = initial_parameters(PIXELS, settings.hidden_units, DIGITS, settings.seed)
    pruning = prune(client, data, start, settings.descent, observer)
    observer.finished(pruning)
    return Comparison(unregularized, trainings, chosen, pruning, select(client, data, settings.search))


def choose(trainings: Sequence[Training], lowest_accuracy: float) -> Training:
    """The sparsest training of those with the validation accuracy wanted; the test images have no say.

    Where none has it, the one with the best.
    """
    good = [training for training in trainings if training.validation_accuracy >= lowest_accuracy]
    if not good:
        return max(trainings, key=lambda training: training.validation_accuracy)
    return min(good, key=lambda training: training.nonzeros)


def _train(
    client: Client, data: Data, settings: Settings, penalty: Penalty, strength: float, observer: Observer
) -> Training:
    """Accelerated proximal gradient descent (Beck and Teboulle 2009) with a constant momentum."""
    terms = penalty.terms(strength)
    images = data.training
    parameters = initial_parameters(PIXELS, settings.hidden_units, DIGITS, settings.seed)
    previous = parameters
    start = time.perf_counter()
    in_service = 0.0
    momentum, step_size = settings.momentum, settings.step_size
    for _ in range(settings.steps):
        ahead = {name: array + momentum * (array - previous[name]) for name, array in parameters.items()}
        gradients = loss_gradients(ahead, images.pixels, images.digits)
        sent = time.perf_counter()
        previous, parameters = parameters, _proximal_steps(client, ahead, gradients, terms, step_size)
        in_service += time.perf_counter() - sent
        observer.stepped()
    seconds = time.perf_counter() - start
    figures = [client.penalty(parameters, term) for term in terms]
    weights = [segment for name, segment in figures[0].segments.items() if name.endswith(".weight")]
    return Training(
        name=penalty.name,
        strength=strength,
        validation_accuracy=accuracy(parameters, data.validation.pixels, data.validation.digits),
        test_accuracy=accuracy(parameters, data.test.pixels, data.test.digits),
        weights=sum(segment.elements for segment in weights),
        nonzeros=sum(segment.nonzeros for segment in weights),
        penalty=sum(term.penalty for term in figures),
        seconds=seconds,
        seconds_in_service=in_service,
        steps=settings.steps,
        calls=settings.steps * len(terms),
        parameters=parameters,
    )


def _proximal_steps(
    client: Client,
    parameters: Parameters,
    gradients: Parameters,
    terms: Sequence[Regularizers],
    step_size: float,
) -> Parameters:
    """One training step: down the loss's gradient, and towards a smaller penalty."""
    first, *others = terms
    step = client.proximal_step(parameters, first, step_size=step_size, loss_gradients=gradients)
    for term in others:
        step = client.proximal_step(step.parameters, term, step_size=step_size)
    return step.parameters
