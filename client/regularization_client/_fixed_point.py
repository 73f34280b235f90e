"""Numbers in fixed point: integers that a call takes for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import DataTypeError
from ._messages import FIXED_POINT


def to_fixed_point(values: npt.ArrayLike, data_type: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return numbers as the integers that stand for them: the number times 2^7, 2^15 or 2^31.

    It is rounded to nearest, ties to even; beyond the range, which is from -1 to just below 1, it is the end
    of the range.

    Args:
        values: Numbers, not NaN.
        data_type: int8 (Q7), int16 (Q15) or int32 (Q31).

    Raises:
        DataTypeError: If the data type is another.

    Example:
        >>> import numpy as np
        >>> from regularization_client import from_fixed_point, to_fixed_point
        >>> q15 = to_fixed_point([0.5, -0.25, 1.0], np.int16)
        >>> print(q15, from_fixed_point(q15))
        [16384 -8192 32767] [ 0.5        -0.25        0.99996948]
    """
    integer = np.dtype(data_type)
    scale = 2.0 ** _fraction_bits(integer)
    numbers = np.clip(np.asarray(values, np.float64), -1.0, 1.0)
    return np.minimum(np.rint(numbers * scale), scale - 1.0).astype(integer)


def from_fixed_point(elements: npt.NDArray[np.signedinteger[Any]]) -> npt.NDArray[np.float64]:
    """Return the numbers that int8 (Q7), int16 (Q15) or int32 (Q31) stand for, exactly.

    Raises:
        DataTypeError: If they are of another data type.
    """
    return np.asarray(elements, np.float64) * 2.0 ** -_fraction_bits(elements.dtype)


def _fraction_bits(data_type: np.dtype[Any]) -> int:
    name = FIXED_POINT.get(data_type.name)
    if name is None:
        raise DataTypeError(f"fixed point must be of data type {' or '.join(FIXED_POINT)}, got {data_type}")
    return int(name.removeprefix("q"))
