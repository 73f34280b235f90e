"""Loops over elements one after the other: when they are compiled, who waits, and who runs them meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import FusedLasso, Isotonic, Slope, TotalVariation, compilation
from regularization_kernels.compilation import SHORTEST_SEQUENCE, Sequential
from regularization_kernels.interruption import SECONDS_BETWEEN, interruptible
from regularization_kernels.regularizers.vectors.slope import Oscar

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra: compiled")
STRETCH = 100
PYTHON, MACHINE = 0, 1


class Gone(Exception):
    """Nobody waits."""


@cache
def machine_code(compile_loop: Callable[[Any], Callable[..., bool]], variant: Any) -> Callable[..., bool]:
    """What it compiles, once for all tests."""
    return compile_loop(variant)


class Compiler:
    """In place of the thread that compiles: it works when it is told to.

    Args:
        stand_in: In place of what it compiles; None for that itself.
    """

    def __init__(self, stand_in: Callable[..., bool] | None = None) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.runs = 0
        self._stand_in = stand_in

    def submit(self, function: Any, variant: Any) -> Future[Any]:
        """Note the job."""
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: self._stand_in or machine_code(function, variant)))
        return future

    submit_first = submit

    def work(self) -> None:
        """Do what there is to do, and count from now on how often it is used."""
        for future, job in self.jobs:
            if not future.done():
                future.set_result(self._counted(job()))

    def _counted(self, loop: Callable[..., bool]) -> Callable[..., bool]:
        def count_and_run(*arguments: Any) -> bool:
            self.runs += 1
            return loop(*arguments)

        return count_and_run


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """One that does nothing by itself; loops are asked of it from the first long input on."""
    made = Compiler()
    monkeypatch.setattr(compilation, "_installed", True)
    monkeypatch.setattr(compilation, "_compiler", made)
    monkeypatch.setattr(compilation, "_loops", {})
    monkeypatch.setattr(compilation, "_asked", {})
    monkeypatch.setattr(compilation, "LONGEST_BESIDE", 1 << 62)
    return made


def count_up(array: NDArray[Any], stretch: int) -> bool:
    """A loop of two stretches, in Python."""
    array[PYTHON] += 1
    return bool(array[PYTHON] + array[MACHINE] == 2)


def count_up_faster(array: NDArray[Any], stretch: int) -> bool:
    """The same loop, in place of machine code."""
    array[MACHINE] += 1
    return bool(array[PYTHON] + array[MACHINE] == 2)


def runs_of(sequential: Sequential, elements: int) -> tuple[int, int]:
    """How many stretches of an input Python has run, and how many the machine code."""
    sequential(array := np.zeros(elements))
    return int(array[PYTHON]), int(array[MACHINE])


def test_a_sequential_loop_is_compiled_once_there_was_enough(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of long inputs; until then, and for short ones always, Python runs it."""
    compiler._stand_in = count_up_faster
    monkeypatch.setattr(compilation.patience, "sequences", 3 * SHORTEST_SEQUENCE)
    sequential, long, short = Sequential(count_up), SHORTEST_SEQUENCE, SHORTEST_SEQUENCE - 1
    for elements in (long, long, short, long, short):
        assert runs_of(sequential, elements) == (2, 0)
        assert compiler.jobs == []
    assert runs_of(sequential, long) == (2, 0)
    assert len(compiler.jobs) == 1
    compiler.work()
    assert runs_of(sequential, long) == (0, 2)
    assert runs_of(sequential, short) == (2, 0)
    assert len(compiler.jobs) == 1


def test_each_kind_of_arguments_has_its_own_loop(compiler: Compiler) -> None:
    """Machine code is for data types, axes, order and access of arrays, and types of numbers."""
    sequential = Sequential(lambda array, number, stretch: True)
    array = np.zeros((SHORTEST_SEQUENCE, 2))
    read_only = array.copy()
    read_only.flags.writeable = False
    different = [array, array.astype(np.float32), array.reshape(-1), array[:, :1], array.T, read_only]
    for each in (*different, array.copy(), array[1:]):
        sequential(each, 1)
    assert len(compiler.jobs) == len(different)
    sequential(array, 1.0)
    sequential(array, 2)
    assert len(compiler.jobs) == len(different) + 1


def test_what_was_asked_for_seldom_is_compiled_for_who_waits(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then all loops are there, those of long inputs, too."""
    monkeypatch.setattr(compilation.patience, "sequences", 1 << 62)
    compiler._stand_in = count_up_faster
    sequential = Sequential(count_up)
    assert runs_of(sequential, SHORTEST_SEQUENCE) == (2, 0)

    def submit(function: Any, variant: Any) -> Future[Any]:
        future = Compiler.submit(compiler, function, variant)
        compiler.work()
        return future

    monkeypatch.setattr(compiler, "submit_first", submit)
    compilation.wait_until_compiled()
    assert runs_of(sequential, SHORTEST_SEQUENCE) == (0, 2)


def test_a_long_input_waits_where_it_is_not_given_up(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for which Python would take longer than the compiler: it asks meanwhile, and Python runs none."""
    monkeypatch.setattr(compilation, "LONGEST_BESIDE", SHORTEST_SEQUENCE)
    monkeypatch.setattr(compilation, "SECONDS_BETWEEN", SECONDS_BETWEEN / 10)
    compiler._stand_in = count_up_faster
    sequential, asked = Sequential(count_up), []

    def give_up() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Gone

    given_up = np.zeros(SHORTEST_SEQUENCE + 1)
    with interruptible(give_up), pytest.raises(Gone):
        sequential(given_up)
    assert (len(asked), given_up.any()) == (3, False)
    with interruptible(compiler.work):
        assert runs_of(sequential, SHORTEST_SEQUENCE + 1) == (0, 2)
    assert len(compiler.jobs) == 1


@pytest.mark.parametrize("error", [ValueError("no machine code"), SystemExit()], ids=repr)
def test_python_goes_on_where_nothing_comes_of_it(compiler: Compiler, error: BaseException) -> None:
    """Where a loop cannot be compiled, or the compiler was stopped."""
    sequential = Sequential(count_up)
    assert runs_of(sequential, SHORTEST_SEQUENCE) == (2, 0)
    compiler.jobs[0][0].set_exception(error)
    assert runs_of(sequential, SHORTEST_SEQUENCE) == (2, 0)


def test_without_a_thread_python_goes_on_and_asks_again(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a long input, which does not wait for what nobody compiles."""
    monkeypatch.setattr(compilation, "LONGEST_BESIDE", 0)
    compiler._stand_in = count_up_faster
    sequential = Sequential(count_up)

    def refuse(function: Any, variant: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.cancel()
        return future

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "submit_first", refuse)
        assert runs_of(sequential, SHORTEST_SEQUENCE) == (2, 0)
    with interruptible(compiler.work):
        assert runs_of(sequential, SHORTEST_SEQUENCE) == (0, 2)


def steps(regularizer: Any) -> bytes:
    """The bits of a step and a gradient, of noise on top of a few levels."""
    x = np.round(np.random.default_rng(3).normal(size=2000), 1) + np.repeat(np.arange(20.0), 100)
    prepared, out = regularizer.on(x.shape), np.empty((2, x.size))
    prepared.prox(x, 0.5, out[0])
    prepared.gradient(out[0], out[1])
    return out.tobytes()


@needs_numba
@pytest.mark.parametrize("after", [1, 2, 7, 20])
@pytest.mark.parametrize(
    "regularizer",
    [
        TotalVariation(strength=2.0),
        TotalVariation(strength=3e3),
        FusedLasso(l1_strength=0.1, tv_strength=2.0),
        Isotonic(),
        Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=1e-4)),
    ],
    ids=str,
)
def test_machine_code_takes_over_with_the_same_bits(
    regularizer: Any, after: int, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in a loop it comes, it goes on from there."""
    monkeypatch.setattr(compilation, "STRETCH", STRETCH)
    by_python = steps(regularizer)
    assert compiler.runs == 0
    asked: list[int] = []

    def compile_in_the_end() -> None:
        asked.append(1)
        if len(asked) >= after:
            compiler.work()

    with interruptible(compile_in_the_end):
        assert steps(regularizer) == by_python
    assert len(asked) > after
    assert compiler.runs > 0


FORKED = """
    import os, time
    import numpy as np
    from regularization_kernels import Isotonic, compilation, proximal_step

    compilation.patience.sequences = 0
    compilation._compiler.submit(time.sleep, 0.5)
    x, regularizer = np.random.default_rng(0).normal(size=3000), Isotonic()
    before = proximal_step(x, regularizer, 1.0)[0]  # its loop waits behind the sleeper
    compilation.LONGEST_BESIDE = 0
    child = os.fork()
    after = proximal_step(x, regularizer, 1.0)[0]
    compilation.wait_until_compiled()
    if child:
        assert os.waitpid(child, 0)[1] == 0
    assert after.tobytes() == before.tobytes()
"""


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_its_own_compiler() -> None:
    """It does not wait for what the thread of the other process would have compiled."""
    code = textwrap.dedent(FORKED)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


SCRIPT = """
    import numpy as np
    from regularization_client import Client, TotalVariation
    from regularization_kernels import compilation

    compilation.patience.sequences = compilation.LONGEST_BESIDE = 0
    x = np.random.default_rng(0).normal(size=1 << 20).astype(np.float32)
    {beginning}
    print("calling", flush=True)
    for _ in range(100): client.proximal_step(x, TotalVariation(strength=1.0), step_size=0.5)
    {end}
"""


@needs_numba
@pytest.mark.parametrize("seconds", [0.3, 1.0])
@pytest.mark.parametrize(
    ("beginning", "end"),
    [("client = Client()", ""), ("with Client() as client:", "    ")],
    ids=["open", "closed"],
)
def test_a_script_is_interrupted_in_the_middle_of_a_compilation(
    beginning: str, end: str, seconds: float
) -> None:
    """Ctrl-C ends it as it ends any other, whether or not it closes its client."""
    head, call = textwrap.dedent(SCRIPT).format(beginning=beginning, end=end).split("print", 1)
    code = head + textwrap.indent("print" + call, end)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "calling\n"
        time.sleep(seconds)
        script.send_signal(signal.SIGINT)
        _, errors = script.communicate(timeout=60)
    assert errors.endswith("KeyboardInterrupt\n")
    assert script.returncode == -signal.SIGINT
