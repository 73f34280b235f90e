"""Plans that the server holds: by name, by version, and as their files change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization.plan_file import plan_of
from regularization.v1.layout_pb2 import ParameterLayout, Segment
from regularization.v1.regularization_service_pb2 import ListPlansRequest
from regularization.v1.regularization_service_pb2_grpc import RegularizationServiceStub
from regularization_client import Client, InvalidRequestError, L1Norm, Planned
from regularization_server import Server, Settings
from regularization_server.contract.refusals import PlanUnknown
from regularization_server.contract.statuses import failure_of
from regularization_server.process.logs import library_logger
from regularization_server.process.plan_folder import LARGEST, MOST, PlanFolder
from regularization_server.settings import SettingInvalid

from tests.server.test_command import run
from tests.server.test_plans import digest_of
from tests.support.messages import TIMEOUT, Failed, answers, chunk, header, layout_of, request
from tests.support.processes import channel_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG = library_logger()


def l1(strength: float, pattern: str = "*") -> str:
    """A plan of one rule."""
    return f'["{pattern}"]\nregularizer = "l1_norm"\nstrength = {strength}\n'


def write(folder: Path, name: str, text: str) -> None:
    """Write a plan's file, as an operator should: whole."""
    (folder / ".new").write_text(text, encoding="utf-8")
    (folder / ".new").replace(folder / f"{name}.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two plans, and with what is none."""
    folder = tmp_path / "plans"
    folder.mkdir()
    write(folder, "one", l1(1.0))
    write(folder, "two", l1(2.0))
    (folder / "notes.txt").write_text("no plan")
    (folder / ".hidden.toml").write_text("no plan either")
    (folder / "folder.toml").mkdir()
    return folder


@pytest.fixture
def holder(folder: Path, tmp_path: Path) -> Iterator[Server]:
    """A server with these plans."""
    with Server(Settings(listen=(f"unix:{tmp_path / 's'}",), plans=folder)) as server:
        yield server


@pytest.fixture
def holder_channel(holder: Server) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with channel_to(holder.addresses[0]) as channel:
        yield channel


def named(name: str, digest: str | None = None, **segments: int) -> ParameterLayout:
    """A layout by a plan that the server holds."""
    of = layout_of(*(Segment(name=each, shape=[size]) for each, size in (segments or {"w": 2}).items()))
    of.planned.name, of.planned.step = name, 0
    if digest is not None:
        of.planned.digest = digest
    return of


def penalty(channel: grpc.Channel, of: ParameterLayout) -> Any:
    """The summary of two ones' penalty."""
    stream = [request("penalty", header=header("penalty", of), chunk=chunk((1, 1)))]
    (answer,) = answers(channel, "penalty", stream)
    return answer.summary


def refused(channel: grpc.Channel, of: ParameterLayout) -> Failed:
    """How a call fails that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        penalty(channel, of)
    return Failed.of(caught.value)


def listed(channel: grpc.Channel) -> dict[str, Any]:
    """The plans that the server lists, by name."""
    answer = RegularizationServiceStub(channel).ListPlans(ListPlansRequest(), timeout=TIMEOUT)
    names = [each.name for each in answer.plans]
    assert names == sorted(names)
    return {each.name: each for each in answer.plans}


def test_a_plan_by_its_name_is_that_plan(holder_channel: grpc.Channel) -> None:
    """The summary has its digest, and the list says what it is."""
    plans = listed(holder_channel)
    assert set(plans) == {"one", "two"}
    for name, value in (("one", 2.0), ("two", 4.0)):
        summary = penalty(holder_channel, named(name))
        assert summary.total.penalty.value == value
        assert summary.plan_digest == plans[name].digest == digest_of(plans[name].plan)
        assert plans[name].plan == plan_of(l1(value / 2))
        assert plans[name].error == ""


@pytest.mark.parametrize(
    "name", ["three", "", "one.toml", "../plans/one", "folder", ".hidden", "One", "notes.txt"]
)
def test_what_is_no_plan_s_name_is_refused(holder_channel: grpc.Channel, name: str) -> None:
    """A name never leads to a file that is not listed."""
    failed = refused(holder_channel, named(name))
    assert (failed.reason, failed.violations) == ("ERROR_REASON_PLAN_UNKNOWN", ["header.layout.planned.name"])


def test_another_version_than_the_pinned_one_is_refused(holder_channel: grpc.Channel, folder: Path) -> None:
    """Until the file changes, the pin fits; then the text has the new digest."""
    digest = penalty(holder_channel, named("one")).plan_digest
    assert penalty(holder_channel, named("one", digest)).plan_digest == digest
    write(folder, "one", l1(3.0))
    failed = refused(holder_channel, named("one", digest))
    assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.reason == "ERROR_REASON_PLAN_CHANGED"
    assert listed(holder_channel)["one"].digest in failed.text
    assert penalty(holder_channel, named("one")).total.penalty.value == 6.0


def test_a_rule_that_does_not_fit_is_told_by_its_place(holder_channel: grpc.Channel, folder: Path) -> None:
    """As of a plan that is in the header."""
    write(folder, "one", l1(1.0, "v"))
    failed = refused(holder_channel, named("one"))
    assert failed.reason == "ERROR_REASON_PLAN_NAME_UNMATCHED"
    failed = refused(holder_channel, named("one", v=1, w=1))
    assert (failed.reason, failed.metadata["segment"]) == ("ERROR_REASON_PLAN_NAME_UNMATCHED", "w")
    write(folder, "one", '["*"]\nregularizer = "nuclear_norm"\nstrength = 1\nbox = {lower = 0}\n')
    failed = refused(holder_channel, named("one"))
    assert failed.metadata["segment"] == "w"


@pytest.mark.parametrize(
    "text",
    ["[", l1(-1.0), l1(1.0) + "strengt = 2\n", "x" * (LARGEST + 1), '["*"]\nregularizer = "top_k"\n'],
    ids=["no TOML", "out of range", "unknown key", "too large", "incomplete"],
)
def test_a_wrong_file_leaves_the_old_plan_and_says_so(
    holder_channel: grpc.Channel, folder: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the list and, once, in the log; a right one takes its place."""
    before = listed(holder_channel)["one"]
    write(folder, "one", text)
    for _ in range(3):
        assert penalty(holder_channel, named("one")).plan_digest == before.digest
    after = listed(holder_channel)["one"]
    assert after.error
    assert len(after.error) <= 1024
    assert (after.plan, after.digest) == (before.plan, before.digest)
    told = [record for record in caplog.records if "plan refused" in record.getMessage()]
    assert len(told) == 1
    assert "plan=one" in told[0].getMessage()
    write(folder, "one", l1(0.5))
    assert penalty(holder_channel, named("one")).total.penalty.value == 1.0
    assert listed(holder_channel)["one"].error == ""


def test_a_wrong_rule_is_told_by_its_table(holder_channel: grpc.Channel, folder: Path) -> None:
    """The file has tables and no places; both are told."""
    write(folder, "one", l1(1.0, "v") + l1(-1.0, "*.weight"))
    assert listed(holder_channel)["one"].error.startswith(
        "['*.weight']: rules[1].regularizer.l1_norm.strength "
    )


def test_plans_come_and_go_with_their_files(holder_channel: grpc.Channel, folder: Path) -> None:
    """A new one that is wrong is listed with its error, and is no plan; a removed one is gone."""
    write(folder, "three", l1(3.0))
    assert penalty(holder_channel, named("three")).total.penalty.value == 6.0
    (folder / "three.toml").unlink()
    assert refused(holder_channel, named("three")).reason == "ERROR_REASON_PLAN_UNKNOWN"
    write(folder, "four", "[")
    assert refused(holder_channel, named("four")).reason == "ERROR_REASON_PLAN_UNKNOWN"
    new = listed(holder_channel)["four"]
    assert (new.digest, new.HasField("plan"), bool(new.error)) == ("", False, True)
    folder.rename(folder.with_name("elsewhere"))
    assert penalty(holder_channel, named("one")).total.penalty.value == 2.0


def test_the_client_goes_by_a_plan_that_the_server_holds(holder: Server, folder: Path) -> None:
    """By name, over one stream whatever it is asked for; a pin holds, and another digest is an error."""
    with Client(holder.addresses[0]) as client:
        (one, two) = client.list_plans()
        assert [one.name, two.name] == ["one", "two"]
        step = client.proximal_step({"w": [3.0, -0.5]}, Planned("one", 0), step_size=1.0, streams=4)
        assert list(step.parameters["w"]) == [2.0, 0.0]
        assert step.plan_digest == one.digest
        inline = client.proximal_step({"w": [3.0, -0.5]}, Planned(one.plan, 0), step_size=1.0)
        assert inline.plan_digest == one.digest
        plain = client.penalty([1.0], L1Norm(strength=1))
        assert plain.plan_digest is None
        with pytest.raises(InvalidRequestError) as caught:
            client.penalty({"w": [1.0]}, Planned("one", 0, digest=two.digest))
        assert caught.value.reason == "ERROR_REASON_PLAN_CHANGED"


@pytest.mark.parametrize("name", [b"\xff", b"a\nb"])
def test_a_name_that_is_no_text_is_told_to_the_operator_alone(folder: Path, name: bytes) -> None:
    """Callers find the plans that were there, and what is wrong with a name of theirs."""
    plans = PlanFolder(folder, LOG)
    (folder / os.fsdecode(name + b".toml")).write_text(l1(1.0), encoding="utf-8")
    write(folder, "two", l1(3.0))
    assert [plan.name for plan in plans.listed()] == ["one", "two"]
    with pytest.raises(PlanUnknown) as caught:
        plans.find("three")
    assert failure_of(caught.value, "id").reason == "ERROR_REASON_PLAN_UNKNOWN"
    with pytest.raises(SettingInvalid, match="must have names of printable characters"):
        PlanFolder(folder, LOG)


def test_a_server_without_plans_lists_none(process_channel: grpc.Channel) -> None:
    """And knows no name."""
    assert listed(process_channel) == {}
    assert refused(process_channel, named("one")).reason == "ERROR_REASON_PLAN_UNKNOWN"


def test_a_folder_that_is_wrong_at_the_start_is_refused(folder: Path) -> None:
    """One that is not there, one with too many plans, and one with a plan that is wrong, by its file."""
    with pytest.raises(SettingInvalid, match="No such file"):
        PlanFolder(folder / "nowhere", LOG)
    write(folder, "two", l1(-2.0))
    with pytest.raises(
        SettingInvalid, match=r"two\.toml: \['\*'\]: rules\[0\]\.regularizer\.l1_norm\.strength must be"
    ):
        PlanFolder(folder, LOG)
    done = run("--plans", folder, "--listen", f"unix:{folder / 's'}")
    assert (done.returncode, "--plans: " in done.stderr) == (2, True)
    for index in range(MOST + 1):
        write(folder, str(index), l1(1.0))
    with pytest.raises(SettingInvalid, match="must have at most 64 plans"):
        PlanFolder(folder, LOG)
