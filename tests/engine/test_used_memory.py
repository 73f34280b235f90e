"""Memory that others have used: whatever is left in it, no bit of an answer is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from regularization_kernels import buffers
from regularization_kernels.engine import Method
from regularization_kernels.engine import workspace as workspaces

from tests.support.engine_streams import stream, whole_call
from tests.support.together import for_each

if TYPE_CHECKING:
    from collections.abc import Callable

OPERANDS: dict[Method, list[tuple[str, ...]]] = {
    Method.PENALTY: [(), ("reference", "weights")],
    Method.GRADIENT: [(), ("loss_gradients", "reference")],
    Method.PROXIMAL_STEP: [(), ("loss_gradients", "weights"), ("reference", "step_scales")],
}
LEFT = (0x5A, 0xFF)
"""Bytes that others have left: numbers of all types, and NaN or -1."""


def filled(array: Any, left: int) -> Any:
    """An array with the byte everywhere."""
    if array.flags.c_contiguous and not array.dtype.hasobject:
        array.reshape(-1).view(np.uint8)[...] = left
    return array


def leave_in_memory(left: int, patch: pytest.MonkeyPatch) -> None:
    """Have all memory that is taken, new or used, hold this byte."""

    def leaving(take: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: filled(take(*arguments, **options), left)

    borrow = workspaces.borrowed_workspace.__enter__

    def borrowed(self: workspaces.borrowed_workspace) -> workspaces.Workspace:
        workspace = borrow(self)
        for buffer in workspace._buffers.values():
            filled(buffer, left)
        return workspace

    for place, name in ((np, "empty"), (np, "empty_like"), (buffers.borrowed, "__enter__")):
        patch.setattr(place, name, leaving(getattr(place, name)))
    patch.setattr(workspaces.borrowed_workspace, "__enter__", borrowed)


@pytest.mark.parametrize(
    ("method", "data_type"),
    [
        (method, data_type)
        for method in Method
        for data_type in (np.float64, np.float32, ml_dtypes.bfloat16, np.int16)
        # Rounded to few bits, a point is outside some sets, and has no gradient.
        if method is not Method.GRADIENT or data_type in (np.float64, np.float32)
    ],
)
@for_each("left", LEFT)
def test_what_others_have_left_changes_no_bit(method: Method, data_type: Any, left: int) -> None:
    """Of every row, with operands and without, in a stream that is cut."""
    for names in OPERANDS[method]:
        whole = whole_call(method, names, data_type)
        size = whole.operands["parameters"].size
        with pytest.MonkeyPatch.context() as patch:
            leave_in_memory(left, patch)
            assert stream(whole.call, whole.operands, [size // 3, size // 2]).bits() == whole.bits
