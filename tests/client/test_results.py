"""Figures, exact sums and how they combine."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization_client import Client, ExactSum, L1Norm, combine

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e300, max_value=1e300)
THETA = np.array([0.8, -0.3, 0.5])


def exact(terms: list[float]) -> ExactSum:
    """The exact sum of terms, each of them a sum of itself."""
    return ExactSum.combined(ExactSum(term, (term,)) for term in terms)


@given(st.lists(FINITE, max_size=20), st.integers(0, 20))
def test_partial_sums_combine_to_the_bits_of_one(terms: list[float], cut: int) -> None:
    """However the terms are shared out, and in any order."""
    parts = [exact(terms[cut:]), exact(terms[:cut])]
    assert ExactSum.combined(parts) == exact(terms)


@given(st.lists(FINITE, max_size=20))
def test_an_expansion_is_canonical(terms: list[float]) -> None:
    """Its sum is the terms', and each number is what is left, rounded."""
    total = exact(terms)
    rest = sum(map(Fraction, terms), Fraction())
    for number in total.expansion:
        assert number == float(rest) != 0
        rest -= Fraction(number)
    assert rest == 0
    assert total.value == (total.expansion[0] if total.expansion else 0.0)


@pytest.mark.parametrize(
    ("terms", "value"),
    [
        ([math.inf, 1.0], math.inf),
        ([-math.inf, 1.0], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, 1.0], math.nan),
        ([1.7e308, 1.7e308, math.inf], math.inf),
        ([1.7e308, 1.7e308, -math.inf], -math.inf),
        ([1.7e308, 1.7e308, math.nan], math.nan),
        ([1.7e308, 1.7e308], math.inf),
        ([-1.7e308, -1.7e308], -math.inf),
        ([1.7e308, 1.7e308, -1.7e308], 1.7e308),
    ],
)
def test_sums_that_are_not_finite_have_one_number(terms: list[float], value: float) -> None:
    """Infinity or NaN, as IEEE 754 has it, and only where the exact sum is beyond the largest number."""
    total = exact(terms)
    assert len(total.expansion) == 1
    np.testing.assert_equal([total.value, *total.expansion], [value, value])


def test_combined_figures_have_the_bits_of_one_call(client: Client) -> None:
    """In total and for each array that several results have."""
    theta = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    norm = L1Norm(strength=0.1)
    one = client.proximal_step({"w": theta, "v": theta}, norm, step_size=0.3)
    parts = [client.proximal_step({name: theta}, norm, step_size=0.3) for name in ("v", "w")]
    combined = combine(parts)
    assert combined.exact_penalty == one.exact_penalty
    assert combined.exact_squared_distance == one.exact_squared_distance
    assert (combined.elements, combined.nonzeros) == (one.elements, one.nonzeros)
    assert dict(combined.segments) == dict(one.segments)
    assert combine([combined]) == combined


def test_figures_that_a_part_lacks_are_left_out(client: Client) -> None:
    """A sum of some of the parts would be mistaken for all of them."""
    norm = L1Norm(strength=0.1)
    whole, part = client.penalty(THETA, norm), client.penalty(THETA, norm, figures=["nonzeros"])
    combined = combine([whole, part])
    assert combined.nonzeros == 6
    with pytest.raises(RuntimeError, match="penalty is not a figure of this call"):
        _ = combined.penalty


def test_the_total_alone_combines_too(client: Client) -> None:
    """Over streams and in parts; every figure is there, in total."""
    theta = np.random.default_rng(3).standard_normal(1 << 19).astype(np.float32)
    norm = L1Norm(strength=0.1)
    one = client.proximal_step(theta, norm, step_size=0.3)
    for streams in (1, 2):
        alone = client.proximal_step(theta, norm, step_size=0.3, by_segment=False, streams=streams)
        assert not alone.segments
        assert (alone.exact_penalty, alone.nonzeros) == (one.exact_penalty, one.nonzeros)
        assert alone.exact_squared_distance == one.exact_squared_distance


def test_a_figure_that_was_left_out_cannot_be_read(client: Client) -> None:
    """It is not 0 or None by accident."""
    result = client.proximal_step(THETA, L1Norm(strength=0.1), step_size=1.0, figures=["penalty"])
    assert result.penalty == pytest.approx(0.13)
    with pytest.raises(RuntimeError, match="squared_distance"):
        _ = result.squared_distance
    with pytest.raises(RuntimeError, match="nonzeros"):
        _ = result.segments["parameters"].nonzeros


def test_results_show_their_figures_and_the_outline_of_their_arrays(client: Client) -> None:
    """In a notebook, a large array does not flood the page."""
    step = client.proximal_step(np.ones(4), L1Norm(strength=0.5), step_size=1.0)
    assert repr(step) == (
        "ProximalStepResult(elements=4, penalty=1.0, squared_distance=1.0, nonzeros=4, "
        "parameters=<float64 (4,)>, segments=1)"
    )
    assert "gradient=<1 arrays>" in repr(client.gradient({"w": THETA}, None))
