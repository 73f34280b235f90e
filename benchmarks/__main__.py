"""Runs the benchmarks one after another: ``python -m benchmarks [--quick] [NAME ...]``."""

from __future__ import annotations

import argparse

from benchmarks import concurrency, kernel, latency, memory, wire

BENCHMARKS = {
    "wire": wire.run,
    "kernel": kernel.run,
    "latency": latency.run,
    "memory": memory.run,
    "concurrency": concurrency.run,
}


def main() -> None:
    """Runs those that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller payloads")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    for name in arguments.names or BENCHMARKS:
        BENCHMARKS[name](quick=arguments.quick)


if __name__ == "__main__":
    main()
