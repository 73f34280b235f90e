"""What is measured: each file is a benchmark, with a `run` that hands back its findings."""
