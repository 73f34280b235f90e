"""What measuring takes: rounds, cases, requests, server processes, tables."""
