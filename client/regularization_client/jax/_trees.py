"""The leaves of a pytree by name."""

from __future__ import annotations

from typing import Any

import jax

from .._errors import ArgumentError
from .._part import SINGLE

_OF_KEY = ("key", "idx", "name")
"""Where the kinds of keys of a path keep what they stand for."""


def named_leaves(tree: Any) -> tuple[dict[str, Any], Any]:
    """Return the leaves of a tree by name, in its order, and its structure.

    A name is the path to the leaf, its keys joined by dots: "layers.0.weight".

    Raises:
        ArgumentError: If two leaves have one name, or one is no array but a placeholder of a transformation.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves: dict[str, Any] = {}
    for path, leaf in paths:
        name = ".".join(map(_word, path)) or SINGLE
        if name in leaves:
            raise ArgumentError(f"two parameters must not have one name, got {name!r} twice", segment=name)
        if isinstance(leaf, jax.core.Tracer):
            raise ArgumentError(
                f"{name!r} has no elements yet: a proximal step is a call of the server, so take it outside "
                "of jit, grad and vmap",
                segment=name,
            )
        leaves[name] = leaf
    return leaves, structure


def _word(key: Any) -> str:
    return str(next((getattr(key, each) for each in _OF_KEY if hasattr(key, each)), key))
