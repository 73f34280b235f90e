"""Calls that fail let go of the caller's arrays at once, without a search for cycles."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from regularization_client import Client, L1Norm, RegularizationError

from tests.support.processes import until

BAD = L1Norm(strength=-1.0)
METHODS: dict[str, Callable[[Client, Any], Any]] = {
    "penalty": lambda client, x: client.penalty(x, BAD),
    "gradient": lambda client, x: client.gradient(x, BAD),
    "proximal_step": lambda client, x: client.proximal_step(x, BAD, step_size=0.1),
}


@pytest.fixture
def no_search_for_cycles() -> Iterator[None]:
    """Nothing is freed but what nobody refers to any more."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("no_search_for_cycles")
@pytest.mark.parametrize("elements", [3, 1 << 20], ids=["one_message", "a_stream"])
@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_fails_lets_the_arrays_go(client: Client, method: str, elements: int) -> None:
    """Sent in one message, or streamed."""
    array = np.ones(elements, np.float32)
    known = weakref.ref(array)
    with suppress(RegularizationError):
        METHODS[method](client, array)
    del array
    until(lambda: known() is None)
