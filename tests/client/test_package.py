"""The package's public names."""

from __future__ import annotations

import doctest
import importlib
import pickle
import re
import subprocess
import sys

import pytest
import regularization_client
from regularization.v1 import regularizers_pb2
from regularization_client import Client, InvalidRequestError, RegularizationError

ERRORS = importlib.import_module("regularization_client._errors")


def test_every_regularizer_of_the_schema_is_exported() -> None:
    """Adding one to the schema is enough."""
    kinds = regularizers_pb2.Regularizer.DESCRIPTOR.oneofs_by_name["kind"].fields
    for field in kinds:
        assert field.message_type is not None
        name = field.message_type.name
        assert name in regularization_client.__all__
        assert getattr(regularization_client, name) is getattr(regularizers_pb2, name)


def test_names_are_exported_once_and_documented() -> None:
    """Whatever is public says what it is for; schema messages do so in the schema."""
    names = regularization_client.__all__
    assert len(names) == len(set(names))
    for name in names:
        thing = getattr(regularization_client, name)
        if isinstance(thing, type) and not hasattr(thing, "DESCRIPTOR"):
            assert thing.__doc__, name


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    """Every class in the drawing has the parent that it is drawn under, and none is missing."""
    assert ERRORS.__doc__ is not None
    drawn, parents = {}, [""]
    for indent, name in re.findall(r"^ {4}([│├└─ ]*)(\w+Error)\b", ERRORS.__doc__, re.MULTILINE):
        depth = len(indent) // 4
        parents[depth + 1 :] = [name]
        drawn[name] = parents[depth]
    real = {
        name: thing.__bases__[0].__name__
        for name, thing in vars(ERRORS).items()
        if isinstance(thing, type) and issubclass(thing, RegularizationError)
    }
    assert drawn == real | {"RegularizationError": ""}
    assert set(real) <= set(regularization_client.__all__)


def test_importing_the_client_does_not_import_the_server() -> None:
    """The server extra is needed only where a client has no target."""
    code = (
        "import sys, regularization_client.command; print([n for n in sys.modules if 'regularization_' in n])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "regularization_client" in done.stdout
    assert "regularization_server" not in done.stdout
    assert "regularization_kernels" not in done.stdout


def test_options_of_a_call_are_checked_by_name() -> None:
    """A misspelt keyword is an error, as for any other function."""
    with regularization_client.Client("localhost:1") as client, pytest.raises(TypeError, match="time_out"):
        client.penalty([0.0], None, time_out=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "name",
    [
        "_client",
        "_dropout",
        "_planned",
        "_results",
        "solvers._minimize",
        "solvers._path",
        "solvers._strongest",
    ],
)
def test_examples_in_docstrings_are_true(name: str) -> None:
    """They are run, and print what they say."""
    done = doctest.testmod(importlib.import_module(f"regularization_client.{name}"))
    assert done.attempted
    assert not done.failed


def test_errors_and_results_cross_processes(client: Client) -> None:
    """Ranks that run in processes of their own may raise and return them."""
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty([1.0, float("nan")], None)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - of its own making
    assert (type(copy), str(copy), vars(copy)) == (type(caught.value), str(caught.value), vars(caught.value))
    result = client.penalty([1.0], None)
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - likewise
