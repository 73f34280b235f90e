"""Draws the dashboard's panels from a run that Prometheus watched: ``python -m docs.generate.dashboard``."""
