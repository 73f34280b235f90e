"""Contract, kernels and cases say the same things: what is in one is in all, under the same name."""

from __future__ import annotations

import ast
import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import regularization_kernels
from google.protobuf.descriptor import Descriptor
from regularization.v1 import (
    catalogue_pb2,
    errors_pb2,
    layout_pb2,
    regularization_service_pb2,
    regularizers_pb2,
    summary_pb2,
    tensor_pb2,
)
from regularization_kernels import REGULARIZERS, Groups, Levels, Locality, Traits, errors
from regularization_kernels.engine import (
    DATA_TYPES,
    Chunk,
    FigureChoice,
    Figures,
    Method,
    Operand,
    ResultChunk,
    Rounding,
    RoundingMode,
    Segment,
    contract_name,
)
from regularization_kernels.summation import ExactSum
from regularization_server.contract import refusals

from tests.support.cases import MAPS, ROWS, elements, groups, matrices, sequences, vectors
from tests.support.sources import KERNELS, tree

KIND = regularizers_pb2.Regularizer.DESCRIPTOR.oneofs_by_name["kind"]
MESSAGES = {field.name: field.message_type for field in KIND.fields if field.message_type is not None}


def pascal(name: str) -> str:
    """A field's name as a message's: ``l1_norm`` is ``L1Norm``."""
    return "".join(part.capitalize() for part in name.split("_"))


def camel_of(name: str, prefix: str) -> str:
    """An enum value's name as a class's: ``ERROR_REASON_HEADER_MISSING`` is ``HeaderMissing``."""
    return pascal(name.removeprefix(prefix).lower())


def names_of(message: Descriptor) -> list[str]:
    """A message's field names, in order."""
    return [field.name for field in message.fields]


def fields_of(cls: Any) -> list[str]:
    """Field names of a dataclass, in order, without those that it derives, or of a named tuple."""
    if issubclass(cls, tuple):
        return list(cls._fields)
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _is_registered(cls: ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).startswith("register(") for decorator in cls.decorator_list)


def test_contract_kernels_files_and_cases_have_the_same_regularizers() -> None:
    """The oneof's fields, the registry, the files and the rows, with nothing missing in any direction."""
    in_contract = {field.name for field in KIND.fields}
    in_files = {
        path.stem
        for path in (KERNELS / "regularizers").glob("*/*.py")
        if any(isinstance(node, ast.ClassDef) and _is_registered(node) for node in tree(path).body)
    }
    in_rows = [row.name for row in (*ROWS, *MAPS)]
    assert set(REGULARIZERS) == in_contract
    assert in_files == in_contract
    assert set(in_rows) == in_contract
    assert len(in_rows) == len(set(in_rows))
    assert list(REGULARIZERS) == sorted(REGULARIZERS)


@pytest.mark.parametrize("family", [elements, groups, vectors, sequences, matrices], ids=lambda m: m.__name__)
def test_rows_are_sorted_by_the_kernels_families(family: Any) -> None:
    """Cases stand in the module of the folder that their regularizer's file is in."""
    rows = [*family.ROWS, *getattr(family, "MAPS", ())]
    assert {REGULARIZERS[row.name].family for row in rows} == {family.__name__.rpartition(".")[2]}


@pytest.mark.parametrize("row", [*ROWS, *MAPS], ids=lambda row: row.name)
def test_every_row_has_instances_of_its_own_class(row: Any) -> None:
    """A row without cases, or with another's, would prove nothing."""
    assert row.instances
    assert row.rejected
    for regularizer, _ in row.instances.values():
        assert type(regularizer) is REGULARIZERS[row.name]


@pytest.mark.parametrize("name", sorted(REGULARIZERS))
def test_a_message_s_fields_are_the_class_s_fields(name: str) -> None:
    """One name, in three spellings, and the same parameters in the same order, described one by one."""
    cls, message = REGULARIZERS[name], MESSAGES[name]
    assert cls.name == name
    assert cls.__name__ == message.name == pascal(name)
    assert cls.__module__.rpartition(".")[2] == name
    assert fields_of(cls) == names_of(message)
    assert list(cls.parameters()) == names_of(message)
    assert getattr(regularization_kernels, cls.__name__) is cls


@pytest.mark.parametrize("name", sorted(REGULARIZERS))
def test_unset_scalars_can_be_told_from_zero(name: str) -> None:
    """Every number of a regularizer's message has presence."""
    for field in MESSAGES[name].fields:
        assert field.has_presence or field.is_repeated, field.full_name


@pytest.mark.parametrize("name", sorted(REGULARIZERS))
def test_everything_is_described(name: str) -> None:
    """Class docstring, formulas, parameters and source say something."""
    cls = REGULARIZERS[name]
    said = [
        text
        for field in dataclasses.fields(cls.description)
        for text in [getattr(cls.description, field.name)]
        if field.name != "parameters"
    ]
    assert all(said)
    assert all(cls.parameters().values())
    assert "Source:" in (cls.__doc__ or "")


@pytest.mark.parametrize("cls", [Groups, Levels], ids=lambda cls: cls.__name__)
def test_groups_and_levels_have_their_message_s_fields(cls: type[Any]) -> None:
    """Each choice alike; a message of repeated values is a tuple."""
    message = regularizers_pb2.DESCRIPTOR.message_types_by_name[cls.__name__]
    assert fields_of(cls) == names_of(message)
    for field in message.fields:
        if field.message_type is not None:
            assert names_of(field.message_type) == ["values"]


def test_every_reason_has_an_error_class() -> None:
    """Kernels and transport have a class for each, and no other, but for faults of the server itself."""
    reasons = {camel_of(name, "ERROR_REASON_") for name in list(errors_pb2.ErrorReason.keys())} - {
        "Unspecified",
        "Internal",
    }
    classes = {
        name
        for module in (errors, refusals)
        for name, cls in vars(module).items()
        if isinstance(cls, type) and issubclass(cls, errors.RegularizationError)
    } - {"RegularizationError"}
    assert classes == reasons


def enum_names(enum: Any, prefix: str) -> set[str]:
    """The names of a contract's enum, without prefix and without the unspecified one."""
    return {name.removeprefix(prefix) for name in list(enum.keys())} - {"UNSPECIFIED"}


def test_the_engine_s_enums_are_the_contract_s() -> None:
    """Operands, localities and data types, by name; methods by the service's."""
    assert {operand.name for operand in Operand} == enum_names(catalogue_pb2.Operand, "OPERAND_")
    assert {locality.name for locality in Locality} == enum_names(catalogue_pb2.Locality, "LOCALITY_")
    types = {contract_name(dtype) for dtype in DATA_TYPES}
    assert types == enum_names(layout_pb2.DataType, "DATA_TYPE_")
    modes = {mode.name for mode in RoundingMode}
    assert modes == enum_names(layout_pb2.RoundingMode, "ROUNDING_MODE_")
    service = regularization_service_pb2.DESCRIPTOR.services_by_name["RegularizationService"]
    others = {"ListRegularizers", "ListPlans", "Measure", "Combine"}
    methods = {method.name for method in service.methods} - others
    assert {pascal(method.value) for method in Method} == methods
    assert {method.name for method in Method} == enum_names(regularization_service_pb2.Method, "METHOD_")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Chunk, tensor_pb2.TensorChunk),
        (ResultChunk, tensor_pb2.ResultChunk),
        (Figures, summary_pb2.Figures),
        (FigureChoice, summary_pb2.SummaryFigures),
        (ExactSum, summary_pb2.ExactSum),
        (Segment, layout_pb2.Segment),
        (Rounding, layout_pb2.Rounding),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_engine_s_classes_have_the_messages_fields(cls: Any, message: Any) -> None:
    """Under the same names, in the same order."""
    # How a result is written is the transport's affair.
    assert fields_of(cls) == [name for name in names_of(message.DESCRIPTOR) if name != "nonzero_bitmap"]


def test_operands_are_fields_of_the_chunk() -> None:
    """Each by its own name."""
    chunk = set(names_of(tensor_pb2.TensorChunk.DESCRIPTOR))
    assert {operand.value for operand in Operand} == chunk - {"element_offset", "parameters"}


def test_traits_are_the_contract_s() -> None:
    """All of the contract's traits are declared, and beside them the locality."""
    assert set(fields_of(Traits)) - {"locality"} == set(names_of(catalogue_pb2.Traits.DESCRIPTOR))


def test_data_types_have_the_contract_s_widths() -> None:
    """binary32, binary64, binary16, bfloat16, and the three of fixed point."""
    widths = {"FLOAT32": 4, "FLOAT64": 8, "FLOAT16": 2, "BFLOAT16": 2, "Q7": 1, "Q15": 2, "Q31": 4}
    assert {contract_name(dtype): dtype.itemsize for dtype in DATA_TYPES} == widths
    assert all(np.dtype(dtype).isnative for dtype in DATA_TYPES)


def test_names_are_snake_case() -> None:
    """A name must serve as field, file and test id."""
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) for name in REGULARIZERS)
