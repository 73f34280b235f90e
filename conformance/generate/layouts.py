"""Short ways to write headers and calls."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict
from regularization.v1.layout_pb2 import JointRegularizer, ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Regularizer

from .calls import REQUESTS, Call
from .numbers import FLOAT32, DataType
from .segments import Operands

METHODS = ("Penalty", "Gradient", "ProximalStep")
STEP_SIZE = 0.75
POINT = [0.8125, -0.296875, 0.5, 0, -1.25, 0.0625, 0.703125, -0.421875, 1.9375, -0.15625, 0.359375, -0.609375]
"""Twelve numbers of every floating-point type; a zero, no ties, both signs."""
LOSSES = [0.25, -0.5, 0.125, 0.375, -0.25, 0.5, -0.125, 0, 0.75, -0.375, 0.0625, 0.1875]
L1 = {"l1_norm": {"strength": 0.1}}


def regularizer(kind: dict[str, Any]) -> Regularizer:
    """A ``Regularizer`` from its proto3 JSON."""
    return ParseDict(kind, Regularizer())


def segment(name: str, shape: list[int], kind: dict[str, Any] | None = None, **more: Any) -> Segment:
    """A segment."""
    return Segment(name=name, shape=shape, regularizer=regularizer(kind) if kind else None, **more)


def layout(*segments: Segment, data_type: DataType = FLOAT32, joints: Any = ()) -> ParameterLayout:
    """A layout."""
    return ParameterLayout(data_type=data_type.number, segments=segments, joints=joints)


def joint(name: str, kind: dict[str, Any], **more: Any) -> JointRegularizer:
    """A joint regularizer."""
    return JointRegularizer(name=name, regularizer=regularizer(kind), **more)


def header(method: str, of: ParameterLayout, **fields: Any) -> Any:
    """A method's header; a proximal step has the usual step size unless another is given."""
    if method == "ProximalStep":
        fields = {"step_size": STEP_SIZE, **fields}
    return REQUESTS[method][1](
        layout=of, **{name: value for name, value in fields.items() if value is not None}
    )


def call(method: str, of: ParameterLayout, parameters: list[float], **more: Any) -> Call:
    """A call: operands by their names, the rest goes to the header."""
    names = ("loss_gradients", "reference", "weights", "step_scales")
    operands = {name: more.pop(name) for name in names if name in more}
    resolved = more.pop("resolved", None)
    return Call(method, header(method, of, **more), Operands(parameters, **operands), resolved)


def snake(method: str) -> str:
    """A method's name in a vector's name."""
    return {"Penalty": "penalty", "Gradient": "gradient", "ProximalStep": "proximal_step"}[method]
