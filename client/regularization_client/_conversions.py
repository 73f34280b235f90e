"""The elastic net in the conventions that people arrive with.

==================================  ================================  ========================================
Convention                          Penalty                           Here
==================================  ================================  ========================================
This service                        ``a·Σ|θ| + b·½·Σθ²``              ``ElasticNet(l1_strength=a, …=b)``
Mixed, without ½                    ``λ·(α·Σ|θ| + (1 − α)·Σθ²)``      ``elastic_net_from_mix(λ, α)``
scikit-learn's alpha, l1_ratio      ``α·ρ·Σ|θ| + α·(1 − ρ)·½·Σθ²``    ``elastic_net_from_sklearn(α, ρ)``
==================================  ================================  ========================================

The squared part of the mixed convention has no ½: taken for one of the other two, it is off by a factor of 2.
scikit-learn divides the loss by the number of samples: the penalty goes with a *mean* squared error over 2.
"""

from __future__ import annotations

from regularization.v1.regularizers_pb2 import ElasticNet

from ._errors import ArgumentError


def elastic_net_from_mix(strength: float, mix: float) -> ElasticNet:
    """Return the elastic net ``strength * (mix * sum(|x|) + (1 - mix) * sum(x**2))``; mind that it has no ½.

    Args:
        strength: The λ of the formula, >= 0.
        mix: The α of the formula, the share of the absolute values, from 0 to 1.

    Raises:
        ArgumentError: If a number is out of its range.
    """
    _check(strength, "strength", mix, "mix")
    return ElasticNet(l1_strength=strength * mix, l2_strength=2.0 * strength * (1.0 - mix))


def elastic_net_from_sklearn(alpha: float, l1_ratio: float) -> ElasticNet:
    """Return scikit-learn's elastic net, ``alpha * (l1_ratio * sum(|x|) + (1 - l1_ratio) * sum(x**2) / 2)``.

    Args:
        alpha: As in ``sklearn.linear_model.ElasticNet``, >= 0.
        l1_ratio: As there, from 0 to 1.

    Raises:
        ArgumentError: If a number is out of its range.
    """
    _check(alpha, "alpha", l1_ratio, "l1_ratio")
    return ElasticNet(l1_strength=alpha * l1_ratio, l2_strength=alpha * (1.0 - l1_ratio))


def _check(strength: float, strength_name: str, share: float, share_name: str) -> None:
    if not 0.0 <= strength < float("inf"):
        raise ArgumentError(f"{strength_name} must be finite and >= 0, got {strength}")
    if not 0.0 <= share <= 1.0:
        raise ArgumentError(f"{share_name} must be from 0 to 1, got {share}")
