"""The manifests of docker/kubernetes that have servers in them, played by podman: in no cluster.

Build the image (``make image``), then run ``python -m tests.full_size.pods`` as root where podman is, with
PyYAML (the extra: deployment). What podman has no part of is left out or said in another way, in ``pod_of``,
and Kubernetes' own part is done here: it makes the volume, asks the probes, starts the trainer after them and
stops the server after it. A stand-in takes the trainer's place: the image itself, with a program that makes
calls by the socket that both have.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import until
from tests.support.sources import ROOT

FOLDER = ROOT / "docker" / "kubernetes"
IMAGE = "localhost/regularization-service:latest"
SERVER = "regularization"
# Some kernels of containers allow no other limits than these, and podman asks for more.
ENGINE = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
"""
TRAINER = f"""
FROM {IMAGE}
COPY calls.py /calls.py
ENTRYPOINT ["python", "/calls.py"]
"""
CALLS = """
import os
import numpy as np
from regularization_client import Client, L1Norm

target = os.environ.get("REGULARIZATION_TARGET", "127.0.0.1:50051")
with Client(target) as client:
    x = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    sent = client.proximal_step(x, L1Norm(strength=0.5), step_size=1.0)
    print(f"user {os.getuid()}, groups {os.getgroups()}: {sent.nonzeros} of {x.size} are not zero")
    if target.startswith("unix:"):
        with client.shared_array(x.size, np.float32) as weights:
            weights[:] = x
            step = client.proximal_step(weights, L1Norm(strength=0.5), step_size=1.0, out=weights)
            same = np.array_equal(weights, sent.parameters)
            print(f"in shared memory: {step.shared}, with the bits of what is sent: {same}")
"""
INSIDE = """
import os
print(f"user {os.getuid()}, groups {os.getgroups()}")
print(*(line for line in open("/proc/self/status").read().splitlines() if line.startswith("CapEff")))
try:
    open("/there", "w")
except OSError as error:
    print(error)
"""
METRICS = """
from urllib.request import urlopen
lines = urlopen("http://127.0.0.1:9464/metrics").read().decode().splitlines()
print(*(line for line in lines if "_started_total{" in line and "ProximalStep" in line))
"""


def podman(*arguments: str, given: str | None = None) -> str:
    """What podman prints."""
    done = subprocess.run(["podman", *arguments], input=given, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"podman {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def workload(file: str) -> dict[str, Any]:
    """What a manifest has that runs: a Job or a Deployment."""
    found = [each for each in yaml.safe_load_all((FOLDER / file).read_text()) if "template" in each["spec"]]
    (manifest,) = found
    return manifest


def probes_of(manifest: dict[str, Any]) -> list[list[str]]:
    """The commands by which its server is asked; of gRPC's own probes one that asks the same."""
    spec = manifest["spec"]["template"]["spec"]
    (server,) = (
        each for each in (*spec.get("initContainers", []), *spec["containers"]) if each["name"] == SERVER
    )
    probes = [server[name] for name in ("startupProbe", "readinessProbe", "livenessProbe") if name in server]
    asked = ["regularization-server", "probe", "--target"]
    return [
        each["exec"]["command"] if "exec" in each else [*asked, f"127.0.0.1:{each['grpc']['port']}"]
        for each in probes
    ]


def pod_of(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One pod of a manifest, in the words that podman has, with its volume in this folder."""
    spec = manifest["spec"]["template"]["spec"]
    # podman starts nothing before a sidecar has ended.
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    # Ports would be published on the host; of probes podman knows none of gRPC, and wants systemd for others.
    left_out = {"restartPolicy", "ports", "startupProbe", "readinessProbe", "livenessProbe"}
    security = dict(spec["securityContext"])
    if "fsGroup" in security:
        security["supplementalGroups"] = [security.pop("fsGroup")]
    (volume,) = spec["volumes"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"tried-{manifest['metadata']['name']}"},
        "spec": {
            **{key: spec[key] for key in spec if key != "initContainers"},
            "containers": [{key: each[key] for key in each if key not in left_out} for each in containers],
            "securityContext": security,
            "volumes": [{"name": volume["name"], "hostPath": {"path": str(folder), "type": "Directory"}}],
        },
    }


@contextmanager
def volume_of(manifest: dict[str, Any]) -> Iterator[Path]:
    """Its volume, as Kubernetes makes it: in memory, of its size, open to all, and its group's."""
    spec = manifest["spec"]["template"]["spec"]
    (volume,) = spec["volumes"]
    size = volume["emptyDir"]["sizeLimit"].removesuffix("i")
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", name], check=True)
        try:
            group = spec["securityContext"].get("fsGroup")
            if group is not None:
                os.chown(name, 0, group)
                Path(name).chmod(0o2777)
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


@contextmanager
def created(pod: dict[str, Any]) -> Iterator[None]:
    """A pod whose containers are there and not started."""
    text = yaml.safe_dump(pod)
    podman("kube", "play", "--start=false", "--network", "none", "-", given=text)
    try:
        yield
    finally:
        podman("kube", "down", "-", given=text)


def play(file: str) -> None:
    """Play a manifest from its start to its end, and say what was seen."""
    manifest = workload(file)
    with volume_of(manifest) as folder:
        pod = pod_of(manifest, folder)
        server, trainer = (f"{pod['metadata']['name']}-{name}" for name in (SERVER, "trainer"))
        with created(pod):
            podman("start", server)
            for probe in probes_of(manifest):
                until(lambda probe=probe: answers(server, probe), 30)
            print(f"{file}: {len(probes_of(manifest))} probes answered", flush=True)
            print(podman("exec", server, "python", "-c", INSIDE))
            if any(each["name"] == "trainer" for each in pod["spec"]["containers"]):
                print(podman("start", "--attach", trainer))
            else:
                print(podman("exec", server, "python", "-c", CALLS + METRICS))
            podman("stop", "--time", str(pod["spec"]["terminationGracePeriodSeconds"]), server)
            print("stopped with", podman("inspect", server, "--format", "{{.State.ExitCode}}"))


def answers(container: str, probe: list[str]) -> bool:
    """Whether a probe finds that the server serves."""
    return subprocess.run(["podman", "exec", container, *probe], capture_output=True).returncode == 0


def main() -> None:
    """Make the stand-in for a trainer's image, and play both manifests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "containers.conf").write_text(ENGINE)
        os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
        (folder / "calls.py").write_text(CALLS)
        (folder / "Dockerfile").write_text(TRAINER)
        podman("build", "--tag", "localhost/trainer:latest", name)
        for file in ("sidecar.yaml", "replicas.yaml"):
            play(file)


if __name__ == "__main__":
    main()
