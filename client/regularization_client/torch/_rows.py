"""Which rows of which parameter a rank has."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, distributed

from .._errors import ArgumentError
from ._group import Group, Spans


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a parameter that this rank has."""

    shape: tuple[int, ...]
    """The whole parameter's."""

    tensor: Tensor
    """The rows."""

    spans: Spans
    """Which rows are whose."""

    group: Any
    """The process group that they are divided among."""

    @property
    def row_size(self) -> int:
        """Elements of a row."""
        return math.prod(self.shape[1:])


def is_distributed(tensor: Tensor) -> bool:
    """Whether a tensor is one of ``torch.distributed.tensor``."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """Return what this rank has of a tensor."""
    return tensor.to_local() if is_distributed(tensor) else tensor


def rows_of(tensor: Tensor, name: str) -> Rows | None:
    """Return the rows that this rank has of a parameter; None where it has all.

    Raises:
        ArgumentError: If what it has are no rows.
    """
    if not is_distributed(tensor):
        return None
    mesh = tensor.device_mesh
    dims = [dim for dim, placement in enumerate(tensor.placements) if not placement.is_replicate()]
    if not dims:
        return None
    kinds = [type(tensor.placements[dim]).__name__ for dim in dims]
    if len(dims) > 1 or kinds != ["Shard"] or tensor.placements[dims[0]].dim != 0:
        text = f"{name!r} must be sharded once, along its first axis, got {tuple(tensor.placements)}"
        raise ArgumentError(text, segment=name)
    shape = tuple(tensor.shape)
    spans = even_spans(shape[0], mesh.size(dims[0]))
    return Rows(shape, tensor.to_local(), spans, mesh.get_group(dims[0]))


def even_spans(rows: int, ranks: int) -> list[tuple[int, int]]:
    """Return the rows of each rank as ``torch.chunk`` divides them: the last ones may have fewer, or none."""
    each = -(-rows // ranks)
    return [(min(rank * each, rows), min((rank + 1) * each, rows)) for rank in range(ranks)]


def common_group(rows: Mapping[str, Rows]) -> Group:
    """Return the ranks that parameters are divided among.

    Raises:
        ArgumentError: If not all are divided among the same.
    """
    first = next(iter(rows))
    ranks = distributed.get_process_group_ranks(rows[first].group)
    for name, each in rows.items():
        if distributed.get_process_group_ranks(each.group) != ranks:
            text = f"{first!r} and {name!r} must be sharded among the same ranks"
            raise ArgumentError(text, segment=name)
    return Group(rows[first].group)
