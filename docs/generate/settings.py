"""The page of the server's settings, as text: a function of the command's options alone."""

from __future__ import annotations

from pathlib import Path

import click
from regularization_server.command import main
from regularization_server.process.options import VARIABLE_PREFIX
from regularization_server.settings import SETTINGS

from docs.generate.markdown import formatted

PAGE = Path(__file__).resolve().parents[1] / "settings.md"

_INTRODUCTION = f"""\
# Settings of the server

Each setting is a flag of `regularization-server` and an environment variable, `{VARIABLE_PREFIX}_` and
the flag's name in capitals: `--memory-budget 2GiB` is `{VARIABLE_PREFIX}_MEMORY_BUDGET=2GiB`. A TOML
file that `--config FILE` (or `{VARIABLE_PREFIX}_CONFIG`) names has them, with `_` for `-`:
`memory_budget = "2GiB"`, `listen = ["0.0.0.0:50051", "unix:/run/r.sock"]`, `shared_memory = false`. Flags
go first, then the environment, then the file. A name that the file has and nobody knows is an error; a
variable that begins with `{VARIABLE_PREFIX}_` and sets nothing is told at the start, and by `--check`, with
the name that was probably meant. `--check` shows the settings that hold, as such a file, with the source of
each, checks the files that they name, and ends. A server inside a Python program has them as attributes:
`Settings(listen=("127.0.0.1:0",), memory_budget=2 << 30)`, with files as `pathlib.Path`; it is one process,
and its log is the program's. A setting that cannot work ends the command with exit code 2 and a line that
names its flag.

Times are in seconds. Sizes are in bytes, or have a unit: 512MiB, 2GB. Modes are octal.

| flag | default | what it sets |
|---|---|---|
"""


def options() -> list[click.Option]:
    """The command's options that set something."""
    return [
        each
        for each in main.params
        if isinstance(each, click.Option) and not each.hidden and each.expose_value
    ]


def text() -> str:
    """The whole page."""
    return formatted(_INTRODUCTION + "".join(map(_row, options())))


def _row(option: click.Option) -> str:
    flags = " / ".join((*option.opts, *option.secondary_opts))
    return f"| `{flags}` | {_default(option)} | {option.help} |\n"


def _default(option: click.Option) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    default = option.default
    if option.name in SETTINGS and option.is_flag:
        return "on" if default else "off"
    if isinstance(default, tuple):
        return " ".join(f"`{each}`" for each in default)
    return "" if default is None else f"`{default}`"
