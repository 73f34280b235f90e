"""A proximal step between the compiled steps of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import jax

from .._client import Client
from .._config import CallOptions
from .._dropout import dropout_state
from .._errors import ArgumentError
from .._part import Part
from .._planned import Planned
from .._policies import Policy, Question, Rules, rules_of
from .._request.layout import StepSizes
from .._request.names import resolve
from .._results import CombinedFigures, ProximalStepResult, combine
from ._placement import Placed, all_gather, placed
from ._trees import named_leaves

if TYPE_CHECKING:
    import optax

StepSize: TypeAlias = StepSizes | Callable[[int], float]
"""A step size for all, or by name or pattern, or a schedule: a function of the number of the step."""

_FOUND_HERE = ("part", "gather")


@dataclass(frozen=True, slots=True)
class ProximalState:
    """How far a training has come; a pytree, whose one leaf is the number of the next step."""

    step: int = 0
    """The number of the next step, from 0 on."""

    last: CombinedFigures | None = None
    """The figures of the last proximal step, together and by name (``segments``), of what this process has;
    None before the first. They are no part of the pytree: checkpoints and transformations leave them out."""

    def tree_flatten(self) -> tuple[tuple[int], None]:
        """Return the leaves."""
        return (self.step,), None

    @classmethod
    def tree_unflatten(cls, _: None, leaves: tuple[int]) -> ProximalState:
        """Return the state that has these leaves."""
        return cls(*leaves)


jax.tree_util.register_pytree_node_class(ProximalState)


class ProximalStep:
    """The proximal step of regularizers, on pytrees of parameters.

    It is taken after the forward step of any optimizer, outside of ``jit``: the elements go to the server and
    come back, each array placed as it was. Nothing is kept here that changes: the number of the step is in
    the state, which goes into checkpoints beside the optimizer's.

    A parameter's name is the path to it in the tree, its keys joined by dots: "layers.0.weight". Arrays of
    float64, float32, bfloat16 and float16 are taken as such; others must be exempt, and are left alone.

    Where several processes have one array, each sends the rows that it has, to a server of its own maybe;
    all must take the step at the same time. An array must be spread by rows, along its first axis.
    Regularizers that need figures of a whole array exchange these (``CallOptions.gather``), where no two
    processes have the same rows; such as must see all elements at once are refused by the server.

    Args:
        client: Whose server computes.
        plan: What is regularized with what: as in ``Client.proximal_step``, one regularizer, or some by name
            or pattern with None for exempt; or a ``Plan``, or the name of one that the server holds, which
            is gone by at the state's step (a ``Planned`` says where counting begins).
        every: Take a proximal step at the steps that are multiples of this alone, >= 1.
        **options: See ``CallOptions``, but for ``part`` and ``gather``, which are found from how the arrays
            lie. With stochastic rounding each step has a seed of its own, made of ``seed`` and its number.

    Raises:
        ArgumentError: If a value is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regularization_client import Client, L1Norm
        >>> from regularization_client.jax import ProximalStep
        >>> params = {"layer": {"weight": jnp.array([0.75, -0.25, 0.5]), "bias": jnp.array([1.0])}}
        >>> with Client() as client:
        ...     prox = ProximalStep(client, {"*.weight": L1Norm(strength=0.5), "*": None})
        ...     params, state = prox.apply(params, prox.init(params), step_size=0.5)
        >>> params["layer"]["weight"].tolist(), state.step, state.last.nonzeros
        ([0.5, 0.0, 0.25], 1, 2)
    """

    def __init__(
        self, client: Client, plan: Policy, *, every: int = 1, **options: Unpack[CallOptions]
    ) -> None:
        if index(every) < 1:
            raise ArgumentError(f"every must be >= 1, got {every}")
        for name in _FOUND_HERE:
            if name in options:
                raise ArgumentError(f"{name} is found from how the arrays lie: it must not be given")
        self._client = client
        self._plan = plan
        self._every = index(every)
        self._options = options
        self._rules: tuple[tuple[str, ...], Rules] | None = None

    def init(self, params: Any) -> ProximalState:
        """Return the state before the first step.

        Args:
            params: The parameters, a pytree.

        Raises:
            ArgumentError: If a rule fits no parameter, or a parameter has no rule.
        """
        leaves, _ = named_leaves(params)
        self._rules_for(leaves)
        return ProximalState(self._plan.step if isinstance(self._plan, Planned) else 0)

    def apply(self, params: Any, state: ProximalState, step_size: StepSize) -> tuple[Any, ProximalState]:
        """Take the step; return the new parameters and the new state. What is given stays what it is.

        Args:
            params: The parameters after the forward step, a pytree.
            state: What ``init`` or the step before returned.
            step_size: In units of parameter² / loss, mostly the learning rate, finite and >= 0: one for all,
                or by name or pattern, or a function of the number of the step.

        Raises:
            ArgumentError: Inside of ``jit``, ``grad`` or ``vmap``; or if the arguments do not fit together.
            RegularizationError: If a call fails: see the tree there.
        """
        leaves, structure = named_leaves(params)
        rules, step = self._rules_for(leaves), _checked_step(state)
        if step % self._every:
            return params, replace(state, step=step + 1)
        arrays = {
            name: placed(leaf, name) for name, leaf in leaves.items() if not rules.is_exempt(name, step)
        }
        sizes = _sizes(step_size, step, arrays)
        kinds = {
            name: (each.elements.dtype, each.first_row is None, each.is_apart)
            for name, each in arrays.items()
        }
        results = []
        for question in rules.questions(step, kinds, sizes) if arrays else ():
            result = self._asked(question, arrays, step)
            leaves |= {name: arrays[name].restored(new) for name, new in result.parameters.items()}
            results.append(replace(result, parameters={}))
        last = combine(results) if results else state.last
        return structure.unflatten(leaves.values()), ProximalState(step + 1, last)

    def as_transformation(self, step_size: StepSize) -> optax.GradientTransformation:
        """Return the step as the last transformation of an ``optax.chain``, with this as its state.

        It is not ``apply``: a transformation gives an update, and parameters plus updates are rounded once
        more. Of float32 about one in two hundred elements is off by a unit in the last place; zeros may
        become numbers of that size, what was tied apart, and elements of a box may leave it. Where zeros are
        to be zeros, call ``apply`` after the optimizer. ``update`` needs the parameters, and runs outside of
        ``jit``, as ``apply`` does.

        Args:
            step_size: See ``apply``.
        """
        import optax

        def update(updates: Any, state: ProximalState, params: Any = None) -> tuple[Any, ProximalState]:
            if params is None:
                raise ArgumentError("update must have the parameters: update(updates, state, params)")
            ahead = optax.apply_updates(params, updates)
            new, state = self.apply(ahead, state, step_size)

            def change(update: Any, ahead: Any, new: Any, old: Any) -> Any:
                return update if new is ahead else new - old

            return jax.tree_util.tree_map(change, updates, ahead, new, params), state

        return optax.GradientTransformation(self.init, update)

    def _rules_for(self, leaves: Mapping[str, Any]) -> Rules:
        names = tuple(leaves)
        if self._rules is None or self._rules[0] != names:
            self._rules = names, rules_of(self._plan, names)
        return self._rules[1]

    def _asked(
        self, question: Question, arrays: Mapping[str, Placed], step: int
    ) -> ProximalStepResult[dict[str, Any]]:
        own = {name: arrays[name] for name in question.names}
        options: CallOptions = {**self._options}
        if "seed" in options:
            options["seed"] = dropout_state(options["seed"], step)
        rows = {name: each.first_row for name, each in own.items() if each.first_row is not None}
        if rows:
            options["part"] = Part.rows({name: each.shape for name, each in own.items()}, rows)
            if all(each.is_apart for each in own.values()):
                options["gather"] = all_gather
        elements = {name: each.elements for name, each in own.items()}
        return self._client.proximal_step(
            elements, question.regularizer, step_size=question.step_size, **options
        )


def _checked_step(state: ProximalState) -> int:
    try:
        step = index(state.step)
    except (AttributeError, TypeError) as error:
        raise ArgumentError(f"state must be what init or apply returned, got {state!r}") from error
    if step < 0:
        raise ArgumentError(f"state must have a step >= 0, got {step}")
    return step


def _sizes(step_size: StepSize, step: int, names: Mapping[str, object]) -> dict[str, float]:
    """Return the step size of each parameter."""
    size = step_size(step) if callable(step_size) else step_size
    given = resolve(size, names, "step_size", all_used=False) if isinstance(size, Mapping) else None
    sizes = {}
    for name in names:
        own = size if given is None else given[name]
        try:
            sizes[name] = float(own)  # type: ignore[arg-type] # what is no number is told
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"step_size must be a number, got {own!r}", segment=name) from error
    return sizes
