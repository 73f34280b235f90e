"""A regularization-server with metrics, named tokens and plans."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from docs.generate.dashboard.processes import running

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
SECONDS_TO_START = 60.0

PRUNED, SPARSE = "pruned", "sparse"
"""Plans that the server holds: that of the example, and one with penalties."""

_SPARSE = """\
["hidden.weight"]
regularizer = "group_lasso"
groups = {axis = 0}
schedules = [{linear = {initial = 0.0, final = 0.04, begin = 0, end = 200}}]

["output.weight"]
regularizer = "l1_norm"
strength = 0.01

["*.bias"]
exempt = true
"""

TOKENS = {"trainers": "6f1e8a52c0", "gateway": "93ac41f7d2"}
"""Tokens by their names."""


@dataclass(frozen=True)
class Running:
    """A server that serves.

    Attributes:
        target: Its Unix socket, as clients call it.
        metrics: host:port of its metrics.
    """

    target: str
    metrics: str


@contextmanager
def server(folder: Path) -> Iterator[Running]:
    """Run one, with files in a folder, and stop it in the end. It may hold 256 MiB.

    Raises:
        RuntimeError: If it does not start.
    """
    plans, tokens, log = folder / "plans", folder / "tokens", folder / "server.log"
    plans.mkdir()
    shutil.copy(DIGITS / "plan.toml", plans / f"{PRUNED}.toml")
    (plans / f"{SPARSE}.toml").write_text(_SPARSE, encoding="utf-8")
    tokens.write_text("".join(f"{name}: {token}\n" for name, token in TOKENS.items()), encoding="utf-8")
    tokens.chmod(0o600)
    command: list[str | Path] = [
        Path(sys.executable).with_name("regularization-server"),
        *("--listen", f"unix:{folder / 'socket'}"),
        *("--metrics-listen", "127.0.0.1:0"),
        *("--plans", plans, "--token-file", tokens),
        *("--memory-budget", "256MiB", "--shared-memory-budget", "256MiB"),
        *("--log-format", "json"),
    ]
    with running(command, log) as process:
        yield _serving(process, log)


def _serving(process: subprocess.Popen[bytes], log: Path) -> Running:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and '"event": "serving"' in line:
                said = json.loads(line)
                return Running(said["addresses"][0], said["metrics"])
        time.sleep(0.02)
    raise RuntimeError(f"the server did not start:\n{log.read_text(encoding='utf-8')}")
