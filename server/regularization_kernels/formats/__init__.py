"""Number formats of elements. Everything is computed in float64, and rounded to one of these once."""

from .data_types import (
    BFLOAT16,
    DATA_TYPES,
    Limits,
    are_finite,
    contract_name,
    fraction_bits,
    grid,
    limits,
    numbers_of,
    slack,
    widen_into,
)
from .nearest import next_inwards, round_into, rounded
from .stochastic import random_bits, round_stochastically

__all__ = [
    "BFLOAT16",
    "DATA_TYPES",
    "Limits",
    "are_finite",
    "contract_name",
    "fraction_bits",
    "grid",
    "limits",
    "next_inwards",
    "numbers_of",
    "random_bits",
    "round_into",
    "round_stochastically",
    "rounded",
    "slack",
    "widen_into",
]
