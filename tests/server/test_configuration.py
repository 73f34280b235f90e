"""Settings from a file, and the command that only checks them."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from regularization_server import Settings
from regularization_server.command import main
from regularization_server.process.configuration import KINDS
from regularization_server.process.environment import misspelt
from regularization_server.process.memory_limit import with_budgets
from regularization_server.process.options import TYPES
from regularization_server.settings import SettingInvalid
from regularization_server.units import Unit

from tests.server.test_command import run
from tests.support.certificates import Authority
from tests.support.processes import serving

OTHER: dict[str, Any] = {
    "listen": ["127.0.0.1:1", "unix:/run/s"],
    "processes": 2,
    "reuse_port": True,
    "unix_socket_mode": 0o600,
    "grace_period": 7,
    "memory_budget": "300MiB",
    "memory_share_per_caller": 50,
    "max_message_bytes": 100000,
    "max_connection_age": 60.5,
    "cache": "/run/cache",
    "shared_memory": False,
    "log_level": "error",
    "log_format": "json",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "settings.toml"


def as_toml(values: dict[str, Any]) -> str:
    """Such a file."""
    shown = {True: "true", False: "false"}
    return "".join(
        f"{name} = {shown[value] if isinstance(value, bool) else repr(value)}\n"
        for name, value in values.items()
    )


def checked(*arguments: str | Path, **environment: str) -> dict[str, Any]:
    """The settings that hold, as the command shows them."""
    result = CliRunner().invoke(main, ["--check", *map(str, arguments)], env=environment)
    assert result.exit_code == 0, result.output
    return tomllib.loads(result.output)


def sources(*arguments: str | Path, **environment: str) -> dict[str, str]:
    """Where each comes from."""
    result = CliRunner().invoke(main, ["--check", *map(str, arguments)], env=environment)
    lines = [line.split("  # ") for line in result.output.splitlines() if "  # " in line]
    return {line[0].partition(" ")[0]: line[1] for line in lines}


def test_a_file_sets_everything(file: Path) -> None:
    """Numbers, sizes with units, switches, paths and lists are taken from it by their names."""
    file.write_text(as_toml(OTHER))
    got = checked("--config", file)
    assert {name: got[name] for name in OTHER} == OTHER | {
        "unix_socket_mode": "600",
        "max_message_bytes": "100000",
        "grace_period": 7.0,
    }


def test_what_is_a_number_to_the_command_is_one_in_the_file() -> None:
    """Of whatever unit: nobody writes quotes around it."""
    numbers = [unit for unit, kind in TYPES.items() if kind in (int, float)]
    assert Unit.PERCENT in numbers
    assert [unit for unit in numbers if int not in KINDS[unit][0]] == []


def test_budgets_that_follow_from_the_machine_are_told() -> None:
    """They are not set, and hold all the same."""
    shown = CliRunner().invoke(main, ["--check", "--shared-memory-budget=1MiB"]).output
    here = with_budgets(Settings())
    assert here.memory_budget is not None
    assert f'# memory_budget is unset: here "{Unit.BYTES.text(here.memory_budget)}"' in shown
    assert "shared_memory_budget is unset" not in shown


def test_one_address_needs_no_list(file: Path) -> None:
    """It may be a string."""
    file.write_text('listen = "unix:/run/s"')
    assert checked("--config", file)["listen"] == ["unix:/run/s"]


def test_flags_go_before_the_environment_before_the_file(file: Path) -> None:
    """And the file before the default; each says where it comes from."""
    file.write_text("threads = 1\nprocesses = 1\nlinger = 5.0\n")
    arguments = ("--threads=3", "--config", file)
    environment = {"REGULARIZATION_THREADS": "2", "REGULARIZATION_PROCESSES": "2"}
    got = checked(*arguments, **environment)
    assert [got[name] for name in ("threads", "processes", "linger", "blas_threads")] == [3, 2, 5.0, 1]
    told = sources(*arguments, **environment)
    assert [told[name] for name in ("threads", "processes", "linger", "blas_threads")] == [
        "--threads",
        "REGULARIZATION_PROCESSES",
        str(file),
        "default",
    ]


def test_what_is_shown_is_such_a_file(file: Path) -> None:
    """Read again, it gives the same settings, and every one is in it, unset or not."""
    file.write_text(as_toml(OTHER))
    result = CliRunner().invoke(main, ["--check", "--config", str(file)])
    again = file.with_name("again.toml")
    again.write_text(result.output)
    assert checked("--config", again) == checked("--config", file)
    names = [line.removeprefix("# ").partition(" ")[0] for line in result.output.splitlines()]
    assert names == [*(field.name for field in dataclasses.fields(Settings)), "log_level", "log_format"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory_bugdet = 1", "'memory_bugdet' is no setting; did you mean 'memory_budget'?"),
        ("config = 'x'", "'config' is no setting"),
        ("process = 1", "'process' is no setting"),
        ("memory-budget = 1", "did you mean 'memory_budget'?"),
        ("processes = 'two'", "processes: must be a whole number, got 'two'"),
        ("processes = true", "processes: must be a whole number, got True"),
        ("processes = 2.0", "processes: must be a whole number, got 2.0"),
        ("processes = 0", "processes: must be finite and >= 1, got 0"),
        ("linger = nan", "linger: must be finite and >= 0, got nan"),
        ("linger = '1'", "linger: must be a number of seconds, got '1'"),
        ("shared_memory = 1", "shared_memory: must be true or false, got 1"),
        ("memory_budget = '5XB'", "memory_budget: '5XB' is not a number of bytes"),
        ("memory_budget = []", 'memory_budget: must be a number of bytes such as 1073741824 or "512MiB"'),
        ("unix_socket_mode = '999'", "unix_socket_mode: '999' is not a file mode"),
        ("unix_socket_mode = 660", "unix_socket_mode: must be from 0 to 777, got 1224"),
        ("listen = [1]", "listen: must be a string, or a list of those, got 1"),
        ("log_level = 'loud'", "log_level: 'loud' is not one of"),
        ("[listen]", "listen: must be a string, or a list of those, got {}"),
        ("listen", "is no TOML: "),
        ("\xff", "is no TOML: "),
    ],
)
def test_files_that_are_wrong(file: Path, text: str, said: str) -> None:
    """One line names file and key, and the command ends with 2, whether it checks or serves."""
    file.write_bytes(text.encode("latin-1"))
    result = CliRunner().invoke(main, ["--config", str(file)])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"Error: --config: {file}")
    assert said in line


def test_settings_that_contradict_each_other_name_their_place(file: Path) -> None:
    """A setting of the file by file and key, one of a flag by the flag."""
    file.write_text("tls_key = 'key'")
    of_file = CliRunner().invoke(main, ["--check", "--config", str(file)])
    assert of_file.output == f"Error: {file}: tls_key: needs --tls-certificate beside it\n"
    of_flag = CliRunner().invoke(main, ["--check", "--tls-key=key"])
    assert of_flag.output == "Error: --tls-key: needs --tls-certificate beside it\n"
    assert (of_file.exit_code, of_flag.exit_code) == (2, 2)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is an error, also by the environment, and for the other commands."""
    missing = tmp_path / "missing.toml"
    for arguments in ([], ["probe"]):
        result = CliRunner().invoke(main, arguments, env={"REGULARIZATION_CONFIG": str(missing)})
        assert result.exit_code == 2
        assert result.output == f"Error: --config: cannot read {missing}: No such file or directory\n"


def test_other_commands_take_it(file: Path) -> None:
    """The probe asks where the file says that the server listens, though ``warm`` is a setting, too."""
    file.write_text("listen = 'unix:/nowhere/s'\nwarm = 'l1_norm'\n")
    result = CliRunner().invoke(main, ["--config", str(file), "probe", "--timeout=0.1"])
    assert result.output.startswith("unix:/nowhere/s: ")
    result = CliRunner().invoke(main, ["--config", str(file), "warm", "no_such_name"])
    assert "no_such_name" in result.output
    assert result.exit_code == 2


def test_check_looks_at_the_files(tmp_path: Path) -> None:
    """Tokens that are none end it with 2; an expired certificate is told, and no secret is."""
    Authority().sign("server", age=timedelta(hours=2), lasts=timedelta(hours=-1)).write(tmp_path, "server")
    (tmp_path / "tokens").write_text("trainer: s3cret\n")
    flags = [f"--tls-certificate={tmp_path / 'server.pem'}", f"--tls-key={tmp_path / 'server.key'}"]
    flags += ["--check", "--listen=0.0.0.0:0", f"--token-file={tmp_path / 'tokens'}"]
    done = run(*flags)
    assert done.returncode == 0
    assert "certificate expired" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert "PRIVATE" not in done.stdout
    (tmp_path / "tokens").write_text("trainer s3cret\n")
    done = run(*flags)
    assert done.returncode == 2
    assert "--token-file: " in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("token_file", "tokens", "a pathlib.Path"),
        ("cache", "/var/cache", "a pathlib.Path"),
        ("memory_budget", "2GiB", "a number of bytes"),
        ("shared_memory", "false", "True or False"),
        ("listen", "127.0.0.1:0", "a tuple of at least one address"),
    ],
)
def test_a_program_gives_no_texts_for_the_command(name: str, value: str, rule: str) -> None:
    """What only the command reads from a text is refused by its name, not where it is first used."""
    with pytest.raises(SettingInvalid, match=f"^{name}: must be {rule}, got ") as caught:
        Settings(**{name: value})
    assert caught.value.setting == name


MISSPELT = {
    "REGULARIZATION_MEMROY_BUDGET": "secret",
    "REGULARIZATION_PROBE_TARGT": "secret",
    "REGULARIZATION_OWNER_TEAM": "secret",
}
# What Kubernetes tells a container of Services named regularization and regularization-metrics.
OF_SERVICES = dict.fromkeys(
    (
        f"REGULARIZATION_{name}"
        for of in ("", "METRICS_")
        for name in (f"{of}SERVICE_HOST", f"{of}SERVICE_PORT_GRPC", f"{of}PORT", f"{of}PORT_9464_TCP_ADDR")
    ),
    "tcp://10.0.0.1:9464",
)


def test_variables_that_set_nothing_are_told() -> None:
    """By their names, with what was probably meant; those that are read, or of Services, are not."""
    set_well = {"REGULARIZATION_MEMORY_BUDGET": "1GiB", "REGULARIZATION_PROBE_TARGET": "a:1", "PATH": ""}
    told = misspelt(MISSPELT | OF_SERVICES | set_well, main)
    assert told == [
        "REGULARIZATION_MEMROY_BUDGET is no setting; did you mean 'REGULARIZATION_MEMORY_BUDGET'?",
        "REGULARIZATION_OWNER_TEAM is no setting",
        "REGULARIZATION_PROBE_TARGT is no setting; did you mean 'REGULARIZATION_PROBE_TARGET'?",
    ]
    # Without its host it is nobody's.
    assert misspelt({"REGULARIZATION_METRICS_PORT": "9464"}, main)


def test_every_setting_may_be_a_variable() -> None:
    """No variable that the command shows as one of its own is called misspelt."""
    told = CliRunner().invoke(main, ["--help"]).output
    shown = re.findall(r"REGULARIZATION_[A-Z_]+", told)
    assert len(shown) > len(dataclasses.fields(Settings))
    assert misspelt(dict.fromkeys(shown, ""), main) == []


def test_check_and_log_tell_of_variables(tmp_path: Path) -> None:
    """A server says it once, whatever its processes, and what the variable holds stays untold."""
    checked_only = run("--check", PATH="", **MISSPELT)
    assert checked_only.returncode == 0
    assert checked_only.stderr.count("Warning: REGULARIZATION_") == len(MISSPELT)
    for processes in ("1", "2"):
        with serving(tmp_path, "--processes", processes, environment=MISSPELT) as server:
            lines = [line for line in server.log.splitlines() if "environment not understood" in line]
            assert len(lines) == len(MISSPELT)
            assert "secret" not in server.log + checked_only.stdout + checked_only.stderr


def test_a_version_in_the_environment_starts_a_server_all_the_same() -> None:
    """Whoever keeps the image's version in such a variable gets the settings, not the version."""
    result = run("--check", PATH="", REGULARIZATION_VERSION="0.1.0")
    assert (result.returncode, "processes = 1" in result.stdout) == (0, True)


def test_processes_have_the_settings_of_the_file(tmp_path: Path, file: Path) -> None:
    """What the supervisor has read there, its processes have as flags."""
    file.write_text("processes = 2\nlog_format = 'json'\ngrace_period = 3.5\n")
    with serving(tmp_path, "--config", str(file)) as server:
        server.process.terminate()
        assert server.wait() == 0
        assert '"grace": 3.5' in server.log
