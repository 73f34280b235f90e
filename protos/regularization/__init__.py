"""The schema's generated code: import ``regularization.v1``."""
