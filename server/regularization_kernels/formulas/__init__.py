"""Formulas for one element: what they are made of, and how NumPy and Numba carry them out over arrays."""
