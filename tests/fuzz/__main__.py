"""A million inputs, chosen by what of the code they reach: ``python -m tests.fuzz [--inputs N] [TARGET...]``.

Each target runs in a process of its own, with all of the service's code instrumented. An input that fails is
left in ``build/fuzz``; ``python -m tests.fuzz --again FILE TARGET`` tries it again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARES = {"wire": 0.5, "header": 0.2, "sparse": 0.1, "streams": 0.2}
"""Of all inputs, by target."""

INPUTS = 1_000_000
LONGEST = 4096
"""Bytes of an input."""

SECONDS = 60
"""After which an input hangs; of a processor's time each has a second, which the target itself looks at."""

FOLDER = Path("build/fuzz")


def main() -> int:
    """Run targets one after the other; the exit code says whether an input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(SHARES)}; all if none")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs")
    parser.add_argument("--again", type=Path, help="one input, to be tried again")
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - set(SHARES):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = [name for name in chosen.targets or SHARES if not _passes(name, chosen)]
    if failed:
        print(f"failed: {', '.join(failed)}; the inputs are in {FOLDER}")
    return bool(failed)


def _passes(name: str, chosen: argparse.Namespace) -> bool:
    """Whether a target passes, run in a process of its own."""
    with tempfile.TemporaryDirectory() as corpus:
        inputs = round(chosen.inputs * SHARES[name])
        flags = [f"-runs={inputs}", f"-seed={chosen.seed}", corpus]
        if chosen.again is not None:
            flags = [str(chosen.again)]
        limits = [f"-max_len={LONGEST}", f"-timeout={SECONDS}", f"-artifact_prefix={FOLDER}/{name}-"]
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.fuzz.target", name, corpus, *limits, *flags]
        done = subprocess.run(command, check=False)
        figures = {"target": name, "inputs": inputs, "seconds": round(time.monotonic() - began)}
        print(json.dumps({**figures, "passed": done.returncode == 0}), flush=True)
        return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
