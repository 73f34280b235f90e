from __future__ import annotations

import re

import click
import pytest
from click.core import ParameterSource
from regularization_server.command import main

from tests.support.dockerfile import INSTRUCTIONS, PROJECT, RUNTIME, SERVICE, STAGES, TRIAL, only, settings


def listened() -> list[str]:
    """The addresses that a container listens on unless told otherwise."""
    return settings()["REGULARIZATION_LISTEN"].split()


def test_the_image_has_no_layer_of_its_base() -> None:
    """BASE_IMAGE is what the image is made on; what is run starts from nothing."""
    starts = [stage[0].words for stage in STAGES]
    assert [words[0] for words in starts] == ["${BASE_IMAGE}", "scratch", "service", "service"]
    assert [words[2:] for words in starts] == [["build"], ["service"], ["trial"], []]


def test_default_base_is_one_image() -> None:
    """The default base is named by its digest, and by a tag that says which Python it is."""
    (base,) = (
        instruction.pairs["BASE_IMAGE"] for instruction in INSTRUCTIONS if "BASE_IMAGE" in instruction.pairs
    )
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)


def test_runtime_copies_from_the_build_only() -> None:
    """No file of the checkout gets into the image beside the wheel: the trial's own stay in the trial."""
    copies = [each for stage in (SERVICE, RUNTIME) for each in stage if each.keyword in {"ADD", "COPY"}]
    assert copies
    assert {copy.rest.split()[0] for copy in copies} == {"--from=build", "--from=trial"}


def test_nothing_is_run_by_a_shell_that_the_image_has_not() -> None:
    """What is run in the image, before it is one and after, is a program with its arguments."""
    assert [each.exec_form[0] for each in TRIAL if each.keyword == "RUN"] == ["python"]
    assert not [each for each in (*SERVICE, *RUNTIME) if each.keyword in {"RUN", "SHELL"}]


def test_the_trial_cannot_be_left_out() -> None:
    """The image has something of the stage that tries it, or else some builders would pass it over."""
    assert any(each.keyword == "COPY" and each.rest.startswith("--from=trial ") for each in RUNTIME)


def test_user_is_a_number_other_than_root() -> None:
    """The process is no root, and an orchestrator can tell without reading /etc/passwd."""
    user, group = only("USER").rest.split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_entrypoint_is_the_server_itself() -> None:
    """The server is PID 1, with no shell before it that would keep SIGTERM to itself."""
    (command,) = only("ENTRYPOINT").exec_form
    assert command in PROJECT["project"]["scripts"]
    assert command == "regularization-server"


def test_health_check_is_the_package_s_probe() -> None:
    """HEALTHCHECK runs the probe, without a shell, of the address that the container's settings say."""
    command, subcommand = only("HEALTHCHECK").exec_form
    assert command == "regularization-server"
    assert isinstance(main, click.Group)
    assert subcommand in main.commands


def test_health_check_asks_the_socket() -> None:
    """The first address, which the probe asks, is a Unix socket: it answers with and without TLS settings."""
    assert listened()[0].startswith("unix:")


def test_environment_is_what_the_server_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each REGULARIZATION_ variable of the image is a setting of the server, with a value that it takes."""
    prefix = "REGULARIZATION_"
    variables = {name: value for name, value in settings().items() if name.startswith(prefix)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    context = main.make_context("regularization-server", [], auto_envvar_prefix="REGULARIZATION")
    for name in variables:
        setting = name.removeprefix(prefix).lower()
        assert context.get_parameter_source(setting) is ParameterSource.ENVIRONMENT, name
    assert list(context.params["listen"]) == listened()


def test_published_port_is_the_one_listened_on() -> None:
    """EXPOSE says the port of the TCP address, on all of the container's interfaces."""
    assert f"0.0.0.0:{only('EXPOSE').rest}" in listened()


def test_socket_lies_in_the_volume() -> None:
    """The Unix socket's directory is the volume, so that other containers can have it."""
    assert f"unix:{only('VOLUME').rest}/regularization.sock" in listened()


def test_loops_are_compiled_by_root_and_read_by_all() -> None:
    """Into the folder that the server reads, which the image's user does not own and need not write."""
    assert not [each for each in (*SERVICE, *TRIAL) if each.keyword == "USER"]
    cache = settings()["REGULARIZATION_CACHE"]
    assert f"--from=trial {cache} {cache}" in {each.rest for each in RUNTIME if each.keyword == "COPY"}
    assert not cache.startswith(only("VOLUME").rest)


def test_loops_are_compiled_only_where_asked_for() -> None:
    """Unless told otherwise a build compiles none: the extra that compiles is not in it."""
    (warm,) = (each.pairs["WARM"] for each in TRIAL if "WARM" in each.pairs)
    assert warm == ""
    (extras,) = (each.pairs["EXTRAS"] for each in STAGES[0] if "EXTRAS" in each.pairs)
    assert extras == "server"


def test_version_is_the_project_s() -> None:
    """A build without arguments labels the image with the version of pyproject.toml."""
    labels = only("LABEL").pairs
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    (version,) = (instruction.pairs["VERSION"] for instruction in RUNTIME if "VERSION" in instruction.pairs)
    assert version == PROJECT["project"]["version"]


def test_labels_agree_with_the_project() -> None:
    """Title, description and licence are the package's."""
    labels = only("LABEL").pairs
    project = PROJECT["project"]
    assert labels["org.opencontainers.image.title"] == project["name"]
    assert labels["org.opencontainers.image.description"] == project["description"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]
