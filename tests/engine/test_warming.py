"""Loops that are made before anybody asks for them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest
from regularization_kernels import REGULARIZERS, compilation, regularizers_named, warm
from regularization_kernels.warming import sample_of

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra: compiled")


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_regularizer_has_a_sample(name: str) -> None:
    """All that a parameter must be is what some caller could say."""
    assert type(sample_of(name)) is REGULARIZERS[name]


def test_what_has_no_penalty_is_made_ready_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map has steps alone; nor need there be a compiler."""
    monkeypatch.setattr(compilation, "_installed", False)
    warm(["dropout"])


def test_names_stand_apart_by_commas() -> None:
    """In the order that they are given in; spaces do not matter."""
    assert regularizers_named("top_k, l1_norm") == ["top_k", "l1_norm"]
    assert regularizers_named("l1_norm,") == ["l1_norm"]
    assert regularizers_named("all") == list(REGULARIZERS)


@pytest.mark.parametrize("text", ["", ",", "l1norm", "l1_norm;top_k", "l1_norm,L1"])
def test_other_names_are_refused(text: str) -> None:
    """The error says which."""
    with pytest.raises(ValueError, match="must be names of regularizers, apart by commas, or all, got "):
        regularizers_named(text)


WARM = """
    import sys
    from pathlib import Path
    import numpy as np
    from regularization_kernels import (
        L1Norm, TotalVariation, compilation, keep_code_in, keeps_code, penalty, proximal_step, warm
    )
    from regularization_kernels.engine import Call, Chunk, Layout, MemoryBudget, Method, Segment, run_whole

    compilation.compile_at_once()
    keep_code_in(Path(sys.argv[1]))
    warm(["l1_norm", "total_variation"])
    assert keeps_code()
    loops = set(compilation._loops)
    regularizer, step_size = L1Norm(strength=0.3), 0.2
    for data_type in (np.float32, np.float64):
        x = np.ones(1 << 18, data_type)
        penalty(x, regularizer)
        proximal_step(x, regularizer, step_size)
        proximal_step(x, regularizer, step_size, loss_gradients=x)
        proximal_step(x, regularizer, step_size, out=x)
        proximal_step(x, regularizer, step_size, out=x, loss_gradients=x.copy())
        proximal_step(np.arange(5000, dtype=data_type), TotalVariation(strength=1.0), step_size)
    names = [f"{layer}.{what}" for layer in range(100) for what in ("weight", "bias")]
    segments = [Segment(name, (999,), regularizer if "weight" in name else None) for name in names]
    layout, x = Layout(np.dtype("f4"), tuple(segments)), np.ones(999 * len(names), np.float32)
    step = Method.PROXIMAL_STEP
    for method, out, slopes in (Method.PENALTY, None, None), (step, x, None), (step, x, np.ones_like(x)):
        call = Call(method, layout, step_size=step_size)
        run_whole(call, Chunk(0, x, slopes), out, MemoryBudget(1 << 30))
    assert set(compilation._loops) == loops, set(compilation._loops) - loops
    assert not compilation._asked
    print(len(loops), "numba" in sys.modules)
"""


@needs_numba
def test_the_usual_calls_need_no_other_loops(tmp_path: Path) -> None:
    """Whatever the size and the parameters; and the next process takes all of them from the folder."""

    def run() -> str:
        command = [sys.executable, "-c", textwrap.dedent(WARM), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run() == "22 True\n"
    assert run() == "22 False\n"
