"""The order in which the page tells of regularizers: by what they look at."""

from __future__ import annotations

from dataclasses import dataclass

from regularization.v1 import regularizers_pb2
from regularization_kernels import REGULARIZERS, Locality, Regularizer


@dataclass(frozen=True, slots=True)
class Kind:
    """Regularizers that look at the same thing."""

    title: str
    about: str
    """What they look at."""


ELEMENTS = Kind("Elements", "Sums over elements: each element's step depends on that element alone.")
GROUPS = Kind("Groups", "Sums over groups of elements: rows, channels, runs of equal length.")
VECTORS = Kind("Whole vectors and sets", "Norms of a whole segment, and sets that it must lie in.")
SEQUENCES = Kind("Sequences", "Along one axis of a segment's shape, each line by itself, or the last two.")
MATRICES = Kind(
    "Matrices",
    "Of the singular values of a segment with two axes or more: the slices along one are a matrix's rows. "
    "`stiefel` wants no more columns than rows, `positive_semidefinite` a square matrix, whose eigenvalues "
    "count.",
)
MAPS = Kind("Maps", "No penalties: only `ProximalStep` applies them.")
KINDS = (ELEMENTS, GROUPS, VECTORS, SEQUENCES, MATRICES, MAPS)

_FAMILIES = {
    "elements": ELEMENTS,
    "groups": GROUPS,
    "vectors": VECTORS,
    "sequences": SEQUENCES,
    "matrices": MATRICES,
}


def by_kind() -> dict[Kind, list[type[Regularizer]]]:
    """Every regularizer there is, in the contract's order, by kind; kinds that have none are left out."""
    contract = [field.name for field in regularizers_pb2.Regularizer.DESCRIPTOR.fields]
    known = [REGULARIZERS[name] for name in contract if name in REGULARIZERS]
    found = {kind: [cls for cls in known if _kind_of(cls) is kind] for kind in KINDS}
    return {kind: classes for kind, classes in found.items() if classes}


def has_picture(cls: type[Regularizer]) -> bool:
    """Whether its penalty and its step are functions of one number, which can be drawn."""
    return cls.traits.separable and cls.traits.locality is Locality.ELEMENT


def _kind_of(cls: type[Regularizer]) -> Kind:
    return MAPS if cls.traits.map else _FAMILIES[cls.family]
