"""The command's options for the settings, made of what ``Settings`` states, and settings as such options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..settings import SETTINGS, Setting, Settings
from ..units import GIB, KIB, MIB, Unit

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = TypeVar("Command", bound=Callable[..., Any])

VARIABLE_PREFIX = "REGULARIZATION"
"""What the environment variable of every option begins with."""

SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": KIB, "MI": MIB, "GI": GIB}


class Bytes(click.ParamType[int]):
    """A number of bytes, with or without a unit: 1073741824, 512MiB, 2GB."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a number of bytes such as 1073741824, 512MiB or 2GB", param, ctx)
        return round(float(match[1]) * SIZES[(match[2] or "").upper()])


class Octal(click.ParamType[int]):
    """Permissions of a file: 660."""

    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        try:
            return int(value, 8)
        except ValueError:
            self.fail(f"{value!r} is not a file mode such as 660", param, ctx)


TYPES: dict[Unit, Any] = {
    Unit.ADDRESS: str,
    Unit.BYTES: Bytes(),
    Unit.COUNT: int,
    Unit.FILE: click.Path(path_type=Path),
    Unit.FOLDER: click.Path(path_type=Path),
    Unit.GROUP: str,
    Unit.MODE: Octal(),
    Unit.NAMES: str,
    Unit.PERCENT: int,
    Unit.SECONDS: float,
    Unit.SWITCH: bool,
    Unit.URL: str,
}
"""How the command reads a value."""


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def setting_options(command: Command) -> Command:
    """Give a command an option for every setting, in their order, with what is said of it as help."""
    defaults = Settings()
    for name in reversed(SETTINGS):
        command = _option(name, SETTINGS[name], getattr(defaults, name))(command)
    return command


def _option(name: str, setting: Setting, default: Any) -> Callable[[Command], Command]:
    options: dict[str, Any] = {"default": default, "metavar": setting.unit.name}
    flags = flag_of(name)
    if setting.unit is Unit.SWITCH:
        flags, options = f"{flags}/{_negative(flags)}", {"default": default}
    elif isinstance(default, tuple):
        options["multiple"] = True
    elif default is not None:
        options["default"] = setting.unit.text(default)
    return click.option(
        flags, name, type=TYPES[setting.unit], show_envvar=True, help=setting.words, **options
    )


def arguments_of(settings: Settings) -> list[str]:
    """The settings as the command's arguments."""
    arguments = []
    for name, setting in SETTINGS.items():
        value, flag = getattr(settings, name), flag_of(name)
        if setting.unit is Unit.SWITCH:
            arguments.append(flag if value else _negative(flag))
        elif value is not None:
            values = value if isinstance(value, tuple) else (value,)
            arguments += [f"{flag}={setting.unit.text(each)}" for each in values]
    return arguments


def _negative(flag: str) -> str:
    return f"--no-{flag.removeprefix('--')}"
