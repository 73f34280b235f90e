"""Bitmap and nonzeros are the same elements, to the bit, in fewer bytes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regularization.sparse import SparseElements, packed

Array = npt.NDArray[Any]
DATA_TYPES = [np.dtype(each) for each in ("f2", ml_dtypes.bfloat16, "f4", "f8")]
every_data_type = pytest.mark.parametrize("data_type", DATA_TYPES, ids=str)


def mostly_zero(size: int, zeros: float, data_type: np.dtype[Any]) -> Array:
    """Normal numbers, of which about so many are zero."""
    random = np.random.default_rng(size)
    elements = random.standard_normal(size)
    elements[random.random(size) < zeros] = 0.0
    return elements.astype(data_type)


def bits(elements: Array) -> list[int]:
    """Elements as integers."""
    return elements.view(f"u{elements.itemsize}").tolist()  # type: ignore[no-any-return]


def unpacked(size: int, halves: tuple[memoryview, memoryview], data_type: np.dtype[Any]) -> SparseElements:
    """The elements that the bytes stand for."""
    values, bitmap = halves
    return SparseElements(size, bytes(bitmap), np.frombuffer(values, data_type))


@every_data_type
@given(
    raw=st.lists(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 3]) | st.integers(0, 0xFFFF), max_size=80),
    cut=st.integers(0, 80),
)
def test_elements_come_back_to_the_bit(data_type: np.dtype[Any], raw: list[int], cut: int) -> None:
    """Whatever their bits are: negative zeros, subnormals, NaN of any payload; whole and cut anywhere."""
    unsigned = np.array(raw, f"u{data_type.itemsize}")
    elements = (unsigned << (8 * data_type.itemsize - 16)).astype(unsigned.dtype).view(data_type)
    halves = packed(elements)
    if halves is None:
        return
    sparse = unpacked(elements.size, halves, data_type)
    out = np.full(elements.size, 7, data_type)
    sparse.write_into(out)
    assert bits(out) == bits(np.asarray(sparse)) == bits(elements)
    assert bits(np.asarray(sparse[:cut])) + bits(np.asarray(sparse[cut:])) == bits(elements)
    assert sparse[:cut].size + sparse[cut:].size == sparse.size == elements.size


@every_data_type
@pytest.mark.parametrize("special", [-0.0, np.nan, np.inf])
def test_only_positive_zero_is_zero(data_type: np.dtype[Any], special: float) -> None:
    """Negative zero is marked, and so is NaN."""
    elements = np.zeros(100, data_type)
    elements[[3, 50]] = special
    halves = packed(elements)
    assert halves is not None
    values, bitmap = halves
    marked = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")
    assert np.flatnonzero(marked).tolist() == [3, 50]
    assert bytes(values) == elements[[3, 50]].tobytes()


@every_data_type
@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_it_is_used_where_it_is_fewer_bytes(data_type: np.dtype[Any], size: int) -> None:
    """And not otherwise: with any number of nonzeros, what is there is smaller than the elements."""
    for nonzeros in range(0, size + 1, max(size // 50, 1)):
        elements = np.zeros(size, data_type)
        elements[:nonzeros] = 1.0
        halves = packed(elements)
        spent = nonzeros * data_type.itemsize + (size + 7) // 8
        assert (halves is not None) == (spent + 6 < elements.nbytes)
        assert halves is None or sum(map(len, halves)) == spent


def test_nothing_but_zeros_is_a_bitmap() -> None:
    """It has no values."""
    halves = packed(np.zeros(1 << 18, np.float32))
    assert halves is not None
    assert (len(halves[0]), bytes(halves[1])) == (0, bytes(1 << 15))


@pytest.mark.parametrize(("data_type", "most"), [("f4", 0.09), ("f8", 0.07), ("f2", 0.12)])
def test_a_result_with_few_nonzeros_is_a_fraction_of_the_bytes(data_type: str, most: float) -> None:
    """At 95 % zeros: one bit an element, and a twentieth of the elements."""
    elements = mostly_zero(1 << 18, 0.95, np.dtype(data_type))
    halves = packed(elements)
    assert halves is not None
    assert sum(map(len, halves)) <= most * elements.nbytes


@pytest.mark.parametrize(
    ("size", "bitmap", "values"),
    [
        (8, b"", 0),
        (8, b"\0\0", 0),
        (9, b"\0", 0),
        (9, b"\0\2", 1),
        (1, b"\2", 1),
        (8, b"\1", 0),
        (8, b"\1", 2),
        (0, b"\0", 0),
    ],
)
def test_halves_that_do_not_fit_are_refused(size: int, bitmap: bytes, values: int) -> None:
    """A bitmap of another length, bits past the end, more or fewer values than bits."""
    with pytest.raises(ValueError, match="does not fit"):
        SparseElements(size, bitmap, np.ones(values, np.float32))


def test_elements_of_the_other_byte_order_are_written_little_endian() -> None:
    """Values are as the schema has them, whatever the machine's order; results take any order."""
    elements = np.zeros(64, "<f4")
    elements[5] = 1.5
    halves = packed(elements)
    assert halves is not None
    out = np.empty(64, ">f4")
    unpacked(64, halves, np.dtype("<f4")).write_into(out)
    assert out[5] == 1.5
    assert np.count_nonzero(out) == 1
