"""Number formats of elements. Everything is computed in float64, and rounded to one of these once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .regularizer import DataType, Float64Array

BFLOAT16: DataType = cast("DataType", np.dtype(ml_dtypes.bfloat16))
"""The upper half of a float32; NumPy has it from a package of its own."""

DATA_TYPES: tuple[DataType, ...] = (
    np.dtype(np.float32),
    np.dtype(np.float64),
    np.dtype(np.float16),
    BFLOAT16,
)
"""In which elements come and go, in the order of the contract."""

# What float32 keeps exactly and bfloat16 rounds off: 12 of 53 bits are more than 8 and a rounding bit.
_LOW_BITS = np.uint64((1 << 41) - 1)


def limits(data_type: DataType) -> ml_dtypes.finfo:
    """Largest number, precision and so on of a data type, as ``numpy.finfo`` has them."""
    return ml_dtypes.finfo(data_type)  # type: ignore[no-untyped-call] # ml_dtypes leaves it untyped


def round_into(
    values: Float64Array, out: npt.NDArray[Any], scratch: npt.NDArray[np.uint64] | None = None
) -> None:
    """Round each number once, to nearest-even; beyond the largest finite one it becomes infinite.

    Args:
        values: What is to be rounded.
        out: Where it goes, of the same shape, and of one of the data types.
        scratch: Of the same shape, for bfloat16; None to make it.
    """
    if out.dtype != BFLOAT16:
        out[...] = values
        return
    # The cast goes by float32, and would round twice. So the bits that are to go are folded into the lowest
    # of those that stay: not zero stays not zero, which is all that the second rounding asks of them.
    bits = values.view(np.uint64)
    sticky = np.bitwise_and(bits, _LOW_BITS, out=scratch)
    sticky += _LOW_BITS
    sticky |= bits
    sticky &= ~_LOW_BITS
    out[...] = sticky.view(np.float64).astype(np.float32)


def are_finite(elements: npt.NDArray[Any], out: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Write which elements are finite, and return that."""
    if elements.dtype.itemsize != 2:
        np.isfinite(elements, out=out)
        return out
    # Of 16 bits NumPy looks at one element after the other; on integers it is several times as fast.
    exponent = np.uint16(0x7F80 if elements.dtype == BFLOAT16 else 0x7C00)
    np.not_equal(elements.view(np.uint16) & exponent, exponent, out=out)
    return out


def rounded(value: float, data_type: DataType) -> float:
    """A finite number as the nearest one of a data type, at most its largest in magnitude."""
    largest = float(limits(data_type).max)
    out = np.empty((), data_type)
    round_into(np.array(min(max(value, -largest), largest)), out)
    return float(out)
