"""Bit-exact fast kernels, one file per operator: a witness to the definitions, and nothing else.

`execute` is what `Program.run` takes to compute with them; kernels pack their weights once per
operator.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...models.fixed import Ints
from ...models.program import Edge, Op, Program
from . import add as add
from . import concatenate as concatenate
from . import depthwise_dot as depthwise_dot
from . import dot as dot
from . import lookup as lookup
from . import pool as pool
from . import requantise as requantise
from . import scale as scale
from . import select as select
from . import sparse_dot as sparse_dot
from . import table as table
from . import table_sum as table_sum
from . import tables as tables
from . import thresholds as thresholds
from . import top_k as top_k
from . import tree as tree
from . import window as window
from .kernel import Array, Kernel, prepare, storage

KEPT = 1024
"""Kernels kept ready, the latest used."""


@lru_cache(maxsize=KEPT)
def _prepared(op: Op, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    """The kernel of an operator between its edges; operators and edges are themselves the key."""
    return prepare(op, inputs, output)


def execute(op: Op, inputs: tuple[Edge, ...], output: Edge, *xs: Array) -> Array:
    """Compute `op` on arrays of any integer type that hold the edges' ranges."""
    kernel = _prepared(op, inputs, output)
    return kernel(*(x.astype(storage(e), copy=False) for x, e in zip(xs, inputs, strict=True)))


def run(program: Program, x: Array) -> Ints:
    """Compute a program's output by kernels: (N, *shape) integers or floats in, int64 out."""
    return program.run(x, execute)[program.nodes[-1].name].astype(np.int64)
