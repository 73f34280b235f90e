"""Early stopping in a loop: the history, and a copy of the best parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._errors import ArgumentError

if TYPE_CHECKING:
    from .._client import Client
    from ._early_stopping import Rule, Verdict

Parameters = npt.ArrayLike | Mapping[str, npt.ArrayLike]
"""An array, or a mapping of name to such; or tensors of PyTorch on the processor."""


class Stopper:
    """Says after each check whether to stop, and brings back the parameters that were the best.

    All that it knows is ``history``, which a checkpoint keeps: a stopper that is made with it goes on where
    the other one was. Only the copy of the best parameters is not in it.

    Args:
        client: Whom to ask.
        rule: When to stop: a ``Patience``, a ``Goal`` or a ``MedianOfRuns``.
        history: The values of earlier checks, of a run that is resumed.
        completed_runs: Those of runs that are over, for ``MedianOfRuns``.

    Attributes:
        history: The values so far.
        verdict: What the rule says of them; None before the first.

    Example:
        >>> import numpy as np
        >>> from regularization_client import Client
        >>> from regularization_client.training import MODE_MIN, Patience, Stopper
        >>> weights = np.zeros(2)
        >>> with Client() as client:
        ...     stopper = Stopper(client, Patience(mode=MODE_MIN, patience=2))
        ...     for loss in (0.9, 0.5, 0.6, 0.7, 0.1):
        ...         weights += 1.0
        ...         if stopper.update(loss, weights):
        ...             break
        >>> stopper.restore_best(weights)
        >>> print(stopper.verdict.reason, stopper.verdict.best_index, weights)
        STOP_REASON_PATIENCE 1 [2. 2.]
    """

    def __init__(
        self,
        client: Client,
        rule: Rule,
        *,
        history: Iterable[float] = (),
        completed_runs: Sequence[Sequence[float]] = (),
    ) -> None:
        self._client = client
        self._rule = rule
        self._completed_runs = completed_runs
        self.history = [float(value) for value in history]
        self.verdict: Verdict | None = None
        self._best: dict[str, npt.NDArray[Any]] | npt.NDArray[Any] | None = None
        self._best_index: int | None = None

    def update(self, value: float, parameters: Parameters | None = None) -> Verdict:
        """Take the value of the next check; return what the rule says, which is true where it says to stop.

        Args:
            value: Of the metric.
            parameters: What the model was then, to be copied where this is the best so far; None for none.

        Raises:
            RegularizationError: If the call fails; the value is then not taken.
        """
        history = [*self.history, float(value)]
        verdict = self._client.should_stop(self._rule, history, self._completed_runs)
        self.history, self.verdict = history, verdict
        if verdict.best_index == len(history) - 1:
            self._best = None if parameters is None else _copied(parameters)
            self._best_index = verdict.best_index
        return verdict

    def restore_best(self, parameters: Parameters) -> None:
        """Write the best parameters into those of the model, which have their shapes.

        Args:
            parameters: As they were given to ``update``: writable arrays.

        Raises:
            ArgumentError: If there is no copy of the best, or it does not fit; nothing is written then.
        """
        if self._best is None or self.verdict is None or self.verdict.best_index != self._best_index:
            raise ArgumentError("the best parameters were not given to update, so there is no copy of them")
        if isinstance(parameters, Mapping) is not isinstance(self._best, dict):
            raise ArgumentError("parameters must be one array, or a mapping, as update was given them")
        best, places = _by_name(self._best), _by_name(parameters)
        if best.keys() != places.keys():
            names = ", ".join(map(repr, sorted(best.keys() ^ places.keys())))
            raise ArgumentError(f"parameters must have the names that update was given, not {names}")
        for name, place in places.items():
            if place.shape != best[name].shape or not place.flags.writeable:
                raise ArgumentError(
                    f"parameters must be writable, of shape {best[name].shape}, got {place.shape}",
                    segment=name or None,
                )
        for name, place in places.items():
            place[...] = best[name]


def _copied(parameters: Parameters) -> dict[str, npt.NDArray[Any]] | npt.NDArray[Any]:
    copies = {name: array.copy() for name, array in _by_name(parameters).items()}
    return copies if isinstance(parameters, Mapping) else copies[""]


def _by_name(parameters: Parameters) -> dict[str, npt.NDArray[Any]]:
    named = parameters if isinstance(parameters, Mapping) else {"": parameters}
    return {name: _view(array) for name, array in named.items()}


def _view(array: Any) -> npt.NDArray[Any]:
    """The array, or the memory of a tensor, which may be one that gradients are kept for."""
    return np.asarray(array.detach() if hasattr(array, "detach") else array)
