"""The server as a process: its addresses, signals, logs, memory, and the processes beside it."""
