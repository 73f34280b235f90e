"""What a training loop asks beside regularizers: when to stop, and other samples than it has.

Rules and transformations are the schema's own messages, of ``training/v1``; ``Client.should_stop`` and
``Client.augment`` take them.
"""

from regularization.training.v1.augmentation_pb2 import Cutmix, Cutout, Mixup, Noise, Scaling, Shift
from regularization.training.v1.early_stopping_pb2 import (
    MODE_MAX,
    MODE_MIN,
    Goal,
    MedianOfRuns,
    Patience,
)

from ._augmentation import AugmentedSamples
from ._early_stopping import Verdict
from ._stopper import Stopper

__all__ = [
    "MODE_MAX",
    "MODE_MIN",
    "AugmentedSamples",
    "Cutmix",
    "Cutout",
    "Goal",
    "MedianOfRuns",
    "Mixup",
    "Noise",
    "Patience",
    "Scaling",
    "Shift",
    "Stopper",
    "Verdict",
]
