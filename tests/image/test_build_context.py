from __future__ import annotations

from tests.support.dockerfile import PROJECT, ROOT, STAGES

PATTERNS = [
    line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
]
SENT = {pattern.removeprefix("!") for pattern in PATTERNS if pattern.startswith("!")}
COPIED = {
    source for instruction in STAGES[0] if instruction.keyword == "COPY" for source in instruction.words[:-1]
}


def test_nothing_is_sent_unless_named() -> None:
    """.git, .venv, data and keys stay out of the build: all is excluded, and then some let in."""
    assert PATTERNS[0] == "*"


def test_what_is_sent_is_what_is_copied() -> None:
    """The build gets exactly what the Dockerfile copies."""
    assert SENT == COPIED


def test_everything_that_the_wheel_takes_is_sent() -> None:
    """Each package, the readme and the licence that pyproject.toml names reach the build, and what builds."""
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    project = PROJECT["project"]
    needed = {path.split("/")[0] for path in [*packages, project["readme"], *project["license-files"]]}
    assert needed | {"pyproject.toml", "docker/image", "docker/lock"} == SENT


def test_bytecode_is_not_sent() -> None:
    """A test run's bytecode does not make the sources look changed."""
    assert PATTERNS[-1] == "**/__pycache__"
