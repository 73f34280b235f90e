"""Penalties of a whole segment as one vector, whatever its shape."""
