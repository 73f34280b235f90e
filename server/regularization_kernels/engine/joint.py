"""A regularizer that several segments share, made ready for all their elements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import JointInvalid, ModifierUnsupported, RegularizationError
from ..formats import contract_name
from .specifications import require_zeros_kept

if TYPE_CHECKING:
    from ..arrays import DataType
    from ..prepared import Prepared
    from ..reductions.reduction import Reduction
    from .specifications import Joint, Segment


@dataclass(frozen=True, slots=True)
class PreparedJoint:
    """A joint regularizer in its place, made ready.

    Args:
        specification: As the layout was given it.
        begin: Position of its first element in the vector.
        end: One past its last; what lies between may be other segments'.
        size: Number of its elements.
        prepared: The regularizer made ready for so many elements.
        reduction: How it is computed.
    """

    specification: Joint
    begin: int
    end: int
    size: int
    prepared: Prepared
    reduction: Reduction

    @property
    def name(self) -> str:
        """Its name."""
        return self.specification.name

    def is_cut_at(self, position: int) -> bool:
        """Whether it has elements before a position of the vector, and at or after it."""
        return self.begin < position < self.end


def prepared_joint(
    joint: Joint, begin: int, end: int, size: int, data_type: DataType, path: str
) -> PreparedJoint:
    """A joint regularizer made ready.

    Args:
        joint: Its specification.
        begin: Position of its first element in the vector.
        end: One past its last.
        size: Number of its elements.
        data_type: Of the elements.
        path: Of the specification in the layout.

    Raises:
        JointInvalid: If it is none that can be joint.
        RegularizationError: If it does not take so many elements.
    """
    regularizer = joint.regularizer
    try:
        prepared = regularizer.on((size,), data_type)
    except RegularizationError as error:
        if error.field == "shape":  # which only segments have
            error.field = None
        error.within(f"{path}.regularizer.{regularizer.name}")
        raise
    reduction = prepared.reduction()
    if reduction is None:
        may_be = regularizer.locality is regularizer.traits.locality
        why = f"for elements of {contract_name(data_type)}" if may_be else "with these parameters"
        text = (
            f"must be one that is computed by statistics of parts, as top_k and l2_norm are; "
            f"{regularizer.name} is none {why}"
        )
        raise JointInvalid(text, field=f"{path}.regularizer")
    return PreparedJoint(joint, begin, end, size, prepared, reduction)


def check_alone(said: Segment, joint: Joint) -> None:
    """Refuse what a segment says beside a joint regularizer, or may not say with it.

    Raises:
        JointInvalid: If it has a regularizer, or a step size, of its own.
        ModifierUnsupported: If it has a modifier, or is to keep zeros that the regularizer may move.
    """
    for field, value in (("regularizer", said.regularizer), ("step_size", said.step_size)):
        if value is not None:
            raise JointInvalid("must be unset where there is a joint regularizer", field=field)
    for field, value in (("box", said.box), ("smoothing", said.smoothing)):
        if value is not None:
            raise ModifierUnsupported("is not taken by joint regularizers", field=field)
    if said.keeps_zeros:
        require_zeros_kept(replace(said, regularizer=joint.regularizer))
