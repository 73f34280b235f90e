"""Connect's client for browsers, as docs/web.md has it, through Envoy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="PyYAML is not installed (the extra: deployment)")

from tests.support.envoy import ENVOY, before_replicas
from tests.support.sources import ROOT

PAGE = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
PACKAGES = {
    "@bufbuild/protobuf": "^2",
    "@bufbuild/protoc-gen-es": "^2",
    "@connectrpc/connect": "^2",
    "@connectrpc/connect-web": "^2",
}
NEEDED = ("node", "npm", "protoc")

pytestmark = [
    pytest.mark.skipif(ENVOY is None, reason="Envoy is not installed (the extra: deployment)"),
    pytest.mark.skipif(
        not all(map(shutil.which, NEEDED)),
        reason=f"what the page builds with is missing: {', '.join(NEEDED)}",
    ),
    pytest.mark.timeout(300),
]


def block(language: str, holding: str) -> str:
    """The page's block of code in a language that has some words."""
    (found,) = (
        text for text in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S) if holding in text
    )
    return found


def run(folder: Path, *command: str) -> str:
    """What a command prints that has to succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_s_client_gets_an_answer_and_a_refusal(tmp_path: Path) -> None:
    """With what the generator makes of the schema's variant for browsers."""
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    (tmp_path / "package.json").write_text(json.dumps({"type": "module", "dependencies": PACKAGES}))
    run(tmp_path, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error")
    run(tmp_path, "bash", "-c", block("console", "protoc-gen-es"))
    code = block("js", "createGrpcWebTransport")
    assert "strength: 0.1" in code
    with before_replicas(tmp_path, 1) as fronted:
        said = {}
        for strength in ("0.1", "-1.0"):
            client = code.replace("localhost:8080", f"localhost:{fronted.port}")
            (tmp_path / "client.js").write_text(client.replace("strength: 0.1", f"strength: {strength}"))
            said[strength] = run(tmp_path, "node", "client.js").splitlines()
    assert said["0.1"] == ["[ 0.7000000000000001, -0.19999999999999998, 0.4 ]", "0.13 3n"]
    assert "must be finite and >= 0, got -1.0" in said["-1.0"][0]
    assert "ERROR_REASON_FIELD_OUT_OF_RANGE" in said["-1.0"][0]
