"""The example clients in other languages, installed and started as docs/languages.md says."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.sources import ROOT

PAGE = (ROOT / "docs" / "languages.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS_TO_BUILD = 400
INSTALL, CHECK = "sudo apt-get install", "python -m conformance.check_client"
SAID = ("localhost:50051", "weights.f32", "stepped.f32", "0.1", "1.0")
"""What the page's command of a client is called with: target, input, output, strength and step size."""


@dataclass(frozen=True)
class Language:
    """A client as the page tells of it.

    Attributes:
        name: The section's title.
        install: What its toolchain is installed with.
        build: The commands that make the client.
        run: The client's command, without arguments.
        check: The command that the conformance vectors are given to.
    """

    name: str
    install: str
    build: tuple[str, ...]
    run: tuple[str, ...]
    check: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """The commands and files of its toolchain that are not there."""
        return [each for each in COMMANDS[self.name] if not _is_there(each)]


COMMANDS = {
    "Node and TypeScript": ("node", "npm"),
    "C++": ("cmake", "c++", "pkg-config", "protoc", "grpc_cpp_plugin"),
    "Go": ("go", "protoc", "protoc-gen-go"),
    "Java": ("java", "javac", "jar", "protoc", "grpc_java_plugin"),
    # A Cargo from elsewhere has none of Debian's crates.
    "Rust": ("cargo", "rustc", "protoc", "/usr/share/cargo/registry/prost-build-*"),
    "C, for devices": ("cc", "make", "pkg-config", "protoc", "protoc-gen-nanopb"),
}
"""What tells by its absence that a toolchain is not installed: commands, and patterns of paths."""


def _is_there(part: str) -> bool:
    folder, _, name = part.rpartition("/")
    return any(Path(folder).glob(name)) if folder else shutil.which(part) is not None


def _language(name: str, text: str) -> Language:
    lines = "".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    (install,) = (line for line in lines if line.startswith(INSTALL))
    (run,) = (line for line in lines if SAID[0] in line)
    (check,) = (line for line in lines if line.startswith(CHECK))
    build = tuple(line for line in lines if line not in (install, run, check))
    assert tuple(shlex.split(run)[-len(SAID) :]) == SAID, run
    after = check.partition(" -- ")[2]
    return Language(name, install, build, tuple(shlex.split(run)[: -len(SAID)]), tuple(shlex.split(after)))


LANGUAGES = {name: _language(name, text) for name, text in SECTION.findall(PAGE) if INSTALL in text}


def built(language: Language, folder: Path) -> Path:
    """A tree in which the client is built: by one process of the tests, for all of them."""
    name = re.sub(r"\W+", "_", language.name).lower()
    tree = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / f"client_{name}"
    with tree.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (tree / "built").exists():
            shutil.rmtree(tree, ignore_errors=True)
            _copied(tree)
            for line in language.build:
                done = subprocess.run(
                    ["sh", "-ec", line],
                    cwd=tree,
                    env=_environment(),
                    capture_output=True,
                    text=True,
                    timeout=SECONDS_TO_BUILD,
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            (tree / "built").touch()
    return tree


def _copied(tree: Path) -> None:
    """What a clone has of clients, without what was built in it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "examples/clients", "protos"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def _environment() -> dict[str, str]:
    """Where ``python`` is the one that runs the tests, as it is for whoever follows the page."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Rust's optimizer takes longer than all that is tried with what it makes.
    return {**os.environ, "PATH": path, "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0"}
