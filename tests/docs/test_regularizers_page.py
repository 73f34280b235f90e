"""The page of regularizers is what the registry says today, and its pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from regularization_kernels import REGULARIZERS

from docs.generate import page, pictures

TEXT = page.PAGE.read_text(encoding="utf-8")
PICTURES = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT)


def test_the_page_is_up_to_date() -> None:
    """To the byte; `make docs` writes it."""
    assert page.PAGE.read_bytes() == page.text().encode(), "stale: run 'make docs'"


def test_every_regularizer_has_its_line_and_its_section() -> None:
    """Once each, and every line leads to a section."""
    sections = re.findall(r"^### (\w+)$", TEXT, re.MULTILINE)
    assert sorted(sections) == sorted(REGULARIZERS)
    assert re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\)", TEXT, re.MULTILINE) == [(name, name) for name in sections]


def test_every_picture_exists_and_is_shown() -> None:
    """None is missing, and none is left over from before."""
    there = {path.relative_to(page.DOCS).as_posix() for path in (page.DOCS / page.PICTURES).iterdir()}
    assert set(PICTURES) == there
    assert {page.picture_of(name).as_posix() for name in pictures.drawn()} < there


@pytest.mark.parametrize("name", pictures.drawn())
def test_every_sum_over_elements_can_be_drawn(name: str) -> None:
    """Each of its fields has a value to draw it with."""
    assert type(pictures.example(name)) is REGULARIZERS[name]


def test_the_same_picture_has_the_same_bytes(tmp_path: Path) -> None:
    """Nothing of the time or of chance is in it."""
    for name in ("first.svg", "second.svg"):
        pictures.draw("elastic_net", tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_the_readme_counts_them() -> None:
    """The number that it names is that of the registry."""
    readme = (page.DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"(\d+) regularizers", readme) == [str(len(REGULARIZERS))]
