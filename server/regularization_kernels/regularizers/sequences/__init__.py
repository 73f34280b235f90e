"""Penalties of the order of elements along the last axis."""
