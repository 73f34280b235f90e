"""One proximal step as calls: of parameters that are all here, or of rows of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from numpy.typing import NDArray

from .._client import Client
from .._config import CallOptions, Gather
from .._part import Part
from .._policies import Kinds, Question, Rules
from .._results import ProximalStepResult

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""Arrays by name of parameter."""

Results: TypeAlias = list[ProximalStepResult[Any]]
"""The figures of calls; their arrays are left out."""


@dataclass(frozen=True, slots=True)
class Together:
    """What ranks must know of parameters that they compute together: all of them the same, in one order."""

    kinds: Kinds
    """Data types by name."""

    shapes: Mapping[str, tuple[int, ...]]
    """The shapes of the wholes."""

    measured: Collection[str]
    """Names of those of which figures of the whole must be known."""

    gather: Gather
    """What exchanges them."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What the calls of one step have in common."""

    client: Client
    rules: Rules
    step: int
    sizes: Mapping[str, float]
    """Step sizes by name."""

    options: CallOptions

    def of(self, arrays: Arrays, scales: Arrays) -> Results:
        """Take the step of whole parameters, in place.

        Args:
            arrays: The parameters.
            scales: Multipliers of the step size, for some of them.
        """
        kinds = {name: array.dtype for name, array in arrays.items()}
        return [
            self._called(question, {name: arrays[name] for name in question.names}, scales, self.options)
            for question in self.rules.questions(self.step, kinds, self.sizes)
        ]

    def of_rows(
        self, arrays: Arrays, scales: Arrays, first_rows: Mapping[str, int], together: Together
    ) -> Results:
        """Take the step of rows of parameters, in place, together with the ranks that have the others.

        Args:
            arrays: The rows that are here.
            scales: See ``of``.
            first_rows: Which row is the first, of those.
            together: What all ranks know.
        """
        results: Results = []
        for question in self.rules.questions(self.step, together.kinds, self.sizes):
            own = {name: arrays[name] for name in question.names if name in arrays}
            shapes = {name: together.shapes[name] for name in question.names}
            options = self.options.copy()
            options["part"] = Part.rows(shapes, {name: first_rows[name] for name in own})
            if any(name in together.measured for name in question.names):
                options["gather"] = together.gather
            elif not any(array.size for array in own.values()):
                continue
            results.append(self._called(question, own, scales, options))
        return results

    def _called(
        self, question: Question, own: Arrays, scales: Arrays, options: CallOptions
    ) -> ProximalStepResult[Any]:
        result = self.client.proximal_step(
            own,
            question.regularizer,
            step_size=question.step_size,
            step_scales={name: scales[name] for name in own if name in scales} or None,
            out=own,
            **options,
        )
        return replace(result, parameters={})
