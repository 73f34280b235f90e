"""A training that prunes by a plan: in PyTorch where that is installed, else in NumPy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data import Data
from model import Parameters, accuracy, loss_gradients
from regularization_client import Client, Plan, Planned, SegmentFigures, load_plan

PLAN = Path(__file__).with_name("plan.toml")
NAME = "Pruned by plan"


@dataclass(frozen=True)
class Descent:
    """How the training goes down the loss: by its gradient, with momentum.

    Args:
        steps: How many steps.
        step_size: The learning rate.
        momentum: Share of the last direction that goes into each.
    """

    steps: int = 400
    step_size: float = 0.2
    momentum: float = 0.9


DESCENT = Descent()


@dataclass(frozen=True)
class Pruning:
    """The training, and what came of it.

    Args:
        framework: What it was trained in.
        course: Percent of the weights that are 0 after each step, by the name of the layer's weights.
        weights: Number of weights in all.
        nonzeros: How many of them are not 0 in the end.
        validation_accuracy: Percent of the validation images that it recognizes.
        test_accuracy: Percent of the test images that it recognizes.
        seconds: Time that it took.
    """

    framework: str
    course: Mapping[str, list[float]]
    weights: int
    nonzeros: int
    validation_accuracy: float
    test_accuracy: float
    seconds: float

    name = NAME
    """What it is called."""
    strength = 0.0
    """It has none: the plan says how many weights stay."""

    @property
    def zeros(self) -> float:
        """Percent of all weights that are 0 in the end."""
        return 100 * (1 - self.nonzeros / self.weights)


class Trainer(Protocol):
    """Takes the training's steps."""

    framework: str

    def step(self) -> Mapping[str, SegmentFigures]:
        """Take one, and give the figures of the new parameters by their names."""

    def parameters(self) -> Parameters:
        """What is learned so far."""


class NumpyTrainer:
    """Gradient descent with momentum: the proximal step takes the forward step along.

    Args:
        client: Whose server takes the steps.
        data: The images.
        start: The first parameters.
        descent: How to go down.
        plan: What to prune; or the name of a plan that the server holds.
    """

    framework = "NumPy"

    def __init__(
        self, client: Client, data: Data, start: Parameters, descent: Descent, plan: Plan | str
    ) -> None:
        self._client, self._images, self._descent, self._plan = client, data.training, descent, plan
        self._parameters = start
        self._directions = {name: 0.0 * array for name, array in start.items()}
        self._step = 0

    def step(self) -> Mapping[str, SegmentFigures]:
        """See ``Trainer``."""
        gradients = loss_gradients(self._parameters, self._images.pixels, self._images.digits)
        for name, gradient in gradients.items():
            self._directions[name] = self._descent.momentum * self._directions[name] + gradient
        step = self._client.proximal_step(
            self._parameters,
            Planned(self._plan, self._step),
            step_size=self._descent.step_size,
            loss_gradients=self._directions,
        )
        self._parameters = step.parameters
        self._step += 1
        return step.segments

    def parameters(self) -> Parameters:
        """See ``Trainer``."""
        return self._parameters


class Observer(Protocol):
    """Who is told how far the training is."""

    def started(self, name: str, strength: float) -> None:
        """The training of this name starts."""

    def stepped(self) -> None:
        """A step is done."""


def prune(client: Client, data: Data, start: Parameters, descent: Descent, observer: Observer) -> Pruning:
    """Train from these parameters, and prune by the plan meanwhile."""
    trainer = _trainer(client, data, start, descent, load_plan(PLAN))
    course: dict[str, list[float]] = {name: [] for name in start if name.endswith(".weight")}
    observer.started(NAME, 0.0)
    began = time.perf_counter()
    for _ in range(descent.steps):
        figures = trainer.step()
        for name, shares in course.items():
            shares.append(100 * (1 - figures[name].nonzeros / figures[name].elements))
        observer.stepped()
    seconds = time.perf_counter() - began
    parameters = trainer.parameters()
    return Pruning(
        framework=trainer.framework,
        course=course,
        weights=sum(figures[name].elements for name in course),
        nonzeros=sum(figures[name].nonzeros for name in course),
        validation_accuracy=accuracy(parameters, data.validation.pixels, data.validation.digits),
        test_accuracy=accuracy(parameters, data.test.pixels, data.test.digits),
        seconds=seconds,
    )


def _trainer(client: Client, data: Data, start: Parameters, descent: Descent, plan: Plan) -> Trainer:
    try:
        from pruning_torch import TorchTrainer
    except ImportError:
        return NumpyTrainer(client, data, start, descent, plan)
    return TorchTrainer(client, data, start, descent, plan)
