"""The schema as Python has it.

``v1`` and ``training.v1`` are generated code; ``wire``, ``sparse`` and ``hand_off`` are written by hand, for
both ends of a call.
"""
