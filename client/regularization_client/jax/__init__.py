"""Proximal steps of pytrees, and masks for dropout: the extra ``jax`` of the package.

The steps are calls of the server, so they are taken outside of ``jit``, between the compiled steps of a
training. Masks are computed inside.
"""

from ._dropout import dropout_mask
from ._proximal_step import ProximalState, ProximalStep

__all__ = ["ProximalState", "ProximalStep", "dropout_mask"]
