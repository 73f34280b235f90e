"""Machine code in files: who finds it, and when it is left alone."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from regularization_kernels import GroupLasso, L1Norm, MaxNorm, SquaredL2Norm, code_folder, compilation
from regularization_kernels.code_folder import CodeFolder, name_of
from regularization_kernels.formulas.compiled_loop import Variant
from regularization_kernels.machine_code import MachineCode
from regularization_kernels.regularizers.groups.compiled_loop import GroupVariant

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra: compiled")

CODE = MachineCode(b"an object file\n\0", "aaffi", 3)
L1 = Variant(
    term=L1Norm.formulas.term,
    step=L1Norm.formulas.step,
    stepping=True,
    forward=False,
    counting=True,
    checking=True,
    in_place=False,
    at_random=False,
    data_type=np.dtype(np.float32),
    parameters=1,
)
GROUPED = GroupVariant(GroupLasso.formulas, True, False, True, np.dtype(np.float32), 1)

STEP = """
    import sys
    from pathlib import Path
    import numpy as np
    from regularization_kernels import GroupLasso, Groups, L1Norm, TotalVariation
    from regularization_kernels import compilation, keep_code_in, proximal_step
    from regularization_kernels.summation import ExactSum

    {before}
    x = np.linspace(-1.0, 1.0, 1 << 15) ** 3
    for regularizer in {regularizers}:
        for _ in range(2):
            y, figures = proximal_step(x, regularizer, 0.5)
            {between}
        print(y.view(np.int64).sum(), figures)
    print("numba" in sys.modules, len(compilation._loops))
"""
SIMPLE = "(L1Norm(strength=0.1),)"
SEVERAL = (
    "(L1Norm(strength=0.1), GroupLasso(strength=0.3, groups=Groups(size=256)), TotalVariation(strength=1e-3))"
)
KEEPING = "compilation.compile_at_once(); keep_code_in(Path({folder!r}))"


def bits_and_loops(folder: Path | None, regularizers: str) -> tuple[list[str], str]:
    """What a process of its own computes, by loops where it has a folder; whether it has Numba, and loops."""
    before = "" if folder is None else KEEPING.format(folder=str(folder))
    between = "" if folder is None else "compilation.wait_until_compiled()"
    code = textwrap.dedent(STEP).format(before=before, between=between, regularizers=regularizers)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *bits, loops = ended.stdout.splitlines()
    assert bits
    return bits, loops


KINDS = """
    import sys
    from pathlib import Path
    import ml_dtypes
    import numpy as np
    from regularization_kernels import L1Norm, TopK, compilation, keep_code_in, proximal_step
    from regularization_kernels.engine import Rounding, RoundingMode

    def at_random(seed):
        return Rounding(RoundingMode.STOCHASTIC, seed)

    {before}
    x = (np.random.default_rng(0).standard_normal(1 << 20) / 8).astype(np.float32)
    fixed = (x * 32768).astype(np.int16)
    for regularizer, elements, rounding in (
        (L1Norm(strength=0.1), x.astype(ml_dtypes.bfloat16), Rounding()),
        (L1Norm(strength=0.1), x.astype(np.float16), at_random(2**64 - 1)),
        (L1Norm(strength=0.1), fixed, at_random(7)),
        (L1Norm(strength=0.1), x, at_random(7)),
        (TopK(count=1000), x, Rounding()),
    ):
        for _ in range(2):
            y, figures = proximal_step(elements, regularizer, 0.5, rounding=rounding)
            {between}
        print(np.frombuffer(y.tobytes(), np.uint8).astype(np.int64).dot(np.arange(y.nbytes) % 251), figures)
    print("numba" in sys.modules, len(compilation._loops))
"""


def kinds_and_loops(folder: Path | None) -> list[str]:
    """What a process computes by loops of several kinds; last, whether it has Numba, and how many loops."""
    before = "" if folder is None else KEEPING.format(folder=str(folder))
    between = "" if folder is None else "compilation.wait_until_compiled()"
    code = textwrap.dedent(KINDS).format(before=before, between=between)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()


def files_in(folder: Path) -> list[Path]:
    """The files of machine code."""
    return sorted(folder.glob("*.loop"))


def test_the_next_process_needs_no_compiler(tmp_path: Path) -> None:
    """It does not import it, computes by the same loops, and has the bits of a process without loops."""
    folder = tmp_path / "made" / "for it"
    by_numpy, _ = bits_and_loops(None, SEVERAL)
    assert bits_and_loops(folder, SEVERAL) == (by_numpy, "True 4")
    assert len(files_in(folder)) == 4
    assert folder.stat().st_mode & 0o777 == 0o700
    assert bits_and_loops(folder, SEVERAL) == (by_numpy, "False 4")


def test_loops_of_all_kinds_come_out_of_the_folder(tmp_path: Path) -> None:
    """Rounding at random, 16 bits, fixed point, the census of a long vector: same bits, no compiler."""
    by_numpy = kinds_and_loops(None)
    assert by_numpy[-1] == "False 0"
    assert kinds_and_loops(tmp_path)[:-1] == by_numpy[:-1]
    again = kinds_and_loops(tmp_path)
    assert again[:-1] == by_numpy[:-1]
    assert again[-1] == "False 7"


def test_damaged_code_costs_nothing_but_time(tmp_path: Path) -> None:
    """It is compiled anew, and replaced."""
    by_numpy, _ = bits_and_loops(None, SIMPLE)
    bits_and_loops(tmp_path, SIMPLE)
    whole = {path: path.read_bytes() for path in files_in(tmp_path)}
    for path, data in whole.items():
        path.write_bytes(data[: len(data) // 2])
    assert bits_and_loops(tmp_path, SIMPLE) == (by_numpy, "True 1")
    assert {path: len(path.read_bytes()) for path in whole} == {path: len(whole[path]) for path in whole}


def test_code_that_cannot_be_linked_is_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is whole, and under its name, but no object file of this system."""
    folder, asked = CodeFolder(tmp_path), list[Variant]()
    monkeypatch.setattr(compilation, "_kept", compilation._Kept(folder))
    folder.put(L1, CODE)

    def compile_code(variant: Variant) -> MachineCode:
        asked.append(variant)
        return CODE

    with pytest.raises(RuntimeError, match="object file"):
        compilation.kept(compile_code)(L1)
    assert asked == [L1]


def test_what_is_put_is_there(tmp_path: Path) -> None:
    """Under its own variant, and under no other."""
    folder = CodeFolder(tmp_path / "new")
    assert folder.is_empty()
    assert folder.get(L1) is None
    folder.put(L1, CODE)
    assert not folder.is_empty()
    assert CodeFolder(tmp_path / "new").get(L1) == CODE
    assert folder.get(replace(L1, forward=True)) is None


def test_a_file_with_any_other_byte_is_not_there(tmp_path: Path) -> None:
    """Shorter, longer, or changed wherever."""
    folder = CodeFolder(tmp_path)
    folder.put(L1, CODE)
    (path,) = files_in(tmp_path)
    whole = path.read_bytes()
    changed = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(len(whole))]
    for data in (b"", whole[:-1], whole + b"\0", *changed):
        path.write_bytes(data)
        assert folder.get(L1) is None
    path.write_bytes(whole)
    assert folder.get(L1) == CODE


def test_code_of_another_loop_is_not_there(tmp_path: Path) -> None:
    """Under another's name a file does not count, whole as it is."""
    folder = CodeFolder(tmp_path)
    folder.put(L1, CODE)
    (path,) = files_in(tmp_path)
    path.rename(path.with_stem(str(name_of(GROUPED))))
    assert folder.get(GROUPED) is None


def test_what_others_may_have_written_is_left_alone(tmp_path: Path) -> None:
    """A file or a folder that others may write to, and what a link leads to."""
    place = tmp_path / "own"
    folder = CodeFolder(place)
    folder.put(L1, CODE)
    (path,) = files_in(place)
    for each, mode in ((path, 0o620), (path, 0o602), (place, 0o770), (place, 0o707)):
        before = each.stat().st_mode
        each.chmod(mode)
        assert folder.get(L1) is None
        each.chmod(before)
    assert folder.get(L1) == CODE
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert folder.get(L1) is None


def test_nothing_is_put_where_others_may_write(tmp_path: Path) -> None:
    """Whoever may write to the folder could exchange it."""
    place = tmp_path / "for all"
    place.mkdir()
    place.chmod(0o777)
    CodeFolder(place).put(L1, CODE)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/below", "/proc/none"])
def test_a_folder_that_cannot_be_keeps_nothing(place: str) -> None:
    """Without a word."""
    folder = CodeFolder(Path(place))
    folder.put(L1, CODE)
    assert folder.get(L1) is None
    assert folder.is_empty()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is not half there."""

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    CodeFolder(tmp_path).put(L1, CODE)
    assert list(tmp_path.iterdir()) == []


FLAGS = ("stepping", "forward", "counting", "in_place")
VARIANTS: list[Any] = [
    L1,
    *(replace(L1, **{flag: not getattr(L1, flag)}) for flag in FLAGS),
    replace(L1, data_type=np.dtype(np.float64)),
    replace(L1, term=SquaredL2Norm.formulas.term),
    replace(L1, step=SquaredL2Norm.formulas.step),
    GROUPED,
    replace(GROUPED, formulas=MaxNorm.formulas),
    replace(GROUPED, formulas=replace(GroupLasso.formulas, longest=7)),
]


def test_names_tell_all_loops_apart() -> None:
    """Each has one, which is a digest."""
    names = [name_of(variant) for variant in VARIANTS]
    assert None not in names
    assert len({*names}) == len(VARIANTS)


def test_names_are_the_same_in_every_process() -> None:
    """Whatever the seed of Python's hashes, and wherever objects lie."""
    script = "from tests.engine.test_code_folder import VARIANTS, name_of; print(*map(name_of, VARIANTS))"
    for seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stdout.split() == [name_of(variant) for variant in VARIANTS]


@pytest.mark.parametrize("name", ["NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT"])
def test_names_tell_what_is_compiled_for_what(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor, its features, and the compiler's options."""
    before = name_of(L1)
    monkeypatch.setenv(name, "2")
    code_folder._environment.cache_clear()
    try:
        assert name_of(L1) != before
    finally:
        monkeypatch.undo()
        code_folder._environment.cache_clear()
    assert name_of(L1) == before


@pytest.mark.parametrize("package", ["numba", "llvmlite", "numpy"])
def test_names_tell_versions(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the compiler, and of what arrays are."""
    before, version = name_of(L1), importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "another" if name == package else version(name)
    )
    code_folder._environment.cache_clear()
    try:
        assert name_of(L1) != before
    finally:
        code_folder._environment.cache_clear()


def test_formulas_of_others_are_not_kept(tmp_path: Path) -> None:
    """Nothing would tell that a function outside of the package calls another one by now."""
    foreign = replace(L1, term=lambda x, strength: x)
    folder = CodeFolder(tmp_path)
    folder.put(foreign, CODE)
    assert name_of(foreign) is None
    assert folder.get(foreign) is None
    assert folder.is_empty()
