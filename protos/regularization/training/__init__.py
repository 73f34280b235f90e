"""The schema of ``training.v1`` as Python has it."""
