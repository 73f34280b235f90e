"""Penalties of the singular values of a matrix."""
