"""Maps of each element by itself."""

from __future__ import annotations

from functools import partial

from regularization_kernels import Dropout
from regularization_kernels.errors import FieldOutOfRange

from tests.support.cases.parameters import bad_numbers
from tests.support.cases.row import Map, Rejected

MAPS: tuple[Map, ...] = (
    Map(
        name="dropout",
        instances={
            "": (Dropout(rate=0.5, seed=7), (12,)),
            "-later": (Dropout(rate=0.1, seed=(1 << 64) - 1, step=(1 << 64) - 1), (3, 4)),
            "-as-they-are": (Dropout(rate=0.9, seed=0, step=3, rescale=False), (2, 3, 2)),
            "-nothing": (Dropout(rate=0.0, seed=1), (6,)),
        },
        rejected=(
            *bad_numbers(lambda value: Dropout(rate=value, seed=0), "rate"),
            Rejected(FieldOutOfRange, "rate", partial(Dropout, rate=1.0, seed=0)),
            Rejected(FieldOutOfRange, "seed", partial(Dropout, rate=0.5, seed=-1)),
            Rejected(FieldOutOfRange, "seed", partial(Dropout, rate=0.5, seed=1 << 64)),
            Rejected(FieldOutOfRange, "step", partial(Dropout, rate=0.5, seed=0, step=1 << 64)),
        ),
    ),
)
