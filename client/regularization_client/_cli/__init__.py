"""What the ``regularize`` command is made of."""
