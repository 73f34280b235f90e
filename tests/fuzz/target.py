"""One target, fuzzed: ``python -m tests.fuzz.target NAME CORPUS [FLAG...]``; flags as libFuzzer's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atheris

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What is imported from here on tells the fuzzer which of its branches an input takes.
with atheris.instrument_imports(
    include=["regularization", "regularization_server", "regularization_kernels"]
):
    from regularization import wire

    from tests.fuzz import formats, streams

SEEDS = 500


def messages() -> Iterator[bytes]:
    """The messages of honest streams."""
    for stream in streams.seeds(SEEDS):
        yield from streams.read(stream)[1]


def seeds_of(name: str) -> Iterator[bytes]:
    """What a target begins with."""
    if name == "streams":
        yield from streams.seeds(SEEDS)
        return
    for index, message in enumerate(messages()):
        header = wire.decode_request(message).header
        if name != "header":
            yield bytes([index % 256]) + message
        elif header is not None:
            yield bytes([index % 256]) + header


def mutator(data: bytes, most: int, seed: int) -> bytes:
    """A stream with something changed, by what is known of streams or by what the fuzzer knows."""
    if seed % 4:
        return streams.mutant(data, seed)[:most]
    changed: bytes = atheris.Mutate(data, most)
    return changed


def main(name: str, corpus: str, flags: list[str]) -> None:
    """Fuzz a target."""
    for index, seed in enumerate(seeds_of(name)):
        Path(corpus, f"{index:05}").write_bytes(seed)
    targets: dict[str, Callable[[bytes], None]] = {
        "wire": formats.wire_format,
        "header": formats.header_format,
        "sparse": formats.sparse_format,
    }
    target = targets[name] if name in targets else streams.Streams()
    options: dict[str, Any] = {"custom_mutator": mutator} if name == "streams" else {}
    atheris.Setup([sys.argv[0], *flags], target, **options)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
