"""Work in the background, and when loops are compiled there."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from regularization_kernels import background as background_module
from regularization_kernels import compilation
from regularization_kernels.background import Background

FLOAT32 = np.dtype(np.float32)
needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra: compiled")


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which must end."""
    code = textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_jobs_are_done_one_after_the_other() -> None:
    """In their order, by one thread, which a failure does not end."""
    background, done = Background("jobs"), []

    def job(number: int) -> int:
        done.append((number, threading.current_thread().name))
        if number == 1:
            raise ValueError(number)
        return 10 * number

    futures = [background.submit(job, number) for number in range(3)]
    assert futures[2].result(timeout=10) == 20
    assert isinstance(futures[1].exception(timeout=10), ValueError)
    assert done == [(0, "jobs"), (1, "jobs"), (2, "jobs")]
    background.stop()


def test_what_is_waited_for_is_done_first() -> None:
    """Before all that came before it, but for what is being done and others that are waited for."""
    background, may_go_on, done = Background("jobs"), threading.Event(), list[str]()
    background.submit(may_go_on.wait, 10)
    for name in ("a", "b"):
        background.submit(done.append, name)
    for name in ("first", "second"):
        background.submit_first(done.append, name)
    last = background.submit(done.append, "c")
    may_go_on.set()
    last.result(timeout=10)
    assert done == ["first", "second", "a", "b", "c"]
    background.stop()


@needs_numba
def test_a_sequence_does_not_wait_for_loops_that_numpy_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many may be asked for: the loop of a long sequence comes before them."""
    made, compiled_loops, may_go_on = Background("jobs"), list[Any](), threading.Event()
    for name, value in (("_compiler", made), ("_loops", {}), ("_asked", {}), ("LONGEST_BESIDE", 0)):
        monkeypatch.setattr(compilation, name, value)
    monkeypatch.setattr(compilation, "patience", compilation.Patience(0, 0))
    made.submit(may_go_on.wait, 10)

    def loop_of(variant: Any) -> Any:
        compiled_loops.append(variant)
        return lambda *_: True

    for variant in ("one", "another"):
        assert compilation.requested(variant, FLOAT32, compilation.SMALLEST, loop_of) is None
    monkeypatch.setattr(compilation, "_compile_sequential", loop_of)
    wait_for = compilation.Sequential(lambda *_: False)
    waiting = threading.Thread(target=wait_for, args=(np.zeros(compilation.SHORTEST_SEQUENCE),))
    waiting.start()
    while len(compilation._loops) < 3:
        time.sleep(0.001)
    may_go_on.set()
    waiting.join(10)
    made.submit(int).result(timeout=10)
    assert [variant for variant in compiled_loops if isinstance(variant, str)] == ["one", "another"]
    assert not isinstance(compiled_loops[0], str)
    made.stop()


def test_what_jobs_keep_is_put_away_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, by their thread, which does the next job as ever; and again when it ends."""
    monkeypatch.setattr(background_module, "SECONDS_UNTIL_REST", 0.01)
    put_away, told = threading.Event(), list[str]()

    def put() -> None:
        told.append(threading.current_thread().name)
        put_away.set()

    jobs = Background("jobs", put)
    for number in range(2):
        assert jobs.submit(int, number).result(timeout=10) == number
        assert put_away.wait(10)
        put_away.clear()
    jobs.stop()
    assert told == ["jobs"] * 3


def test_a_job_is_stopped_where_it_is() -> None:
    """Its future says so, what waits is not begun, and what comes afterwards is cancelled."""
    background, begun = Background("jobs"), threading.Event()

    def endless() -> None:
        begun.set()
        while True:
            time.sleep(0.001)

    running, waiting = background.submit(endless), background.submit(pytest.fail)
    assert begun.wait(10)
    background.stop()
    assert isinstance(running.exception(timeout=10), SystemExit)
    assert not waiting.done()
    assert background.submit(pytest.fail).cancelled()
    background.stop()


ENDLESS = """
    import sys, threading, time
    from regularization_kernels.background import Background

    begun = threading.Event()

    class Careless:
        def __del__(self):
            for _ in range(30):
                time.sleep(0.001)

    def endless():
        while True:
            try:
                begun.set()
                {body}
            except {caught}:
                {reaction}

    background = Background("jobs")
    background.submit(endless)
    begun.wait()
    time.sleep({seconds})
    sys.exit(7)
"""


@pytest.mark.parametrize("seconds", [0, 0.03])
@pytest.mark.parametrize(
    ("body", "caught", "reaction"),
    [
        ("time.sleep(0.001)", "ValueError", "pass"),
        ("sum(range(100_000))", "Exception", "pass"),
        ("time.sleep(0.05)", "BaseException", "if time.monotonic() % 1 > 0.5: raise"),
        ("Careless(); time.sleep(0.03)", "ValueError", "pass"),
        ("import json.tool, wave, xml.dom.minidom; time.sleep(0.001)", "ImportError", "raise"),
    ],
)
def test_a_process_ends_in_the_middle_of_a_job(body: str, caught: str, reaction: str, seconds: float) -> None:
    """With its own status, and without a word; also where the job catches everything for a while."""
    ended = run(ENDLESS.format(body=body, caught=caught, reaction=reaction, seconds=seconds))
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "", "")


STEP = """
    import sys, time
    import numpy as np
    from regularization_kernels import GroupLasso, Groups, L1Norm, TotalVariation, compilation, proximal_step
    {before}
    regularizers = L1Norm(strength=0.1), GroupLasso(strength=0.1, groups=Groups(size=8))
    for regularizer in regularizers:
        proximal_step(np.ones(1 << 20, np.float32), regularizer, 0.5)
    proximal_step(np.arange(2000.0), TotalVariation(strength=1.0), 0.5)
    time.sleep({seconds})
    sys.exit(7 + 2 * ("numba" in sys.modules))
"""


@needs_numba
def test_a_process_that_computes_once_compiles_nothing() -> None:
    """It does not even import the compiler."""
    ended = run(STEP.format(before="", seconds=0.1))
    assert (ended.returncode, ended.stderr) == (7, "")


@needs_numba
@pytest.mark.parametrize("seconds", [0, 0.2, 0.7, 1.5, 3])
def test_a_process_ends_in_the_middle_of_a_compilation(seconds: float) -> None:
    """With its own status and without a word, whether the compiler is being imported, or at work."""
    ended = run(STEP.format(before="compilation.patience.pieces = 0", seconds=seconds))
    assert ended.returncode in {7, 9}
    assert ended.stderr == ""


def loop(_: object) -> Any:
    """In place of a compiled loop."""
    return None


def test_a_loop_is_compiled_once_it_was_asked_for_often_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces do not count, and each loop counts for itself."""
    asked: list[str] = []

    class AtOnce:
        def submit(self, function: Any, variant: str) -> Future[Any]:
            asked.append(variant)
            future: Future[Any] = Future()
            future.set_result(function)
            return future

    monkeypatch.setattr(compilation, "_installed", True)
    monkeypatch.setattr(compilation, "_compiler", AtOnce())
    monkeypatch.setattr(compilation, "_loops", {})
    monkeypatch.setattr(compilation, "_asked", {})
    monkeypatch.setattr(compilation.patience, "pieces", 3 * compilation.SMALLEST)

    def request(variant: str, elements: int) -> Any:
        return compilation.requested(variant, FLOAT32, elements, loop)

    for _ in range(3):
        assert request("a", compilation.SMALLEST) is None
        assert request("a", compilation.SMALLEST - 1) is None
        assert request("b", compilation.SMALLEST) is None
    assert asked == []
    assert request("a", compilation.SMALLEST) is loop
    assert request("a", compilation.SMALLEST) is loop
    assert asked == ["a"]
    assert request("c", 4 * compilation.SMALLEST) is loop
    compilation.wait_until_compiled()
    assert asked == ["a", "c", "b"]
    assert request("b", compilation.SMALLEST) is loop


def test_who_lives_long_has_loops_compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the server's command does."""
    monkeypatch.setattr(compilation, "patience", compilation.Patience())
    compilation.compile_at_once()
    assert (compilation.patience.pieces, compilation.patience.sequences) == (0, 0)


def test_without_a_thread_nothing_comes_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it, or fails with it; once the system has a thread again, jobs are done."""
    background, start = Background("jobs"), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "jobs":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert background.submit(pytest.fail).cancelled()
    assert background.submit(int, "7").result(timeout=10) == 7
    background.stop()


INTERRUPTED = """
    import signal, threading, time
    from regularization_kernels.background import Background

    begun = threading.Event()

    def endless():
        while True:
            exec("begun.set()")
            time.sleep(0.001)

    background = Background("jobs")
    background.submit(endless)
    begun.wait()
    {interruption}
"""


@pytest.mark.parametrize(
    "interruption",
    ["raise KeyboardInterrupt", "signal.raise_signal(signal.SIGINT); time.sleep(60)"],
    ids=["raised", "sent"],
)
def test_an_interrupted_process_ends_by_its_signal(interruption: str) -> None:
    """Though the job executes source code meanwhile, at which the interpreter forgets the interruption."""
    ended = run(INTERRUPTED.format(interruption=interruption))
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize("prompt", [False, True])
def test_who_goes_on_after_an_interruption_ends_as_ever(prompt: bool) -> None:
    """One that was caught, or that ended a command at a prompt, is not what ends the process."""
    caught = "try: raise KeyboardInterrupt\n    except KeyboardInterrupt: pass"
    at_a_prompt = "import sys; sys.ps1, sys.last_type = '> ', KeyboardInterrupt"
    ended = run(INTERRUPTED.format(interruption=at_a_prompt if prompt else caught))
    assert (ended.returncode, ended.stderr) == (0, "")
