"""From files and settings to a job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from regularization_client._cli.settings import Setting, Settings
from regularization_client._config import CallOptions
from regularization_client._errors import ArgumentError
from regularization_client._files import StoredTensor, TensorFile, TensorWriter
from regularization_client._headers import Header, Segment, layout_bytes
from regularization_client._job import PROXIMAL_STEP, Job, Stretch
from regularization_client._summary import Expected


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with a file."""

    parameters: TensorFile
    operands: Mapping[str, TensorFile]
    """Files by field of TensorChunk in the schema's order."""
    settings: Settings
    options: CallOptions

    def job(self, method: str, output: TensorWriter | None) -> Job:
        """Return the job.

        Raises:
            ArgumentError: If the files and the settings do not fit together.
        """
        settings = self.settings.of(self.parameters.tensors)
        tensors = [
            tensor
            for tensor in self.parameters.tensors.values()
            if self._takes_part(tensor, settings[tensor.name])
        ]
        if method == PROXIMAL_STEP:
            self._check_step_sizes(tensors, settings)
        data_type = self._common_type(tensors)
        self._check_operands(tensors, data_type)
        segments = [_segment(tensor, settings[tensor.name]) for tensor in tensors]
        layout = layout_bytes(data_type, segments)
        header = Header(method, layout, self.options, self.settings.step_size)
        sizes = {tensor.name: math.prod(tensor.shape) for tensor in tensors}
        expected = Expected.of_layout(sizes, header.figures)
        return Job(method, header.to_bytes(), data_type, self._stretches(tensors, output), expected)

    def left_out(self) -> list[str]:
        """Return the names of the tensors that take no part: exempt, and of a data type that is not sent."""
        return [tensor.name for tensor in self.parameters.tensors.values() if tensor.data_type is None]

    def _takes_part(self, tensor: StoredTensor, setting: Setting) -> bool:
        if tensor.data_type is not None:
            return True
        if setting.regularizer is not None:
            raise ArgumentError(
                f"{self.parameters.path}: tensor {tensor.name!r} is {tensor.type_name}, and only floating "
                f"point of 16, 32 or 64 bits is computed with; leave it out with -r '{tensor.name}=none', or "
                "with exempt = true in a plan",
                segment=tensor.name,
            )
        return False

    def _check_step_sizes(self, tensors: list[StoredTensor], settings: Mapping[str, Setting]) -> None:
        for tensor in tensors:
            if self.settings.step_size is None and settings[tensor.name].step_size is None:
                raise ArgumentError(
                    f"nothing says the step size of {tensor.name!r}: neither its table in the plan nor "
                    "--step-size",
                    segment=tensor.name,
                )

    def _common_type(self, tensors: list[StoredTensor]) -> np.dtype[Any]:
        for tensor in tensors:
            if _wire_type(tensor) != _wire_type(tensors[0]):
                raise ArgumentError(
                    f"{self.parameters.path}: all tensors must have one data type: {tensors[0].name!r} is "
                    f"{tensors[0].type_name}, {tensor.name!r} is {tensor.type_name}",
                    segment=tensor.name,
                )
        return _wire_type(tensors[0]) if tensors else np.dtype("<f4")

    def _check_operands(self, tensors: list[StoredTensor], data_type: np.dtype[Any]) -> None:
        parameters = {tensor.name: tensor for tensor in tensors}
        for file in self.operands.values():
            for name, tensor in file.tensors.items():
                own = parameters.get(name)
                if own is None:
                    raise ArgumentError(
                        f"{file.path}: {self.parameters.path} has no parameters {name!r}", segment=name
                    )
                if (tensor.shape, tensor.data_type and _wire_type(tensor)) != (own.shape, data_type):
                    raise ArgumentError(
                        f"{file.path}: {name!r} must be {own.type_name} {list(own.shape)}, as the parameters "
                        f"are, is {tensor.type_name} {list(tensor.shape)}",
                        segment=name,
                    )

    def _stretches(self, tensors: list[StoredTensor], output: TensorWriter | None) -> list[Stretch]:
        stretches, begin = [], 0
        for tensor in tensors:
            end = begin + math.prod(tensor.shape)
            if end > begin:
                files = {"parameters": self.parameters, **self.operands}
                sources = {
                    field: file.tensors[tensor.name].source
                    for field, file in files.items()
                    if tensor.name in file.tensors
                }
                sink = output.sink(tensor.name) if output is not None else None
                stretches.append(Stretch(begin, end, sources, sink))
            begin = end
        return stretches


def _segment(tensor: StoredTensor, setting: Setting) -> Segment:
    return Segment(tensor.name, tensor.shape, setting.regularizer, setting.step_size)


def _wire_type(tensor: StoredTensor) -> np.dtype[Any]:
    assert tensor.data_type is not None  # noqa: S101 - those without were left out before
    return tensor.data_type.newbyteorder("<")
