"""A proximal step after every step of an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index
from typing import Any, Literal, TypeAlias, Unpack

import torch
from torch import Tensor, nn

from .._client import Client
from .._config import CallOptions
from .._dropout import dropout_state
from .._errors import ArgumentError
from .._planned import Planned
from .._policies import Policy, Rules, rules_of
from .._results import CombinedFigures, combine
from ._asking import Asking, Results
from ._attachment import check_hooked, inner_optimizer, was_skipped
from ._group import Group
from ._metric import adam_scales, check_has_metric
from ._model_plan import ModelPlan
from ._rows import is_distributed, local
from ._taking import Sharded, Split, Taking, Whole
from ._trained import Trained

StepSize: TypeAlias = Literal["lr"] | float | Callable[[dict[str, Any]], float]
"""The learning rate of each parameter's group; a number; or what gives one for a group of the optimizer."""

Metric: TypeAlias = Literal["euclidean", "adam"]
"""In which metric a step is the nearest point."""

Share: TypeAlias = Literal["whole", "split"]
"""What each rank computes of parameters that all of them have."""

_SHARES = ("whole", "split")
_METRICS = ("euclidean", "adam")
_FOUND_HERE = ("part", "gather")


class ProximalStep:
    """The proximal step of regularizers after every step of an optimizer, which takes the forward step.

    It hooks into the optimizer and needs no other line: schedulers, gradient scalers, accumulation,
    checkpoints and trainers have the optimizer that they know. Parameters that the optimizer does not train,
    or that do not require a gradient at the time, stay as they are. One whose gradient is None is
    regularized like all others. A step that a scaler skips, for a gradient had overflown, changes nothing.

    Steps count from 0, and a step that was skipped does not count. ``state_dict`` has the number; keep it
    beside the optimizer's.

    Args:
        client: Whose server computes.
        model: The model, which gives the names. Wrappers of ``torch.compile`` and DDP are looked through.
        optimizer: The optimizer, before or after a trainer wraps it.
        plan: What is regularized with what: as in ``Client.proximal_step``, one regularizer, or some by name
            or pattern with None for exempt; or a ``Plan``, or the name of one that the server holds, which
            is gone by at the step that is counted here (a ``Planned`` says where counting begins). Tied
            parameters count once, under their first name.
        every: Take a proximal step at the steps that are multiples of this alone, >= 1.
        step_size: The step size of the proximal step, in units of parameter² / loss: "lr" for the learning
            rate of the parameter's group, a number, or a function of a group of the optimizer.
        metric: "adam" to measure distances as Adam does, which moves an element by lr / (√v̂ + ε) times its
            mean gradient: the step size is then divided by √v̂ + ε, element by element.
        share: Of parameters that every rank has, as under DDP: "whole" for each rank to take the whole step,
            "split" for each to take its share, after which they exchange the results, once.
        process_group: The ranks of that; None for all.
        attach: Whether to hook into the optimizer; else call ``step`` after each step of it.
        **options: See ``CallOptions``, but for ``part`` and ``gather``, which are found here. With stochastic
            rounding, each step has a seed of its own, made of ``seed`` and the step's number.

    Raises:
        ArgumentError: If a rule fits no parameter, or a parameter has no rule; of an optimizer or a model
            that keeps no names, takes several steps in one, or calls no hooks; or if a value is out of range.

    Example:
        >>> import torch
        >>> from regularization_client import Client, L1Norm
        >>> from regularization_client.torch import ProximalStep
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> with Client() as client:
        ...     prox = ProximalStep(client, model, optimizer, {"weight": L1Norm(strength=2.0), "*": None})
        ...     model(torch.zeros(4, 3)).sum().backward()
        ...     optimizer.step()
        >>> prox.last.nonzeros, prox.steps
        (0, 1)
    """

    def __init__(
        self,
        client: Client,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        plan: Policy,
        *,
        every: int = 1,
        step_size: StepSize = "lr",
        metric: Metric = "euclidean",
        share: Share = "whole",
        process_group: Any = None,
        attach: bool = True,
        **options: Unpack[CallOptions],
    ) -> None:
        self._client = client
        self._optimizer = inner_optimizer(optimizer)
        self._trained = Trained(model, self._optimizer)
        self._plan = plan
        self._rules = self._found_rules()
        self._every = _checked_every(every)
        self._step_size = _checked_step_size(step_size)
        self._options = _checked_options(options)
        self._steps = plan.step if isinstance(plan, Planned) else 0
        self._share = _checked_share(share)
        self._sharded = Sharded(client)
        self._whole: Taking = Split(client, Group(process_group)) if share == "split" else Whole()
        self._results: Results = []
        self._hook: Any = None
        self._is_adams = _checked_metric(metric, self._optimizer)
        if attach:
            check_hooked(self._optimizer)
            self._hook = self._optimizer.register_step_post_hook(self._after)

    @property
    def steps(self) -> int:
        """How many steps were counted: the number of the next one."""
        return self._steps

    @property
    def last(self) -> CombinedFigures | None:
        """The figures of the last proximal step, together and by name (``segments``); None before the first.

        Exempt parameters may be left out. Over ranks that have a part each, these are the figures of what
        this rank computed: ``combine`` puts those of all ranks together. Reading it raises ``ArgumentError``
        where the optimizer's step was replaced by one that may call no hooks.
        """
        self._check_attached()
        return combine(self._results) if self._results else None

    def step(self) -> None:
        """Take the proximal step, after the optimizer's: where the optimizer was not hooked into.

        Raises:
            ArgumentError: If it was, so that the step is taken already.
            RegularizationError: If a call fails: see the tree there. Parameters in shared memory, or those of
                other calls, may then be those after the step.
        """
        if self._hook is not None:
            raise ArgumentError("the optimizer's step takes the proximal step already: give attach=False")
        self._take()

    def detach(self) -> None:
        """Let go of the optimizer. Detaching again does nothing."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs: the number of the next step, and the names that it is about.

        Raises:
            ArgumentError: As reading ``last``.
        """
        self._check_attached()
        return {"step": self._steps, "parameters": list(self._trained.tensors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was made.

        Args:
            state: What ``state_dict`` returned.

        Raises:
            ArgumentError: If it is none, or is about other parameters.
        """
        try:
            steps, names = index(state["step"]), list(state["parameters"])
        except (KeyError, TypeError) as error:
            raise ArgumentError(f"state must be what state_dict returned: {error!r}") from error
        if steps < 0:
            raise ArgumentError(f"state must have a step >= 0, got {steps}")
        for ours, theirs, text in (
            (self._trained.tensors, names, "the state has no parameter"),
            (names, self._trained.tensors, "the state has a parameter that is not trained here:"),
        ):
            for name in ours:
                if name not in theirs:
                    raise ArgumentError(f"{text} {name!r}", segment=name)
        self._steps = steps

    def _after(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if not was_skipped(optimizer):
            self._take()

    @torch.no_grad()  # type: ignore[untyped-decorator] # PyTorch is not looked into
    def _take(self) -> None:
        if self._trained.update():
            self._rules = self._found_rules()
        if self._steps % self._every == 0:
            self._results = self._taken() or self._results
        self._steps += 1

    def _taken(self) -> Results:
        """Take the step of all parameters that it changes; return the figures."""
        moving = {name: tensor for name, tensor in self._trained.tensors.items() if tensor.requires_grad}
        chosen = {name: each for name, each in moving.items() if not self._rules.is_exempt(name, self._steps)}
        if not chosen:
            return []
        groups = self._trained.groups()
        scales = {
            name: adam_scales(self._optimizer, tensor, groups[name], name)
            for name, tensor in (chosen if self._is_adams else {}).items()
        }
        sizes = {name: self._size(name, groups[name]) for name in moving}
        asking = Asking(self._client, self._rules, self._steps, sizes, self._options_at(self._steps))
        results = self._taking(chosen).take(chosen, scales, asking, moving)
        # What autograd has saved of a parameter is not to be taken for what it is now.
        for tensor in chosen.values():
            torch.autograd.graph.increment_version(local(tensor))
        return results

    def _taking(self, chosen: Mapping[str, Tensor]) -> Taking:
        """Return the way to take a step of these parameters, which may be distributed by now."""
        if any(is_distributed(tensor) for tensor in chosen.values()):
            if self._share == "split":
                raise ArgumentError(
                    'share="split" is for parameters that every rank has, and these are sharded'
                )
            return self._sharded
        return self._whole

    def _options_at(self, step: int) -> CallOptions:
        """Return the options of a step's calls, with a seed of its own."""
        seed = self._options.get("seed")
        return self._options if seed is None else {**self._options, "seed": dropout_state(seed, step)}

    def _size(self, name: str, group: dict[str, Any]) -> float:
        """Return the step size of a parameter.

        Raises:
            ArgumentError: If it is no number.
        """
        size = self._step_size
        if size == "lr":
            size = group["lr"]
        elif callable(size):
            size = size(group)
        try:
            return float(size)
        except (TypeError, ValueError) as error:
            text = f"step_size of {name!r} must be a number, got {size!r}"
            raise ArgumentError(text, segment=name) from error

    def _found_rules(self) -> Rules:
        plan, names = self._plan, self._trained.tensors
        if isinstance(plan, ModelPlan):
            # It is for all of the model, of which the optimizer may train a part.
            plan = {name: plan[name] for name in names if name in plan}
        try:
            return rules_of(plan, names)
        except ArgumentError as error:
            patterns = self._plan if isinstance(self._plan, Mapping) else {}
            raise self._trained.told(error, patterns) from error

    def _check_attached(self) -> None:
        if self._hook is not None:
            check_hooked(self._optimizer)


def _checked_every(every: int) -> int:
    if index(every) < 1:
        raise ArgumentError(f"every must be >= 1, got {every}")
    return index(every)


def _checked_step_size(step_size: StepSize) -> StepSize:
    if isinstance(step_size, str) and step_size != "lr":
        raise ArgumentError(f'step_size must be "lr", a number or a function, got {step_size!r}')
    return step_size


def _checked_share(share: Share) -> Share:
    if share not in _SHARES:
        raise ArgumentError(f"share must be one of {', '.join(_SHARES)}, got {share!r}")
    return share


def _checked_metric(metric: Metric, optimizer: torch.optim.Optimizer) -> bool:
    """Return whether it is Adam's."""
    if metric not in _METRICS:
        raise ArgumentError(f"metric must be one of {', '.join(_METRICS)}, got {metric!r}")
    if metric == "adam":
        check_has_metric(optimizer)
    return metric == "adam"


def _checked_options(options: CallOptions) -> CallOptions:
    for name in _FOUND_HERE:
        if name in options:
            raise ArgumentError(f"{name} is found from how the parameters lie: it must not be given")
    return options
