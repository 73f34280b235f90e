"""The engine: a layout and ordered chunks in, result chunks and a summary out.

It cuts, lets wait, accounts for memory and adds up; what is computed is the regularizers' business.
"""

from ..arrays import ElementArray
from ..formats import DATA_TYPES, contract_name
from .bounds import FigureBounds, figure_bounds
from .budget import MemoryBudget, Reservation
from .call import Call, FigureChoice, Rounding, RoundingMode
from .chunk import Chunk, ResultChunk
from .figures import Figures, SegmentFigures, Summary
from .layout import Layout
from .methods import Method, Operand
from .parallel import run_whole
from .prepared_segment import PreparedSegment
from .run import Run, State
from .specifications import (
    MAX_AXES,
    MAX_JOINTS,
    MAX_NAME_BYTES,
    MAX_SEGMENTS,
    Joint,
    Segment,
    require_zeros_kept,
)
from .whole_vectors.measurement import Measurement
from .whole_vectors.measuring import Measuring
from .whole_vectors.parts import Combination, Round

__all__ = [
    "DATA_TYPES",
    "MAX_AXES",
    "MAX_JOINTS",
    "MAX_NAME_BYTES",
    "MAX_SEGMENTS",
    "Call",
    "Chunk",
    "Combination",
    "ElementArray",
    "FigureBounds",
    "FigureChoice",
    "Figures",
    "Joint",
    "Layout",
    "Measurement",
    "Measuring",
    "MemoryBudget",
    "Method",
    "Operand",
    "PreparedSegment",
    "Reservation",
    "ResultChunk",
    "Round",
    "Rounding",
    "RoundingMode",
    "Run",
    "Segment",
    "SegmentFigures",
    "State",
    "Summary",
    "contract_name",
    "figure_bounds",
    "require_zeros_kept",
    "run_whole",
]
