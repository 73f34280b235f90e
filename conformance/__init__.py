"""Conformance vectors of the schema, what generates them, and the programs that check with them."""
