"""Between the contract and the kernels: messages to calls and arrays, results to messages, errors to statuses."""
