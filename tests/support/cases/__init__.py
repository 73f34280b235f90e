"""The table of cases: every regularizer, its documented penalty, and what must be true of it.

A row says everything that the tests know of one regularizer: the penalty's terms, written from the
documentation and not from the kernels; a way to find the proximal point from those terms alone; how far a
slope is from the subdifferential; what the contract's rule of summation adds, to the bit; instances with the
shapes they are tried on; and constructions that must fail. The laws in this package run over every row. To
add a regularizer, add one row to the module of its family.
"""

from tests.support.cases import elements, groups, matrices, sequences, vectors
from tests.support.cases.row import Case, Certificate, Map, Rejected, Row

__all__ = ["CASES", "MAPS", "ROWS", "Case", "Certificate", "Map", "Rejected", "Row"]

ROWS: tuple[Row, ...] = (
    *elements.ROWS,
    *groups.ROWS,
    *vectors.ROWS,
    *sequences.ROWS,
    *matrices.ROWS,
)

MAPS: tuple[Map, ...] = (*elements.MAPS, *matrices.MAPS)

CASES: tuple[Case, ...] = tuple(
    Case(f"{row.name}{suffix}", regularizer, shape, row)
    for row in ROWS
    for suffix, (regularizer, shape) in row.instances.items()
)
