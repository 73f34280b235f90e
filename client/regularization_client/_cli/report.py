"""What is printed at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from regularization.kinds import wrapped_list
from regularization.v1 import catalogue_pb2, layout_pb2, regularizers_pb2

from .._errors import RegularizationError
from .._results import Figures

_TITLES = {
    "elements": "elements",
    "nonzeros": "nonzero",
    "penalty": "penalty",
    "squared_distance": "squared distance",
}
_LOCALITIES = {
    "element": "computed on any stretch; the server holds a chunk",
    "group": "computed on whole groups; the server holds a chunk and a group",
    "segment": "computed on the whole tensor, which the server holds",
    "reduction": "computed on any stretch, once a few figures of the whole tensor are known",
}


def show(text: str) -> None:
    """Write text to standard output.

    Raises:
        OSError: If it cannot be written there; with that name.
    """
    try:
        click.echo(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def figures_table(total: Figures, segments: Mapping[str, Figures]) -> str:
    """Return the figures as an aligned table: a line for each tensor, and one for all of several."""
    rows = [(printable(name), _values(figures)) for name, figures in segments.items()]
    if len(rows) != 1:
        rows.append(("all", _values(total)))
    columns = [name for name in _TITLES if name in _values(total)]
    lines = [["tensor", *(_TITLES[name] for name in columns)]]
    lines += [[name, *(_shown(name, values[name], values) for name in columns)] for name, values in rows]
    return aligned(lines, right=range(1, len(columns) + 1))


def figures_json(total: Figures, segments: Mapping[str, Figures], **about: Any) -> str:
    """Return the figures as one JSON object."""
    values = {name: _json_values(figures) for name, figures in segments.items()}
    return json.dumps({**about, **_json_values(total), "segments": values}, ensure_ascii=False)


def sparsity_table(total: Figures, tensors: Mapping[str, Figures]) -> str:
    """Return how sparse tensors are as an aligned table: a line for each, and one for all of several."""
    rows = [(printable(name), figures) for name, figures in tensors.items()]
    if len(rows) != 1:
        rows.append(("all", total))
    lines = [["tensor", "elements", "kept", "sparsity"]]
    for name, figures in rows:
        share = f"{_sparsity(figures):.2%}" if figures.elements else "-"
        lines.append([name, f"{figures.elements:,}", f"{figures.nonzeros:,}", share])
    return aligned(lines, right=range(1, 4))


def sparsity_json(total: Figures, tensors: Mapping[str, Figures], **about: Any) -> str:
    """Return how sparse tensors are as one JSON object."""
    values = {name: _json_sparsity(figures) for name, figures in tensors.items()}
    return json.dumps({**about, **_json_sparsity(total), "tensors": values}, ensure_ascii=False)


def _sparsity(figures: Figures) -> float:
    """Return the share of zeros."""
    return 1.0 - figures.nonzeros / figures.elements


def _json_sparsity(figures: Figures) -> dict[str, float | int | None]:
    sparsity = _sparsity(figures) if figures.elements else None
    return {"elements": figures.elements, "kept": figures.nonzeros, "sparsity": sparsity}


def tell(error: click.ClickException | RegularizationError | OSError, *, as_json: bool) -> int:
    """Write an error to standard error, as a line or as one JSON object; return the exit status."""
    status = error.exit_code if isinstance(error, click.ClickException) else 1
    if as_json:
        click.echo(error_json(error, status), err=True)
    elif isinstance(error, click.ClickException):
        error.show()
    else:
        click.echo(f"Error: {printable(_message(error))}", err=True)
    return status


def error_json(error: click.ClickException | RegularizationError | OSError, status: int) -> str:
    """Return an error as one JSON object: message, kind, exit status, and what is known of the place."""
    about: dict[str, Any] = {"message": _message(error), "kind": type(error).__name__, "status": status}
    if isinstance(error, OSError):
        about["file"] = error.filename
    if isinstance(error, RegularizationError):
        about["code"] = None if error.code is None else error.code.name
        about |= {name: getattr(error, name) for name in ("reason", "field", "segment", "element")}
    known = {name: value for name, value in about.items() if value is not None}
    return json.dumps({"error": known}, ensure_ascii=False)


def _message(error: click.ClickException | RegularizationError | OSError) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def catalogue_table(regularizers: Iterable[catalogue_pb2.RegularizerDescription]) -> str:
    """Return the catalogue as an aligned table: a line for each regularizer."""
    lines = [["regularizer", "locality", "convex", "for"]]
    lines += [[each.name, _locality(each), _convexity(each.traits), each.title] for each in regularizers]
    return f'{aligned(lines)}\n\n"regularize regularizers NAME" shows formulas and fields.'


def descriptions(regularizers: Iterable[catalogue_pb2.RegularizerDescription]) -> str:
    """Return all that is said of each regularizer."""
    return "\n\n".join(_description(regularizer) for regularizer in regularizers)


def catalogue_json(regularizers: Iterable[catalogue_pb2.RegularizerDescription]) -> str:
    """Return the catalogue as one JSON object."""
    # Only this output needs it, and it takes as long to import as a small call.
    from google.protobuf import json_format

    shown = [json_format.MessageToDict(each, preserving_proto_field_name=True) for each in regularizers]
    return json.dumps({"regularizers": shown}, ensure_ascii=False)


def printable(text: str) -> str:
    """Return text in one line that does nothing to a terminal: what files and servers say may be anything."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def aligned(lines: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return lines of cells with their columns aligned."""
    right = set(right)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _description(regularizer: catalogue_pb2.RegularizerDescription) -> str:
    locality = _locality(regularizer)
    formulas = [
        ["penalty", regularizer.penalty_formula],
        ["gradient", regularizer.gradient_formula],
        ["proximal step", regularizer.proximal_step_formula],
        ["terms", regularizer.penalty_terms],
        ["traits", ", ".join(_traits(regularizer))],
        ["locality", f"{locality}: {_LOCALITIES[locality]}" if locality in _LOCALITIES else locality],
        ["operands", ", ".join(_operands(regularizer))],
        ["data types", ", ".join(_data_types(regularizer))],
        ["source", regularizer.source],
    ]
    fields = [
        [parameter.name, f"{parameter.type}{', required' * parameter.required}", _meaning(parameter)]
        for parameter in regularizer.parameters
    ]
    body = aligned([["  " + name, text] for name, text in formulas if text])
    table = aligned([["  " + name, kind, text] for name, kind, text in fields]) if fields else ""
    return "\n".join(filter(None, (f"{regularizer.name}: {regularizer.title}", body, table)))


def _meaning(parameter: catalogue_pb2.ParameterDescription) -> str:
    message = regularizers_pb2.DESCRIPTOR.message_types_by_name.get(parameter.type)
    if message is None or wrapped_list(message) is not None:
        return parameter.description
    inner = ", ".join(f"{parameter.name}.{field.name}" for field in message.fields)
    return f"{parameter.description}: {inner}"


def _locality(regularizer: catalogue_pb2.RegularizerDescription) -> str:
    return _value_name(catalogue_pb2.Locality, regularizer.locality, "LOCALITY_")


def _convexity(traits: catalogue_pb2.Traits) -> str:
    if traits.map:
        return "-"
    return "yes" if traits.convex else "no"


def _traits(regularizer: catalogue_pb2.RegularizerDescription) -> list[str]:
    # Newer servers may tell of more of them: what protobuf knows is shown.
    held = [field.name.replace("_", " ") for field, holds in regularizer.traits.ListFields() if holds]
    return held if regularizer.traits.convex or regularizer.traits.map else ["not convex", *held]


def _operands(regularizer: catalogue_pb2.RegularizerDescription) -> list[str]:
    names = [_value_name(catalogue_pb2.Operand, each, "OPERAND_") for each in regularizer.operands]
    return ["loss_gradients", *names]


def _data_types(regularizer: catalogue_pb2.RegularizerDescription) -> list[str]:
    return [_value_name(layout_pb2.DataType, each, "DATA_TYPE_") for each in regularizer.data_types]


def _value_name(enum: Any, number: int, prefix: str) -> str:
    # A newer server may have values that this client has no name for.
    known = enum.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(prefix).lower() if known is not None else str(number)


def _values(figures: Figures) -> dict[str, float | int]:
    sums = {name: value.value for name, value in figures.sums.items()}
    return {"elements": figures.elements, **figures.counts, **sums}


def _json_values(figures: Figures) -> dict[str, float | int | str]:
    # JSON has no infinity and no NaN: they are strings, as in protobuf's JSON.
    return {
        name: value
        if math.isfinite(value)
        else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
        for name, value in _values(figures).items()
    }


def _shown(name: str, value: float, values: Mapping[str, float]) -> str:
    if name == "nonzeros" and values["elements"]:
        return f"{value:,} ({value / values['elements']:.1%})"
    return f"{value:,}" if isinstance(value, int) else f"{value:.9g}"
