"""Between contract and kernels: messages to calls and arrays, results to messages, errors to statuses."""
