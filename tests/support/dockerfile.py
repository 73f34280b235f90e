"""Reads a Dockerfile far enough to test what it says."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


@dataclass(frozen=True)
class Instruction:
    """One instruction with everything after its keyword, continuation lines joined."""

    keyword: str
    rest: str

    @property
    def exec_form(self) -> list[str]:
        """The command's words; fails where a shell would run it."""
        command = json.loads(self.rest[self.rest.index("[") :])
        assert isinstance(command, list)
        return command

    @property
    def words(self) -> list[str]:
        """Whatever stands between spaces, without the flags."""
        return [word for word in self.rest.split() if not word.startswith("--")]

    @property
    def pairs(self) -> dict[str, str]:
        """The ``name=value`` pairs of an ARG, ENV or LABEL."""
        found = re.findall(r'([\w.]+)=(?:"([^"]*)"|(\S*))', self.rest)
        return {name: quoted or plain for name, quoted, plain in found}


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line]


INSTRUCTIONS = _instructions((ROOT / "docker" / "Dockerfile").read_text())
_starts = [number for number, instruction in enumerate(INSTRUCTIONS) if instruction.keyword == "FROM"]
STAGES = [INSTRUCTIONS[start:end] for start, end in zip(_starts, [*_starts[1:], None], strict=True)]
_, SERVICE, TRIAL, RUNTIME = STAGES


def only(keyword: str) -> Instruction:
    """The runtime stage's one instruction of this keyword; fails where there is none or more."""
    (instruction,) = (instruction for instruction in RUNTIME if instruction.keyword == keyword)
    return instruction


def settings() -> dict[str, str]:
    """The environment that the image sets."""
    return {
        name: value
        for instruction in (*SERVICE, *RUNTIME)
        if instruction.keyword == "ENV"
        for name, value in instruction.pairs.items()
    }
