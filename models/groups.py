"""Channels of an edge, in any order, and of the groups of a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from . import layers, ops
from .compress.method import Compressed, Sums
from .fixed import BINARY, TERNARY, Ints
from .lowering import Lowering, Ready


def joined(lowering: Lowering, name: str, parts: Sequence[Sums]) -> Sums:
    """The channels of all parts, at most 16, in one edge."""
    if len(parts) == 1:
        return parts[0]
    edge = lowering.calibration.emit(name, ops.Concatenate(), *(part.edge for part in parts))
    return Sums(edge, np.concatenate([part.scale for part in parts]))


def rising(x: Ready, run: slice) -> tuple[list[int], Ints]:
    """The channels of its node that a run of real channels is, rising, and each one's rank."""
    size = max(run.stop, len(x.channels or ()))
    wanted = np.array(x.channels or range(size))[run]
    order = np.argsort(wanted, kind="stable")
    return wanted[order].tolist(), np.argsort(order)


def places(own: Ints, channels: int, layer: layers.Conv) -> Ints:
    """Where some channels stand in windows of so many."""
    return (np.arange(prod(layer.window))[:, None] * channels + own).ravel()


def block_diagonal(found: Sequence[Compressed], columns: Sequence[Ints]) -> Compressed:
    """The weights of several groups as one matrix, each group's in its own columns."""
    count = sum(len(one.weights) for one in found)
    weights = np.zeros((count, sum(map(len, columns))), np.int64)
    row = 0
    for one, own in zip(found, columns, strict=True):
        weights[row : row + len(one.weights), own] = one.weights
        row += len(one.weights)
    grid = TERNARY if found[0].grid == BINARY else found[0].grid
    return Compressed(weights, grid, np.concatenate([one.scale for one in found]))


def channels_of(lowering: Lowering, source: str, channels: Sequence[int], name: str) -> str:
    """Some channels of an edge."""
    edge = lowering.calibration.edges[source]
    in_order = all(a < b for a, b in pairwise(channels))
    if in_order and len(channels) == edge.channels:
        return source
    if in_order:
        return lowering.calibration.emit(name, ops.Select(np.array(channels)), source)
    # No operator stores and reorders channels; a product with rows of a unit matrix does.
    rows = np.eye(edge.channels, dtype=np.int64)[list(channels)]
    return lowering.calibration.emit(name, ops.Dot(rows, TERNARY), source)
