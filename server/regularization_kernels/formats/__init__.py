"""The number formats of elements. Kernels compute in float64; each result is rounded to its format once."""

from .conversions import Conversion, conversion
from .data_types import (
    BFLOAT16,
    DATA_TYPES,
    Limits,
    are_finite,
    contract_name,
    exponents,
    fraction_bits,
    is_coarse,
    limits,
    numbers_of,
    on_grid,
    share_left_alone,
    slack,
    spacings,
    widen_into,
)
from .grid import Grid
from .nearest import next_inwards, round_into, rounded
from .stochastic import INCREMENT, mixed, random_bits, random_state, round_stochastically

__all__ = [
    "BFLOAT16",
    "DATA_TYPES",
    "INCREMENT",
    "Conversion",
    "Grid",
    "Limits",
    "are_finite",
    "contract_name",
    "conversion",
    "exponents",
    "fraction_bits",
    "is_coarse",
    "limits",
    "mixed",
    "next_inwards",
    "numbers_of",
    "on_grid",
    "random_bits",
    "random_state",
    "round_into",
    "round_stochastically",
    "rounded",
    "share_left_alone",
    "slack",
    "spacings",
    "widen_into",
]
