"""Settings from a file, and all of them as such a file."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import click
from regularization.suggestions import unknown

from ..settings import SETTINGS, SettingInvalid
from ..units import Unit
from .memory_limit import with_budgets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..settings import Settings

KINDS: dict[Unit, tuple[tuple[type, ...], str]] = {
    Unit.BYTES: ((int, str), 'a number of bytes such as 1073741824 or "512MiB"'),
    Unit.COUNT: ((int,), "a whole number"),
    Unit.MODE: ((int, str), 'a file mode such as "660" or 0o660'),
    Unit.PERCENT: ((int,), "a whole number of per cent"),
    Unit.SECONDS: ((int, float), "a number of seconds"),
    Unit.SWITCH: ((bool,), "true or false"),
}
"""The types that a value may have in TOML, and what they are called; of every other unit it is a string."""

TEXT = ((str,), "a string")


def read_configuration(path: Path, options: Mapping[str, click.Option]) -> dict[str, Any]:
    """The settings that a TOML file has, by their names.

    Args:
        path: The file.
        options: The command's options that may be set, by the names that they have in the file.

    Raises:
        SettingInvalid: If the file cannot be read or is no TOML, a name is unknown, or a value is wrong.
    """
    try:
        read = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingInvalid("config", f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid("config", f"{path} is no TOML: {error}") from error
    for name, value in list(read.items()):
        if name not in options:
            raise SettingInvalid("config", f"{path}: {unknown(name, options, 'setting')}")
        try:
            _check(name, value, options[name])
        except (SettingInvalid, click.BadParameter) as error:
            text = error.text if isinstance(error, SettingInvalid) else error.message
            raise SettingInvalid("config", f"{path}: {name}: {text}") from error
        if options[name].multiple and not isinstance(value, list):
            read[name] = [value]
    return read


def shown(settings: Settings, sources: Mapping[str, str], log: Mapping[str, str]) -> str:
    """Settings as a file that has them all; comments tell the source of each, and this machine's budgets.

    Args:
        settings: The settings.
        sources: Where each comes from, those of the log as well.
        log: The settings of the log.
    """
    values = {name: _in_toml(name, getattr(settings, name)) for name in SETTINGS}
    values |= {name: json.dumps(value) for name, value in log.items()}
    here = with_budgets(settings)
    lines = {
        name: f"{name} = {value}" if value is not None else f"# {name} is unset{_here(name, here)}"
        for name, value in values.items()
    }
    width = max(map(len, lines.values()))
    return "\n".join(
        line if values[name] is None else f"{line.ljust(width)}  # {sources[name]}"
        for name, line in lines.items()
    )


def _check(name: str, value: Any, option: click.Option) -> None:
    setting = SETTINGS.get(name)
    kinds, called = TEXT if setting is None else KINDS.get(setting.unit, TEXT)
    values = value if option.multiple and isinstance(value, list) else [value]
    for each in values:
        # A truth value is a number to Python, and to nobody else.
        if not isinstance(each, kinds) or (isinstance(each, bool) and bool not in kinds):
            several = ", or a list of those" if option.multiple else ""
            raise SettingInvalid(name, f"must be {called}{several}, got {each!r}")
        converted = option.type.convert(each, None, None)
        if setting is not None:
            setting.check(name, converted)


def _here(name: str, settings: Settings) -> str:
    """What a setting is on this machine that nobody has set; empty where it is nothing."""
    value = _in_toml(name, getattr(settings, name, None))
    return "" if value is None else f": here {value}"


def _in_toml(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, tuple):
        return json.dumps(list(value))
    unit = SETTINGS[name].unit
    if unit is Unit.SWITCH:
        return "true" if value else "false"
    if unit in (Unit.COUNT, Unit.PERCENT, Unit.SECONDS):
        return str(value)
    # JSON's strings are TOML's, too.
    return json.dumps(unit.text(value))
