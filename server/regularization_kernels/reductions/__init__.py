"""Penalties of whole vectors: statistics that merge exactly, then a rule for each element."""
