"""What networks end with: softmax, left to the host, and the indices of the largest values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ... import ops
from ...exact import Finish, Sigmoid, Tanh
from ...fixed import ProgramError
from ..constants.constant import Constant
from ..graph import Node
from ..importer import Importer
from ..parameters import Attributes
from ..streams import Stream, Unknown, Value
from ..uniform import BITS_MAX
from .handler import handles


@handles("Softmax", "LogSoftmax")
def softmax(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """Softmax and LogSoftmax.

    At the end, over the last axis: left to the host, or nothing where the largest is asked for.
    """
    x = importer.stream(node)
    rank = len(x.shape) + 1
    axis = attributes.integer("axis", -1 if node.version >= 13 else 1)
    axis = axis + rank if axis < 0 else axis
    last = max((k for k in range(1, rank) if x.shape[k - 1] > 1), default=rank - 1)
    if axis != last or rank - 1 != last:
        raise ProgramError(
            f"{node}: it runs along axis {axis} of {rank}, and the host finishes answers along the "
            "last one; flatten before it"
        )
    name = "softmax" if node.op == "Softmax" else "log_softmax"
    return x.applied(Finish(name), node.name)


@handles("ArgMax")
def arg_max(importer: Importer, node: Node, attributes: Attributes) -> Value:
    """ArgMax.

    Along the channels, ties to the first.
    """
    if attributes.flag("select_last_index", False):
        raise ProgramError(
            f"{node}: it takes the last of equals, and hardware the first; set select_last_index 0"
        )
    axis, keep = attributes.integer("axis", 0), attributes.flag("keepdims", True)
    return _largest(importer, node, importer.stream(node), 1, axis, keep)


@handles("TopK")
def top_k(importer: Importer, node: Node, attributes: Attributes) -> tuple[Value, ...]:
    """TopK.

    The indices (not the values) of at most 64 largest along the channels, sorted.
    """
    count: Constant = importer.constant(node, 1, "k")
    if count.size != 1 or not 1 <= (k := int(count.integers().reshape(-1)[0])) <= 64:
        raise ProgramError(f"{node}: k is one number from 1 to 64; export the model again")
    if not attributes.flag("largest", True):
        raise ProgramError(f"{node}: it takes the smallest, hardware the largest; negate before it")
    attributes.ignore("sorted")
    outputs = {tensor.name for tensor in importer.graph.outputs}
    if node.outputs[0] and (importer.readers[node.outputs[0]] or node.outputs[0] in outputs):
        raise ProgramError(
            f"{node}: its values are asked for, and hardware gives the indices alone; use its "
            "second output"
        )
    axis = attributes.integer("axis", -1)
    return Unknown(), _largest(importer, node, importer.stream(node), k, axis, True)


def _largest(importer: Importer, node: Node, x: Stream, k: int, axis: int, keep: bool) -> Stream:
    rank = len(x.shape) + 1
    axis = axis + rank if axis < 0 else axis
    if x.chain and isinstance(x.chain[-1], (Finish, Sigmoid, Tanh)):
        along = max((at for at, size in enumerate(x.shape, 1) if size > 1), default=axis)
        if isinstance(x.chain[-1], Finish) and axis != along:
            raise ProgramError(
                f"{node}: it compares along axis {axis} what a softmax made along axis {along}; "
                "compare along the same axis"
            )
        # These rise strictly: the order is that of what goes in.
        x = replace(x, chain=x.chain[:-1])
    x = _comparable(importer, node, importer.settled(x, node))
    if rank == 4 and axis == 1:
        x = importer.images(node, x)
        ordered = bool((importer.channel_order(x) == np.arange(x.channels)).all())
    else:
        ordered = rank == 2 and axis == 1
        if ordered:
            x = importer.flat(x)
            ordered = bool((x.index == np.arange(x.channels)).all())
    if not ordered:
        raise ProgramError(
            f"{node}: it compares along axis {axis} of {rank} values that do not lie side by side "
            "in their order; compare along the channels"
        )
    source = importer.emit(node.name, ops.TopK(k), x.source)
    if rank == 4:
        return importer.image_result(source, x, (), node.name)
    shape = (k,) if keep or k > 1 else ()
    return Stream(source, shape, np.arange(k), (), node.name)


def _comparable(importer: Importer, node: Node, x: Stream) -> Stream:
    """The stream with one positive scale and one offset for all channels."""
    found = importer.unified(x)
    if found is None:
        raise ProgramError(
            f"{node}: to compare its inputs under one scale takes integers of more than {BITS_MAX} "
            "bits; quantise the scores per tensor before it"
        )
    return found
