"""What a kernel is: an operator prepared once for the edges around it, fast on narrow integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.program import Edge, Op

Array = NDArray[Any]
Kernel = Callable[..., Array]
"""Takes arrays (N, *shape) of the input edges' storage, returns one of the output edge's."""

_STORAGES = (np.int8, np.uint8, np.int16, np.int32)


def storage(edge: Edge) -> type[np.signedinteger[Any] | np.unsignedinteger[Any]]:
    """The narrowest integer type that holds an edge."""
    for kind in _STORAGES:
        limits = np.iinfo(kind)
        if limits.min <= edge.grid.lo and edge.grid.hi <= limits.max:
            return kind
    return np.int64


@singledispatch
def prepare(op: Op, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    """Return the kernel of an operator; without one of its own, its definition."""
    kind = storage(output)
    return lambda *xs: op(*(x.astype(np.int64) for x in xs)).astype(kind)


def rows(x: Array) -> Array:
    """All but the last axis as one: (R, C), contiguous."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])
