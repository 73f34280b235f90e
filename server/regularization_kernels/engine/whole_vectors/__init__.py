"""Vectors of which some figures must be known before any element is computed: questions, and who answers."""
