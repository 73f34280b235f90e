"""Headers that are nothing but large: refused for little, and the large ones that are good."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT32, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Groups, Regularizer, TreeGroupLasso
from regularization_kernels.engine import MAX_SEGMENTS, Method
from regularization_kernels.errors import LayoutInvalid, RegularizationError
from regularization_server.contract.header_bytes import PART, SMALL, read_header
from regularization_server.contract.headers import HEADERS, call_of
from regularization_server.contract.refusals import FieldUnknown, MessageUnreadable

from tests.support.messages import Failed, answers, call, good_call, header, l1_norm, layout_of
from tests.support.processes import ServerProcess, channel_to, serving
from tests.support.protobuf_messages import field, varint

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE = (4 << 20) - 100
"""Bytes of a header that just fits a message."""

MIB = 1 << 20
F32 = field(1, DATA_TYPE_FLOAT32)
"""The data type of a layout."""


def layout_bytes(*parts: bytes) -> bytes:
    """A header of a layout of these fields."""
    return field(1, F32 + b"".join(parts))


def group_sizes(sizes: bytes, elements: int) -> bytes:
    """A header of one segment of so many elements, with the message of group sizes that these bytes are."""
    group_lasso = b"\x09" + bytes(8) + field(2, field(2, sizes))
    segment = field(1, b"w") + field(2, varint(elements)) + field(3, field(5, group_lasso))
    return layout_bytes(field(2, segment))


def kinds(count: int) -> bytes:
    """A regularizer that changes its mind so many times."""
    return (field(15, b"") + field(7, b"")) * (count // 2)


BOMBS: dict[str, tuple[bytes, type[RegularizationError]]] = {
    "empty_segments": (layout_bytes(b"\x12\x00" * (MESSAGE // 2)), LayoutInvalid),
    "kinds_of_one_regularizer": (layout_bytes(field(2, field(3, kinds(MESSAGE // 2)))), MessageUnreadable),
    "regularizers_of_one_segment": (
        layout_bytes(field(2, field(3, b"") * (MESSAGE // 2))),
        MessageUnreadable,
    ),
    "kinds_of_many_regularizers": (layout_bytes(field(2, field(3, kinds(198))) * 9000), MessageUnreadable),
    "data_types": (field(1, F32 * (MESSAGE // 2)), MessageUnreadable),
    "layouts": (field(1, F32) * (MESSAGE // 4), MessageUnreadable),
    "figures": (field(3, b"") * (MESSAGE // 2), MessageUnreadable),
    "axes": (layout_bytes(field(2, field(2, b"\1" * MESSAGE))), LayoutInvalid),
    "axes_one_by_one": (layout_bytes(field(2, field(2, 1) * (MESSAGE // 2))), MessageUnreadable),
    "groups_in_groups": (layout_bytes(field(2, b"\x7b" * MESSAGE)), FieldUnknown),
    "empty_joints": (layout_bytes(b"\x1a\x00" * (MESSAGE // 2)), MessageUnreadable),
    "kinds_of_one_joint": (layout_bytes(field(3, field(2, kinds(MESSAGE // 2)))), MessageUnreadable),
    "unknown_fields": (layout_bytes(field(15, 1) * (MESSAGE // 2)), MessageUnreadable),
}
"""Headers that protobuf would make much of, and how they are refused."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_is_read(name: str) -> None:
    """No more is looked at than the limits allow."""
    raw, error = BOMBS[name]
    with pytest.raises(error):
        read_header(memoryview(raw), HEADERS[Method.GRADIENT])


def peak(process: int) -> int:
    """The most bytes that a process has had in memory."""
    (line,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


def processor_seconds(process: int) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with little memory for calls."""
    with serving(tmp_path_factory.mktemp("small"), "--memory-budget", "64MiB") as server:
        yield server


def all_bombs() -> list[bytes]:
    """Requests that are refused for their form, and with more group sizes than there is memory for."""
    sizes = (b"\1\1", b"\xe8\x07")
    bombs = [raw for raw, _ in BOMBS.values()]
    bombs += [group_sizes(field(1, size * (MESSAGE // 2 - 50)), 7) for size in sizes]
    return [field(1, raw) for raw in bombs]


def test_bombs_cost_little(small_server: ServerProcess) -> None:
    """Each kind of bomb three times: less than 64 MiB in all, and a fraction of a second each."""
    pid, bombs = small_server.process.pid, all_bombs()
    with channel_to(small_server.address) as channel:
        good_call(channel)
        memory, seconds = peak(pid), processor_seconds(pid)
        for bomb in bombs * 3:
            with pytest.raises(grpc.RpcError):
                answers(channel, "gradient", [bomb])
        assert peak(pid) - memory < 64 * MIB
        assert processor_seconds(pid) - seconds < 3 * len(bombs)


def test_bombs_at_once_cost_what_their_messages_take(small_server: ServerProcess) -> None:
    """Sent all at once and cancelled: a few times their bytes, for as long as they are on their way."""
    pid, bombs = small_server.process.pid, all_bombs()
    with channel_to(small_server.address) as channel:
        good_call(channel)
        memory = peak(pid)
        for _ in range(3):
            sent = [call(channel, "gradient", [bomb]) for bomb in bombs]
            time.sleep(0.1)
            for each in sent:
                each.cancel()
            good_call(channel)
        assert peak(pid) - memory < 64 * MIB + 4 * sum(map(len, bombs))


@pytest.mark.parametrize(("count", "reason"), [(400_000, "STREAM_TOO_SHORT"), (2_000_000, "BUDGET_EXCEEDED")])
def test_group_sizes_come_out_of_the_budget(small_server: ServerProcess, count: int, reason: str) -> None:
    """A header that would take more than there is is refused with the figures; a smaller one is taken."""
    raw = field(1, group_sizes(field(1, varint(500) * count), 500 * count))
    with channel_to(small_server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            answers(channel, "gradient", [raw])
        failed = Failed.of(caught.value)
        assert failed.reason == f"ERROR_REASON_{reason}"
        if reason == "BUDGET_EXCEEDED":
            assert failed.violations == ["header"]
            assert int(failed.metadata["requested_bytes"]) > 64 * MIB
        good_call(channel)


def segments_of(count: int, name: str = "layer.{}.weight") -> ParameterLayout:
    """So many segments."""
    return layout_of(
        *(Segment(name=name.format(index), regularizer=l1_norm(index)) for index in range(count))
    )


@pytest.mark.parametrize("count", [0, 1, 60, 3000, MAX_SEGMENTS])
def test_every_part_of_a_long_header_is_read(count: int) -> None:
    """All segments, in their order, and everything else."""
    whole = header("proximal_step", segments_of(count), step_size=0.25)
    raw = whole.SerializeToString()
    assert (len(raw) > PART) == (count >= 3000)
    read = read_header(memoryview(raw), service.ProximalStepHeader)
    assert list(read.segments) == list(whole.layout.segments)
    assert (read.message.layout.data_type, read.message.step_size) == (DATA_TYPE_FLOAT32, 0.25)
    assert (read.memory > 0) == (len(raw) > SMALL)


@pytest.mark.parametrize("count", [0, 100, 3000])
def test_joint_regularizers_are_read_and_charged(count: int) -> None:
    """Beside any number of segments; a long one is charged as a segment is."""
    layout = segments_of(count)
    layout.joints.add(name="a", regularizer=l1_norm(1.0))
    layout.joints.add(name="b").regularizer.slope.strengths.values.extend([1.0] * 5000)
    raw = header("proximal_step", layout).SerializeToString()
    read = read_header(memoryview(raw), service.ProximalStepHeader)
    assert list(read.joints) == list(layout.joints)
    assert list(read.segments) == list(layout.segments)
    assert not read.message.layout.joints
    assert read.memory > 1000 * count + 64 * 5000


def test_an_unknown_field_of_a_joint_regularizer_is_told() -> None:
    """With its place, in a short header and in a long one."""
    for count in (0, 3000):
        layout = segments_of(count)
        layout.joints.add(name="a", regularizer=l1_norm(1.0)).MergeFromString(field(77, 1))
        raw = header("gradient", layout).SerializeToString()
        with pytest.raises(FieldUnknown) as caught:
            list(read_header(memoryview(raw), service.GradientHeader).joints)
        assert caught.value.field in ("header.layout.joints[0]", "joints[0]")


def test_a_header_in_pieces_is_one() -> None:
    """Fields in any order, and a layout in two messages: as protobuf reads it."""
    first, second = segments_of(200), ParameterLayout(segments=[Segment(name="last", shape=[3])])
    raw = (
        field(1, b"".join(field(2, segment.SerializeToString()) for segment in first.segments))
        + field(3, b"")
        + field(1, second.SerializeToString() + F32)
    )
    whole = service.GradientHeader.FromString(raw)
    read = read_header(memoryview(raw), service.GradientHeader)
    assert len(raw) > SMALL
    assert list(read.segments) == list(whole.layout.segments)
    assert read.message.layout.data_type == DATA_TYPE_FLOAT32
    assert read.message.HasField("figures")
    assert call_of(read_header(memoryview(raw), service.GradientHeader), Method.GRADIENT).layout.size == 203


def test_a_long_header_without_a_layout() -> None:
    """It is not set, as in a short one."""
    raw = field(5, field(1, field(1, bytes(SMALL))))
    read = read_header(memoryview(raw), service.GradientHeader)
    assert not read.message.HasField("layout")
    assert list(read.segments) == []


def test_one_segment_too_many() -> None:
    """As many as there may be are read; one more is refused."""
    raw = layout_bytes(b"\x12\x00" * MAX_SEGMENTS)
    assert len(list(read_header(memoryview(raw), service.GradientHeader).segments)) == MAX_SEGMENTS
    with pytest.raises(LayoutInvalid, match=r"^header.layout.segments must be at most 10000, got more$"):
        read_header(memoryview(layout_bytes(b"\x12\x00" * (MAX_SEGMENTS + 1))), service.GradientHeader)


def test_bytes_that_are_no_segment_are_told_where_they_are_read() -> None:
    """A fault in a later part is the caller's, as one in the first."""
    whole = segments_of(5000)
    whole.segments[4000].name = "oddness"
    raw = header("gradient", whole).SerializeToString().replace(b"oddness", b"\xff" * 7)
    read = read_header(memoryview(raw), service.GradientHeader)
    with pytest.raises(MessageUnreadable):
        list(read.segments)


@pytest.mark.parametrize("values", [5000, 100_000])
def test_lists_are_counted_whatever_their_form(values: int) -> None:
    """Packed or not, each value of a list is charged with more than its object takes."""
    packed = group_sizes(field(1, varint(1000) * values), 1000 * values)
    apart = group_sizes(field(1, 1000) * values, 1000 * values)
    for raw in (packed, apart):
        read = read_header(memoryview(raw), service.GradientHeader)
        assert read.memory > 64 * values
        assert read.memory > read.memory_kept > 40 * values
        (segment,) = read.segments
        assert list(segment.regularizer.group_lasso.groups.sizes.values) == [1000] * values


@pytest.mark.parametrize("levels", [20, 32])
def test_levels_of_a_tree_are_charged(levels: int) -> None:
    """Each is a message of its own, of a few bytes, and becomes groups; short segments and long ones."""
    tree = TreeGroupLasso(strength=1.0, nested_groups=[Groups(size=1000)] * levels)
    regularizer = Regularizer(tree_group_lasso=tree)
    segments = [Segment(name=str(i), shape=[1000], regularizer=regularizer) for i in range(100)]
    raw = header("gradient", layout_of(*segments)).SerializeToString()
    read = read_header(memoryview(raw), service.GradientHeader)
    assert (len(segments[-1].SerializeToString()) > 128) == (levels == 32)
    assert read.memory >= read.memory_kept > 100 * levels * 150
