"""Generated from ``protos/training/v1``."""
