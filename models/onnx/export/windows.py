"""Windows and what reads them: convolutions, matrix products and pools."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...fixed import Grid, Ints
from ...ops import DepthwiseDot, Dot, MaxPool, Reshape, SumPool, Window
from ...program import Edge, Node, Program
from .draft import Draft, absorbs, check_exact, largest, write


@absorbs.register
def _(op: Dot, program: Program, before: Node) -> bool:
    if isinstance(before.op, Reshape):
        return len(before.op.shape) == 1 and len(program.edges[before.inputs[0]].shape) == 3
    return isinstance(before.op, Window)


@absorbs.register
def _(op: DepthwiseDot, program: Program, before: Node) -> bool:
    return isinstance(before.op, Window) and prod(before.op.kernel) == op.weights.shape[1]


@absorbs.register(MaxPool)
@absorbs.register(SumPool)
def _(op: MaxPool | SumPool, program: Program, before: Node) -> bool:
    if isinstance(before.op, Reshape):
        image = program.edges[before.inputs[0]].shape
        whole = len(image) == 3 and prod(image[:2]) == op.size
        return whole and before.op.shape == (1, 1, prod(image))
    return isinstance(before.op, Window) and prod(before.op.kernel) == op.size


@write.register
def _(op: Dot, draft: Draft, node: Node) -> str:
    edge, before = draft.edge(node), draft.absorbed(node)
    check_sums(node, np.abs(op.weights) @ largest(edge))
    if len(edge.shape) > 1:
        kernel = before.op.kernel if before and isinstance(before.op, Window) else (1, 1)
        filters = op.weights.reshape(len(op.weights), *kernel, -1).transpose(0, 3, 1, 2)
        return _convolution(draft, node, filters, op.grid)
    x, rows = draft.source(before or node), op.weights
    if before:
        height, width, channels = draft.edge(before).shape
        rows = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        rows = rows.reshape(len(rows), -1)
        x = draft.emit("Flatten", x, shape=edge.shape, axis=1)
    return draft.emit("MatMul", x, draft.weights(rows.T, op.grid), shape=draft.shape(node))


@write.register
def _(op: DepthwiseDot, draft: Draft, node: Node) -> str:
    channels, taps = op.weights.shape
    check_sums(node, (np.abs(op.weights).T * largest(draft.edge(node)).reshape(taps, -1)).sum(0))
    before = draft.absorbed(node)
    if before and isinstance(before.op, Window):
        filters = op.weights.reshape(channels, 1, *before.op.kernel)
        return _convolution(draft, node, filters, op.grid, channels)
    factors = op.weights.T.ravel()
    if len(draft.edge(node).shape) > 1:
        factors = factors.reshape(-1, 1, 1)
    x = draft.emit("Mul", draft.source(node), draft.weights(factors, op.grid))
    return _reduced(draft, node, x, "ReduceSum", taps)


def check_sums(node: Node, bounds: Ints) -> None:
    """Raise unless sums whose terms' magnitudes add up to the bounds are exact in any order."""
    check_exact(f"node {node.name!r}", "its sums", bounds.tolist())


def _convolution(draft: Draft, node: Node, filters: Ints, grid: Grid, groups: int = 1) -> str:
    """A convolution over the window before a node, or over single positions."""
    before = draft.absorbed(node)
    window = before.op if before and isinstance(before.op, Window) else Window((1, 1))
    x, pads = _cropped(draft, before or node, window)
    if window.pad:
        x, pads = _padded(draft, x, pads, window.pad), (0, 0, 0, 0)
    return draft.emit(
        "Conv",
        x,
        draft.weights(filters, grid),
        shape=draft.shape(node),
        group=groups,
        **_attributes(window, pads),
    )


def _attributes(window: Window, pads: tuple[int, ...]) -> dict[str, Any]:
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "dilations": window.dilation,
        "pads": pads,
    }


def _cropped(draft: Draft, node: Node, window: Window) -> tuple[str, tuple[int, ...]]:
    """What a window at `node` slides over, but for the padding, and that padding."""
    x = draft.source(node)
    channels, height, width = draft.shapes[x]
    if window.repeats:
        height, width = height * window.repeat[0], width * window.repeat[1]
        x = draft.emit(
            "Resize",
            x,
            draft.constant(()),
            draft.constant((1, 1, *window.repeat)),
            shape=(channels, height, width),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    pads = tuple(max(0, side) for side in window.padding)
    top, left, bottom, right = (max(0, -side) for side in window.padding)
    if top + bottom >= height or left + right >= width:
        # Nothing but padding on the other side is left, and QONNX has no empty tensors.
        x, pads = _padded(draft, x, pads, window.pad), (0, 0, 0, 0)
        _, height, width = draft.shapes[x]
    return part(draft, x, (top, left), (height - bottom, width - right), (1, 1)), pads


def part(
    draft: Draft, x: str, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]
) -> str:
    """Some rows and columns of an image."""
    channels, *size = draft.shapes[x]
    if (*starts, *ends, *steps) == (0, 0, *size, 1, 1):
        return x
    shape = (-(-(z - a) // s) for a, z, s in zip(starts, ends, steps, strict=True))
    parts = (draft.indices(part) for part in (starts, ends, (2, 3), steps))
    return draft.emit("Slice", x, *parts, shape=(channels, *shape))


def _padded(draft: Draft, x: str, pads: tuple[int, ...], value: int) -> str:
    """An image with rows and columns of `value` around it."""
    if not any(pads):
        return x
    channels, height, width = draft.shapes[x]
    top, left, bottom, right = pads
    around = draft.indices((0, 0, top, left, 0, 0, bottom, right))
    shape = (channels, height + top + bottom, width + left + right)
    return draft.emit("Pad", x, around, draft.constant(value), shape=shape, mode="constant")


@write.register
def _(op: Window, draft: Draft, node: Node) -> str:
    x, pads = _cropped(draft, node, op)
    x = _padded(draft, x, pads, op.pad)
    size = draft.program.edges[node.name].shape[:2]
    reach = [(positions - 1) * step + 1 for positions, step in zip(size, op.stride, strict=True)]
    taps: list[str] = []
    for tap in np.ndindex(op.kernel):
        first = [k * step for k, step in zip(tap, op.dilation, strict=True)]
        ends = [a + long for a, long in zip(first, reach, strict=True)]
        taps.append(part(draft, x, first, ends, op.stride))
    shape = draft.shape(node)
    return draft.emit("Concat", *taps, shape=shape, axis=1) if len(taps) > 1 else taps[0]


@write.register
def _(op: MaxPool, draft: Draft, node: Node) -> str:
    before = draft.absorbed(node)
    if not before or not isinstance(before.op, Window):
        return _pooled(draft, node, "ReduceMax", op.size)
    window = before.op
    x, pads = _cropped(draft, before, window)
    if any(pads) and not _pads_unseen(window, draft.edge(before), pads):
        x, pads = _padded(draft, x, pads, window.pad), (0, 0, 0, 0)
    shape = draft.shape(node)
    return draft.emit("MaxPool", x, shape=shape, **_attributes(window, pads))


def _pads_unseen(window: Window, edge: Edge, pads: tuple[int, ...]) -> bool:
    """True if no padding is ever the largest value: ONNX pads with what is below all values."""
    height, width, _ = edge.shape
    iy, ix = window.rows(height), window.columns(width)
    rows, columns = (iy >= 0) & (iy < height), (ix >= 0) & (ix < width)
    among_values = bool(rows.any(1).all() and columns.any(1).all())
    narrow = all(pad < size for pad, size in zip(pads, window.kernel * 2, strict=True))
    return narrow and among_values and window.pad <= int(edge.lo.min())


@write.register
def _(op: SumPool, draft: Draft, node: Node) -> str:
    terms = largest(draft.edge(node)).reshape(op.size, -1)
    check_sums(node, terms.sum(0))
    before = draft.absorbed(node)
    if not before or not isinstance(before.op, Window):
        return _pooled(draft, node, "ReduceSum", op.size)
    channels = terms.shape[1]
    ones = np.ones((channels, 1, *before.op.kernel), np.int64)
    return _convolution(draft, node, ones, Grid(0, 1), channels)


def _pooled(draft: Draft, node: Node, reduce: str, taps: int) -> str:
    """A pool without a window: over a whole image, or over parts of the channels."""
    before = draft.absorbed(node)
    if not before:
        return _reduced(draft, node, draft.source(node), reduce, taps)
    x, shape = draft.source(before), draft.shape(node)
    return draft.emit(reduce, x, shape=shape, axes=(2, 3), keepdims=1)


def _reduced(draft: Draft, node: Node, x: str, reduce: str, taps: int) -> str:
    """The channels of x as taps of fewer channels, reduced over the taps."""
    channels, *image = draft.shapes[x]
    x = draft.reshape(x, (taps, channels // taps, *image))
    shape = draft.shape(node)
    return draft.emit(reduce, x, shape=shape, axes=(1,), keepdims=0)
