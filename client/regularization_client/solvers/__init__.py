"""Solvers: the parameters that minimize a smooth loss plus a penalty, at one strength or along a path.

The caller computes loss and gradient, in NumPy or anything else; every proximal step is a call of the server.
So any regularizer will do, alone or by name for several arrays, with bounds, joint or exempt.
"""

from ._cross_validation import CrossValidation, cross_validate
from ._minimize import MinimizeOptions, Solution, minimize
from ._path import Path, path
from ._strongest import strength_max

__all__ = [
    "CrossValidation",
    "MinimizeOptions",
    "Path",
    "Solution",
    "cross_validate",
    "minimize",
    "path",
    "strength_max",
]
