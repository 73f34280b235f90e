"""Puts together what the image has beside the service: Python, shared libraries, and where they are from.

Run by the image's build as ``root.py ROOT ENVIRONMENT`` on a Debian, with the Python that the image gets.
ROOT becomes a root file system with this Python, its own library, the shared libraries that these and
ENVIRONMENT load, and a few files that say what system and which users there are. There is no shell and no
package manager in it, and nothing that either would need. Of each Debian package of which it has a file it
has the licence too, and the record, in the place where scanners of images look for it.
"""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from py_compile import PycInvalidationMode

NOT_RUN = {
    "__pycache__",  # made anew, so that it depends on no file's time
    "dist-packages",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tkinter",
    "turtledemo",
}
"""Folders of Python's library for building, trying and drawing; pip and its like are in some of them."""
LINKS = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Names at the root that are links into ``usr`` on all but old systems."""
SYSTEM = (
    "/etc/debian_version",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/usr/share/common-licenses",
)
"""What programs and scanners know the system by, and the licences that packages refer to."""
LOADED_BY_NAME = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2")
"""What the C library loads when it is first needed: no file says that it will."""
USER = 10001
USERS = (("root", 0), ("nobody", 65534), ("regularization", USER))
RECORDS = Path("/var/lib/dpkg")


class Root:
    """A root file system that grows by files of the one that this runs on.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: set[Path] = set()
        """What it has, links too, by their paths on this system."""

    def make(self, path: str | Path, mode: int = 0o755) -> Path:
        """A folder in it."""
        folder = self._folder / Path(path).relative_to("/")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        return folder

    def write(self, path: str, text: str) -> None:
        """A file of its own."""
        (self.make(Path(path).parent) / Path(path).name).write_text(text, encoding="utf-8")

    def add(self, path: Path) -> None:
        """Copy a file, a folder with all that is in it, or a link with what it leads to."""
        path = real_place(path)
        if path in self.files:
            return
        if path.is_dir() and not path.is_symlink():
            for each in sorted(path.iterdir()):
                self.add(each)
            return
        self.files.add(path)
        there = self.make(path.parent) / path.name
        shutil.copy2(path, there, follow_symlinks=False)
        if path.is_symlink():
            self.add(path.parent / path.readlink())


def real_place(path: Path) -> Path:
    """The path by folders that are no links; it may be a link itself."""
    return _real_folder(path.parent) / path.name


@cache
def _real_folder(folder: Path) -> Path:
    return folder.resolve()


def library_files(library: Path) -> Iterator[Path]:
    """Files of Python's own library that may be needed to run a program."""
    for folder, names, files in os.walk(library):
        names[:] = sorted(name for name in names if name not in NOT_RUN and not name.startswith("config-"))
        yield from (Path(folder, name) for name in files)


def loaded_libraries(files: Iterable[Path]) -> set[Path]:
    """Shared libraries that the loader would load for those of the files that are machine code."""
    programs = [str(path) for path in files if path.is_file() and is_machine_code(path)]
    told = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return set(libraries_told(told.stdout))


def is_machine_code(path: Path) -> bool:
    """Whether it is a program or a shared library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries_told(text: str) -> Iterator[Path]:
    """Paths in what ``ldd`` prints; of what it does not find it has none, and says so to nobody."""
    for line in text.splitlines():
        path = line.strip().split(" (0x")[0].rpartition("=> ")[2]
        if path.startswith("/") and not path.endswith(":"):
            yield Path(path)


def packages_of(files: Iterable[Path], records: Path = RECORDS) -> set[str]:
    """Names of the Debian packages that the files belong to, some with an architecture: ``libc6:amd64``."""
    wanted = set(files)
    return {
        listing.stem
        for listing in (records / "info").glob("*.list")
        if any(real_place(Path(line)) in wanted for line in listing.read_text(encoding="utf-8").splitlines())
    }


def record(root: Root, package: str) -> None:
    """Keep a package's record and licence."""
    name = package.partition(":")[0]
    told = subprocess.run(  # noqa: S603
        ["dpkg-query", "--status", package],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    root.write(f"/var/lib/dpkg/status.d/{name}", told.stdout)
    licences = root.make(f"/usr/share/doc/{name}")
    shutil.copyfile(Path("/usr/share/doc", name, "copyright"), licences / "copyright")


def users(root: Root) -> None:
    """The users and groups there are, none of whom can log in."""
    lines = [f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n" for name, number in USERS]
    root.write("/etc/passwd", "".join(lines))
    root.write("/etc/group", "".join(f"{name}:x:{number}:\n" for name, number in USERS))


def main() -> None:
    """Make the root."""
    folder, environment = Path(sys.argv[1]), Path(sys.argv[2])
    root = Root(folder)
    library = Path(sysconfig.get_path("stdlib"))
    own = [Path(sys.executable), *library_files(library)]
    needed = loaded_libraries([Path(sys.executable).resolve(), *own, *environment.rglob("*.so*")])
    beside = {path.parent / name for path in needed if path.name == "libc.so.6" for name in LOADED_BY_NAME}
    libraries = {path for path in needed | beside if not path.is_relative_to(environment)}
    for path in [Path("/", name) for name in LINKS]:
        if path.is_symlink():
            (root.make("/") / path.name).symlink_to(path.readlink())
    for path in [*own, *libraries, *map(Path, SYSTEM)]:
        if path.exists():
            root.add(path)
    for package in sorted(packages_of(root.files)):
        record(root, package)
    users(root)
    root.make("/run")
    root.make("/tmp", 0o1777)  # noqa: S108
    # Bytecode by hashes that nobody checks: a start compares nothing with the sources.
    compileall.compile_dir(root.make(library), quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    # -X: the links are there already; -i: no second cache, which would have times in it.
    subprocess.run(["/sbin/ldconfig", "-X", "-i", "-r", folder], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
