from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.dockerfile import PROJECT, ROOT

VERSION = PROJECT["project"]["version"]
WORKS = 'printf "%s\\n" "$0" "$@"'
DAEMON_DOWN = 'test "$1" != info'


def build(
    tools: Path, engines: dict[str, str], *options: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run docker/build with the usual tools and these engines, each a line of shell, and nothing else."""
    for name in ("dirname", "git", "sed", "sh"):
        tool = shutil.which(name)
        if tool is not None:
            (tools / name).symlink_to(tool)
    for name, line in engines.items():
        engine = tools / name
        engine.write_text(f"#!/bin/sh\n{line}\n")
        engine.chmod(0o755)
    return subprocess.run(
        [ROOT / "docker" / "build", *options],
        env={"PATH": str(tools), **env},
        cwd="/",
        text=True,
        capture_output=True,
        check=False,
    )


def pairs(output: str, option: str) -> list[str]:
    """The values that follow this option."""
    lines = output.splitlines()
    return [value for word, value in pairwise(lines) if word == option]


def test_tags_version_and_latest(tmp_path: Path) -> None:
    """The image is tagged, and its label filled, with the version of pyproject.toml."""
    output = build(tmp_path, {"docker": WORKS}).stdout
    assert pairs(output, "--tag") == [f"regularization-service:{VERSION}", "regularization-service:latest"]
    assert pairs(output, "--build-arg") == [f"VERSION={VERSION}"]
    assert pairs(output, "--file") == ["docker/Dockerfile"]
    assert output.splitlines()[-1] == "."


def test_base_is_passed_on(tmp_path: Path) -> None:
    """BASE is the build argument BASE_IMAGE."""
    output = build(tmp_path, {"docker": WORKS}, BASE="debian:bookworm-slim").stdout
    assert "BASE_IMAGE=debian:bookworm-slim" in pairs(output, "--build-arg")


def test_options_are_passed_on(tmp_path: Path) -> None:
    """Options go to the engine as they are, spaces and all."""
    output = build(tmp_path, {"docker": WORKS}, "--secret", "id=pip_conf,src=a b").stdout
    assert pairs(output, "--secret") == ["id=pip_conf,src=a b"]


@pytest.mark.parametrize(
    ("engines", "chosen"),
    [
        ({"docker": WORKS, "podman": WORKS}, "docker"),
        ({"docker": DAEMON_DOWN, "podman": WORKS, "buildah": WORKS}, "podman"),
        ({"buildah": WORKS}, "buildah"),
    ],
)
def test_first_engine_that_works(tmp_path: Path, engines: dict[str, str], chosen: str) -> None:
    """An engine that is not there, or whose daemon is down, makes way for the next."""
    result = build(tmp_path, engines)
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path}/{chosen}" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("engine", "formats"), [("docker", []), ("podman", ["docker"]), ("buildah", ["docker"])]
)
def test_health_check_survives(tmp_path: Path, engine: str, formats: list[str]) -> None:
    """The engines whose own image format drops HEALTHCHECK are asked for the other one."""
    assert pairs(build(tmp_path, {engine: WORKS}).stdout, "--format") == formats


def test_engine_can_be_chosen(tmp_path: Path) -> None:
    """ENGINE overrides the order."""
    result = build(tmp_path, {"docker": WORKS, "buildah": WORKS}, ENGINE="buildah")
    assert f"{tmp_path}/buildah" in result.stdout.splitlines()


def test_without_an_engine(tmp_path: Path) -> None:
    """Where nothing can build, it says what is needed."""
    result = build(tmp_path, {"docker": DAEMON_DOWN})
    assert result.returncode == 1
    assert result.stderr == "docker/engine: needs docker with its daemon running, or podman, or buildah\n"


def test_unknown_engine(tmp_path: Path) -> None:
    """An ENGINE that is none of the three is refused by name."""
    result = build(tmp_path, {"docker": WORKS}, ENGINE="dokcer")
    assert result.returncode == 1
    assert result.stderr == "docker/engine: ENGINE must be docker, podman or buildah, got dokcer\n"


def test_failed_build_fails(tmp_path: Path) -> None:
    """The engine's exit status is the script's."""
    assert build(tmp_path, {"docker": 'test "$1" = info || exit 7'}).returncode == 7
