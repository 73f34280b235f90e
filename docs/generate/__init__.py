"""Writes the page of regularizers and its pictures from the registry: ``python -m docs.generate``."""
