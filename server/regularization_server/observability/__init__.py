"""What an operator sees of the server: ids of requests, metrics and traces."""
