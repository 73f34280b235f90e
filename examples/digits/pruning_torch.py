"""The training that prunes by a plan, in PyTorch: a loop that knows nothing of it, and a hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from model import Parameters
from regularization_client import Client, Plan, SegmentFigures
from regularization_client.torch import ProximalStep
from torch import Tensor, nn

if TYPE_CHECKING:
    from data import Data
    from pruning import Descent


class Network(nn.Module):
    """The classifier of ``model``, as a module.

    Args:
        start: The first parameters.
    """

    def __init__(self, start: Parameters) -> None:
        super().__init__()
        inputs, units = start["hidden.weight"].shape
        self.hidden = nn.Linear(inputs, units, dtype=torch.float64)
        self.output = nn.Linear(units, len(start["output.bias"]), dtype=torch.float64)
        # A linear module has a row for each output.
        self.load_state_dict({name: torch.from_numpy(array.T.copy()) for name, array in start.items()})

    def forward(self, pixels: Tensor) -> Tensor:
        """Give an output for each digit."""
        outputs: Tensor = self.output(torch.relu(self.hidden(pixels)))
        return outputs


class TorchTrainer:
    """Gradient descent with momentum by PyTorch's optimizer, which the proximal step follows.

    Args:
        client: Whose server takes the steps.
        data: The images.
        start: The first parameters.
        descent: How to go down.
        plan: What to prune.
    """

    framework = "PyTorch"

    def __init__(self, client: Client, data: Data, start: Parameters, descent: Descent, plan: Plan) -> None:
        # So small a network is quicker on one thread; more of them would spin beside the server meanwhile.
        torch.set_num_threads(1)
        self._pixels = torch.from_numpy(data.training.pixels)
        self._digits = torch.from_numpy(data.training.digits)
        self._model = Network(start)
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), lr=descent.step_size, momentum=descent.momentum
        )
        self._prox = ProximalStep(client, self._model, self._optimizer, plan)

    def step(self) -> Mapping[str, SegmentFigures]:
        """See ``Trainer``."""
        self._optimizer.zero_grad()
        nn.functional.cross_entropy(self._model(self._pixels), self._digits).backward()
        self._optimizer.step()
        figures = self._prox.last
        assert figures is not None  # noqa: S101 - there was a step
        return figures.segments

    def parameters(self) -> Parameters:
        """See ``Trainer``."""
        return {name: tensor.T.numpy() for name, tensor in self._model.state_dict().items()}
