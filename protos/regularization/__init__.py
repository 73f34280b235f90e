"""The schema as Python has it.

``v1`` is generated code; ``wire`` and ``sparse`` are written by hand, for both ends of a call.
"""
