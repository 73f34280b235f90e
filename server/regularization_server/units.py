"""Bytes, and what the value of a setting is counted in."""

from __future__ import annotations

from enum import Enum

KIB = 2**10
MIB = 2**20
GIB = 2**30


class Unit(Enum):
    """What a value is, or what it is counted in. The name is what the command's help calls it."""

    ADDRESS = "ADDRESS"
    BYTES = "BYTES"
    COUNT = "COUNT"
    FILE = "FILE"
    FOLDER = "FOLDER"
    GROUP = "GROUP"
    MODE = "MODE"
    NAMES = "NAMES"
    PERCENT = "PERCENT"
    SECONDS = "SECONDS"
    SWITCH = "SWITCH"
    URL = "URL"

    def text(self, value: object) -> str:
        """The value as the command reads and shows it: modes are octal, sizes whole MiB where they can be."""
        if self is Unit.MODE:
            return f"{value:o}"
        if self is Unit.BYTES and isinstance(value, int) and value % MIB == 0:
            return f"{value // MIB}MiB"
        return str(value)


IN_PYTHON = {
    Unit.BYTES: "a number of bytes",
    Unit.COUNT: "a number",
    Unit.FILE: "a pathlib.Path",
    Unit.FOLDER: "a pathlib.Path",
    Unit.MODE: "a number, such as 0o660",
    Unit.PERCENT: "a number",
    Unit.SECONDS: "a number",
    Unit.SWITCH: "True or False",
}
"""What a value is in a program, where it is no text as on the command line."""
