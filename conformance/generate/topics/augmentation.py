"""Samples that are augmented, by every transformation and by several, in several cuts and data types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import ParseDict
from regularization.training.v1.augmentation_pb2 import AugmentHeader

from ...runner.streams import elements
from ..numbers import DATA_TYPES, FLOAT32, FLOAT64, DataType
from ..training.augmenting import Batch
from ..vector import Vector

METHOD = "training.v1.AugmentationService/Augment"
IMAGE = [2, 3, 4]
NOISE = {"noise": {"standardDeviation": 0.5}}
SCALING = {"scaling": {"lower": 0.5, "upper": 1.5}}
CUTOUT = {"cutout": {"size": 2}}
SHIFT = {"shift": {"rows": 2, "columns": 3, "fill": 0.25}}

ALONE: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "noise": [NOISE],
    "noise_of_0": [{"noise": {"standardDeviation": 0}}],
    "scaling": [SCALING],
    "scaling_by_one_number": [{"scaling": {"lower": -0.75, "upper": -0.75}}],
    "cutout": [CUTOUT],
    "cutout_with_fill": [{"cutout": {"size": 3, "fill": -0.5}}],
    "cutout_of_0": [{"cutout": {"size": 0}}],
    "cutout_of_all": [{"cutout": {"size": 100, "fill": 1}}],
    "shift": [SHIFT],
    "shift_of_0": [{"shift": {"rows": 0, "columns": 0}}],
    "mixup": [{"mixup": {}}],
    "mixup_near_itself": [{"mixup": {"lowest": 0.75, "highest": 1}}],
    "cutmix": [{"cutmix": {}}],
    "cutmix_of_small_shares": [{"cutmix": {"lowest": 0, "highest": 0.25}}],
    "in_their_order": [NOISE, SCALING, CUTOUT, SHIFT],
    "in_another_order": [SHIFT, CUTOUT, SCALING, NOISE],
    "twice_the_same": [SCALING, SCALING],
    "mixed_in_between": [SCALING, {"mixup": {}}, NOISE],
}


def vectors() -> Iterator[Vector]:
    """All of them."""
    for name, transformations in ALONE.items():
        yield _vector(f"transformations/{name}", transformations)
    for data_type in DATA_TYPES:
        name = data_type.name.lower()
        yield _vector(f"data_types/{name}", [NOISE, SCALING], data_type=data_type)
    yield _vector("shapes/numbers", [NOISE], shape=[], samples=40)
    yield _vector("shapes/an_image_without_channels", [CUTOUT, SHIFT], shape=[5, 3])
    yield _vector("chunking/element_by_element", [NOISE, SHIFT], samples=2, cuts=list(range(1, 48)))
    yield _vector("chunking/across_samples", [CUTOUT, NOISE], cuts=[5, 24, 25, 60])
    yield _vector("chunking/mixed", [{"mixup": {}}], cuts=[5, 24, 25, 60])
    yield _vector("ranges/in_the_middle", [NOISE, CUTOUT], begin=1, end=3, samples=4)
    yield _vector("ranges/the_last_block", [{"mixup": {"block": 3}}], begin=3, end=5, samples=5)
    yield _vector("ranges/a_block_in_the_middle", [{"cutmix": {"block": 2}}], begin=2, end=4, samples=5)
    yield _vector("seeds/another_epoch", [NOISE, SCALING], epoch=3)
    yield _vector("seeds/largest", [NOISE, SCALING], seed=2**64 - 1, epoch=2**64 - 1)
    yield _vector("noise_of_many", [NOISE], data_type=FLOAT64, shape=[500], samples=2)


def _vector(
    name: str,
    transformations: list[dict[str, Any]],
    *,
    data_type: DataType = FLOAT32,
    shape: list[int] | None = None,
    samples: int = 3,
    begin: int = 0,
    end: int | None = None,
    cuts: list[int] | None = None,
    seed: int = 7,
    epoch: int = 0,
) -> Vector:
    header = ParseDict({"transformations": transformations}, AugmentHeader())
    header.data_type, header.seed, header.samples = data_type.number, seed, samples
    header.sample_shape.extend(IMAGE if shape is None else shape)
    if epoch:
        header.epoch = epoch
    if end is not None:
        header.sample_range.begin, header.sample_range.end = begin, end
    size = Batch(header, []).size
    count = ((end or samples) - begin) * size
    # Numbers of every data type, and far enough from its ends.
    values = [round(64 * value) / 128 for value in elements(2026, count)]
    batch = Batch(header, values)
    kind, _, case = name.rpartition("/")
    about = f"{(kind or 'Noise').capitalize().replace('_', ' ')}: {case.replace('_', ' ')}."
    requests, responses = batch.requests(cuts or []), batch.responses(cuts or [])
    return Vector(f"augmentation/{name}", about, METHOD, requests, responses)
