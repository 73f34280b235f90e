"""What is done with each tensor of a file, however it was said."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from regularization.patterns import EVERYTHING

from .._planned import Planned
from .._request.layout import Regularizer
from .._request.names import resolve

_LEFT = "add -r '*=none' to leave alone what no other fits"
_LEFT_STEP_SIZES = "add one without a pattern, -s NUMBER, for what no other fits"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is done with one tensor."""

    regularizer: Regularizer
    """None: it is exempt."""

    step_size: float | None = None
    """None: the one that all have."""


class Settings(Protocol):
    """What is done with any tensor."""

    @property
    def step_size(self) -> float | None:
        """The step size of those that have none of their own."""

    @property
    def planned(self) -> Planned | None:
        """The plan that the server goes by, which says more than the settings; None where there is none."""

    def of(self, names: Collection[str], *, stepping: Collection[str] = ()) -> Mapping[str, Setting]:
        """Return each name's setting.

        Args:
            names: The names.
            stepping: Those that need a step size though they are exempt.

        Raises:
            ArgumentError: If a name has none, or one is for no name.
        """


@dataclass(frozen=True, slots=True)
class OptionSettings:
    """Settings by the options --regularizer and --step-size."""

    regularizers: Mapping[str, Regularizer]
    step_sizes: Mapping[str, float]
    """Both by name or pattern of tensors."""

    @property
    def step_size(self) -> float | None:
        """The step size, where there is one for everything and no other."""
        return self.step_sizes.get(EVERYTHING) if len(self.step_sizes) == 1 else None

    @property
    def planned(self) -> None:
        """None: options say it all."""
        return

    def of(self, names: Collection[str], *, stepping: Collection[str] = ()) -> Mapping[str, Setting]:
        """See ``Settings.of``."""
        regularizers = resolve(self.regularizers, names, "--regularizer", hint=_LEFT)
        own: Mapping[str, float] = {}
        if self.step_sizes and self.step_size is None:
            still = {name for name in names if regularizers[name] is None and name not in stepping}
            own = resolve(self.step_sizes, names, "--step-size", hint=_LEFT_STEP_SIZES, optional=still)
        return {name: Setting(regularizers[name], own.get(name)) for name in names}
