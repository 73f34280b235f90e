from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from regularization_kernels import compilation
from regularization_kernels.code_folder import CodeFolder
from regularization_kernels.engine import parallel
from regularization_kernels.engine.workspace import PIECE

from tests.support.shares import chosen

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("repeatable")

_caches = pytest.StashKey[TemporaryDirectory[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let whoever is in a hurry try a share of the cases."""
    parser.addoption(
        "--share",
        type=int,
        default=1,
        metavar="N",
        help="try about one of N cases of each test that has many; default: 1, which is all of them",
    )
    parser.addoption(
        "--turn",
        type=int,
        default=0,
        metavar="K",
        help="which of N such shares, counted from 0 and again and again",
    )


def pytest_xdist_auto_num_workers() -> int:
    """Have one more than cores: tests wait a good part of their time for what they start."""
    return 1 + len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not in the share."""
    tried = chosen((each.nodeid for each in items), config.getoption("share"), config.getoption("turn"))
    config.hook.pytest_deselected(items=[each for each in items if each.nodeid not in tried])
    items[:] = [each for each in items if each.nodeid in tried]


def pytest_configure(config: pytest.Config) -> None:
    """Let all processes of a run keep machine code in a folder of its own: each loop is made once."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.stash[_caches] = TemporaryDirectory(prefix="regularization-tests-")
        os.environ["XDG_CACHE_HOME"] = config.stash[_caches].name
    compilation._kept.folder = CodeFolder(Path(os.environ["XDG_CACHE_HOME"], "regularization-service"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove that folder."""
    if _caches in config.stash:
        config.stash[_caches].cleanup()


@pytest.fixture(scope="session")
def share(request: pytest.FixtureRequest) -> int:
    """Of how many attempts of a long row of them one is made: of all by who tries all cases."""
    share: int = request.config.getoption("share")
    return share


@pytest.fixture(autouse=True)
def only_own_loops() -> None:
    """Let a test that waits for its loops not wait for those that others before it asked for in passing."""
    compilation._asked.clear()


@pytest.fixture
def every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let as many threads work as a test asks for, on vectors that are too short to be worth them."""
    monkeypatch.setattr(parallel, "_WORTH_ANOTHER", PIECE)
