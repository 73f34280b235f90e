"""What happens to a call from its first byte to its status: admission, messages, methods, errors."""
