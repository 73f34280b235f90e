"""The types of what is computed with: the ground that everything here stands on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
"""What is computed with."""

ElementArray = npt.NDArray[np.floating[Any] | np.signedinteger[Any]]
"""Elements in a layout's data type."""

DataType = np.dtype[np.floating[Any] | np.signedinteger[Any]]
"""In which elements come and go: results are rounded to it once."""

FLOAT32: DataType = np.dtype(np.float32)
FLOAT64: DataType = np.dtype(np.float64)

StepSize = float | Float64Array
"""One step size, or one for each element where the penalty is a sum over elements."""
