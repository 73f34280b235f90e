"""Runs the benchmarks one after another: ``python -m benchmarks [--quick] [--picture PATH] [NAME ...]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.report import Findings, print_aims
from benchmarks.subjects import (
    attacks,
    catalogue,
    comparison,
    concurrency,
    data_types,
    growth,
    hook,
    kernel,
    latency,
    long_vectors,
    matrices,
    memory,
    observability,
    replicas,
    small_segments,
    wire,
)

BENCHMARKS: dict[str, Callable[..., Findings | None]] = {
    "comparison": comparison.run,
    "growth": growth.run,
    "latency": latency.run,
    "memory": memory.run,
    "replicas": replicas.run,
    "small_segments": small_segments.run,
    "wire": wire.run,
    "kernel": kernel.run,
    "data_types": data_types.run,
    "long_vectors": long_vectors.run,
    "hook": hook.run,
    "concurrency": concurrency.run,
    "observability": observability.run,
    "catalogue": catalogue.run,
    "matrices": matrices.run,
    "attacks": attacks.run,
}


def main() -> None:
    """Runs those that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller payloads")
    parser.add_argument(
        "--picture", type=Path, metavar="PATH", help="draw those that were run, as a PNG file"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    findings = [BENCHMARKS[name](quick=arguments.quick) for name in arguments.names or BENCHMARKS]
    print_aims(findings, quick=arguments.quick)
    if arguments.picture:
        from benchmarks.picture import draw

        draw(findings, arguments.picture)


if __name__ == "__main__":
    main()
