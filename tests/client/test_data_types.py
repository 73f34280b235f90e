"""The 16-bit data types, from the caller's arrays and files to the server and back."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import ArgumentError, Client, DataTypeError, L1Norm, SquaredL2Norm
from regularization_kernels import L1Norm as Kernel
from regularization_kernels import penalty as kernel_penalty
from regularization_kernels import proximal_step

from tests.client.test_command import run, succeed

L1 = L1Norm(strength=0.3)
TYPES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
every_type = pytest.mark.parametrize("data_type", TYPES, ids=str)
SAFETENSORS_NAMES = {"float16": "F16", "bfloat16": "BF16"}


def numbers(data_type: np.dtype[Any], size: int = 5000) -> NDArray[Any]:
    """Normal numbers of a data type."""
    return np.random.default_rng(3).standard_normal(size).astype(data_type)


@every_type
@pytest.mark.parametrize("chunk_bytes", [64, 1 << 20])
def test_arrays_of_16_bits(target: str, data_type: np.dtype[Any], chunk_bytes: int) -> None:
    """The result has the input's type, and the bits of the function in-process, chunked or not."""
    x = numbers(data_type)
    expected, summary = proximal_step(x, Kernel(strength=0.3), 1.0, loss_gradients=x)
    with Client(target, chunk_bytes=chunk_bytes) as client:
        step = client.proximal_step(x, L1, step_size=1.0, loss_gradients=x)
        assert step.parameters.dtype == data_type
        assert step.parameters.tobytes() == expected.tobytes()
        assert summary.total.penalty is not None
        assert step.penalty == summary.total.penalty.value
        steps = x[::-2].reshape(50, 50)
        strided = client.proximal_step(steps, L1, step_size=1.0, loss_gradients=steps)
        assert strided.parameters.tobytes() == expected[::-2].tobytes()
        gradient = client.gradient(x, SquaredL2Norm(strength=1.0), out=(out := np.empty_like(x))).gradient
        assert gradient is out
        assert out.tobytes() == x.tobytes()


def test_float16_of_either_byte_order(client: Client) -> None:
    """The result has the order of the input."""
    x = numbers(np.dtype(">f2"))
    step = client.proximal_step(x, L1, step_size=1.0).parameters
    assert step.dtype == x.dtype
    assert step.tolist() == client.proximal_step(x.astype("<f2"), L1, step_size=1.0).parameters.tolist()


def test_operands_must_have_the_same_16_bits(client: Client) -> None:
    """float16 is not bfloat16, and neither is an integer of 16 bits."""
    x = numbers(TYPES[0])
    with pytest.raises(ArgumentError, match="data type float16, got bfloat16"):
        client.proximal_step(x, L1, step_size=1.0, loss_gradients=x.astype(TYPES[1]))
    with pytest.raises(DataTypeError, match=r"or bfloat16 or .*, got uint16"):
        client.penalty(x.view(np.uint16), L1)


def test_the_client_does_not_import_ml_dtypes() -> None:
    """Callers who have bfloat16 arrays have it; nobody else needs it."""
    code = (
        "import sys, numpy, regularization_client.command;"
        "regularization_client._messages.wire_type(numpy.dtype('f2'), '');"
        "print('ml_dtypes' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def write_safetensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """Write a file by its definition: header's length, header, elements."""
    header: dict[str, Any] = {}
    position = 0
    for name, array in tensors.items():
        place = [position, position + array.nbytes]
        header[name] = {
            "dtype": SAFETENSORS_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": place,
        }
        position = place[1]
    text = json.dumps(header).encode()
    content = b"".join(array.tobytes() for array in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


@every_type
def test_safetensors_of_16_bits(target: str, tmp_path: Path, data_type: np.dtype[Any]) -> None:
    """The command writes the same header, and the elements that the client gives."""
    tensors = {"a": numbers(data_type, 600).reshape(20, 30), "b": numbers(data_type, 7)}
    source, result = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    write_safetensors(source, tensors)
    succeed(target, "prox", source, "-r", "a=l1_norm:strength=0.3", "-r", "none", "-s", "1", "-o", result)
    expected = {"a": proximal_step(tensors["a"], Kernel(strength=0.3), 1.0)[0], "b": tensors["b"]}
    write_safetensors(source, expected)
    assert result.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_numpy_s_files_of_float16(target: str, tmp_path: Path, ending: str) -> None:
    """Arrays of either byte order, which the result keeps."""
    for order in "<>":
        x = numbers(np.dtype(f"{order}f2"), 600)
        source, result = tmp_path / f"x{ending}", tmp_path / f"y{ending}"
        (np.save if ending == ".npy" else np.savez)(source, x)
        succeed(target, "prox", source, "-r", "l1_norm:strength=0.3", "-s", "1", "-o", result)
        with result.open("rb") as file:
            written = np.load(file)
            array = written if ending == ".npy" else written["arr_0"]
        assert array.dtype == x.dtype
        expected = proximal_step(x.astype(np.float16), Kernel(strength=0.3), 1.0)[0]
        assert array.astype(np.float16).tobytes() == expected.tobytes()


def test_a_file_of_several_data_types_has_the_figures_of_each(target: str, tmp_path: Path) -> None:
    """Its tensors are sent by data type, and what came out is put together."""
    tensors = {"a": numbers(TYPES[0], 3), "b": numbers(TYPES[1], 3)}
    write_safetensors(tmp_path / "x.safetensors", tensors)
    result = run(target, "penalty", tmp_path / "x.safetensors", "-r", "l1_norm:strength=1", "--json")
    assert result.exit_code == 0
    penalties = [kernel_penalty(each, Kernel(strength=1)).total.penalty for each in tensors.values()]
    expected = math.fsum(each.value for each in penalties if each is not None)
    assert json.loads(result.stdout)["penalty"] == expected
