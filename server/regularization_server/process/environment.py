"""Environment variables that are named as settings are, and are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regularization.suggestions import did_you_mean

from .options import VARIABLE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click

_PREFIX = f"{VARIABLE_PREFIX}_"
# Kubernetes tells containers of Services; what it tells of one named regularization begins as settings do.
_HOST = "SERVICE_HOST"


def misspelt(environment: Mapping[str, str], command: click.Group) -> list[str]:
    """What is to be said of each variable that begins as settings do, and that the command does not read.

    Args:
        environment: The variables, by name. Their values are not looked at.
        command: The command, with those that are called by it.
    """
    known = set(_read_by(command))
    services = [name.removesuffix(_HOST) for name in environment if name.endswith(f"_{_HOST}")]
    of_services = tuple(f"{service}{what}" for service in services for what in ("SERVICE_", "PORT"))
    return [
        f"{_PREFIX}{name} is no setting{did_you_mean(name, known, _PREFIX)}"
        for variable in sorted(environment)
        if variable.startswith(_PREFIX) and not variable.startswith(of_services)
        for name in (variable.removeprefix(_PREFIX),)
        if name not in known
    ]


def _read_by(command: click.Group) -> Iterator[str]:
    """The variables that it reads, without what all begin with."""
    groups = {"": command, **{f"{name.upper()}_": each for name, each in command.commands.items()}}
    for prefix, group in groups.items():
        for parameter in group.params:
            if parameter.name and getattr(parameter, "allow_from_autoenv", False):
                yield f"{prefix}{parameter.name.upper()}"
