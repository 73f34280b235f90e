"""Machine code of loops: made by Numba once, kept as bytes, and called without Numba.

Numba gives an object file whose only needs are its allocator and the mathematical library. LLVM alone links
it, which takes milliseconds, and a fraction of the memory and the time of importing the compiler. So whoever
has the code, from the compiler or from a file, calls it in the same way.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec, module_from_spec
from inspect import getclosurevars
from pathlib import Path
from types import ModuleType
from typing import Any

ENTRY = "regularization_loop"
"""The symbol that is called."""

_FAILED = -(1 << 63)
"""What a loop gives that could not allocate."""

_ALLOCATOR = "numba.core.runtime._nrt_python"

# A cell of such a name is where Numba's functions that call themselves look for their own address.
_OWN_CALL = ".numba.unresolved$"
_OWN_CALLS = re.compile(re.escape(f'@"{_OWN_CALL}') + '([^"]+)"')

# Where NumPy's arrays have their address, lengths and strides, behind what every object begins with.
_DATA, _SHAPE, _STRIDES = (object.__basicsize__ + offset for offset in (0, 16, 24))

_libraries = itertools.count()


@dataclass(frozen=True, slots=True)
class MachineCode:
    """A loop for one processor, on arrays and numbers."""

    image: bytes
    """An object file, whose function ``ENTRY`` takes Python's arguments."""
    arguments: str
    """A letter for each argument: (a)rray, (f)loat, (i)nteger, (u)nsigned integer."""
    spread: int | None
    """Which argument is a tuple, whose floats are arguments of their own."""


def compiled(loop: Callable[..., Any], signature: Any) -> MachineCode:
    """Have Numba compile a loop.

    Args:
        loop: It gives a whole number or a truth value. It may be told to stop nowhere but at its end.
        signature: Numba's types of its arguments, with or without that of its result. The arguments are
            arrays, float64, int64, uint64, and at most one tuple of floats.
    """
    import numba

    jit: Any = numba.njit
    options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    made = jit([signature], **options)(loop)
    (result,) = made.overloads.values()
    flat, spread = _flattened(numba.types, result.signature.args)
    return MachineCode(
        image=_image(made, flat),
        arguments="".join(_letter(numba.types, each) for each in flat),
        spread=spread,
    )


def linked(code: MachineCode) -> Callable[..., int]:
    """Link machine code into the process.

    Returns:
        The loop. It holds no lock while it runs, and trusts its arguments: they must have the types that it
        was compiled for.

    Raises:
        RuntimeError: If it needs what is not there.
    """
    from llvmlite.binding import JITLibraryBuilder

    builder = JITLibraryBuilder().add_current_process().export_symbol(ENTRY)
    builder.add_object_img(code.image)
    for name, address in _allocator().c_helpers.items():
        builder.import_symbol(name if name.startswith("_") else f"NRT_{name}", address)
    used = linker()
    library = builder.link(used, f"loop{next(_libraries)}")
    kinds: dict[str, Any] = {
        "a": ctypes.py_object,
        "f": ctypes.c_double,
        "i": ctypes.c_int64,
        "u": ctypes.c_uint64,
    }
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *(kinds[each] for each in code.arguments))(library[ENTRY])
    spread = code.spread

    def call(*arguments: Any, _kept: tuple[Any, Any] = (library, used)) -> int:
        # The code is there as long as library and linker are, which this function keeps.
        if spread is not None:
            arguments = (*arguments[:spread], *arguments[spread], *arguments[spread + 1 :])
        result: int = function(*arguments)
        if result == _FAILED:
            raise MemoryError
        return result

    return call


@cache
def linker() -> Any:
    """LLVM's linker, ready for this machine."""
    from llvmlite import binding

    return binding.create_lljit_compiler(_machine(), suppress_errors=True)


def processor() -> tuple[str, str]:
    """Name and features of the processor that is compiled for, as Numba chooses it."""
    from llvmlite import binding

    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if name:
        return name, features or ""
    return binding.get_host_cpu_name(), features or binding.get_host_cpu_features().flatten()


@cache
def _machine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine(reloc="pic")


@cache
def _allocator() -> ModuleType:
    """Numba's allocator, by itself: a package's module, but that the package is not imported for it."""
    package = find_spec("numba")
    if package is None or package.origin is None:
        raise RuntimeError("Numba is not installed")
    folder = Path(package.origin).parent.joinpath(*_ALLOCATOR.split(".")[1:-1])
    finder = FileFinder(os.fspath(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES))
    spec = finder.find_spec(_ALLOCATOR)
    if spec is None:
        raise RuntimeError(f"there is no {_ALLOCATOR}")
    return module_from_spec(spec)


def _flattened(types: Any, arguments: tuple[Any, ...]) -> tuple[list[Any], int | None]:
    """The types with those of a tuple in its place, and where that was."""
    flat: list[Any] = []
    spread = None
    for place, each in enumerate(arguments):
        if isinstance(each, types.BaseTuple):
            spread = place
            flat += each.types
        else:
            flat.append(each)
    return flat, spread


def _letter(types: Any, kind: Any) -> str:
    if isinstance(kind, types.Array):
        return "a"
    if kind == types.float64:
        return "f"
    if kind == types.int64:
        return "i"
    if kind == types.uint64:
        return "u"
    raise TypeError(f"a loop takes arrays, float64, int64 and uint64, not {kind}")


def _image(made: Any, flat: list[Any]) -> bytes:
    """The object file of what Numba compiled, with an entry."""
    from numba.core.compiler_lock import global_compiler_lock

    (result,) = made.overloads.values()
    with global_compiler_lock:
        parts, own_calls = _parts(made)
        whole = result.library.codegen.create_library(ENTRY)
        whole.enable_object_caching()
        whole.add_ir_module(_entry(result, flat, own_calls))
        for part in parts:
            whole.add_linking_library(part)
        whole.finalize()
        *_, (image, _) = whole.serialize_using_object_code()
        return bytes(image)


def _parts(made: Any) -> tuple[list[Any], set[str]]:
    """Numba's libraries that make up a loop, and the functions in them that call themselves.

    A library has all that its function calls but what that calls by way of a cell.
    """
    known = {
        each.fndesc.llvm_func_name: each.library
        for function in _functions_in(made)
        for each in function.overloads.values()
    }
    (result,) = made.overloads.values()
    parts, own_calls = [result.library], set[str]()
    for part in parts:  # which grows meanwhile
        for name in _OWN_CALLS.findall(part.get_llvm_str()):
            if name not in own_calls:
                own_calls.add(name)
                if known.get(name, part) not in parts:
                    parts.append(known[name])
    return parts, own_calls


def _functions_in(made: Any) -> list[Any]:
    """A function that Numba compiled, and those that it calls, each once."""
    functions = [made]
    for function in functions:  # which grows meanwhile
        called = getclosurevars(function.py_func)
        for each in (*called.nonlocals.values(), *called.globals.values()):
            if hasattr(each, "overloads") and hasattr(each, "py_func") and each not in functions:
                functions.append(each)
    return functions


def _entry(result: Any, flat: list[Any], own_calls: set[str]) -> Any:
    """What is called: it takes arrays apart as Numba's functions want them."""
    from llvmlite import ir

    byte, word, status = ir.IntType(8), ir.IntType(64), ir.IntType(32)
    address = byte.as_pointer()
    given = [
        address if hasattr(each, "ndim") else ir.DoubleType() if each.name == "float64" else word
        for each in flat
    ]
    module = ir.Module(ENTRY)
    entry = ir.Function(module, ir.FunctionType(word, given), ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    width = word if result.signature.return_type.name == "int64" else byte
    slots = [builder.alloca(width), builder.alloca(address)]
    passed: list[Any] = [*slots]
    for kind, argument in zip(flat, entry.args, strict=True):
        passed += _array_parts(builder, kind, argument) if hasattr(kind, "ndim") else [argument]
    form = ir.FunctionType(status, [each.type for each in passed])
    loop = ir.Function(module, form, result.fndesc.llvm_func_name)
    failed = builder.icmp_signed("!=", builder.call(loop, passed), status(0))
    given_back = builder.load(slots[0])
    if width is byte:
        given_back = builder.zext(given_back, word)
    builder.ret(builder.select(failed, word(_FAILED), given_back))
    for name in sorted(own_calls):
        called = ir.Function(module, ir.FunctionType(status, []), name)
        cell = ir.GlobalVariable(module, called.type, f"{_OWN_CALL}{name}")
        cell.initializer = called
    return module


def _array_parts(builder: Any, kind: Any, array: Any) -> list[Any]:
    """What Numba's functions take for an array: owners, size, an element's bytes, address, shape, strides."""
    from llvmlite import ir

    word = ir.IntType(64)
    address = array.type

    def part(base: Any, offset: int, of: Any) -> Any:
        place = builder.gep(base, [word(offset)])
        return builder.load(builder.bitcast(place, of.as_pointer()))

    lengths, steps = (part(array, offset, address) for offset in (_SHAPE, _STRIDES))
    shape = [part(lengths, 8 * axis, word) for axis in range(kind.ndim)]
    strides = [part(steps, 8 * axis, word) for axis in range(kind.ndim)]
    size = word(1)
    for length in shape:
        size = builder.mul(size, length)
    nobody = ir.Constant(address, None)
    itemsize = word(kind.dtype.bitwidth // 8)
    return [nobody, nobody, size, itemsize, part(array, _DATA, address), *shape, *strides]
