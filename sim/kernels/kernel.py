"""What a kernel is: an operator prepared once for the edges around it, fast on narrow integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
from numba.core import config
from numpy.typing import NDArray

from ...models.program import Edge, Op
from ...models.program import storage as storage

Array = NDArray[Any]
Kernel = Callable[..., Array]
"""Takes arrays (N, *shape) of the input edges' storage, returns one of the output edge's."""

CACHE_LINE = 64


@singledispatch
def prepare(op: Op, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    """Return the kernel of an operator; without one of its own, its definition."""
    kind = storage(output)
    return lambda *xs: op(*(x.astype(np.int64) for x in xs)).astype(kind)


def aligned(shape: tuple[int, ...], kind: type[np.integer[Any]]) -> Array:
    """Memory that begins on a cache line, lest a vector touch two."""
    size = np.dtype(kind).itemsize * int(np.prod(shape))
    buffer = np.empty(size + CACHE_LINE, np.uint8)
    skip = -buffer.ctypes.data % CACHE_LINE
    return buffer[skip : skip + size].view(kind).reshape(shape)


def compiles_for_this() -> bool:
    """Whether Numba compiles for this processor as it is, not for another by name."""
    native = (None, "host")
    return config.CPU_NAME in native and config.CPU_FEATURES in native


def rows(x: Array) -> Array:
    """All but the last axis as one: (R, C), contiguous."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])
