"""Operators that one kernel computes together: a convolution by lookup, tables and windows inside.

The tables of a product-quantised convolution are many times larger than its input, and windows over
them larger again: `LookupConv` never writes either whole.
"""

from __future__ import annotations

import numpy as np

from ...models.fixed import ProgramError
from ...models.ops import Lookup, Tables, Window
from ...models.program import Edge, Node, Program
from .kernel import Array, Kernel, storage
from .lookup_conv import LookupConv, Places

PIXEL = Window((1, 1))


def fused(program: Program) -> dict[str, tuple[str, Kernel]]:
    """By the name of a `Lookup`: the edge that its tables are of, and the kernel from there."""
    found: dict[str, tuple[str, Kernel]] = {}
    nodes = {node.name: node for node in program.nodes}
    for node in program.nodes:
        if not isinstance(node.op, Lookup):
            continue
        window = _only_source(program, nodes, node)
        walk = window.op if window and isinstance(window.op, Window) else PIXEL
        tables = window if walk is PIXEL else _only_source(program, nodes, window)
        if tables is not None and isinstance(tables.op, Tables):
            edge = program.edges[tables.inputs[0]]
            kernel = _kernel(edge, tables.op, walk, node.op, program.edges[node.name])
            if kernel is not None:
                found[node.name] = tables.inputs[0], kernel
    return found


def _only_source(program: Program, nodes: dict[str, Node], node: Node | None) -> Node | None:
    """The node that feeds `node` and nothing else."""
    source = node and nodes.get(node.inputs[0])
    return source if source and len(program.consumers[source.name]) == 1 else None


def _kernel(edge: Edge, tables: Tables, walk: Window, lookup: Lookup, out: Edge) -> Kernel | None:
    """The convolution over images of `edge`; None where it is not one that `LookupConv` takes."""
    top, left, bottom, right = walk.padding
    plain = Window(walk.kernel, walk.stride, walk.padding)
    if len(edge.shape) != 3 or walk.digest != plain.digest or (top, left) != (bottom, right):
        return None
    if tables.codebooks.min() < -128 or tables.codebooks.max() > 127:
        return None
    places = Places((edge.shape[0], edge.shape[1]), walk.kernel, walk.stride, (top, left))
    try:
        codebooks = tables.codebooks.astype(np.int8)
        conv = LookupConv.pack(places, edge.grid, codebooks, lookup.indices)
    except ProgramError:  # sums beyond int32, or inputs beyond 8 bits
        return None
    kind = storage(out)

    def kernel(x: Array) -> Array:
        return conv(x).astype(kind, copy=False)

    return kernel
