"""The generator of the vectors: an oracle by the schema's comments, in exact numbers, without the server."""
