"""How a call's elements are shared out over messages."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from regularization_client._request.call import Call, Stretch
from regularization_client._request.chunks import chunks
from regularization_client._request.header import Header
from regularization_client._request.layout import Layout
from regularization_client._request.method import PROXIMAL_STEP
from regularization_client._request.stores import ArrayStore

SOURCE = ArrayStore(np.zeros(1, np.float32))


def call(*stretches: tuple[int, int]) -> Call:
    """A call over tensors of these many elements, each with these many operands beside its parameters."""
    made, sizes, begin = [], {}, 0
    for size, operands in stretches:
        sources = dict.fromkeys(["parameters", "loss_gradients", "reference"][: operands + 1], SOURCE)
        made.append(Stretch(begin, begin + size, sources, None))
        sizes[str(begin)] = size
        begin += size
    return Call(Header(PROXIMAL_STEP, Layout(b"", sizes, {}), {}), np.dtype("<f4"), made)


def extents(of: Call, chunk_bytes: int) -> list[list[tuple[int, int]]]:
    """Begin and end of every piece of every chunk."""
    return [[(cut.begin, cut.end) for cut in chunk] for chunk in chunks(of, chunk_bytes)]


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 2)), max_size=8), st.integers(64, 700))
def test_chunks_follow_each_other_and_keep_their_limit(sizes: list[tuple[int, int]], limit: int) -> None:
    """Every element is sent once and in order, with the same operands all through a chunk."""
    position = 0
    for chunk in chunks(call(*sizes), limit):
        assert len({tuple(cut.stretch.sources) for cut in chunk}) == 1
        assert sum((cut.end - cut.begin) * 4 * len(cut.stretch.sources) for cut in chunk) <= limit
        for cut in chunk:
            assert cut.begin == position
            assert cut.stretch.begin <= cut.begin < cut.end <= cut.stretch.end
            position = cut.end
    assert position == sum(size for size, _ in sizes)


def test_small_tensors_travel_together() -> None:
    """So that a small model is one message."""
    assert extents(call((10, 0), (20, 0), (2, 0)), 128) == [[(0, 10), (10, 30), (30, 32)]]


def test_a_large_tensor_begins_a_chunk_and_is_cut_at_powers_of_two() -> None:
    """Its chunks then lie on the server's block grid; what is left over may be followed by others."""
    assert extents(call((3, 0), (40, 0), (4, 0)), 100) == [
        [(0, 3)],
        [(3, 19)],
        [(19, 35)],
        [(35, 43), (43, 47)],
    ]


def test_a_chunk_ends_where_the_operands_change() -> None:
    """All elements of a chunk have the same operands."""
    assert extents(call((3, 0), (3, 1), (3, 1)), 1000) == [[(0, 3)], [(3, 6), (6, 9)]]


def test_nothing_is_no_chunk() -> None:
    """A call without elements has a header only."""
    assert extents(call(), 100) == []
