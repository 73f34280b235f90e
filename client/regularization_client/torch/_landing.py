"""Places in memory that is shared with the server, for parameters that lie on another device."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class Landing:
    """Memory of the host that a parameter is copied to for a step, and back from.

    Args:
        home: That memory, as a dense tensor of the parameter's shape and data type.
    """

    def __init__(self, home: Tensor) -> None:
        self.home = home
        self.left: Any = None
        """The event of a GPU after which nothing reads the memory any more; None where there is none."""

    def __del__(self) -> None:
        # The memory may go back to the system now, and must not while a GPU reads it.
        if self.left is not None:
            self.left.synchronize()


_landings = WeakTensorKeyDictionary()


def set_landing(parameter: Tensor, landing: Landing | None) -> None:
    """Let a parameter have a place to land from now on, or none."""
    if landing is not None:
        _landings[parameter] = landing
    else:
        _landings.pop(parameter, None)


def landing_of(parameter: Tensor) -> Landing | None:
    """Return the place where a parameter lands; None if it has none, or one for what it was before."""
    if not _landings:
        return None
    found: Landing | None = _landings.get(parameter)
    if found is None or found.home.dtype != parameter.dtype or found.home.shape != parameter.shape:
        return None
    return found
