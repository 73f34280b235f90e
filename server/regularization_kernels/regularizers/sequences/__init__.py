"""Penalties of the order of elements along an axis."""
