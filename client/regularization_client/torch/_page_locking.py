"""Memory of the host that a GPU reads and writes by itself, where there is one."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_log = logging.getLogger("regularization_client")


def lock_pages(memory: NDArray[np.uint8]) -> bool:
    """Register memory with CUDA as page-locked, so that copies between it and a GPU need no other copy.

    It stays so until nothing has it any more.

    Args:
        memory: The bytes, which own their addresses: no view of an array.

    Returns:
        Whether that was done: not without a GPU, nor where the system lets no more memory be locked.
    """
    if not torch.cuda.is_available() or memory.size == 0:
        return False
    runtime: Any = torch.cuda.cudart()
    address = memory.__array_interface__["data"][0]
    failure = int(runtime.cudaHostRegister(address, memory.size, 0))
    if failure:
        _log.warning("shared parameters are not page-locked: CUDA error %d; copies take longer", failure)
        return False
    # Before the addresses go back to the system: others that came to them would be taken for locked.
    weakref.finalize(memory, runtime.cudaHostUnregister, address).atexit = False
    return True
