"""Sums over groups of elements: stretches end where groups end."""
