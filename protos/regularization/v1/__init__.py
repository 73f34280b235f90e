"""Generated from the schema that is beside it."""
