"""Sums over elements. Steps of penalties that are not convex are found among all stationary points."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from mpmath import mp, mpf

from ...runner.streams import WORD, random_bits
from ..numbers import Real
from ..sums import Terms
from .row import Message, Row, Shape, Vector, best, by_element, of_set, sign, soft

ROOT_BITS = 110
"""Bits of roots of polynomials."""
ULPS = 2.0**-48
"""What logarithms and cube roots that are not correctly rounded may be off by."""


def _elastic_term(m: Message, x: float) -> float:
    return float(((0.5 * m.l2_strength) * abs(x) + m.l1_strength) * abs(x))


def _huber_term(m: Message, x: float) -> float:
    near = min(abs(x), m.delta)
    return float((near / m.delta) * (abs(x) - 0.5 * near))


def _huber_step(m: Message, x: Real, size: Real) -> Real:
    t = size * m.strength
    return x * m.delta / (m.delta + t) if abs(x) <= m.delta + t else x - t * sign(x)


def _concave_step(x: Real, candidates: list[Real], objective: Real) -> Real:
    allowed = [each for each in [mpf(0), abs(x), *candidates] if 0 <= each <= abs(x)]
    return sign(x) * best(allowed, objective)


def _root_step(power: Real, degree: int) -> Callable[[Message, Real, Real], Real]:
    """The step of strength * |x|^power: y = s^(degree - 1) of the roots s of s^degree - |x| s + power * t."""

    def step(m: Message, x: Real, size: Real) -> Real:
        t = size * mpf(m.strength)
        coefficients = [mpf(0)] * (degree + 1)
        coefficients[0], coefficients[-2], coefficients[-1] = mpf(1), -abs(x), power * t
        with mp.workprec(ROOT_BITS):
            roots = mp.polyroots(coefficients, maxsteps=200, extraprec=ROOT_BITS)
        real = [mp.re(root) for root in roots if abs(mp.im(root)) < mpf(2) ** -60 and mp.re(root) > 0]
        return _concave_step(
            x, [root ** (degree - 1) for root in real], lambda y: t * y**power + (y - abs(x)) ** 2 / 2
        )

    return step


def _mcp_term(m: Message, x: float) -> float:
    near = min(abs(x), m.concavity * m.strength)
    return float(near * (m.strength - near / (2 * m.concavity)))


def mcp_step(m: Message, x: Real, size: Real) -> Real:
    """The step of MCP."""
    strength, a = mpf(m.strength), mpf(m.concavity)

    def objective(y: Real) -> Real:
        inside = strength * y - y * y / (2 * a) if y <= a * strength else a * strength**2 / 2
        return size * inside + (y - abs(x)) ** 2 / 2

    stationary = [(abs(x) - size * strength) / (1 - size / a)] if size != a else []
    stationary = [each for each in stationary if each <= a * strength]
    return _concave_step(x, [*stationary, a * strength], objective)


def _scad_term(m: Message, x: float) -> float:
    near = min(abs(x), m.concavity * m.strength)
    excess = max(near - m.strength, 0.0)
    return float(m.strength * near - (excess * excess) / (2 * (m.concavity - 1)))


def scad_slope(m: Message, x: Real) -> Real:
    """The derivative of SCAD."""
    strength, a = mpf(m.strength), mpf(m.concavity)
    return sign(x) * min(strength, max((a * strength - abs(x)) / (a - 1), mpf(0)))


def scad_step(m: Message, x: Real, size: Real) -> Real:
    """The step of SCAD."""
    strength, a = mpf(m.strength), mpf(m.concavity)

    def objective(y: Real) -> Real:
        if y <= strength:
            penalty = strength * y
        elif y <= a * strength:
            penalty = (2 * a * strength * y - y * y - strength**2) / (2 * (a - 1))
        else:
            penalty = strength**2 * (a + 1) / 2
        return size * penalty + (y - abs(x)) ** 2 / 2

    candidates = [strength, a * strength, *[each for each in [abs(x) - size * strength] if each <= strength]]
    if size != a - 1:
        middle = (abs(x) - size * a * strength / (a - 1)) / (1 - size / (a - 1))
        candidates += [middle] if strength <= middle <= a * strength else []
    return _concave_step(x, candidates, objective)


def _log_sum_step(m: Message, x: Real, size: Real) -> Real:
    t, epsilon = size * mpf(m.strength), mpf(m.epsilon)
    inner = (abs(x) + epsilon) ** 2 - 4 * t
    roots = [(abs(x) - epsilon + signed * mp.sqrt(inner)) / 2 for signed in (1, -1)] if inner >= 0 else []
    # abs(x) itself is not stationary, but it does no harm among candidates.
    return _concave_step(x, roots, lambda y: t * mp.log(1 + y / epsilon) + (y - abs(x)) ** 2 / 2)


def _entropy_term(m: Message, x: float) -> float:
    if x < 0:
        return math.inf
    return float(m.strength * (x * float(mp.log(x)))) if x > 0 else 0.0


def _entropy_step(m: Message, x: Real, size: Real) -> Real:
    t = size * mpf(m.strength)
    if t == 0:
        return max(x, mpf(0))
    # Stationary where y + t (1 + ln y) = x; in z = ln y the left side is convex and grows: Newton converges.
    z = mp.log(max(x, mpf(1)))
    for _ in range(100):
        y = mp.exp(z)
        change = (y + t * (1 + z) - x) / (y + t)
        z -= change
        if abs(change) < mpf(2) ** -90:
            break
    return mp.exp(z)


def level(m: Message, x: Real) -> Real:
    """The nearest level, of two equally near ones that of smaller magnitude, and a of -a and a."""
    if m.levels.WhichOneof("spacing") == "explicit":
        near = [mpf(value) for value in m.levels.explicit.values]
    else:
        count = mp.floor((x - m.levels.offset) / mpf(m.levels.step))
        near = [mpf(m.levels.offset) + (count + more) * mpf(m.levels.step) for more in (-1, 0, 1, 2)]
    return min(near, key=lambda each: (abs(x - each), abs(each), -each))


def _quantization_step(m: Message, x: Real, size: Real) -> Real:
    nearest = level(m, x)
    return nearest + soft(x - nearest, size * mpf(m.strength))


def _clip(m: Message, x: Real) -> Real:
    x = max(x, mpf(m.lower)) if m.HasField("lower") else x
    return min(x, mpf(m.upper)) if m.HasField("upper") else x


def _dropout(m: Message, _: Shape, x: Vector, __: Vector) -> Vector:
    bound = math.ceil(Fraction(m.rate) * WORD)
    seed = random_bits(m.seed, m.step)
    rescale = m.rescale if m.HasField("rescale") else True
    kept = [random_bits(seed, index) >= bound for index in range(len(x))]
    return [
        (each / (1 - mpf(m.rate)) if rescale else each) if keep else mpf(0)
        for each, keep in zip(x, kept, strict=True)
    ]


ONE_THIRD = mpf(1) / 3

ELEMENTS = {
    "l1_norm": by_element(
        lambda m, x: abs(x),
        lambda m, x: sign(x) * mpf(m.strength),
        lambda m, x, size: soft(x, size * mpf(m.strength)),
    ),
    "squared_l2_norm": by_element(
        lambda m, x: 0.5 * (x * x),
        lambda m, x: m.strength * x,
        lambda m, x, size: x / (1 + size * mpf(m.strength)),
    ),
    "elastic_net": by_element(
        _elastic_term,
        lambda m, x: sign(x) * mpf(m.l1_strength) + mpf(m.l2_strength) * x,
        lambda m, x, size: soft(x, size * mpf(m.l1_strength)) / (1 + size * mpf(m.l2_strength)),
        scale=lambda m: 1.0,
    ),
    "box": of_set(
        lambda m, _, x: all(_clip(m, mpf(each)) == each for each in x),
        lambda m, _, x: [_clip(m, each) for each in x],
    ),
    "huber": by_element(
        _huber_term,
        lambda m, x: mpf(m.strength) * max(min(x / mpf(m.delta), mpf(1)), mpf(-1)),
        _huber_step,
    ),
    "l0_norm": by_element(
        lambda m, x: 1.0 if x else 0.0,
        lambda m, x: mpf(0),
        lambda m, x, size: x if x * x > 2 * size * mpf(m.strength) else mpf(0),
        convex=False,
    ),
    "l_half": by_element(
        lambda m, x: math.sqrt(abs(x)),
        lambda m, x: mpf(m.strength) * sign(x) / (2 * mp.sqrt(abs(x))) if x else mpf(0),
        _root_step(mpf(1) / 2, 3),
        convex=False,
    ),
    "l_two_thirds": by_element(
        lambda m, x: float(mp.cbrt(abs(x))) ** 2,
        lambda m, x: mpf(m.strength) * 2 * ONE_THIRD * sign(x) / mp.cbrt(abs(x)) if x else mpf(0),
        _root_step(2 * ONE_THIRD, 4),
        convex=False,
        sum_error=ULPS,
    ),
    "mcp": by_element(
        _mcp_term,
        lambda m, x: sign(x) * max(mpf(m.strength) - abs(x) / mpf(m.concavity), mpf(0)),
        mcp_step,
        scale=lambda m: 1.0,
        convex=False,
    ),
    "scad": by_element(_scad_term, scad_slope, scad_step, scale=lambda m: 1.0, convex=False),
    "log_sum": by_element(
        lambda m, x: float(mp.log(1 + abs(x) / m.epsilon)),
        lambda m, x: mpf(m.strength) * sign(x) / (abs(x) + mpf(m.epsilon)),
        _log_sum_step,
        convex=False,
        sum_error=ULPS,
    ),
    "hinge": by_element(
        lambda m, x: max(1 - x, 0.0),
        lambda m, x: -mpf(m.strength) if x < 1 else mpf(0),
        lambda m, x, size: max(x, min(x + size * mpf(m.strength), mpf(1))),
    ),
    "negative_entropy": by_element(
        _entropy_term,
        lambda m, x: mpf(m.strength) * (1 + mp.log(x)),
        _entropy_step,
        scale=lambda m: 1.0,
        sum_error=ULPS,
    ),
    "grid": of_set(
        lambda m, _, x: all(level(m, mpf(each)) == each for each in x),
        lambda m, _, x: [level(m, each) for each in x],
        convex=False,
    ),
    "quantization": by_element(
        lambda m, x: float(abs(x - level(m, mpf(x)))),
        lambda m, x: mpf(m.strength) * sign(x - level(m, x)),
        _quantization_step,
        convex=False,
    ),
    "dropout": Row(lambda m, _, x: [Terms(1.0, [0.0] * len(x))], None, _dropout, convex=None),
}
