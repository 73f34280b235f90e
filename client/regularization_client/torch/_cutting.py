"""Whether rows of a parameter can be computed where they are, by what its regularizer looks at."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from itertools import accumulate
from typing import Any

import numpy as np
from google.protobuf.message import Message
from regularization.v1 import catalogue_pb2

from .._client import Client
from .._joint import Joint
from .._messages import wrap
from .._modified import Modified
from .._request.layout import Regularizer
from ._group import Spans


class Cut(Enum):
    """What rows of a parameter need."""

    ALONE = "nothing"
    MEASURED = "figures of the whole"
    WHOLE = "all other rows"


class Cutting:
    """What the server says of how far its regularizers may be cut.

    Args:
        client: Whose server.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: Mapping[str, catalogue_pb2.RegularizerDescription] = {}

    def of(self, regularizer: Regularizer, kind: np.dtype[Any], row_size: int, spans: Spans) -> Cut:
        """Return what rows need.

        All ranks find the same, as they must: it is found from what they all know.

        Args:
            regularizer: That of the parameter.
            kind: The parameter's data type.
            row_size: Elements of a row.
            spans: The rows of each rank.
        """
        if isinstance(regularizer, Joint):
            return Cut.MEASURED
        is_modified = isinstance(regularizer, Modified)
        choice = wrap(regularizer.regularizer if isinstance(regularizer, Modified) else regularizer)
        name = None if choice is None else choice.WhichOneof("kind")
        if choice is None or name is None:
            return Cut.ALONE
        description = self._described(name)
        locality = description.locality
        message: Message = getattr(choice, name)
        if locality == catalogue_pb2.LOCALITY_ELEMENT:
            return Cut.ALONE
        if locality == catalogue_pb2.LOCALITY_GROUP:
            ends = {row * row_size for span in spans for row in span}
            return Cut.ALONE if _are_ends(message, ends, row_size) else Cut.WHOLE
        # A set in a coarse data type is looked at as a whole, to round into it.
        coarse = description.traits.indicator and kind.itemsize < np.dtype(np.float32).itemsize
        measured = locality == catalogue_pb2.LOCALITY_REDUCTION and not is_modified and not coarse
        return Cut.MEASURED if measured and not _has(message, "groups") else Cut.WHOLE

    def _described(self, name: str) -> catalogue_pb2.RegularizerDescription:
        if name not in self._known:
            self._known = {each.name: each for each in self._client.list_regularizers()}
        return self._known[name]


def _are_ends(message: Any, positions: set[int], row_size: int) -> bool:
    """Whether groups are known to end at all these elements, which are ends of rows."""
    if _has(message, "groups"):
        groups = message.groups
        if groups.HasField("axis"):
            return bool(groups.axis == 0)
        if groups.HasField("size"):
            return groups.size > 0 and all(position % groups.size == 0 for position in positions)
        if groups.HasField("sizes"):
            return positions <= {0, *accumulate(groups.sizes.values)}
    if not _has(message, "m") or message.m < 1:
        return False
    if not _has(message, "axis"):
        return all(position % message.m == 0 for position in positions)
    return message.axis > 0 or all(position % (message.m * max(row_size, 1)) == 0 for position in positions)


def _has(message: Any, field: str) -> bool:
    known = message.DESCRIPTOR.fields_by_name.get(field)
    return known is not None and known.has_presence and bool(message.HasField(field))
