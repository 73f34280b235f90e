"""The image as it is run: read-only, without capabilities or network, by two users, with a trainer beside it.

Build it (``make image``), then run ``python -m tests.full_size.containers`` as root where podman is. A
server's container and a trainer's share a folder with the socket, and through it memory. The conformance
vectors go through the same socket: what the image has not must be missing to none of them. And the list of
what the image contains is held against what is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.processes import until
from tests.support.sources import ROOT

IMAGE = "localhost/regularization-service:latest"
NAME = "regularization-tried"
SOCKET = "unix:/run/regularization/regularization.sock"
# The last line: some kernels of containers allow no other limits than these, and podman asks for more.
HARDENED = [
    *("--runtime", "runc", "--no-healthcheck", "--read-only", "--cap-drop", "all", "--network", "none"),
    *("--security-opt", "no-new-privileges"),
    *("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"),
]
USERS = {10001: "600m", 4711: "2g"}
"""The image's own user and another, each with the memory that its container may have."""
TRAINER_USER = "1000:1000"
TRAINER = """
import numpy as np
from regularization_client import Client, L1Norm

with Client("unix:/run/regularization/regularization.sock") as client:
    x = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    with client.shared_array(x.size, np.float32) as weights:
        weights[:] = x
        step = client.proximal_step(weights, L1Norm(strength=0.5), step_size=1.0, out=weights)
        sent = client.proximal_step(x, L1Norm(strength=0.5), step_size=1.0)
        same = np.array_equal(weights, sent.parameters)
        print(f"in shared memory: {step.shared}, with the bits of what is sent: {same}")
"""

REFUSED = """
try:
    open("/there", "w")
except OSError as error:
    print(error)
print(*(line for line in open("/proc/self/status").read().splitlines() if line.startswith("CapEff")))
"""
BLAS = """
import scipy.linalg
from regularization_kernels.regularizers.matrices.blas import held_blas
from threadpoolctl import threadpool_info

with held_blas():
    print("threads of BLAS:", *(each["num_threads"] for each in threadpool_info()))
"""
CONTENTS = """
import pathlib, re
from importlib.metadata import distributions

for each in distributions():
    print(re.sub("[-_.]+", "-", each.metadata["Name"]).lower())
for path in pathlib.Path("/var/lib/dpkg/status.d").iterdir():
    print(path.name)
"""
ONE_VECTOR_LESS = "errors/shared_memory_unavailable/*"
"""It is for a server without a Unix socket."""


def podman(*arguments: str, check: bool = True) -> str:
    """What podman prints."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"podman {' '.join(arguments)}\n{done.stderr}")
    return done.stdout.strip()


@contextmanager
def container(user: int, memory: str, folder: Path) -> Iterator[None]:
    """A server's container that serves, with a folder for its socket."""
    os.chown(folder, user, user)
    folder.chmod(0o755)
    settings = {"LISTEN": SOCKET, "SHARED_MEMORY_GROUP": str(user)}
    environment = [
        each for name, value in settings.items() for each in ("--env", f"REGULARIZATION_{name}={value}")
    ]
    own = ["--user", f"{user}:{user}", "--memory", memory, "--volume", f"{folder}:/run/regularization"]
    podman("run", "--detach", "--name", NAME, *HARDENED, *own, *environment, IMAGE)
    try:
        until(lambda: "SERVING" in podman("exec", NAME, "regularization-server", "probe", check=False), 30)
        yield
    finally:
        podman("rm", "--force", NAME)


def train(group: int, folder: Path) -> str:
    """What a trainer's container says, of a user who is in the server's group."""
    own = ["--user", TRAINER_USER, "--group-add", str(group), "--volume", f"{folder}:/run/regularization"]
    return podman("run", "--rm", *HARDENED, *own, "--entrypoint", "python", IMAGE, "-c", TRAINER)


def python(code: str) -> str:
    """What a program says in the server's container, where no shell could run it."""
    return podman("exec", NAME, "python", "-c", code)


def listed() -> set[str]:
    """Names of distributions and of Debian's packages in the image's own list, which is valid."""
    told = subprocess.run(
        [ROOT / "docker" / "sbom", IMAGE],
        env={**os.environ, "ENGINE": "podman"},
        capture_output=True,
        check=True,
    )
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(told.stdout.decode())
    if error is not None:
        raise SystemExit(f"the list of what the image contains is not valid: {error}")
    components = json.loads(told.stdout)["components"]
    return {each["name"] for each in components if each.get("purl", "").startswith(("pkg:pypi/", "pkg:deb/"))}


def contents() -> str:
    """How many things the image's list has, if they are those that are there."""
    there = set(python(CONTENTS).split())
    if different := listed() ^ there:
        raise SystemExit(f"listed or there, and not both: {sorted(different)}")
    return f"distributions and packages listed, and there: {len(there)}"


def conformance(folder: Path) -> str:
    """The last line of the table of vectors; all if some fail."""
    checker = [sys.executable, "-m", "conformance.check_server", "--skip", ONE_VECTOR_LESS]
    target = f"unix:{folder}/regularization.sock"
    done = subprocess.run([*checker, target], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    title, *_, everything = done.stdout.strip().splitlines()
    return f"conformance:\n{title}\n{everything}"


def main() -> None:
    """Try each user, and say what was seen."""
    print(f"image: {int(podman('image', 'inspect', IMAGE, '--format', '{{.Size}}')) / 1e6:.0f} MB unpacked")
    for user, memory in USERS.items():
        with tempfile.TemporaryDirectory() as name, container(user, memory, Path(name)):
            settings = podman("exec", NAME, "regularization-server", "--check").splitlines()
            seen = [line for line in settings if "budget" in line]
            seen += [contents(), python(REFUSED), python(BLAS)]
            seen += [conformance(Path(name)), train(user, Path(name))]
            podman("stop", NAME)
            code = podman("inspect", NAME, "--format", "{{.State.ExitCode}}")
        print(f"user {user}, {memory}:", *seen, f"stopped with {code}", sep="\n", flush=True)


if __name__ == "__main__":
    main()
