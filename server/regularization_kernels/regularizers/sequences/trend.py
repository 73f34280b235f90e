"""Least squares with a penalty on the differences of one order, row by row, by an interior-point method.

Minimize ½‖x − v‖² + t·Σ|D x|. The solution x and its dual u, one number for each difference, satisfy
x + Dᵀu = v and |u| <= t, with u = t·sign(d) where a difference d of x is not 0. Newton's equations for both
at once are a banded system, which LAPACK solves in linear time (Kim, Koh, Boyd and Gorinevsky 2009, with the
steps of Mehrotra 1992). What it finds is polished: once it is known which differences are 0 and what signs
the others have, x and u solve one more such system.

Many short rows are solved at once, as one system that falls apart into theirs. No number of a row enters
another's, so a row's answer does not depend on its company.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from .banded import Equations, difference, spread

TOLERANCE = 1e-12
"""The duality gap over the objective at which a solution is good enough."""

_ITERATIONS = 100
_PATIENCE = 5
"""Iterations without a smaller gap, after which rounding errors are what is left of it."""
_EXCHANGES = 10
_SMALL = 1e-3
"""The part of the tolerance at which to leave the rest to the polish."""
_SHORT_OF_THE_BORDER = 0.995
_NOTHING = 1e-18
"""Of a sum of squares: what rounding errors add up to."""
_VECTORS = 52
"""Numbers for each element that are at hand at once, beside the equations."""

_Mask = npt.NDArray[np.bool_]
_Step = tuple[Float64Array, Float64Array, Float64Array]


def least_rows(v: Float64Array, order: int, t: Float64Array, used: _Mask | None = None) -> Float64Array:
    """The solution for each row, to within the tolerance, or as near as rounding errors let it be.

    Args:
        v: ``(rows, n)``, finite numbers of a size about 1.
        order: Of the differences, >= 1 and below n.
        t: ``(rows,)``, the thresholds, > 0.
        used: ``(rows, n - order)``, which differences count; None for all.
    """
    with np.errstate(all="ignore"):  # what is out of range is no better than what is at hand, and not taken
        everything = np.ones((v.shape[0], v.shape[1] - order), np.bool_)
        problem = _Problem(v, order, t[:, np.newaxis], everything if used is None else used)
        smooth = problem.polynomials() if used is None else problem.without_differences()
        x = smooth.x
        rest = np.flatnonzero(~(smooth.good & (np.max(np.abs(smooth.u), axis=1) <= t)))
        rough = problem.of(rest).with_signs_of_v()
        x[rest[rough.good]] = rough.x[rough.good]
        rest = rest[~rough.good]
        if rest.size:
            hard = problem.of(rest)
            found = hard.polished(hard.interior())
            # Where t is so large that rounding errors of x outweigh all the rest, smooth is the better.
            better = found.objective <= smooth.objective[rest]
            x[rest[better]] = found.x[better]
        return x


def workspace(elements: int, order: int) -> int:
    """Float64 numbers that rows of so many elements in all need at once."""
    return elements * (Equations.numbers(order) + _VECTORS)


@dataclass(frozen=True, slots=True)
class _Points:
    """For each row x, u, and by how much the objective at x may exceed the least one."""

    x: Float64Array
    u: Float64Array
    gap: Float64Array
    objective: Float64Array

    @property
    def good(self) -> _Mask:
        return np.asarray(self.gap <= TOLERANCE * self.objective)

    def take(self, rows: npt.NDArray[np.intp], others: _Points, which: _Mask) -> None:
        """Put in others' points for some of the rows."""
        at = rows[which]
        self.x[at], self.u[at] = others.x[which], others.u[which]
        self.gap[at], self.objective[at] = others.gap[which], others.objective[which]


@dataclass(frozen=True, slots=True)
class _Problem:
    """The problems of some rows: each its own v, t and differences that count."""

    v: Float64Array
    order: int
    t: Float64Array
    used: _Mask

    def of(self, rows: npt.NDArray[np.intp] | _Mask) -> _Problem:
        """The same for some of the rows."""
        return _Problem(self.v[rows], self.order, self.t[rows], self.used[rows])

    def differences(self, x: Float64Array) -> Float64Array:
        return np.where(self.used, difference(x, self.order), 0.0)

    def points(self, x: Float64Array, u: Float64Array) -> _Points:
        inside = np.clip(u, -self.t, self.t)
        d = self.differences(x)
        # In exact arithmetic, the objective at x less the dual's at u: a sum of what is not below 0.
        gap = 0.5 * _squares(self.v - x - spread(inside, self.order)) + _sums(self.t * np.abs(d) - inside * d)
        return _Points(x, u, gap, 0.5 * _squares(x - self.v) + _sums(self.t * np.abs(d)))

    def polynomials(self) -> _Points:
        """The nearest rows without differences, where all differences count; u may exceed t."""
        x = _polynomials(self.v, self.order)
        return self._flat(x, _running_sums(self.v - x, self.order), np.zeros(x.shape[0]))

    def without_differences(self) -> _Points:
        """The nearest rows without those differences that count; u may exceed t."""
        solved = self.solved(np.zeros(self.used.shape))
        miss = self.v - solved.x - spread(solved.u, self.order)
        return self._flat(solved.x, solved.u, 0.5 * _squares(miss))

    def _flat(self, x: Float64Array, u: Float64Array, gap: Float64Array) -> _Points:
        # Differences of x are rounding errors, and count for nothing.
        return _Points(x, u, gap, 0.5 * _squares(self.v - x) + _NOTHING * _squares(self.v))

    def with_signs_of_v(self) -> _Points:
        """The points that are solutions if no difference changes its sign."""
        u = self.t * np.sign(self.differences(self.v))
        return self.points(self.v - spread(u, self.order), u)

    def solved(self, signs: Float64Array) -> _Points:
        """The solutions where differences have these signs, and those of sign 0 vanish; u may exceed t."""
        fixed = self.t * signs
        equations = Equations(np.zeros(signs.shape), self.used & (signs == 0), self.order)
        target = self.v - spread(fixed, self.order)
        x, u = equations.solve(target, np.zeros(signs.shape))
        # Once more for what rounding left over.
        more, correction = equations.solve(target - x - spread(u, self.order), -difference(x, self.order))
        return self.points(x + more, u + correction + fixed)

    def polished(self, found: _Points) -> _Points:
        """The solutions with signs like those of points near them, where that is better than the points."""
        d = self.differences(found.x)
        near = np.abs(d) / np.max(np.abs(d), axis=1, keepdims=True) > 1.0 - np.abs(found.u) / self.t
        signs = np.where(near, np.sign(d), 0.0)
        problem, rows = self, np.arange(d.shape[0])
        for _ in range(_EXCHANGES):
            points = problem.solved(signs)
            found.take(rows, points, (points.gap <= found.gap[rows]) | points.good)
            beyond = (signs == 0) & (np.abs(points.u) > problem.t)
            turned = problem.differences(points.x) * signs < 0
            signs = np.where(beyond, np.sign(points.u), np.where(turned, 0.0, signs))
            going = np.any(beyond | turned, axis=1)
            if not going.any():
                break
            problem, rows, signs = problem.of(going), rows[going], signs[going]
        return found

    def interior(self) -> _Points:
        """The best points that Newton's method comes to, starting from v and staying off the borders."""
        x, u = self.v.copy(), np.zeros(self.used.shape)
        best = self.points(x.copy(), u.copy())
        d = self.differences(x)
        offset = np.maximum(np.mean(np.abs(d), axis=1), 1e-3 * np.max(np.abs(d), axis=1))[:, np.newaxis]
        z = np.where(self.used, np.maximum([d, -d], 0.0) + offset, 0.0)
        s = np.full_like(z, 1.0) * self.t
        problem, rows, waited = self, np.arange(x.shape[0]), np.zeros(x.shape[0], np.int64)
        for _ in range(_ITERATIONS):
            dx, du, dz = problem.newton(x, u, z, s)
            ds = np.array([-du, du])
            length = np.minimum(_SHORT_OF_THE_BORDER * _reach(z, dz, s, ds), 1.0)
            x, u, z, s = x + length * dx, u + length * du, z + length * dz, s + length * ds
            points = problem.points(x, u)
            better = points.gap < best.gap[rows]
            best.take(rows, points, better)
            waited = np.where(better, 0, waited + 1)
            going = (waited <= _PATIENCE) & (best.gap > _SMALL * TOLERANCE * best.objective)[rows]
            if not going.any():
                break
            if not going.all():
                problem, rows, waited = problem.of(going), rows[going], waited[going]
                x, u, z, s = x[going], u[going], z[:, going], s[:, going]
        return best

    def newton(self, x: Float64Array, u: Float64Array, z: Float64Array, s: Float64Array) -> _Step:
        """Where to go from x and u, with z the parts of D x above and below 0, and s the distances t ∓ u.

        The products z·s, all 0 at the solution, are to become alike and as small as a first try comes to.
        """
        equations = Equations((z / s).sum(axis=0), self.used, self.order)
        left = self.v - x - spread(u, self.order)
        d = self.differences(x)

        def step(aim: Float64Array) -> _Step:
            dx, du = equations.solve(left, z[0] - z[1] - d + aim[0] / s[0] - aim[1] / s[1])
            return dx, du, (aim + z * [du, -du]) / s

        def mean(products: Float64Array) -> Float64Array:
            pairs = 2 * np.count_nonzero(self.used, axis=1)
            return np.asarray(_sums(products[0] + products[1]) / pairs)

        _, du, dz = step(-z * s)
        ds = np.array([-du, du])
        length = np.minimum(_reach(z, dz, s, ds), 1.0)
        now, ahead = mean(z * s), mean((z + length * dz) * (s + length * ds))
        target = (ahead * (ahead / now) ** 2)[:, np.newaxis]
        return step(np.where(self.used, target - z * s - dz * ds, 0.0))


def _sums(rows: Float64Array) -> Float64Array:
    return np.asarray(np.add.reduce(rows, axis=1))


def _squares(rows: Float64Array) -> Float64Array:
    return _sums(rows * rows)


def _reach(z: Float64Array, dz: Float64Array, s: Float64Array, ds: Float64Array) -> Float64Array:
    """How far each row can go until a number is 0, ``(rows, 1)``."""
    least = np.full(z.shape[1], np.inf)
    for numbers, steps in ((z, dz), (s, ds)):
        far = np.divide(-numbers, steps, out=np.full_like(steps, np.inf), where=steps < 0)
        np.minimum(least, far.min(axis=(0, 2)), out=least)
    return least[:, np.newaxis]


def _running_sums(r: Float64Array, order: int) -> Float64Array:
    """The u with Dᵀu = r, where there is one."""
    for _ in range(order):
        r = np.cumsum(r, axis=1)
    u = r[:, : r.shape[1] - order]
    return -u if order % 2 else u


def _polynomials(v: Float64Array, order: int) -> Float64Array:
    """The nearest rows without differences of that order: polynomials, by an orthogonal basis of them."""
    basis: list[Float64Array] = []
    for legendre in np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, v.shape[1]), order - 1).T:
        member = legendre[np.newaxis].copy()
        for _ in range(2):
            for other in basis:
                member -= _sums(other * member)[:, np.newaxis] * other
        basis.append(member / np.sqrt(_squares(member)))
    x = np.zeros(v.shape)
    for _ in range(2):
        for member in basis:
            x += _sums(member * (v - x))[:, np.newaxis] * member
    return x
