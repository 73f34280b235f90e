"""From the header of an augmentation to what the kernels are to do, and from what they give to answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from regularization import wire
from regularization.fields import has_unknown_fields, unknown_fields
from regularization.training.v1 import augmentation_pb2 as v1
from regularization_kernels.errors import FieldMissing, FieldOutOfRange
from regularization_kernels.training import (
    MAX_TRANSFORMATIONS,
    Augmentation,
    Cutmix,
    Cutout,
    Mixup,
    Noise,
    SampleMixes,
    Scaling,
    Shift,
    Transformation,
)

from .binding import construct, within
from .header_bytes import SMALL
from .headers import data_type_of, propagates
from .refusals import FieldUnknown, MessageUnreadable, TransformationUnknown
from .tensors import bytes_of

if TYPE_CHECKING:
    from regularization_kernels.engine import ResultChunk

KINDS: dict[str, type[Transformation]] = {
    "noise": Noise,
    "scaling": Scaling,
    "cutout": Cutout,
    "mixup": Mixup,
    "cutmix": Cutmix,
    "shift": Shift,
}
"""The transformations, by the name of their field in ``Transformation``."""


def augmentation_of(raw: memoryview) -> Augmentation:
    """What a header asks for.

    Raises:
        RegularizationError: With the path of the field at fault, if the header breaks a rule.
    """
    with within("header"):
        if len(raw) > SMALL:
            raise MessageUnreadable(f"must have at most {SMALL} bytes, got {len(raw)}")
        try:
            header = v1.AugmentHeader.FromString(bytes(raw))
        except DecodeError as error:
            raise MessageUnreadable(f"must be what Augment takes: {error}") from error
        transformations = _transformations_of(header)
        if has_unknown_fields(header):
            for unknown in unknown_fields(v1.AugmentHeader.FromString(bytes(raw))):
                raise FieldUnknown.at(unknown.message, unknown.number)
        for name in ("samples", "seed"):
            if not header.HasField(name):
                raise FieldMissing("is required and unset", field=name)
        return Augmentation(
            data_type=data_type_of(header),
            sample_shape=tuple(header.sample_shape),
            samples=header.samples,
            seed=header.seed,
            epoch=header.epoch,
            transformations=transformations,
            sample_range=_range_of(header),
            propagate_non_finite=propagates(header),
        )


@dataclass(frozen=True, slots=True)
class AugmentAnswer:
    """A response message: it has one of these."""

    chunk: ResultChunk | None = None
    mixes: SampleMixes | None = None

    def to_bytes(self) -> bytes:
        """The message's bytes, as protobuf writes them."""
        if self.chunk is not None:
            result = wire.Result(self.chunk.element_offset, bytes_of(self.chunk.values))
            return wire.encode_response(result, None)
        mixes = self.mixes or SampleMixes(0, (), ())
        message = v1.SampleMixes(
            first_sample=mixes.first_sample, partners=mixes.partners, shares=mixes.shares
        )
        return wire.encode_response(None, message)


def _transformations_of(header: v1.AugmentHeader) -> tuple[Transformation, ...]:
    count = len(header.transformations)
    if count > MAX_TRANSFORMATIONS:
        text = f"must be at most {MAX_TRANSFORMATIONS}, got {count}"
        raise FieldOutOfRange(text, field="transformations")
    return tuple(_transformation_of(index, each) for index, each in enumerate(header.transformations))


def _transformation_of(index: int, message: v1.Transformation) -> Transformation:
    with within(f"transformations[{index}]"):
        kind = message.WhichOneof("kind")
        if kind is None:
            text = f"must have one of {', '.join(KINDS)}, got none that this server knows"
            raise TransformationUnknown(text).within("kind")
        with within(kind):
            transformation: Transformation = construct(KINDS[kind], getattr(message, kind))
    return transformation


def _range_of(header: v1.AugmentHeader) -> tuple[int, int] | None:
    if not header.HasField("sample_range"):
        return None
    return header.sample_range.begin, header.sample_range.end
