"""The page of regularizers, as text: a function of the registry and the contract alone."""

from __future__ import annotations

from pathlib import Path

from regularization.v1 import catalogue_pb2, layout_pb2, regularizers_pb2
from regularization_kernels import Locality, Regularizer
from regularization_kernels.regularizers.groups.base import GroupRegularizer
from regularization_server.contract.catalogue import catalogue

from docs.generate.kinds import Kind, by_kind, has_picture
from docs.generate.markdown import formatted

DOCS = Path(__file__).resolve().parents[1]
PAGE = DOCS / "regularizers.md"
PICTURES = Path("images") / "regularizers"
"""Where the pictures lie, from the page."""
GEOMETRY = PICTURES / "geometry.png"

_Description = catalogue_pb2.RegularizerDescription

_INTRODUCTION = Path(__file__).with_name("introduction.md")

_LOCALITIES = {
    "element": "element: cut anywhere, held by the chunk",
    "group": "group: cut where groups end, held by the chunk and the group",
    "segment": "segment: never cut, held as a whole",
    "reduction": "reduction: cut anywhere once the whole is measured; unmeasured held as a whole, from 2^20 "
    "elements on as they came",
}


def text() -> str:
    """The whole page."""
    told = {each.name: each for each in catalogue().regularizers}
    kinds = by_kind()
    table = "\n".join(
        line
        for kind, classes in kinds.items()
        for line in [f"| **{kind.title}** | | | | |", *(_row(told[cls.name]) for cls in classes)]
    )
    introduction = _INTRODUCTION.read_text(encoding="utf-8").format(
        count=len(told), table=table, geometry=GEOMETRY.as_posix()
    )
    sections = (_section(kind, classes, told) for kind, classes in kinds.items())
    return formatted("\n".join([introduction, *sections]))


def picture_of(name: str) -> Path:
    """Where the picture of a regularizer lies, from the page."""
    return PICTURES / f"{name}.svg"


def _row(told: _Description) -> str:
    traits = told.traits
    convex = "" if traits.map else _tick(traits.convex)
    cells = (
        f"[`{told.name}`](#{told.name})",
        _escaped(told.title),
        convex,
        _tick(traits.indicator),
        _locality(told),
    )
    return f"| {' | '.join(cells)} |"


def _section(kind: Kind, classes: list[type[Regularizer]], told: dict[str, _Description]) -> str:
    parts = [_regularizer(cls, told[cls.name]) for cls in classes]
    return "\n".join([f"## {kind.title}\n\n{kind.about}\n", *parts])


def _regularizer(cls: type[Regularizer], told: _Description) -> str:
    lines = [f"### {told.name}", "", f"`{told.message}`: {told.title}.", ""]
    lines += [
        f"- **{name}**: `{formula}`"
        for name, formula in (
            ("penalty", told.penalty_formula),
            ("gradient", told.gradient_formula),
            ("proximal step", told.proximal_step_formula),
            ("terms of the sum", told.penalty_terms),
        )
    ]
    lines += _parameters(told)
    lines += [
        f"- **traits**: {', '.join(_traits(told))}",
        f"- **locality**: {_LOCALITIES[_locality(told)]}{_of_slices(cls)}",
        f"- **operands**: {', '.join(_operands(told))}",
        f"- **modifiers**: {_modifiers(cls, told)}",
        f"- **data types**: {', '.join(_data_types(told))}",
        f"- **source**: {told.source}",
        "",
    ]
    if has_picture(cls):
        lines += [f"![Penalty and proximal step of {told.name}]({picture_of(told.name).as_posix()})", ""]
    return "\n".join(lines)


def _of_slices(cls: type[Regularizer]) -> str:
    """How groups go that interleave, where a regularizer has such."""
    if not issubclass(cls, GroupRegularizer) or cls.traits.locality is not Locality.GROUP:
        return ""
    return f"; groups along an axis after the first as {'reduction' if cls.reduces_slices else 'segment'}"


def _parameters(told: _Description) -> list[str]:
    if not told.parameters:
        return ["- **parameters**: none"]
    lines = ["- **parameters**:"]
    for parameter in told.parameters:
        required = "required" if parameter.required else "optional"
        words = parameter.description + _fields_of(parameter.type)
        lines.append(f"  - `{parameter.name}` ({parameter.type}, {required}): {words}")
    return lines


def _fields_of(message: str) -> str:
    known = regularizers_pb2.DESCRIPTOR.message_types_by_name.get(message)
    if known is None or [field.name for field in known.fields] == ["values"]:
        return ""
    return f"; fields of `{message}`: {', '.join(f'`{field.name}`' for field in known.fields)}"


def _traits(told: _Description) -> list[str]:
    held = [field.name.replace("_", " ") for field, holds in told.traits.ListFields() if holds]
    return held if told.traits.convex or told.traits.map else ["not convex", *held]


def _operands(told: _Description) -> list[str]:
    names = [catalogue_pb2.Operand.Name(each).removeprefix("OPERAND_") for each in told.operands]
    return [f"`{name.lower()}`" for name in ("LOSS_GRADIENTS", *names)]


def _modifiers(cls: type[Regularizer], told: _Description) -> str:
    if told.traits.map:
        return "none"
    if not told.traits.convex:
        return "`smoothing`, not for `ProximalStep`"
    if cls.takes_orthant:
        return "`box` with `lower` 0 or `upper` 0 alone, `smoothing`"
    return "`box`, `smoothing`" if told.traits.separable else "`smoothing`"


def _data_types(told: _Description) -> list[str]:
    return [layout_pb2.DataType.Name(each).removeprefix("DATA_TYPE_").lower() for each in told.data_types]


def _locality(told: _Description) -> str:
    return catalogue_pb2.Locality.Name(told.locality).removeprefix("LOCALITY_").lower()


def _tick(holds: bool) -> str:
    return "✓" if holds else ""


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
