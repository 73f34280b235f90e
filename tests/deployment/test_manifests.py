"""Manifests for Kubernetes and Compose and the unit for systemd: valid, with settings that the server has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import COMMAND
from tests.support.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("yaml", reason="PyYAML is not installed (the extra: deployment)")

import yaml

from tests.full_size import pods

FOLDER = ROOT / "docker" / "kubernetes"
UNIT = ROOT / "docker" / "systemd" / "regularization-server.service"
OLDEST, NEWEST = "1.29", "1.35"
"""Versions of Kubernetes."""


def resources() -> list[dict[str, Any]]:
    """Everything that the manifests declare."""
    return [each for file in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())]


def name_of(resource: dict[str, Any]) -> str:
    """Kind and name."""
    return f"{resource['kind']}-{resource['metadata']['name']}"


def servers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every pod that has the server, and its container there."""
    for resource in resources():
        pod = resource.get("spec", {}).get("template", {}).get("spec", {})
        for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            if container["name"] == "regularization":
                yield pod, container


def checked(settings: dict[str, str]) -> str:
    """What the server says of these settings, all of which it takes."""
    done = subprocess.run(
        [COMMAND, "--check"], env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, value in settings.items():
        assert name in done.stdout, name
        assert value.strip("[]") in done.stdout, name
    return done.stdout


def settings_of(container: dict[str, Any]) -> dict[str, str]:
    """Its environment."""
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("resource", resources(), ids=name_of)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_them(resource: dict[str, Any], version: str) -> None:
    """By its own schema, in which no field is unknown."""
    validator = pytest.importorskip("kubernetes_validate", reason="the extra is missing: deployment")
    validator.validate(resource, version, strict=True)


def test_there_are_servers_beside_a_trainer_and_by_themselves() -> None:
    """So that the tests below have something to look at."""
    assert len(list(servers())) == 2


@pytest.mark.parametrize(("pod", "container"), list(servers()), ids=["replicas", "sidecar"])
def test_the_server_takes_its_settings(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """All of them are known to it, and nothing cuts its stop short."""
    settings = settings_of(container)
    checked(settings)
    stop = float(settings.get("REGULARIZATION_DRAIN_DELAY", 0)) + float(
        settings["REGULARIZATION_GRACE_PERIOD"]
    )
    assert stop < pod["terminationGracePeriodSeconds"]


def test_the_server_takes_what_compose_sets() -> None:
    """And Compose waits longer for its stop than the calls in flight may take."""
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["regularization"]
    checked(service["environment"])
    grace = float(service["environment"]["REGULARIZATION_GRACE_PERIOD"])
    assert grace < float(service["stop_grace_period"].removesuffix("s"))


def test_nobody_is_of_the_group_root() -> None:
    """Where a manifest says the user, Kubernetes does not take the image's group."""
    specs = [each["spec"]["template"]["spec"] for each in resources() if "template" in each.get("spec", {})]
    contexts = [
        each.get("securityContext", {})
        for pod in specs
        for each in (pod, *pod.get("initContainers", []), *pod["containers"])
    ]
    users = [each for each in contexts if "runAsUser" in each]
    assert len(users) == 2
    assert all(each["runAsUser"] > 0 and each["runAsGroup"] > 0 for each in users)


@pytest.mark.parametrize("file", ["replicas.yaml", "sidecar.yaml"])
def test_podman_gets_a_pod_that_asks_for_as_little(file: str, tmp_path: Path) -> None:
    """``tests.full_size.pods`` plays each manifest as a valid pod, with all that confines its containers."""
    validator = pytest.importorskip("kubernetes_validate", reason="the extra is missing: deployment")
    pod = pods.pod_of(pods.workload(file), tmp_path)
    validator.validate(pod, NEWEST, strict=True)
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pods.probes_of(pods.workload(file))


def test_the_proxy_goes_to_the_service() -> None:
    """By its name and port."""
    (endpoints,) = yaml.safe_load((ROOT / "docker" / "envoy" / "envoy.yaml").read_text())["static_resources"][
        "clusters"
    ][0]["load_assignment"]["endpoints"]
    (endpoint,) = endpoints["lb_endpoints"]
    to = endpoint["endpoint"]["address"]["socket_address"]
    (service,) = (each for each in resources() if name_of(each) == f"Service-{to['address']}")
    assert to["port_value"] in {each["port"] for each in service["spec"]["ports"]}
    assert service["spec"]["clusterIP"] == "None"


def test_systemd_takes_its_unit(tmp_path: Path) -> None:
    """With a program that is there in place of the installed one."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^(Exec\w+)=\S+", r"\1=/bin/true", UNIT.read_text()))
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
