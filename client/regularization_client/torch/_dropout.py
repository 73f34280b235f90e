"""Dropout whose masks are a function of seed, step and place alone."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from .._dropout import dropout_state, dropout_threshold
from .._errors import ArgumentError

_WORD = 1 << 64
_INCREMENT = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None))
_STRETCH = 1 << 16
"""Elements at once: their words stay in the cache."""


def dropout_mask(
    size: int, rate: float, seed: int, step: int, offset: int = 0, *, device: Any = None
) -> Tensor:
    """Return which elements of a tensor dropout keeps: True where one stays, False where it becomes 0.

    The same bits as ``regularization_client.dropout_mask``, which says how they are made, on any device.

    Args:
        size: How many elements, >= 0.
        rate: The share that is dropped, 0 <= rate < 1.
        seed: 0 <= seed < 2^64.
        step: Of training, 0 <= step < 2^64.
        offset: Index in the tensor of the mask's first element, >= 0.
        device: Where the mask is wanted; None for PyTorch's default.

    Returns:
        Booleans, ``(size,)``.

    Raises:
        ArgumentError: If an argument is out of range.
    """
    if index(size) < 0 or index(offset) < 0 or size + offset > 1 << 63:
        raise ArgumentError(f"size and offset must be >= 0, together at most 2^63, got {size} and {offset}")
    state, threshold = dropout_state(seed, step), dropout_threshold(rate)
    kept = torch.empty(size, dtype=torch.bool, device=device)
    for begin in range(0, size, _STRETCH):
        stretch = kept[begin : begin + _STRETCH]
        first = (state + (offset + begin) * _INCREMENT) % _WORD
        # Numbers without sign compare as those with one do once the highest bit is turned.
        words = _words(first, stretch.numel(), kept.device) ^ _signed(1 << 63)
        torch.ge(words, _signed(threshold ^ 1 << 63), out=stretch)
    return kept


class Dropout(nn.Module):  # type: ignore[misc] # PyTorch is not looked into
    """Dropout of activations, whose mask is a function of seed, step and index alone.

    In training each element becomes 0 with probability ``rate``, and is divided by 1 - rate else. Any rank,
    shard, framework or language that knows seed, step and an element's index has the same mask: see
    ``regularization_client.dropout_mask``. Checkpointing of activations needs no state of a generator.

    The step is the module's own count of forward passes in training, which is in its ``state_dict``, unless
    ``step`` gives it. Where a forward pass is done again for the gradient, give ``step``.

    Args:
        rate: 0 <= rate < 1.
        seed: 0 <= seed < 2^64. Modules with the same seed have the same masks, so give each its own.
        step: Called at each forward pass for the number of the step; for instance the counter of a trainer.
        offset: Index in the whole tensor of the first element that this rank has; or called for it with the
            tensor, for ranks that have other shapes at other times.

    Raises:
        ArgumentError: If a number is out of range.
    """

    def __init__(
        self,
        rate: float,
        seed: int,
        *,
        step: Callable[[], int] | None = None,
        offset: int | Callable[[Tensor], int] = 0,
    ) -> None:
        super().__init__()
        dropout_threshold(rate)
        dropout_state(seed, 0)
        self.rate = rate
        self.seed = seed
        self._step = step
        self._offset = offset
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its mask, in evaluation x itself."""
        if not self.training or self.rate == 0.0:
            return x
        offset = self._offset(x) if callable(self._offset) else self._offset
        kept = dropout_mask(x.numel(), self.rate, self.seed, self._next(), offset, device=x.device)
        return torch.where(kept.view(x.shape), x / (1.0 - self.rate), x.new_zeros(()))

    def extra_repr(self) -> str:
        """Return rate and seed."""
        return f"rate={self.rate}, seed={self.seed}"

    def _next(self) -> int:
        if self._step is not None:
            return self._step()
        step = int(self.steps)
        self.steps += 1
        return step


class DropConnect(nn.Module):  # type: ignore[misc] # likewise
    """Dropout of a layer's weights: what ``Dropout`` does to activations, before each use of the layer.

    The parameter stays what it is, and so does the layer; it is used with the masked parameter.

    Args:
        layer: A module with the parameter, such as ``nn.Linear``.
        rate: 0 <= rate < 1.
        seed: See ``Dropout``.
        step: See ``Dropout``.
        parameter: The parameter's name.
        offset: See ``Dropout``: of the rows that this rank has of the parameter.

    Raises:
        ArgumentError: If a number is out of range, or the layer has no such parameter.

    Source: Wan, Zeiler, Zhang, LeCun and Fergus (2013), Regularization of neural networks using DropConnect.
    """

    def __init__(
        self,
        layer: nn.Module,
        rate: float,
        seed: int,
        *,
        step: Callable[[], int] | None = None,
        parameter: str = "weight",
        offset: int | Callable[[Tensor], int] = 0,
    ) -> None:
        super().__init__()
        if not isinstance(getattr(layer, parameter, None), Tensor):
            raise ArgumentError(f"layer must have a parameter {parameter!r}, got a {type(layer).__name__}")
        self.layer = layer
        self.mask = Dropout(rate, seed, step=step, offset=offset)
        self.parameter = parameter

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Return what the layer gives with the mask on its parameter."""
        own = dict(self.layer.named_parameters(recurse=False))
        masked = {self.parameter: self.mask(own[self.parameter])}
        return torch.func.functional_call(self.layer, masked, inputs, keywords)


def _words(state: int, count: int, device: torch.device) -> Tensor:
    """Return the random bits of so many elements, the first of which has this state, as whole numbers."""
    # Of whole numbers modulo 2^64 sums and products do not depend on the sign.
    words = torch.arange(count, dtype=torch.int64, device=device) * _signed(_INCREMENT) + _signed(state)
    for shift, multiplier in _ROUNDS:
        words = words ^ (words >> shift & (1 << 64 - shift) - 1)
        if multiplier is not None:
            words = words * _signed(multiplier)
    return words


def _signed(word: int) -> int:
    """Return the number with a sign that has the bits of one without."""
    return word - _WORD if word >= 1 << 63 else word
