"""The ranks of a process group, and what they exchange: each once a step, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, distributed

from .._errors import ArgumentError, PartFailedError

_AT_ONCE = 1 << 16
"""Bytes of statistics that go in one exchange; where a rank has more, there is another."""

Spans: TypeAlias = Sequence[tuple[int, int]]
"""First row and one past the last, of each rank."""


class Group:
    """The ranks that have a part each.

    Args:
        group: The process group; None for all ranks.

    Raises:
        ArgumentError: If there is none.
    """

    def __init__(self, group: Any = None) -> None:
        if not (distributed.is_available() and distributed.is_initialized()):
            raise ArgumentError("torch.distributed must be initialized before a step is shared among ranks")
        self._group = group
        self.rank: int = distributed.get_rank(group)
        self.size: int = distributed.get_world_size(group)
        self._device = _device_of(group)

    def gather(self, own: bytes) -> list[bytes]:
        """Return the bytes of every rank: the ``gather`` of a call."""
        first = len(own).to_bytes(8, "little") + own[:_AT_ONCE]
        parts = self._all(_tensor(first, self._device), 8 + _AT_ONCE)
        lengths = [int.from_bytes(part[:8], "little") for part in parts]
        if max(lengths) <= _AT_ONCE:
            return [part[8 : 8 + length] for part, length in zip(parts, lengths, strict=True)]
        rest = self._all(_tensor(own[_AT_ONCE:], self._device), max(lengths) - _AT_ONCE)
        whole = (part[8:] + more for part, more in zip(parts, rest, strict=True))
        return [part[:length] for part, length in zip(whole, lengths, strict=True)]

    def fill(self, wholes: Mapping[str, Tensor], spans: Mapping[str, Spans], *, failed: bool = False) -> None:
        """Give every rank all rows of some tensors, in one exchange.

        Args:
            wholes: Tensors by name, in which each rank has its own rows; the others are written.
            spans: Which rows are whose, for each of them.
            failed: Whether this rank has not what it should have, so that the others do not wait for it.

        Raises:
            PartFailedError: If another rank has not.
        """
        sizes = [
            sum(_rows(whole, spans[name][rank]).nbytes for name, whole in wholes.items())
            for rank in range(self.size)
        ]
        if not max(sizes, default=0):
            return
        own = [_rows(whole, spans[name][self.rank]) for name, whole in wholes.items()]
        said = torch.tensor([failed], dtype=torch.uint8, device=self._device)
        flat = torch.cat([said, *(_bytes_of(each).to(self._device) for each in own)])
        contents = self._exchanged(flat, 1 + max(sizes))
        if failed:
            return
        if any(int(content[0]) for content in contents):
            raise PartFailedError("another rank could not take its share of the step: its own error says why")
        for rank, content in enumerate(contents):
            begin = 1
            for name, whole in wholes.items():
                rows = _rows(whole, spans[name][rank])
                if rank != self.rank and rows.nbytes:
                    bits = content[begin : begin + rows.nbytes].clone()
                    rows.copy_(bits.view(rows.dtype).view(rows.shape))
                begin += rows.nbytes

    def _all(self, own: Tensor, length: int) -> list[bytes]:
        return [each.cpu().numpy().tobytes() for each in self._exchanged(own, length)]

    def _exchanged(self, own: Tensor, length: int) -> list[Tensor]:
        """Return the bytes of every rank, of one length, of which what they do not have is 0."""
        padded = torch.zeros(length, dtype=torch.uint8, device=self._device)
        padded[: own.numel()] = own
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded, group=self._group)
        return parts


def _device_of(group: Any) -> torch.device:
    """Return where what a group exchanges has to be."""
    names = str(distributed.get_backend_config(group))
    if "cpu:" in names or "gloo" in names:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _tensor(content: bytes, device: torch.device) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).to(device) if content else torch.empty(0)


def _rows(whole: Tensor, span: tuple[int, int]) -> Tensor:
    """Return some rows of a tensor; a scalar is one."""
    begin, end = span
    return (whole if whole.dim() else whole.view(1))[begin:end]


def _bytes_of(rows: Tensor) -> Tensor:
    return rows.detach().contiguous().view(-1).view(torch.uint8)
