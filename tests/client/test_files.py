"""Tensor files: what is read is what was saved, and what is written is whole."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from regularization_client import ArgumentError
from regularization_client._files import open_tensors
from regularization_client._files.atomic import AtomicFile

TENSORS: dict[str, NDArray[Any]] = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "empty": np.zeros((0, 2), np.float32),
    "steps": np.array([7], np.int64),
    "s": np.array(2.5, np.float32),
    "b": np.arange(5, dtype=np.float32),
}


def save(path: Path, tensors: dict[str, NDArray[Any]]) -> Path:
    """Save tensors in the format of the path; compressed if it says so."""
    if path.suffix == ".npy":
        np.save(path, tensors["w"])
    elif path.suffix == ".safetensors":
        safetensors.numpy.save_file(tensors, path, metadata={"format": "np"})
    else:
        # By its handle: given a path, NumPy would add an ending.
        with path.open("wb") as file:
            (np.savez_compressed if "compressed" in path.name else np.savez)(file, **tensors)  # type: ignore[arg-type]
    return path


def load(path: Path) -> dict[str, NDArray[Any]]:
    """Load what save has saved, with the formats' own libraries."""
    if path.suffix == ".npy":
        return {"parameters": np.load(path)}
    if path.suffix == ".safetensors":
        return safetensors.numpy.load_file(path)
    with np.load(path) as archive:
        return dict(archive)


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "compressed.npz", "X.NPZ"])
def test_named_tensors(tmp_path: Path, name: str) -> None:
    """Names, shapes, data types and elements; other data types are there, and marked."""
    with open_tensors(save(tmp_path / name, TENSORS)) as file:
        assert set(file.tensors) == set(TENSORS)
        for key, tensor in file.tensors.items():
            assert tensor.shape == TENSORS[key].shape
            if key == "steps":
                assert tensor.data_type is None
                assert tensor.type_name in {"I64", "int64"}
                continue
            assert tensor.data_type == np.float32
            flat = TENSORS[key].ravel()
            for begin, end in [(0, flat.size), (flat.size // 2, flat.size), (0, 1)]:
                if end > begin and end <= flat.size:
                    assert bytes(tensor.source.read(begin, end)) == flat[begin:end].tobytes()


@pytest.mark.parametrize("data_type", ["<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_either_byte_order(tmp_path: Path, suffix: str, data_type: str) -> None:
    """Elements are read little-endian, and written as they were."""
    array = np.arange(6, dtype=data_type)
    path = save(tmp_path / f"x{suffix}", {"w": array})
    with open_tensors(path) as file, file.writer(path, keep_others=True) as writer:
        (tensor,) = file.tensors.values()
        little = array.astype(array.dtype.newbyteorder("<"))
        assert bytes(tensor.source.read(1, 6)) == little[1:].tobytes()
        sink = writer.sink(tensor.name)
        sink.write(0, little[:2] + 1)
        sink.write(2, little[2:] + 1)
        writer.commit()
    (written,) = load(path).values()
    assert written.dtype == array.dtype
    np.testing.assert_array_equal(written, array + 1)


@pytest.mark.parametrize("keep_others", [True, False])
@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "compressed.npz"])
def test_written_files_are_like_their_originals(tmp_path: Path, name: str, keep_others: bool) -> None:
    """Same names, shapes and data types; tensors that nothing is written to are kept, or 0, as asked."""
    path = save(tmp_path / name, TENSORS)
    output = tmp_path / f"out-{name}"
    with open_tensors(path) as file, file.writer(output, keep_others=keep_others) as writer:
        for key, tensor in file.tensors.items():
            if tensor.data_type is not None and TENSORS[key].size:
                values = np.frombuffer(tensor.source.read(0, TENSORS[key].size), np.float32)
                writer.sink(key).write(0, values * 2)
        assert not output.exists()
        writer.commit()
    written = load(output)
    assert list(written) == list(load(path))
    for key, original in TENSORS.items():
        expected = original * (2 if key != "steps" else int(keep_others))
        assert (written[key].dtype, written[key].shape) == (original.dtype, original.shape)
        np.testing.assert_array_equal(written[key], expected)
    if name == "x.safetensors":
        with safetensors.safe_open(output, "np") as opened:
            assert opened.metadata() == {"format": "np"}
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, output.name}


def numpy_bytes(array: NDArray[Any]) -> bytes:
    """The bytes of a .npy file."""
    from io import BytesIO

    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def safetensors_bytes(header: Any, data: bytes = b"") -> bytes:
    """The bytes of a .safetensors file with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: list[Any], dtype: Any = "F32") -> dict[str, Any]:
    """An entry of a .safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def header_bytes(shape: object) -> bytes:
    """The header of a .npy file of float32."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text


def archive_bytes(name: str, changes: dict[int, int], entry_of: bytes = b"PK\x01\x02") -> bytes:
    """A .npz file of one array, with other bytes at some places in its entry: the directory's, or its own."""
    from io import BytesIO

    file = BytesIO()
    np.savez(file, **{name: TENSORS["w"]})  # type: ignore[arg-type] # a name may be allow_pickle
    data = bytearray(file.getvalue())
    begin = data.index(entry_of)
    for at, value in changes.items():
        data[begin + at] = value
    return bytes(data)


W = numpy_bytes(TENSORS["w"])
DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "unknown ending": ("x.txt", b"", "the name must end in .npy, .npz, .safetensors"),
    "npy: empty": ("x.npy", b"", "is no .npy file that can be read"),
    "npy: something else": ("x.npy", b"hello, world", "is no .npy file that can be read"),
    "npy: cut in the header": ("x.npy", W[:40], "is no .npy file that can be read"),
    "npy: cut in the data": ("x.npy", W[:-1], "must have 176 bytes by its header, has 175"),
    "npy: too long": ("x.npy", W + b"x", "must have 176 bytes by its header, has 177"),
    "npy: Fortran order": ("x.npy", numpy_bytes(np.asfortranarray(TENSORS["w"])), "column by column"),
    "npy: objects": ("x.npy", numpy_bytes(np.array([{}], object)), "Python objects"),
    "npy: a later format": (
        "x.npy",
        W[:6] + b"\x03" + W[7:],
        "its format is a later one than 2.0",
    ),
    "npy: negative lengths": ("x.npy", header_bytes((-1, -1)) + bytes(4), "numbers >= 0, is (-1, -1)"),
    "npy: a nest": ("x.npy", header_bytes("(" * 3000 + ")" * 3000), "is no .npy file that can be read"),
    "npy: a bracket that stays open": ("x.npy", header_bytes("(3,")[:-4], "is no .npy file that can be read"),
    "npy: a broken string": (
        "x.npy",
        W.replace(b"'descr'", b"'descr ", 1),
        "is no .npy file that can be read",
    ),
    "npy: a list as a key": ("x.npy", header_bytes("{[]: 1}"), "is no .npy file that can be read"),
    "npz: something else": ("x.npz", b"hello, world", "is no .npz file"),
    "npz: cut": ("x.npz", b"", "is no .npz file"),
    "npz: a later format": ("x.npz", archive_bytes("w", {6: 255}), "zip file version 25.5"),
    "npz: half a character in a name": ("x.npz", archive_bytes("\u00e9", {46: 0xFF}), "is no .npz file"),
    "npz: half a character in a member": (
        "x.npz",
        archive_bytes("\u00e9", {30: 0xFF}, b"PK\x03\x04"),
        "cannot be read",
    ),
    "safetensors: empty": ("x.safetensors", b"", "is no .safetensors file"),
    "safetensors: huge header": ("x.safetensors", b"\xff" * 20, "a header of 18446744073709551615 bytes"),
    "safetensors: no JSON": ("x.safetensors", safetensors_bytes(b"{,}"), "is no .safetensors file"),
    "safetensors: a nest": ("x.safetensors", safetensors_bytes(b"[" * 200_000), "maximum recursion depth"),
    "safetensors: a name twice": (
        "x.safetensors",
        safetensors_bytes(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{}}', b"1234"),
        "'w' is there twice",
    ),
    "safetensors: half a character": ("x.safetensors", safetensors_bytes(b'{"\\ud800":{}}'), "surrogates"),
    "safetensors: a list": ("x.safetensors", safetensors_bytes([]), "must be a JSON object"),
    "safetensors: no offsets": ("x.safetensors", safetensors_bytes({"w": {}}), "'w' must have dtype"),
    "safetensors: a negative length": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [-1])}),
        "of the wrong kind",
    ),
    "safetensors: a length of 1.5": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [1.5])}),
        "wrong kind",
    ),
    "safetensors: a length of true": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [True])}),
        "wrong kind",
    ),
    "safetensors: no text for a type": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [1], 3)}),
        "wrong kind",
    ),
    "safetensors: backwards": (
        "x.safetensors",
        safetensors_bytes({"w": entry(4, 0, [1])}),
        "cannot take -4 bytes",
    ),
    "safetensors: overflowing shape": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [2**62, 4])}, b"1234"),
        "cannot take 4 bytes",
    ),
    "safetensors: a shape of many large numbers": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [10**300] * 300)}),
        "wrong kind",
    ),
    "safetensors: a shape of many axes": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [1] * 65)}, b"1234"),
        "wrong kind",
    ),
    "safetensors: a gap": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 4, [1]), "b": entry(8, 12, [1])}, b"123456789012"),
        "'b' must begin at byte 4, begins at 8",
    ),
    "safetensors: an overlap": (
        "x.safetensors",
        safetensors_bytes({"w": entry(0, 8, [2]), "b": entry(4, 12, [2])}, b"123456789012"),
        "must begin at byte 8",
    ),
    "safetensors: cut": ("x.safetensors", safetensors_bytes({"w": entry(0, 4, [1])}, b"123"), "must have"),
}


@pytest.mark.parametrize(("name", "data", "text"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, name: str, data: bytes, text: str) -> None:
    """With the file's name and what is wrong."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ArgumentError) as caught:
        open_tensors(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    """Members of another kind, of another size than they say, or with bytes that were changed."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ArgumentError, match=r"readme.txt: a .npz file has only .npy members"):
        open_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", W[:-4])
    with pytest.raises(ArgumentError, match=r"w.npy: must have 176 bytes by its header, has 172"):
        open_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", numpy_bytes(np.ones(10_000, np.float32)))
    data = bytearray(path.read_bytes())
    data[30_000] ^= 1
    path.write_bytes(data)
    with open_tensors(path) as file, pytest.raises(ArgumentError, match=r"w.npy: cannot be read: Bad CRC-32"):
        file.tensors["w"].source.read(0, 10_000)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """It does not come out as zeros."""
    path = save(tmp_path / "x.npy", TENSORS)
    with open_tensors(path) as file:
        os.truncate(path, path.stat().st_size - 4)
        with pytest.raises(ArgumentError, match="ends at byte 172, of 176 at first"):
            file.tensors["parameters"].source.read(0, 12)


def test_a_file_that_is_not_committed_is_not_there(tmp_path: Path) -> None:
    """And what was there before is as it was."""
    path = tmp_path / "x"
    path.write_bytes(b"before")
    with AtomicFile(path) as file:
        file.file.write(b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_keeps_its_permissions_and_links_to_it(tmp_path: Path) -> None:
    """A link is followed, not replaced."""
    path, link = tmp_path / "x", tmp_path / "link"
    path.write_bytes(b"before")
    path.chmod(0o640)
    link.symlink_to(path)
    with AtomicFile(link) as file:
        file.file.write(b"after")
        file.commit()
    assert link.is_symlink()
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    """Those that the process gives to any file."""
    with AtomicFile(tmp_path / "x") as file:
        file.commit()
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """A device, a pipe or a folder."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match="is not a regular file"):
        AtomicFile(tmp_path / "pipe")
