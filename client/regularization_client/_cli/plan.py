"""From files and settings to a call."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
from regularization.suggestions import did_you_mean

from .._config import CallOptions
from .._errors import ArgumentError
from .._files import StoredTensor, TensorFile, TensorWriter
from .._joint import Joint
from .._planned import Planned
from .._request.call import Call, Stretch
from .._request.header import Header
from .._request.layout import Layout, Segment
from .._request.method import PROXIMAL_STEP, Method
from .settings import Setting, Settings

_LOSS_GRADIENTS = "loss_gradients"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with a file."""

    parameters: TensorFile
    operands: Mapping[str, TensorFile]
    """Files by field of TensorChunk in the schema's order."""
    settings: Settings
    options: CallOptions

    def calls(self, method: Method, output: TensorWriter | None) -> list[Call]:
        """Return the calls that do it, one after the other: each takes tensors of one data type.

        Raises:
            ArgumentError: If the files and the settings do not fit together.
        """
        settings = self.settings.of(self.parameters.tensors, stepping=self._stepping())
        tensors = [
            tensor
            for tensor in self.parameters.tensors.values()
            if self._takes_part(tensor, settings[tensor.name])
        ]
        if method == PROXIMAL_STEP:
            settings = self._with_step_sizes(tensors, settings)
        self._check_operands(tensors)
        batches = self._batches(tensors, settings)
        if output is not None and not output.any_order:
            self._check_order(tensors, batches)
        files = {"parameters": self.parameters, **self.operands}
        step_size, planned = self.settings.step_size, self.settings.planned
        if planned is not None and method == PROXIMAL_STEP and step_size is None:
            step_size = 0.0  # of those that stay where they are; all others have one of their own
        return [
            call_on(
                method, batch, settings, files, self.options, output, step_size=step_size, planned=planned
            )
            for batch in batches
        ]

    def left_out(self) -> list[str]:
        """Return the names of the tensors that take no part: exempt, and of a data type that is not sent."""
        computed = {tensor.name for tensor in self._computed()}
        return [name for name in self.parameters.tensors if name not in computed]

    def _computed(self) -> list[StoredTensor]:
        return [tensor for tensor in self.parameters.tensors.values() if tensor.data_type is not None]

    def _takes_part(self, tensor: StoredTensor, setting: Setting) -> bool:
        if tensor.data_type is not None:
            return True
        if setting.regularizer is not None:
            others = len(self.parameters.tensors) > 1
            rule = shlex.quote(f"{tensor.name}=none")
            raise ArgumentError(
                f"{self.parameters.path}: tensor {tensor.name!r} must be floating point of 16, 32 or 64 "
                f"bits, is {tensor.type_name}"
                + (f"; leave it out with -r {rule}, or with exempt = true in a plan" if others else ""),
                segment=tensor.name,
            )
        return False

    def _stepping(self) -> list[str]:
        """Return the names of the tensors that a step moves though they are exempt: along loss gradients."""
        with_gradients = self.operands[_LOSS_GRADIENTS].tensors if _LOSS_GRADIENTS in self.operands else ()
        return [each.name for each in self._computed() if each.name in with_gradients]

    def _with_step_sizes(
        self, tensors: list[StoredTensor], settings: Mapping[str, Setting]
    ) -> Mapping[str, Setting]:
        """Return settings in which every tensor has a step size, of its own or that of all.

        An exempt tensor that has none and steps along no loss gradients stays where it is, as with a step
        size of 0.
        """
        if self.settings.step_size is not None:
            return settings
        stepping, complete = set(self._stepping()), dict(settings)
        for name in [tensor.name for tensor in tensors if settings[tensor.name].step_size is None]:
            if settings[name].regularizer is not None or name in stepping:
                raise ArgumentError(
                    f"nothing says the step size of {name!r}: neither its table in the plan nor --step-size",
                    segment=name,
                )
            complete[name] = Setting(None, 0.0)
        return complete

    def _batches(
        self, tensors: list[StoredTensor], settings: Mapping[str, Setting]
    ) -> list[list[StoredTensor]]:
        """Return the tensors, in batches of one data type: at least one batch, even if there are none.

        Where tensors share a regularizer, all of a type are one batch; else those are that follow each other.
        """
        if not self._check_joints(tensors, settings):
            return [list(batch) for _, batch in groupby(tensors, wire_type)] or [[]]
        batches: dict[np.dtype[Any], list[StoredTensor]] = {}
        for tensor in tensors:
            batches.setdefault(wire_type(tensor), []).append(tensor)
        return list(batches.values())

    def _check_joints(self, tensors: list[StoredTensor], settings: Mapping[str, Setting]) -> bool:
        """Check that tensors that share a regularizer have one data type; return whether any do."""
        firsts: dict[int, StoredTensor] = {}
        for tensor in tensors:
            regularizer = settings[tensor.name].regularizer
            if not isinstance(regularizer, Joint):
                continue
            first = firsts.setdefault(id(regularizer), tensor)
            if wire_type(tensor) != wire_type(first):
                raise ArgumentError(
                    f"{self.parameters.path}: tensors that share a regularizer must have one data type: "
                    f"{first.name!r} is {first.type_name}, {tensor.name!r} is {tensor.type_name}",
                    segment=tensor.name,
                )
        return bool(firsts)

    def _check_order(self, tensors: list[StoredTensor], batches: list[list[StoredTensor]]) -> None:
        """Check that the tensors come in the order of the file, for an output that is written in order."""
        for tensor, given in zip(tensors, chain.from_iterable(batches), strict=True):
            if tensor is not given:
                raise ArgumentError(
                    f"{self.parameters.path}: tensors that share a regularizer, with others of another data "
                    f"type between them ({tensor.name!r} is {tensor.type_name}), need a .safetensors file",
                    segment=tensor.name,
                )

    def _check_operands(self, tensors: list[StoredTensor]) -> None:
        parameters = {tensor.name: tensor for tensor in tensors}
        for field, file in self.operands.items():
            what = f"{file.path}: --{field.replace('_', '-')}"
            for name in parameters if field == _LOSS_GRADIENTS else ():
                if name not in file.tensors:
                    near = did_you_mean(name, file.tensors.keys() - parameters.keys())
                    text = f"{what} must have {name!r}, as {self.parameters.path} has{near}"
                    raise ArgumentError(text, segment=name)
            for name, tensor in file.tensors.items():
                own = parameters.get(name)
                if own is None and name in self.parameters.tensors:
                    continue  # of a tensor that takes no part
                if own is None:
                    text = f"{what} has {name!r}, which {self.parameters.path} has not"
                    raise ArgumentError(text, segment=name)
                if (tensor.shape, tensor.data_type and wire_type(tensor)) != (own.shape, wire_type(own)):
                    raise ArgumentError(
                        f"{what}: {name!r} must be {own.type_name} {list(own.shape)}, as the parameters are, "
                        f"is {tensor.type_name} {list(tensor.shape)}",
                        segment=name,
                    )


def call_on(
    method: Method,
    tensors: Sequence[StoredTensor],
    settings: Mapping[str, Setting],
    files: Mapping[str, TensorFile],
    options: CallOptions,
    output: TensorWriter | None,
    *,
    step_size: float | None,
    planned: Planned | None = None,
) -> Call:
    """Return a call on tensors of one data type.

    Args:
        method: The verb.
        tensors: The tensors, in the order of the vector.
        settings: What is done with each, by name.
        files: Where elements come from, by field of TensorChunk in the schema's order.
        options: How.
        output: Where results go; None drops them.
        step_size: That of tensors that have none of their own.
        planned: What the server goes by in place of the settings; None where these say it all.
    """
    data_type = wire_type(tensors[0]) if tensors else np.dtype("<f4")
    if planned is None:
        layout = Layout.of(data_type, [_segment(tensor, settings[tensor.name]) for tensor in tensors])
    else:
        layout = Layout.planned(data_type, {tensor.name: tensor.shape for tensor in tensors}, planned)
    header = Header(method, layout, options, step_size)
    stretches, begin = [], 0
    for tensor in tensors:
        end = begin + math.prod(tensor.shape)
        if end > begin:
            sources = {
                field: file.tensors[tensor.name].source
                for field, file in files.items()
                if tensor.name in file.tensors
            }
            sink = output.sink(tensor.name) if output is not None else None
            stretches.append(Stretch(begin, end, sources, sink))
        begin = end
    return Call(header, data_type, stretches)


def _segment(tensor: StoredTensor, setting: Setting) -> Segment:
    return Segment(tensor.name, tensor.shape, setting.regularizer, setting.step_size)


def wire_type(tensor: StoredTensor) -> np.dtype[Any]:
    """Return the data type in which a tensor travels that does."""
    assert tensor.data_type is not None  # noqa: S101 - those without were left out before
    return tensor.data_type.newbyteorder("<")
