"""How a step is taken where the parameters are: all here, sharded among ranks, or shared out to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from .._client import Client
from ._arrays import OnHost, data_type, view
from ._asking import Arrays, Asking, Results, Together
from ._cutting import Cut, Cutting
from ._group import Group, Spans
from ._landing import landing_of
from ._rows import Rows, common_group, even_spans, local, rows_of
from ._shared_tensors import SharedScales, Tensors, shared_views


class Taking(Protocol):
    """A way to take a step."""

    def take(self, chosen: Tensors, scales: Tensors, asking: Asking, moving: Tensors) -> Results:
        """Take the proximal step of parameters, in place; return the figures of what was computed here.

        Args:
            chosen: The parameters that are not exempt.
            scales: Multipliers of the step size, for some of them: of what this rank has of them.
            asking: What is asked.
            moving: All parameters that are trained, exempt ones among them.
        """


class Whole:
    """All parameters are here, and their step is taken here."""

    def __init__(self) -> None:
        self._scales = SharedScales()

    def take(self, chosen: Tensors, scales: Tensors, asking: Asking, moving: Tensors) -> Results:
        """See ``Taking``."""
        host = OnHost()
        arrays, scale_arrays = self._in_shared_memory(host, chosen, scales, asking.client, moving) or (
            {name: host.array(each, name) for name, each in chosen.items()},
            _on_host(scales),
        )
        host.wait()
        results = asking.of(arrays, scale_arrays)
        host.put_back()
        return results

    def _in_shared_memory(
        self, host: OnHost, chosen: Tensors, scales: Tensors, client: Client, moving: Tensors
    ) -> tuple[Arrays, Arrays] | None:
        """Return the arrays of all parameters and of their scales, if they lie in shared memory.

        Parameters on another device, and scales, are copied there. With exempt parameters between them left
        out, the others would have to travel.
        """
        homes = None if client._memory.empty else _homes(moving)
        arrays = None if homes is None else shared_views(homes, client)
        if homes is None or arrays is None:
            return None
        scale_arrays = self._scales.filled(scales, homes, host, client) if scales else {}
        if scale_arrays is None:
            return None
        for tensor in chosen.values():
            if landing := landing_of(tensor):
                host.land(tensor, landing)
        return arrays, scale_arrays


class Sharded:
    """Each rank has rows of the parameters, as FSDP2 divides them.

    Rows are computed where they are: without the other ranks where a regularizer works element by element or
    has whole groups, with one exchange a round where it needs figures of the whole. What must see all rows is
    gathered, all of it in one exchange, and computed on every rank.

    Args:
        client: Whose server says how far regularizers may be cut.
    """

    def __init__(self, client: Client) -> None:
        self._cutting = Cutting(client)
        self._whole = Whole()

    def take(self, chosen: Tensors, scales: Tensors, asking: Asking, moving: Tensors) -> Results:
        """See ``Taking``. Figures of what every rank computes are told by the first alone."""
        found = {name: rows_of(tensor, name) for name, tensor in chosen.items()}
        rows = {name: each for name, each in found.items() if each is not None}
        here = {name: local(tensor) for name, tensor in chosen.items() if name not in rows}
        if not rows:
            return self._whole.take(here, scales, asking, here)
        group = common_group(rows)
        cuts = {
            name: self._cutting.of(
                asking.rules.regularizer(name), data_type(each.tensor, name), each.row_size, each.spans
            )
            for name, each in rows.items()
        }
        apart = {name: each for name, each in rows.items() if cuts[name] is not Cut.WHOLE}
        whole = {name: each for name, each in rows.items() if cuts[name] is Cut.WHOLE}
        measured = {name for name in apart if cuts[name] is Cut.MEASURED}
        try:
            results = _take_rows(apart, scales, asking, measured, group) if apart else []
        except Exception:
            if whole:
                _gathered(whole, scales, group, failed=True)
            raise
        everywhere: Results = []
        if whole:
            everywhere += _take_wholes(whole, *_gathered(whole, scales, group), asking, group)
        if here:
            own = {name: scales[name] for name in here if name in scales}
            everywhere += self._whole.take(here, own, asking, here)
        return results + (everywhere if group.rank == 0 else [])


class Split:
    """All ranks have all parameters, and each takes the step of its share; then they exchange results.

    Args:
        client: Whose server says how far regularizers may be cut.
        group: The ranks.
    """

    def __init__(self, client: Client, group: Group) -> None:
        self._cutting = Cutting(client)
        self._group = group

    def take(self, chosen: Tensors, scales: Tensors, asking: Asking, moving: Tensors) -> Results:
        """See ``Taking``. Each rank tells the figures of its share."""
        group = self._group
        spans, measured = self._shares(chosen, asking)
        rows = {
            name: Rows(tuple(tensor.shape), _share(tensor, spans[name][group.rank]), spans[name], group)
            for name, tensor in chosen.items()
        }
        own = {name: _share(each, spans[name][group.rank]) for name, each in scales.items()}
        try:
            results = _take_rows(rows, own, asking, measured, group)
        except Exception:
            group.fill(chosen, spans, failed=True)
            raise
        group.fill(chosen, spans)
        return results

    def _shares(self, chosen: Tensors, asking: Asking) -> tuple[dict[str, Spans], set[str]]:
        """Return the rows of each rank, and the names of what must be measured.

        What cannot be cut goes to the rank that has the least by then, the largest first.
        """
        size, spans, measured, uncut = self._group.size, dict[str, Spans](), set[str](), dict[str, int]()
        load = [0] * size
        for name, tensor in chosen.items():
            count = tensor.shape[0] if tensor.dim() else 1
            row_size = tensor.numel() // count if count else 0
            spans[name] = even_spans(count, size)
            cut = self._cutting.of(
                asking.rules.regularizer(name), data_type(tensor, name), row_size, spans[name]
            )
            if cut is Cut.WHOLE:
                uncut[name] = count
                continue
            if cut is Cut.MEASURED:
                measured.add(name)
            for rank, (begin, end) in enumerate(spans[name]):
                load[rank] += (end - begin) * row_size
        for name in sorted(uncut, key=lambda name: chosen[name].numel(), reverse=True):
            rank, count = load.index(min(load)), uncut[name]
            spans[name] = [(0, count) if each == rank else (count, count) for each in range(size)]
            load[rank] += chosen[name].numel()
        return spans, measured


def _take_rows(
    rows: Mapping[str, Rows], scales: Tensors, asking: Asking, measured: Collection[str], group: Group
) -> Results:
    """Take the step of rows, each rank of its own."""
    host = OnHost()
    arrays = {
        name: host.array(each.tensor, name)
        for name, each in rows.items()
        if each.tensor.dim() == len(each.shape)  # else it is a scalar that another rank has
    }
    together = Together(
        {name: data_type(each.tensor, name) for name, each in rows.items()},
        {name: each.shape for name, each in rows.items()},
        measured,
        group.gather,
    )
    host.wait()
    own = _on_host({name: scales[name] for name in arrays if name in scales})
    first_rows = {name: rows[name].spans[group.rank][0] for name in arrays}
    results = asking.of_rows(arrays, own, first_rows, together)
    host.put_back()
    return results


def _gathered(
    rows: Mapping[str, Rows], scales: Tensors, group: Group, *, failed: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return whole parameters, and the multipliers of their step sizes, in one exchange."""
    wholes = {name: _whole_with(each.tensor, each, group) for name, each in rows.items()}
    of_scales = {name: _whole_with(scales[name], rows[name], group) for name in rows if name in scales}
    # Names are only to tell these from those.
    both = wholes | {f"{name}, scales": each for name, each in of_scales.items()}
    spans = {name: each.spans for name, each in rows.items()}
    group.fill(both, spans | {f"{name}, scales": spans[name] for name in of_scales}, failed=failed)
    return wholes, of_scales


def _take_wholes(
    rows: Mapping[str, Rows], wholes: Tensors, scales: Tensors, asking: Asking, group: Group
) -> Results:
    """Take the step of whole parameters, and keep the rows that are here."""
    results = Whole().take(wholes, scales, asking, wholes)
    for name, each in rows.items():
        each.tensor.copy_(_share(wholes[name], each.spans[group.rank]))
    return results


def _whole_with(rows: Tensor, place: Rows, group: Group) -> Tensor:
    """Return a tensor of the whole's shape that has the rows that are here."""
    whole = rows.new_empty(place.shape)
    _share(whole, place.spans[group.rank]).copy_(rows)
    return whole


def _share(tensor: Tensor, span: tuple[int, int]) -> Tensor:
    """Return a view of some rows; a scalar is there, or it is empty."""
    begin, end = span
    if tensor.dim():
        return tensor.detach()[begin:end]
    return tensor.detach() if begin < end else tensor.detach().view(1)[:0]


def _on_host(tensors: Tensors) -> dict[str, NDArray[Any]]:
    return {name: view(each.cpu(), name) for name, each in tensors.items()}


def _homes(tensors: Tensors) -> dict[str, Tensor] | None:
    """Return where on the host tensors are, or land; None if one does not."""
    homes = {}
    for name, tensor in tensors.items():
        landing = landing_of(tensor)
        homes[name] = tensor if landing is None else landing.home
        if homes[name].device.type != "cpu":
            return None
    return homes
