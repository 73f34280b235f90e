"""Benchmarks: what the service costs, as ratios to a baseline timed in the same run."""
