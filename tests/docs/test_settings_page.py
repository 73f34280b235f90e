"""The page of settings is what the command's options say today."""

from __future__ import annotations

import dataclasses
import re

import pytest
from click.testing import CliRunner
from regularization_server import Settings
from regularization_server.command import main
from regularization_server.settings import SETTINGS

from docs.generate import settings

TEXT = settings.PAGE.read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `--([a-z-]+)[^|]*\| ([^|]*) \| ([^|]+) \|$", TEXT, re.MULTILINE)


def test_the_page_is_up_to_date() -> None:
    """To the byte; `make docs` writes it."""
    assert settings.PAGE.read_bytes() == settings.text().encode(), "stale: run 'make docs'"


def test_every_setting_has_its_row() -> None:
    """Once each, in order, and behind them the two of the log."""
    names = [field.name for field in dataclasses.fields(Settings)]
    assert [flag.replace("-", "_") for flag, _, _ in ROWS] == [*names, "log_level", "log_format"]


@pytest.mark.parametrize(("flag", "default", "words"), ROWS, ids=[flag for flag, _, _ in ROWS])
def test_the_help_says_the_same(flag: str, default: str, words: str) -> None:
    """The command's help has the page's words and default."""
    told = re.sub(r"\s+", " ", CliRunner().invoke(main, ["--help"], terminal_width=5000).output)
    entry = told.partition(f" --{flag} ")[2].partition(" [env var: ")
    assert entry[0].partition(words.strip())[1]
    shown = default.strip("` ")
    if shown not in ("", "on", "off"):
        assert f"default: {shown}" in entry[2].partition("]")[0].replace("(", "")


def test_every_setting_says_what_unset_means() -> None:
    """Where it may be unset, but for the key, which goes with its certificate."""
    silent = {
        field.name
        for field in dataclasses.fields(Settings)
        if field.default is None and "Unset: " not in SETTINGS[field.name].words
    }
    assert silent == {"tls_key"}
