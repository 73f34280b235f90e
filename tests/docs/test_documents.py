"""What the documents say runs: their Python is executed, and what they show as its output is compared."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import serving

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = {"docs/jax.md": "jax", "docs/training.md": "torch"}
"""What a document's examples are about, where it is no part of every installation."""
OPTIONAL = re.compile(r"^(?:import|from) (torch)\b", re.MULTILINE)
"""What some examples of other documents import, and are left out without."""
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def executed(document: str) -> dict[str, Any]:
    """The names that a document's Python defines; each text block right behind one is its output."""
    names: dict[str, Any] = {}
    printed: str | None = None
    if document in NEEDED:
        pytest.importorskip(NEEDED[document], reason=f"{NEEDED[document]} is not installed")
    for language, code in BLOCK.findall((ROOT / document).read_text()):
        if language == "python" and not all(map(find_spec, OPTIONAL.findall(code))):
            printed = None
        elif language == "python":
            output = StringIO()
            with redirect_stdout(output):
                exec(compile(code, document, "exec"), names)  # noqa: S102 - that is the test
            printed = output.getvalue()
        elif language == "text" and printed is not None:
            assert code == printed
    return names


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_in_documents_runs(document: str) -> None:
    """Every Python block runs, after the ones before it, and prints what the document shows."""
    if document in NEEDED:
        pytest.importorskip(NEEDED[document], reason=f"{NEEDED[document]} is not installed")
    executed(document)


def test_the_smallest_example_without_the_client_talks_to_a_server(tmp_path: Path) -> None:
    """The README's function for clients with nothing but the schema gives the walkthrough's figures."""
    small_step = executed("README.md")["small_step"]
    with serving(tmp_path) as server:
        values, penalty = small_step(server.address, [0.8, -0.3, 0.5])
    assert values.tolist() == pytest.approx([0.7, -0.2, 0.4])
    assert penalty == pytest.approx(0.13)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md"])
def test_links_lead_somewhere(document: str) -> None:
    """Every relative link of a document names a file or folder of the project."""
    for target in LINK.findall((ROOT / document).read_text()):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target
