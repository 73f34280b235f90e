"""From what is said of matrices and of rows to what is said of segments that are folded into them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tests.support.cases.row import Row
from tests.support.oracles.matrices import as_matrix, by_matrix
from tests.support.oracles.minimizers import Array
from tests.support.oracles.summation import Terms


def of_matrices(row: Row) -> Row:
    """What is said of a matrix, said of a segment that is folded into one."""

    def summands(meant: Any, x: Array, weights: Array | None) -> Terms:
        regularizer = meant[0] if isinstance(meant, tuple) else meant
        return row.rule.terms(meant, as_matrix(regularizer, x), weights)

    return dataclasses.replace(
        row,
        terms=lambda r, x: row.terms(r, as_matrix(r, x)),
        oracle=by_matrix(row.oracle),
        certificate=lambda r, p, s: row.certificate(r, as_matrix(r, p), as_matrix(r, s)),
        rule=dataclasses.replace(row.rule, terms=summands),
        matrix=True,
    )


def of_lines(row: Row) -> Row:
    """What is said of rows along the last axis, and that do not decrease, said of lines along any axis."""

    def there(regularizer: Any, x: Array) -> Array:
        axis = getattr(regularizer, "axis", None)
        return x if axis is None else np.ascontiguousarray(np.moveaxis(x, axis, -1))

    def rising(regularizer: Any, x: Array) -> Array:
        return -there(regularizer, x) if getattr(regularizer, "decreasing", False) else there(regularizer, x)

    def find(formula: Any, regularizer: Any, v: Array, step_size: float) -> Array:
        del formula  # which is that of lines
        plain = dataclasses.replace(regularizer, axis=None)
        answer = row.oracle(row.terms, plain, rising(regularizer, v), step_size)
        found = np.empty(v.size)
        places = there(regularizer, np.arange(v.size).reshape(v.shape)).astype(np.int64)
        found[places] = -answer if getattr(regularizer, "decreasing", False) else answer
        return found.reshape(v.shape)

    def summands(r: Any, x: Array, weights: Array | None) -> Terms:
        places = there(r, np.arange(x.size).reshape(x.shape)).ravel().tolist()
        own = None if weights is None else there(r, weights.reshape(x.shape)).ravel()
        return [(int(places[at]), term) for at, term in row.rule.terms(r, rising(r, x), own)]

    return dataclasses.replace(
        row,
        terms=lambda r, x: row.terms(r, rising(r, x)),
        oracle=find,
        certificate=lambda r, p, s: row.certificate(r, rising(r, p), rising(r, s)),
        rule=dataclasses.replace(row.rule, terms=summands),
    )
