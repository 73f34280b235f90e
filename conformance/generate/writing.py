"""The folder of vectors: files, index and version."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

from .topics import vectors

VECTORS = Path(__file__).parents[1] / "v1"
VERSION = "1.3.0"
"""The first number is the schema's; the second grows with vectors, the third with corrections."""


def write(folder: Path) -> None:
    """Write all vectors to a folder, in place of what is there.

    Raises:
        ValueError: If two have one name.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    entries: list[dict[str, str]] = []
    for vector in vectors():
        vector.write(folder)
        document = vector.document()
        entries.append({"name": vector.name, "kind": document["kind"], "method": document["method"]})
    twice = [name for name, count in Counter(entry["name"] for entry in entries).items() if count > 1]
    if twice:
        raise ValueError(f"names are taken: {twice}")
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    head = f'{{"version": "{VERSION}", "schema": "regularization.v1", "vectors": [\n'
    (folder / "index.json").write_text(f"{head}{lines}\n]}}\n", encoding="utf-8")
    (folder / "VERSION").write_text(f"{VERSION}\n", encoding="utf-8")
