"""Bad parameters and shapes are rejected where they are given, with the field's name and the value."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from tests.support.cases import CASES, MAPS, ROWS, Case, Map, Rejected, Row

REJECTED = [(row, bad) for row in (*ROWS, *MAPS) for bad in row.rejected]
LABELS = [f"{row.name}-{bad.label}" for row, bad in REJECTED]


@pytest.mark.parametrize(("row", "bad"), REJECTED, ids=LABELS)
def test_bad_parameters_are_rejected(row: Row | Map, bad: Rejected) -> None:
    """Each construction of the table raises its error and names its field."""
    with pytest.raises(bad.error) as caught:  # noqa: PT012 - either of the two may be the one that fails
        regularizer = bad.build()
        assert bad.shape is not None, f"{row.name} took it"
        regularizer.on(bad.shape)
    assert type(caught.value) is bad.error
    if bad.field is not None:
        assert bad.field in (caught.value.field or "")
    assert caught.value.text


@pytest.mark.parametrize("row", [*ROWS, *MAPS], ids=lambda row: row.name)
def test_rejections_are_tabled_for_every_field(row: Row | Map) -> None:
    """Every field that may be wrong has at least one rejection in the table."""
    regularizer = next(iter(row.instances.values()))[0]
    for field in dataclasses.fields(regularizer):
        if field.name not in ("groups", "levels") and not isinstance(getattr(regularizer, field.name), bool):
            assert any(bad.field == field.name for bad in row.rejected), field.name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_regularizers_are_immutable_values(case: Case) -> None:
    """Equal parameters make equal, hashable regularizers, and nothing can be assigned to one."""
    again = copy.copy(case.regularizer)
    assert again == case.regularizer
    assert hash(again) == hash(case.regularizer)
    name = next((field.name for field in dataclasses.fields(case.regularizer)), "strength")
    # Python 3.11 means to raise the first where there are no fields, too, and stumbles over its own slots.
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(case.regularizer, name, 1.0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_ready_regularizers_keep_their_parameters(case: Case) -> None:
    """Making a regularizer ready for a shape, twice too, changes nothing that it says of itself."""
    ready = case.ready
    assert type(getattr(ready, "regularizer", ready)) is type(case.regularizer)
    assert (ready.name, ready.traits) == (case.regularizer.name, case.regularizer.traits)
    assert ready.on(case.shape).locality == ready.locality
