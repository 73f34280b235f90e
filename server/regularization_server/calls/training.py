"""The methods of ``training.v1``: messages in, kernels, messages out. Errors become statuses elsewhere."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from regularization.training.v1 import augmentation_pb2, early_stopping_pb2
from regularization_kernels.engine import Reservation
from regularization_kernels.training import Augmenting, verdict_of

from ..contract.augmentation import AugmentAnswer, augmentation_of
from ..contract.early_stopping import answer_of, asked_in
from .messages import chunks_of, first_of
from .service import feed

if TYPE_CHECKING:
    from regularization import wire
    from regularization.training.v1.early_stopping_pb2 import CheckResponse

    from .context import CallContext

EARLY_STOPPING = early_stopping_pb2.DESCRIPTOR.services_by_name["EarlyStoppingService"].full_name
"""Full name of the service of early stopping."""

AUGMENTATION = augmentation_pb2.DESCRIPTOR.services_by_name["AugmentationService"].full_name
"""Full name of the service of augmentation."""


class TrainingServices:
    """Both services of ``training.v1``."""

    def check(self, raw: bytes, context: CallContext) -> CheckResponse:
        """Say whether to stop training."""
        with Reservation(context.memory) as held:
            asked = asked_in(raw, held)
            return answer_of(verdict_of(*asked, context.check))

    def augment(self, requests: Iterator[wire.Request], context: CallContext) -> Generator[AugmentAnswer]:
        """Answer each chunk of samples with other samples."""
        raw, first = first_of(requests)
        augmentation = augmentation_of(raw)
        # The header's bytes are not kept.
        messages = chunks_of(chain([first], requests))
        del raw, first
        with Augmenting(augmentation, context.memory, context.check) as augmenting:
            for message in messages:
                augmented = feed(augmenting, message, augmentation.data_type, context)
                for mixes in augmented.mixes:
                    yield AugmentAnswer(mixes=mixes)
                for result in augmented.results:
                    yield AugmentAnswer(result)
            augmenting.finish()
