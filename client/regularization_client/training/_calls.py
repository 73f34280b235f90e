"""The methods of a client for training: when to stop, and other samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._transport.training import augment, check
from . import _augmentation as augmentation
from . import _early_stopping as early_stopping

if TYPE_CHECKING:
    from .._transport.base import Conditions
    from .._transport.connection import Connection
    from ._augmentation import AugmentedSamples, NonFinite, Transformation
    from ._early_stopping import Rule, Verdict


class TrainingCalls:
    """The calls of ``training.v1``, which ``Client`` has beside its own."""

    _connection: Connection
    _chunk_bytes: int

    def _asking(self, timeout: float | None) -> Conditions:
        """How a call without options is carried out."""
        raise NotImplementedError

    def should_stop(
        self,
        rule: Rule,
        history: Sequence[float],
        completed_runs: Sequence[Sequence[float]] = (),
        *,
        timeout: float | None = None,
    ) -> Verdict:
        """Ask whether a rule of early stopping stops after these values of a metric.

        It is a function of these alone, so all ranks that ask with the same values agree, and a run that is
        resumed stops where it would have. ``training.Stopper`` keeps the values, and the best parameters.

        Args:
            rule: A ``training.Patience``, ``Goal`` or ``MedianOfRuns``.
            history: One value for each check, in their order.
            completed_runs: Those of runs that are over, for ``MedianOfRuns``.
            timeout: Seconds that the call may take; None for the client's.

        Returns:
            What the rule says, which is true where it says to stop.

        Raises:
            RegularizationError: If the call fails: see the tree there.

        Example:
            >>> from regularization_client import Client
            >>> from regularization_client.training import MODE_MIN, Patience
            >>> with Client() as client:
            ...     verdict = client.should_stop(Patience(mode=MODE_MIN, patience=2), [0.9, 0.5, 0.6, 0.5])
            >>> print(verdict.stop, verdict.reason, verdict.best_index)
            True STOP_REASON_PATIENCE 1
        """
        request = early_stopping.request_bytes(rule, history, completed_runs)
        return check(self._connection, self._asking(timeout), request, early_stopping.read_answer)

    def augment(
        self,
        samples: npt.ArrayLike,
        transformations: Sequence[Transformation],
        *,
        seed: int,
        epoch: int = 0,
        first: int = 0,
        total: int | None = None,
        non_finite: NonFinite = "reject",
        timeout: float | None = None,
    ) -> AugmentedSamples:
        """Make other samples of these, by functions of seed, epoch and each one's index alone.

        So shards, ranks and other languages get the same bits. Images are better augmented where they are
        decoded; this is for one definition everywhere.

        Args:
            samples: ``(count, *shape)``, of the data types that calls take.
            transformations: What is done, in this order: ``training.Noise``, ``Scaling``, ``Cutout``,
                ``Shift``, and at most one of ``Mixup`` and ``Cutmix``.
            seed: 0 to 2^64 - 1.
            epoch: Each has other random numbers: 0 to 2^64 - 1.
            first: Index of the first sample, for a shard; where samples are mixed, it begins and ends between
                blocks.
            total: How many samples there are in all; None for no more than these and those before them.
            non_finite: Whether NaN and infinity in the samples are refused, or computed with.
            timeout: Seconds that the call may take; None for the client's.

        Raises:
            RegularizationError: If the call fails: see the tree there.

        Example:
            >>> import numpy as np
            >>> from regularization_client import Client
            >>> from regularization_client.training import Shift
            >>> image = np.arange(6.0).reshape(1, 2, 3)
            >>> with Client() as client:
            ...     client.augment(image, [Shift(rows=0, columns=1)], seed=2).samples
            array([[[0., 0., 1.],
                    [0., 3., 4.]]])
        """
        array = np.asarray(samples)
        request = augmentation.request_of(
            array,
            transformations,
            seed=seed,
            epoch=epoch,
            first=first,
            total=total,
            non_finite=non_finite,
            chunk_bytes=self._chunk_bytes,
        )
        return augment(
            self._connection,
            self._asking(timeout),
            request,
            lambda: augmentation.AnswerReader(request, array.shape, array.dtype, first),
        )
