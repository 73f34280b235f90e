"""The mathematics of the service: regularizers on NumPy arrays. It knows no transport."""

from __future__ import annotations

from typing import Any

from . import regularizers as _catalogue  # noqa: F401 - registers them
from .compilation import compile_apart, compile_at_once, keep_code_in, keeps_code
from .in_process import gradient, penalty, proximal_step
from .regularizer import REGULARIZERS, Locality, Regularizer, Traits
from .regularizers.elements.levels import Levels
from .regularizers.groups.base import Groups
from .regularizers.matrices.blas import leave_blas_its_threads
from .regularizers.vectors.slope import Oscar
from .schedules import SCHEDULES, Piecewise, Schedule, nearest_whole
from .warming import regularizers_named, warm, warm_in_background

_CLASSES = {cls.__name__: cls for cls in REGULARIZERS.values()}

__all__ = [
    "REGULARIZERS",
    "SCHEDULES",
    "Groups",
    "Levels",
    "Locality",
    "Oscar",
    "Piecewise",
    "Regularizer",
    "Schedule",
    "Traits",
    "compile_apart",
    "compile_at_once",
    "gradient",
    "keep_code_in",
    "keeps_code",
    "leave_blas_its_threads",
    "nearest_whole",
    "penalty",
    "proximal_step",
    "regularizers_named",
    "warm",
    "warm_in_background",
    *_CLASSES,
]


def __getattr__(name: str) -> Any:
    """The regularizer classes, by their names."""
    try:
        return _CLASSES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
