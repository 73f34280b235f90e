"""The root file system that is put together for the image."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from tests.support.dockerfile import only
from tests.support.sources import ROOT

SCRIPT = run_path(str(ROOT / "docker" / "image" / "root.py"))
TOLD = """\
/usr/bin/python3.11:
\tlinux-vdso.so.1 (0x00007ffd7a5f2000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f3f2b01f000)
\tlibgone.so.1 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f3f2b20c000)
/usr/lib/python3.11/lib-dynload/alone.so:
\tstatically linked
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A system to copy from: a library by its link, in a folder that has a link too."""
    libraries = tmp_path / "here" / "usr" / "lib"
    libraries.mkdir(parents=True)
    (libraries / "liba.so.1.2").write_text("a")
    (libraries / "liba.so.1").symlink_to("liba.so.1.2")
    (libraries / "libb.so").write_text("b")
    (tmp_path / "here" / "lib").symlink_to("usr/lib")
    return tmp_path / "here"


@pytest.fixture
def root(tmp_path: Path) -> Any:
    """An empty root."""
    return SCRIPT["Root"](tmp_path / "root")


def copied(root: Any, path: Path) -> Path:
    """Where a file of this system is in the root."""
    place: Path = root._folder / str(path).lstrip("/")
    return place


def test_a_link_comes_with_what_it_leads_to(here: Path, root: Any) -> None:
    """A library is found by the name that it is loaded by, and other libraries stay where they are."""
    root.add(here / "lib" / "liba.so.1")
    libraries = here / "usr" / "lib"
    assert copied(root, libraries / "liba.so.1").readlink() == Path("liba.so.1.2")
    assert copied(root, libraries / "liba.so.1").read_text() == "a"
    assert root.files == {libraries / "liba.so.1", libraries / "liba.so.1.2"}


def test_a_folder_comes_whole(here: Path, root: Any) -> None:
    """Whatever is in a folder is copied, and a link that leads back ends."""
    (here / "usr" / "back").symlink_to(".")
    root.add(here / "usr")
    assert copied(root, here / "usr" / "lib" / "libb.so").read_text() == "b"
    assert copied(root, here / "usr" / "back").is_symlink()


def test_files_can_be_read_by_all(here: Path, root: Any) -> None:
    """Folders are open to any user, whatever they were."""
    (here / "usr").chmod(0o700)
    root.add(here / "lib" / "libb.so")
    assert copied(root, here / "usr").stat().st_mode & 0o777 == 0o755


def test_libraries_are_what_the_loader_finds() -> None:
    """Of what ``ldd`` prints, the paths of libraries: not the program's own, nor the kernel's."""
    assert [str(path) for path in SCRIPT["libraries_told"](TOLD)] == [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
    ]


def test_python_s_library_comes_without_what_builds_and_tries(tmp_path: Path) -> None:
    """pip, tests and old bytecode are left out, and what a program imports is not."""
    names = ["json/decoder.py", "test/test_json.py", "json/__pycache__/decoder.pyc", "site-packages/pip.py"]
    for name in [*names, "config-3.11-x86_64-linux-gnu/Makefile", "os.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {str(path.relative_to(tmp_path)) for path in SCRIPT["library_files"](tmp_path)}
    assert found == {"json/decoder.py", "os.py"}


def test_packages_are_those_that_own_a_file(here: Path, tmp_path: Path) -> None:
    """Records name files by way of links as well; whose folder alone is there is not in the image."""
    info = tmp_path / "info"
    info.mkdir()
    (info / "liba1:amd64.list").write_text(f"{here}/lib\n{here}/lib/liba.so.1\n")
    (info / "libb.list").write_text(f"{here}/lib\n{here}/lib/libb.so\n")
    assert SCRIPT["packages_of"]({here / "usr" / "lib" / "liba.so.1"}, tmp_path) == {"liba1:amd64"}


def test_users_are_root_and_the_image_s(root: Any) -> None:
    """The image's user has a name in its root, and nobody can log in."""
    SCRIPT["users"](root)
    lines = copied(root, Path("/etc/passwd")).read_text().splitlines()
    users = {line.split(":")[0]: line.split(":")[2:] for line in lines}
    assert only("USER").rest == ":".join(users["regularization"][:2])
    assert {fields[-1] for fields in users.values()} == {"/usr/sbin/nologin"}
    groups = copied(root, Path("/etc/group")).read_text().splitlines()
    assert [line.split(":")[0] for line in groups] == list(users)
