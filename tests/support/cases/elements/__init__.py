"""Sums over elements, and maps of each by itself."""

from tests.support.cases.elements import levels, maps, norms_and_bounds, robust_and_concave

ROWS = (*norms_and_bounds.ROWS, *robust_and_concave.ROWS, *levels.ROWS)
MAPS = maps.MAPS
