"""Parameters that no regularizer takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from regularization_kernels.errors import FieldMissing, FieldOutOfRange, GroupsInvalid, RegularizationError

from tests.support.cases.row import Rejected


def bad_numbers(build: Callable[[float], Any], name: str) -> tuple[Rejected, ...]:
    """The numbers that no strength may be."""
    values = (-0.5, -math.inf, math.inf, math.nan)
    return tuple(Rejected(FieldOutOfRange, name, partial(build, value)) for value in values)


def bad_groups(build: Callable[..., Any]) -> tuple[Rejected, ...]:
    """Groups that no regularizer takes, given a way to build one from the groups' fields."""
    wrong: list[tuple[type[RegularizationError], str | None, dict[str, Any], tuple[int, ...] | None]] = [
        (FieldMissing, None, {}, None),
        (FieldMissing, None, {"sqrt_size": True}, None),
        (GroupsInvalid, None, {"size": 2, "axis": 0}, None),
        (GroupsInvalid, None, {"size": 2, "sizes": (2,)}, None),
        (GroupsInvalid, None, {"size": 2, "sqrt_size": False, "weights": (1.0,)}, None),
        (GroupsInvalid, "size", {"size": 0}, None),
        (GroupsInvalid, "size", {"size": -3}, None),
        (GroupsInvalid, "sizes", {"sizes": (2, 0)}, None),
        (GroupsInvalid, "sizes", {"sizes": (-1, 3)}, None),
        (FieldOutOfRange, "axis", {"axis": -1}, None),
        (FieldOutOfRange, "weights", {"size": 1, "weights": (1.0, -0.5)}, None),
        (FieldOutOfRange, "weights", {"size": 1, "weights": (math.nan,)}, None),
        (FieldOutOfRange, "weights", {"size": 1, "weights": (math.inf,)}, None),
        (GroupsInvalid, "size", {"size": 5}, (12,)),
        (GroupsInvalid, "sizes", {"sizes": (5, 5)}, (12,)),
        (GroupsInvalid, "sizes", {"sizes": (5, 8)}, (12,)),
        (GroupsInvalid, "sizes", {"sizes": ()}, (12,)),
        (GroupsInvalid, "weights", {"size": 6, "weights": (1.0,)}, (12,)),
        (GroupsInvalid, "weights", {"axis": 0, "weights": (1.0, 1.0)}, (3, 4)),
        (GroupsInvalid, "axis", {"axis": 2}, (3, 4)),
        (GroupsInvalid, "axis", {"axis": 0}, ()),
    ]
    return tuple(Rejected(e, at, partial(build, **g), shape) for e, at, g, shape in wrong)
