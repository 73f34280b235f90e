"""The table of bad input: what a client may send wrongly, and what it must hear."""

from __future__ import annotations

from tests.support.bad_input.catalogue import CATALOGUE
from tests.support.bad_input.headers import HEADERS, LAYOUTS, RANGES, STEP_SIZES
from tests.support.bad_input.joints import JOINTS
from tests.support.bad_input.measurements import MEASUREMENTS
from tests.support.bad_input.modifiers import MODIFIERS
from tests.support.bad_input.plans import PLANS
from tests.support.bad_input.regularizers import GROUPS, REGULARIZERS
from tests.support.bad_input.rows import Row
from tests.support.bad_input.shared import SHARED
from tests.support.bad_input.streams import BYTES, CHUNKS, OPERANDS, VALUES
from tests.support.bad_input.unknown import UNKNOWN_FIELDS

__all__ = ["ROWS", "Row"]

ROWS = [
    *HEADERS,
    *STEP_SIZES,
    *LAYOUTS,
    *RANGES,
    *REGULARIZERS,
    *GROUPS,
    *CATALOGUE,
    *MODIFIERS,
    *MEASUREMENTS,
    *JOINTS,
    *PLANS,
    *CHUNKS,
    *VALUES,
    *OPERANDS,
    *BYTES,
    *SHARED,
    *UNKNOWN_FIELDS,
]
"""Every kind of bad input."""
