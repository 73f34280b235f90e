"""Sums over elements."""

from tests.support.cases.elements import levels, norms_and_bounds, robust_and_concave

ROWS = (*norms_and_bounds.ROWS, *robust_and_concave.ROWS, *levels.ROWS)
