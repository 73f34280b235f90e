"""When the tests have loops compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from regularization_kernels import compilation

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package", autouse=True)
def sequential_loops_are_compiled_at_once() -> Iterator[None]:
    """Long inputs wait for the compiled loops, short ones are for Python: the tests have both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compilation.patience, "sequences", 0)
        patch.setattr(compilation, "LONGEST_BESIDE", 0)
        yield
