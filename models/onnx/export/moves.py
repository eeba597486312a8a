"""What joins, picks, reshapes and ranks values."""

from __future__ import annotations

from ...ops import Add, Concatenate, DepthToSpace, Reshape, Select, TopK
from ...program import Node
from .draft import FLOAT, INT64, Draft, laid_out, tensor_order, write
from .windows import part


@write.register
def _(op: Add, draft: Draft, node: Node) -> str:
    return draft.emit("Add", *(draft.tensors[name] for name in node.inputs))


@write.register
def _(op: Concatenate, draft: Draft, node: Node) -> str:
    shape = draft.program.edges[node.name].shape
    parts = (draft.tensors[name] for name in node.inputs)
    return draft.emit("Concat", *parts, shape=laid_out(shape), axis=1)


@write.register
def _(op: Select, draft: Draft, node: Node) -> str:
    shape = draft.program.edges[node.name].shape
    return draft.emit(
        "Gather",
        draft.source(node),
        draft.indices(op.channels.tolist()),
        shape=laid_out(shape),
        axis=1,
    )


@write.register
def _(op: Reshape, draft: Draft, node: Node) -> str:
    shape = draft.edge(node).shape
    order = tensor_order(shape)
    apart = [shape[axis] for axis in order]
    # In the order of the edge's values first, then as the new edge's tensor holds them.
    flat = draft.move(
        draft.source(node), apart, [order.index(k) for k in range(len(shape))], op.shape
    )
    return draft.move(flat, op.shape, tensor_order(op.shape), laid_out(op.shape))


@write.register
def _(op: DepthToSpace, draft: Draft, node: Node) -> str:
    (rows, columns, _), (by, bx) = draft.edge(node).shape, op.block
    channels, height, width = draft.shape(node)
    x, whole = draft.source(node), (channels, rows * by, columns * bx)
    if by == bx > 1:
        x = draft.emit("DepthToSpace", x, shape=whole, blocksize=by, mode="DCR")
    else:
        # ONNX knows square blocks only.
        x = draft.move(x, (by, bx, channels, rows, columns), (2, 3, 0, 4, 1), whole)
    return part(draft, x, (0, 0), (height, width), (1, 1))


@write.register
def _(op: TopK, draft: Draft, node: Node) -> str:
    x, shape = draft.source(node), draft.shape(node)
    if op.k == 1:
        places = draft.emit("ArgMax", x, shape=shape, kind=INT64, axis=1, keepdims=1)
    else:
        values, places = draft.tensor("TopK", shape), draft.tensor("places", shape, INT64)
        count = draft.indices((op.k,))
        draft.append("TopK", [x, count], [values, places], axis=1, largest=1, sorted=1)
    return draft.cast(places, FLOAT)
