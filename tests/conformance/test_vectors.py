from __future__ import annotations

import ast
import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import jsonschema
import pytest
from regularization.v1.errors_pb2 import ErrorReason
from regularization.v1.regularizers_pb2 import Regularizer

from conformance.generate.writing import write
from conformance.runner.vectors import VECTORS, load_all, messages

FOLDER = VECTORS.parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
ALL = load_all()
LARGEST = 5 << 20


def test_every_vector_is_as_the_schema_says() -> None:
    """And the schema is one itself."""
    schema = json.loads((FOLDER / "vector.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    wrong = {vector.name: [e.message for e in validator.iter_errors(vector.document)] for vector in ALL}
    assert {name: texts for name, texts in wrong.items() if texts} == {}


def test_the_index_has_every_file() -> None:
    """Each vector once, under its own name, and with the bytes that its kind has."""
    endings = {
        vector.name: {".json"} if vector.kind == "long_stream" else {".json", ".req", ".res"}
        for vector in ALL
    }
    assert len(endings) == len(ALL)
    assert all(vector.name == vector.document["name"] for vector in ALL)
    expected = {f"{name}{ending}" for name, of in endings.items() for ending in of}
    found = {path.relative_to(VECTORS).as_posix() for path in VECTORS.rglob("*") if path.is_file()}
    assert found == expected | {"index.json", "VERSION"}
    version = json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))["version"]
    assert (VECTORS / "VERSION").read_text(encoding="utf-8").strip() == version


def test_the_vectors_are_small() -> None:
    """So that they can lie in anybody's repository."""
    assert sum(path.stat().st_size for path in VECTORS.rglob("*") if path.is_file()) <= LARGEST


def test_every_regularizer_has_vectors() -> None:
    """Under its name, among the rows."""
    there = {vector.name.split("/")[1] for vector in ALL if vector.topic == "rows"}
    assert {field.name for field in Regularizer.DESCRIPTOR.fields} <= there


def test_every_reason_has_a_vector_or_a_line_why_not() -> None:
    """The errors' vectors and the README's table have each reason of the schema, once."""
    by_vector = {v.status["reason"] for v in ALL if "reason" in v.status}
    without = {f"ERROR_REASON_{name}" for name in re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)}
    assert by_vector | without == set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
    assert not by_vector & without


def test_the_same_bytes_come_out_again(tmp_path: Path) -> None:
    """The oracle depends on nothing but its own files."""
    write(tmp_path / "v1")
    for path in sorted(VECTORS.rglob("*")):
        if path.is_file():
            again = tmp_path / "v1" / path.relative_to(VECTORS)
            assert again.read_bytes() == path.read_bytes(), path


def test_the_oracle_knows_nothing_of_the_server() -> None:
    """Neither the generator nor what checks imports server, kernels, client or NumPy."""
    known = {"regularization_kernels", "regularization_server", "regularization_client", "numpy", "tests"}
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            assert not {name.partition(".")[0] for name in names} & known, path


def test_the_readme_says_how_elements_are_made() -> None:
    """Its Python prints what it shows."""
    (code, shown) = re.findall(r"^```(?:python|text)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    output = StringIO()
    with redirect_stdout(output):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - that is the test
    assert output.getvalue() == shown


@pytest.mark.parametrize("bad", [b"\0\0\0\0\2a", b"\1\0\0\0\0", b"\0\0"])
def test_bytes_that_are_no_frames_are_refused(bad: bytes) -> None:
    """Cut off, compressed, or without a length."""
    with pytest.raises(ValueError, match="frame"):
        messages(bad)
