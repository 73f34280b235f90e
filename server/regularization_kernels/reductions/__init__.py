"""Penalties of long segments: statistics of the whole that merge exactly, then a rule for each element."""
