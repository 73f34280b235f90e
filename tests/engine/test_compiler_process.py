"""Loops that a process of their own compiles: same bits, no compiler, and what becomes of a bad one."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from regularization_kernels import REGULARIZERS, compilation, compiler_process
from regularization_kernels.code_folder import name_of, packed
from regularization_kernels.compiler_process import CompilerProcess
from regularization_kernels.engine.whole_vectors.reduced import LONG
from regularization_kernels.errors import RegularizationError
from regularization_kernels.in_process import proximal_step
from regularization_kernels.machine_code import MachineCode
from regularization_kernels.warming import sample_of

from tests.support.processes import until

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra: compiled")

STEPS = """
    import os, signal, sys
    import numpy as np
    from regularization_kernels import (
        L1Norm, NOfM, TotalVariation, compilation, compile_apart, proximal_step
    )

    if {apart}:
        compilation.compile_at_once()
        compile_apart()
    x = np.linspace(-1.0, 1.0, 1 << 15, dtype=np.float32) ** 3
    for regularizer in (
        L1Norm(strength=0.1),
        NOfM(n=2, m=4),
        TotalVariation(strength=1e-3),
    ):
        for _ in range(2):
            y, figures = proximal_step(x, regularizer, 0.5)
            if {apart}:
                compilation.wait_until_compiled()
                pid = compilation._apart._running.process.pid
                for number in (signal.SIGTERM, signal.SIGINT):
                    os.kill(pid, number)
        print(y.view(np.int32).astype(np.int64).sum(), figures)
    print("numba" in sys.modules, len(compilation._loops), *({{pid}} if {apart} else ()))
"""


def ended(script: str, **given: Any) -> list[str]:
    """The lines that a process of its own prints."""
    code = textwrap.dedent(script).format(**given)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_loops_compiled_apart_have_the_same_bits() -> None:
    """One process compiles all, signals to stop or not, and ends with the one that has no Numba."""
    *by_numpy, _ = ended(STEPS, apart=False)
    *bits, loops = ended(STEPS, apart=True)
    assert bits == by_numpy
    numba, count, pid = loops.split()
    assert (numba, count) == ("False", "4")
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_every_loop_has_a_name_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for by any regularizer's step can be told, and is the same loop there."""
    told: dict[Any, tuple[str | None, str | None]] = {}

    class Telling:
        def submit(self, compile_loop: Any, variant: Any) -> Future[Any]:
            there = pickle.loads(pickle.dumps((compile_loop, variant)))  # noqa: S301 - just made
            assert there[0].__wrapped__ is compile_loop.__wrapped__
            told[variant] = name_of(variant), name_of(there[1])
            future: Future[Any] = Future()
            future.set_exception(RuntimeError())
            return future

        submit_first = submit

    monkeypatch.setattr(compilation, "_installed", True)
    monkeypatch.setattr(compilation, "_compiler", Telling())
    monkeypatch.setattr(compilation, "_loops", {})
    monkeypatch.setattr(compilation, "_asked", {})
    monkeypatch.setattr(compilation, "patience", compilation.Patience(0, 0))
    x = np.sin(np.arange(LONG, dtype=np.float32))
    for name in REGULARIZERS:
        regularizer = sample_of(name)
        for elements in (compilation.SHORTEST_SEQUENCE, compilation.SMALLEST, LONG):
            # Some want a matrix, and those that look at a whole long vector have other loops for it.
            with suppress(RegularizationError):
                if elements < LONG or regularizer.on((LONG,)).reduction() is not None:
                    proximal_step(x[:elements], regularizer, 0.5)
    assert len(told) > 30
    assert {name: there for name, there in told.values() if there is None or name != there} == {}


L1_SQUARED = ("sum_of_squares", np.dtype(np.float32))
OTHER = ("sum_of_squares", np.dtype(np.float64))
CODE = MachineCode(b"an object file\n\0", "aa", None)


def compile_loop(_: object) -> Any:
    """What nobody calls."""
    raise AssertionError


def frame(variant: tuple[str, np.dtype[Any]]) -> bytes:
    """An answer, as the program sends it."""
    name = name_of(variant)
    assert name is not None
    data = packed(CODE, name)
    return len(data).to_bytes(8, "little") + data


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> CompilerProcess:
    """One that is wanted, in a process that has no Numba yet, or so it seems."""
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(compiler_process, "SECONDS_FOR_A_LOOP", 30.0)
    made = CompilerProcess()
    made.wanted = True
    return made


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, then: str) -> None:
    """Have a program run that answers so, whatever it is asked."""
    (folder / "answer").write_bytes(answer)
    program = folder / "program"
    program.write_text(f"#!/bin/sh\ncat '{folder / 'answer'}' >&0\n{then}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


def test_an_answer_is_taken_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: CompilerProcess
) -> None:
    """It is the machine code, to the byte; the process is there for the next loop, until it is ended."""
    stand_in(tmp_path, monkeypatch, frame(L1_SQUARED), "exec sleep 60")
    assert process.machine_code(compile_loop, L1_SQUARED) == CODE
    running = process._running
    assert running is not None
    assert running.process.poll() is None
    process.end()
    process.end()
    assert running.process.poll() is not None


def test_a_process_that_compiled_many_loops_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: CompilerProcess
) -> None:
    """The next loop has another: the compiler's memory grows with each."""
    monkeypatch.setattr(compiler_process, "LOOPS_OF_A_PROCESS", 2)
    stand_in(tmp_path, monkeypatch, 2 * frame(L1_SQUARED), "exec sleep 60")
    for there in (True, False) * 2:
        assert process.machine_code(compile_loop, L1_SQUARED) == CODE
        assert (process._running is not None) == there


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (b"", "exit 1"),
        (b"\xff" * 8, "exec sleep 60"),
        (frame(L1_SQUARED)[:-1], "exit 0"),
        (frame(L1_SQUARED)[:-1] + b"\1", "exec sleep 60"),
        (frame(OTHER), "exec sleep 60"),
        (b"\0" * 8, "exec sleep 60"),
    ],
    ids=["none", "endless", "cut off", "damaged", "another loop's", "failed"],
)
def test_what_is_no_answer_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: CompilerProcess, answer: bytes, then: str
) -> None:
    """There is no code, and the process is ended."""
    stand_in(tmp_path, monkeypatch, answer, then)
    assert process.machine_code(compile_loop, L1_SQUARED) is None
    assert process._running is None


def test_a_process_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: CompilerProcess
) -> None:
    """After the time that a loop has, in the middle of an answer, too."""
    monkeypatch.setattr(compiler_process, "SECONDS_FOR_A_LOOP", 0.2)
    stand_in(tmp_path, monkeypatch, frame(L1_SQUARED)[:-1], "exec sleep 60")
    begun = time.monotonic()
    assert process.machine_code(compile_loop, L1_SQUARED) is None
    assert time.monotonic() - begun >= 0.2
    assert process._running is None


def test_without_a_process_there_is_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: CompilerProcess
) -> None:
    """Where the system starts none; where none is wanted; and none is asked for what has no name there."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    assert process.machine_code(compile_loop, L1_SQUARED) is None
    stand_in(tmp_path, monkeypatch, frame(L1_SQUARED), "exec sleep 60")
    assert process.machine_code(lambda _: None, L1_SQUARED) is None
    assert process.machine_code(compile_loop, (lambda: None,)) is None
    process.wanted = False
    assert process.machine_code(compile_loop, L1_SQUARED) is None
    assert process._running is None


def test_who_has_the_compiler_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: CompilerProcess
) -> None:
    """As after a process failed: another one would save nothing."""
    stand_in(tmp_path, monkeypatch, frame(L1_SQUARED), "exec sleep 60")
    monkeypatch.setitem(sys.modules, "numba", None)  # type: ignore[arg-type] # Python: it cannot be imported
    assert process.machine_code(compile_loop, L1_SQUARED) is None
    assert process._running is None
