"""The distribution in clean environments: every Python, and both ends of its dependencies' ranges.

Run it with ``python -m tests.full_size.packages [VERSION ...]``; it needs ``uv``, and takes minutes. Wheel
and sdist, client and server, with the lowest and the newest releases that the ranges allow: each is installed
in an environment of its own for each Python from 3.11 on that is found, and does what
``tests/packages/smoke.py`` says. Where the server is, some of the tests run, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tests.support.processes import serving
from tests.support.sources import ROOT

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = ("lowest-direct", "highest")
SMOKE = ROOT / "tests" / "packages" / "smoke.py"
TOOLS = ("pytest", "pytest-timeout", "hypothesis", "mpmath", "safetensors")
"""What the tests below need."""
TESTS = (
    "tests/client/test_calls.py",
    "tests/wire",
    "tests/server/test_answers.py",
    "tests/engine/test_streams.py",
)


@dataclass(frozen=True)
class Environment:
    """An environment that the distribution is tried in.

    Attributes:
        folder: Where it is.
        python: The interpreter that it is made with.
        extra: What is installed beside the client, or nothing.
        resolution: Which releases of the dependencies.
        distribution: The wheel or sdist.
    """

    folder: Path
    python: str
    extra: str
    resolution: str
    distribution: Path

    @property
    def interpreter(self) -> str:
        """Its own interpreter."""
        return str(self.folder / "bin" / "python")

    def make(self) -> None:
        """Install the distribution and its dependencies, and nothing else."""
        uv("venv", "--quiet", "--python", self.python, str(self.folder))
        requirements = self.folder / "requirements.txt"
        extras = ["--extra", self.extra] if self.extra else []
        where = ["--python-version", self.python, "--resolution", self.resolution]
        # Where a release has no wheel for this Python, the lowest that has one stands for it.
        wheels = ["--quiet", "--only-binary", ":all:"]
        uv("pip", "compile", *wheels, *extras, *where, "--output-file", str(requirements), "pyproject.toml")
        into = ["--quiet", "--python", self.interpreter]
        uv("pip", "install", *into, "--requirement", str(requirements))
        uv("pip", "install", *into, "--no-deps", str(self.distribution))

    def try_out(self, target: str) -> None:
        """Do what the smoke test says, and with a server some of the tests."""
        what = ["server"] if self.extra else ["client", target]
        run(self.interpreter, str(SMOKE), *what)
        if self.extra:
            uv("pip", "install", "--quiet", "--python", self.interpreter, *TOOLS)
            run(self.interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--share", "20", *TESTS)


def uv(*arguments: str) -> str:
    """Run uv."""
    return run("uv", *arguments)


def run(*command: str) -> str:
    """Run a command in the root of the repository; what it prints.

    Raises:
        RuntimeError: If it fails, with the end of what it said.
    """
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": beside}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def found(versions: Sequence[str]) -> list[str]:
    """Those versions of Python that are here."""
    here = []
    for version in versions:
        try:
            uv("python", "find", "--no-python-downloads", version)
        except RuntimeError:
            print(f"Python {version} is not here")
        else:
            here.append(version)
    return here


def main() -> None:
    """Build, install and try all of them, and say which fail."""
    if shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") is None:
        raise SystemExit("uv is not installed: pip install uv")
    failed = 0
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as server:
        folder = Path(name)
        uv("build", "--quiet", "--out-dir", str(folder / "dist"), ".")
        ((wheel,), (sdist,)) = (list((folder / "dist").glob(f"*{end}")) for end in (".whl", ".tar.gz"))
        versions = found(sys.argv[1:] or VERSIONS)
        cases = [(v, extra, r, wheel) for v, extra, r in product(versions, ("", "server"), RESOLUTIONS)]
        cases += [(versions[-1], "server", "highest", sdist)]
        for number, (version, extra, resolution, distribution) in enumerate(cases):
            environment = Environment(folder / str(number), version, extra, resolution, distribution)
            title = f"{version} {extra or 'client':<6} {resolution:<13} {distribution.suffix}"
            try:
                environment.make()
                environment.try_out(server.address)
            except RuntimeError as error:
                failed += 1
                print(f"{title}: {error}", flush=True)
            else:
                print(f"{title}: works", flush=True)
            shutil.rmtree(environment.folder, ignore_errors=True)
    raise SystemExit(f"{failed} of {len(cases)} failed" if failed else 0)


if __name__ == "__main__":
    main()
