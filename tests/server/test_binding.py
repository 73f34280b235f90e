from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import regularization_kernels
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from regularization.v1 import regularizers_pb2
from regularization.v1.regularizers_pb2 import (
    Box,
    GroupLasso,
    Groups,
    GroupSizes,
    GroupWeights,
    L1Norm,
    Oscar,
    Regularizer,
    Slope,
    SlopeStrengths,
)
from regularization_kernels.errors import FieldMissing, FieldOutOfRange, RegularizationError
from regularization_kernels.regularizer import REGULARIZERS
from regularization_server.contract.binding import construct, is_list, regularizer_of, required_fields

KINDS: dict[str, Any] = {field.name: field for field in Regularizer.DESCRIPTOR.fields}
NUMBERS = {FieldDescriptor.CPPTYPE_DOUBLE: 0.5, FieldDescriptor.CPPTYPE_BOOL: True}
"""A value for a field of each type; every other type is an integer."""


def kernel_of(message: str) -> type[Any]:
    """The kernel class of a message."""
    cls: type[Any] = getattr(regularization_kernels, message)
    return cls


def fields_to_bind() -> list[Any]:
    """Every field of every message of the catalogue that has a kernel class, as a test parameter."""
    messages = {
        name: message
        for name, message in regularizers_pb2.DESCRIPTOR.message_types_by_name.items()
        if name != "Regularizer" and not is_list(message)
    }
    return [
        pytest.param(message, field, id=f"{name}.{field.name}")
        for name, message in messages.items()
        for field in message.fields
    ]


def recorder(message: Any) -> type[Any]:
    """A class that takes what the kernel of a message would, and keeps it."""
    return dataclasses.make_dataclass(message.name, [(field.name, Any, None) for field in message.fields])


def set_field(message: Message, field: Any) -> Any:
    """Set a field to some value; that value as the kernel gets it."""
    if field.message_type is None:
        value = NUMBERS.get(field.cpp_type, 1)
        setattr(message, field.name, value)
        return value
    nested = getattr(message, field.name)
    if field.is_repeated:
        nested.add()
        return (dict.fromkeys(known.name for known in field.message_type.fields),)
    nested.SetInParent()
    if is_list(field.message_type):
        nested.values.append(1)
        return (1,)
    return dict.fromkeys(known.name for known in field.message_type.fields)


@pytest.mark.parametrize(("message", "field"), fields_to_bind())
def test_every_field_binds(message: Any, field: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field of each message arrives in the kernel's field of the same name, and no other does."""
    for nested in regularizers_pb2.DESCRIPTOR.message_types_by_name.values():
        monkeypatch.setattr(regularization_kernels, nested.name, recorder(nested), raising=False)
    instance = getattr(regularizers_pb2, message.name)()
    expected = set_field(instance, field)
    bound = dataclasses.asdict(construct(recorder(message), instance))
    assert {name: value for name, value in bound.items() if value is not None} == {field.name: expected}


@pytest.mark.parametrize("message", ["Groups", "Levels", "Oscar"])
def test_nested_fields_are_the_same(message: str) -> None:
    """The kernel of a nested message has its message's fields."""
    fields = regularizers_pb2.DESCRIPTOR.message_types_by_name[message].fields
    names = [field.name for field in dataclasses.fields(kernel_of(message))]
    assert names == [field.name for field in fields]


@pytest.mark.parametrize("name", KINDS)
def test_fields_are_the_same(name: str) -> None:
    """A kernel has its message's fields, in the same order, and its message's name."""
    message = KINDS[name].message_type
    cls: Any = REGULARIZERS[name]
    assert cls.__name__ == message.name
    assert [field.name for field in dataclasses.fields(cls)] == [field.name for field in message.fields]


ALL_OPTIONAL = {"isotonic", "stiefel"}
"""Regularizers whose fields may all be unset."""


@pytest.mark.parametrize(
    "name", [name for name, field in KINDS.items() if field.message_type.fields and name not in ALL_OPTIONAL]
)
def test_unset_required_fields_are_missing(name: str) -> None:
    """A message without any field is rejected with the path of a missing field, or of the message."""
    message = Regularizer()
    getattr(message, name).SetInParent()
    with pytest.raises(FieldMissing) as caught:
        regularizer_of(message)
    assert caught.value.field in {name, *(f"{name}.{field}" for field in required_fields(REGULARIZERS[name]))}


@pytest.mark.parametrize(
    "name", [name for name, field in KINDS.items() if not field.message_type.fields or name in ALL_OPTIONAL]
)
def test_a_message_without_fields_binds_as_it_is(name: str) -> None:
    """A regularizer without parameters, or without any that must be given, needs none."""
    message = Regularizer()
    getattr(message, name).SetInParent()
    assert regularizer_of(message) == REGULARIZERS[name]()


def test_zero_is_not_unset() -> None:
    """A strength of 0 is a strength."""
    assert regularizer_of(Regularizer(l1_norm=L1Norm(strength=0))) == regularization_kernels.L1Norm(
        strength=0
    )


def test_unset_optional_field_has_the_default_of_the_kernel() -> None:
    """What is unset and not required is the kernel's business."""
    assert regularizer_of(Regularizer(box=Box(upper=2))) == regularization_kernels.Box(lower=None, upper=2)


def test_nested_messages_and_lists() -> None:
    """Groups become the kernel's groups, lists become tuples, and an empty list is not an unset one."""
    groups = Groups(sizes=GroupSizes(values=[2, 4]), weights=GroupWeights(values=[0.5, 1]))
    bound = regularizer_of(Regularizer(group_lasso=GroupLasso(strength=1, groups=groups)))
    expected = regularization_kernels.Groups(sizes=(2, 4), weights=(0.5, 1.0))
    assert bound == regularization_kernels.GroupLasso(strength=1, groups=expected)
    empty = construct(regularization_kernels.Groups, Groups(sizes=GroupSizes()))
    assert empty.sizes == ()


def test_a_choice_of_nested_messages() -> None:
    """SLOPE's strengths become a tuple, OSCAR's two a value of their own."""
    explicit = regularizer_of(Regularizer(slope=Slope(strengths=SlopeStrengths(values=[2, 1]))))
    assert explicit == regularization_kernels.Slope(strengths=(2.0, 1.0))
    falling = regularizer_of(Regularizer(slope=Slope(oscar=Oscar(l1_strength=1, pairwise_strength=0))))
    assert falling == regularization_kernels.Slope(oscar=regularization_kernels.Oscar(1.0, 0.0))


@pytest.mark.parametrize(
    ("message", "error", "path"),
    [
        (Slope(), FieldMissing, "slope"),
        (Slope(oscar=Oscar(l1_strength=1)), FieldMissing, "slope.oscar.pairwise_strength"),
        (Slope(oscar=Oscar(l1_strength=-1, pairwise_strength=1)), FieldOutOfRange, "slope.oscar.l1_strength"),
        (Slope(strengths=SlopeStrengths(values=[1, 2])), FieldOutOfRange, "slope.strengths.values[1]"),
    ],
)
def test_paths_into_a_choice(message: Slope, error: type[RegularizationError], path: str) -> None:
    """An error in one of them has the path that it has in the message."""
    with pytest.raises(error) as caught:
        regularizer_of(Regularizer(slope=message))
    assert caught.value.field == path


def test_path_of_an_element_of_a_list() -> None:
    """An error in an element of a list has the path that it has in the message."""
    groups = Groups(sizes=GroupSizes(values=[2, 0]))
    with pytest.raises(RegularizationError) as caught:
        regularizer_of(Regularizer(group_lasso=GroupLasso(strength=1, groups=groups)))
    assert caught.value.field == "group_lasso.groups.sizes.values[1]"
