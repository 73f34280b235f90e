"""Writes what is generated: ``python -m docs.generate``."""

from __future__ import annotations

import sys

from docs.generate import page, pictures, settings


def main() -> None:
    """Write the pages, and the pictures unless ``--text`` is given."""
    page.PAGE.write_text(page.text(), encoding="utf-8")
    settings.PAGE.write_text(settings.text(), encoding="utf-8")
    if "--text" not in sys.argv[1:]:
        pictures.draw_all()


main()
