"""Other samples than there are: transformations that are functions of seed, epoch and the sample's index."""

from .augmenting import Augmented, Augmenting, SampleMixes
from .specification import MAX_TRANSFORMATIONS, Augmentation
from .transformations import Cutmix, Cutout, Mixup, Noise, Scaling, Shift, Transformation

__all__ = [
    "MAX_TRANSFORMATIONS",
    "Augmentation",
    "Augmented",
    "Augmenting",
    "Cutmix",
    "Cutout",
    "Mixup",
    "Noise",
    "SampleMixes",
    "Scaling",
    "Shift",
    "Transformation",
]
