"""What training.v1 says beside regularizers, by its comments."""
