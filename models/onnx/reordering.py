"""Channels in another order, without hardware: the product that makes them has its rows moved."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from .. import ops
from ..fixed import Ints
from ..program import Op
from .drafting import Drafting


@singledispatch
def permuted(op: Op, channels: Ints) -> Op | None:
    """The operator for inputs (of a product: with results) in another order; None where none is.

    Channel k of the result is channel channels[k] of what it was.
    """
    return None


@permuted.register
def _(op: ops.Dot, channels: Ints) -> Op:
    return replace(op, weights=op.weights[channels])


@permuted.register(ops.Requantise)
@permuted.register(ops.Scale)
def _(op: ops.Requantise | ops.Scale, channels: Ints) -> Op:
    return replace(op, multiplier=op.multiplier[channels], bias=op.bias[channels])


@permuted.register
def _(op: ops.Thresholds, channels: Ints) -> Op:
    step, offset = op.step[channels], op.offset[channels]
    return replace(op, thresholds=op.thresholds[channels], step=step, offset=offset)


@permuted.register
def _(op: ops.Table, channels: Ints) -> Op:
    return op if len(op.values) == 1 else replace(op, values=op.values[channels])


def reordered(draft: Drafting, source: str, channels: Ints) -> str | None:
    """A node that emits the channels of `source` in another order; None where nothing can.

    The nodes from a product on are written again, since others may read them as they are; those
    that nobody reads in the end are dropped.
    """
    path: list[tuple[str, Op]] = []
    while not path or not isinstance(path[-1][1], ops.Dot):
        node = draft.nodes.get(source)
        op = permuted(node.op, channels) if node else None
        if node is None or op is None:
            return None
        draft.spend(sum(np.size(value) for value in vars(op).values()))
        path.append((node.name, op))
        (source,) = node.inputs
    for name, op in reversed(path):
        source = draft.emit(name, op, source)
    return source
