"""Sums over elements: any stretch of a segment can be computed by itself."""
