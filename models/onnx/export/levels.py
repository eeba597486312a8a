"""Functions of single integers: thresholds, requantisation, scales and tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...fixed import Grid, Ints
from ...ops import Requantise, Scale, Table, Thresholds
from ...program import Edge, Node
from .draft import (
    DOUBLE,
    EXACT,
    FLOAT,
    INT64,
    Draft,
    bits_of,
    check_exact,
    datatype,
    largest,
    write,
)

LEVELS_MAX = 255
"""Most thresholds of a channel made from something else than thresholds."""


@dataclass(frozen=True, eq=False)
class Staircase:
    """y = bias + scale * #{k : sign * x >= limits[k]}, for each channel; scales are not negative.

    What thresholds, requantisation and monotone tables have in common, as QONNX counts.
    """

    sign: Ints
    limits: Ints
    scale: Ints
    bias: Ints

    @property
    def grid(self) -> Grid:
        """The type that holds the results."""
        ends = self.bias + self.scale * self.limits.shape[1]
        lo, hi = int(self.bias.min()), int(ends.max())
        signs = bool(((self.bias == -1) & (ends == 1)).all()) and self.limits.shape[1] == 1
        return Grid(lo, hi, 2 if signs else 1)

    def append(self, draft: Draft, node: Node) -> str:
        """Append the nodes that compute it; one where all channels scale alike and none falls."""
        edge = draft.edge(node)
        ends = self.bias + self.scale * self.limits.shape[1]
        check_exact(f"node {node.name!r}", "its levels", [*self.bias.tolist(), *ends.tolist()])
        x = draft.affine(draft.source(node), self.sign, np.zeros(1), edge.shape)
        alike = len({*self.scale.tolist()}) == len({*self.bias.tolist()}) == 1
        counted = self.grid if alike else Grid(0, self.limits.shape[1])
        x = draft.emit(
            "MultiThreshold",
            x,
            draft.constant(np.sort(self.limits, 1)),
            out_dtype=datatype(counted),
            out_scale=float(self.scale[0]) if alike else 1.0,
            out_bias=float(self.bias[0]) if alike else 0.0,
            data_layout="NC" if len(edge.shape) == 1 else "NCHW",
        )
        return x if alike else draft.affine(x, self.scale, self.bias, edge.shape)


@write.register
def _(op: Thresholds, draft: Draft, node: Node) -> str:
    edge, falling = draft.edge(node), op.step < 0
    # A threshold below all values or above them need not be further away than that.
    limits = np.clip(op.thresholds, edge.lo[:, None], edge.hi[:, None] + 1)
    return Staircase(
        np.where(falling, -1, 1),
        np.where(falling[:, None], 1 - limits, limits),
        np.abs(op.step),
        op.offset + np.where(falling, op.step, 0) * limits.shape[1],
    ).append(draft, node)


@write.register
def _(op: Requantise, draft: Draft, node: Node) -> str:
    edge, grid = draft.edge(node), draft.program.edges[node.name].grid
    if grid.hi - grid.lo <= LEVELS_MAX:
        return _requantising_stairs(op, edge, grid).append(draft, node)
    rounding, bias = ("Round", op.bias) if op.even else ("Floor", np.array(op.rounded_bias()))
    x = _product(draft, node, op.multiplier, bias)
    kind = np.float64 if draft.kinds[x] == DOUBLE else np.float32
    x = draft.emit(rounding, draft.emit("Mul", x, draft.constant(2.0**-op.shift, kind)))
    # Rounding to float32 takes nothing across a bound that float32 holds.
    x = draft.cast(x, FLOAT)
    return draft.emit("Clip", x, draft.constant(grid.lo), draft.constant(grid.hi))


def _product(draft: Draft, node: Node, factors: Ints, shifts: Ints) -> str:
    """What a node reads, times `factors` plus `shifts`: in float64 where float32 is not exact."""
    edge = draft.edge(node)
    terms = zip(largest(edge).tolist(), factors.tolist(), shifts.tolist(), strict=True)
    bounds = [max(x, 1) * max(abs(m), 1) + abs(b) for x, m, b in terms]
    kind = FLOAT if bits_of(bounds) <= EXACT[FLOAT] else DOUBLE
    check_exact(f"node {node.name!r}", "its products", bounds, kind)
    return draft.affine(draft.cast(draft.source(node), kind), factors, shifts, edge.shape)


def _requantising_stairs(op: Requantise, edge: Edge, grid: Grid) -> Staircase:
    """A level for each result above the lowest: where the product before rounding reaches it."""
    rows: list[list[int]] = []
    signs = np.where(op.multiplier < 0, -1, 1)
    ends = (np.sort((edge.lo * signs, edge.hi * signs), 0)).T.tolist()
    channels = zip(ends, op.multiplier.tolist(), op.rounded_bias(), strict=True)
    for (lo, hi), multiplier, bias in channels:
        row = [hi + 1] if grid.lo == grid.hi else []  # one is needed, and this is never reached
        for level in range(grid.lo + 1, grid.hi + 1):
            # To even numbers a half is rounded up, from odd ones down: half a unit is not enough.
            least = (level << op.shift) + (op.even & level) - bias
            always = (lo, hi + 1)[least > 0]
            first = -(-least // abs(multiplier)) if multiplier else always
            row.append(min(max(first, lo), hi + 1))
        rows.append(row)
    one = np.ones_like(signs)
    return Staircase(signs, np.array(rows), one, grid.lo * one)


@write.register
def _(op: Scale, draft: Draft, node: Node) -> str:
    return draft.cast(_product(draft, node, op.multiplier, op.bias), FLOAT)


@write.register
def _(op: Table, draft: Draft, node: Node) -> str:
    edge = draft.edge(node)
    first, last = edge.grid.lo - op.lo, edge.grid.hi - op.lo
    values = np.broadcast_to(op.values, (edge.channels, op.values.shape[1]))[:, first : last + 1]
    jumps = np.diff(values, axis=1)
    rising, falling = np.maximum(jumps, 0), np.maximum(-jumps, 0)
    if max(int(rising.sum(1).max()), int(falling.sum(1).max())) > LEVELS_MAX:
        return _looked_up(op, draft, node)
    up = _stairs(rising, edge, values[:, 0]).append(draft, node)
    if not falling.any():
        return up
    return draft.emit("Sub", up, _stairs(falling, edge, 0 * values[:, 0]).append(draft, node))


def _stairs(jumps: Ints, edge: Edge, bias: Ints) -> Staircase:
    """Rises by jumps[c, i] from the i-th value of the range to the next."""
    count = max(1, int(jumps.sum(1).max()))
    never = edge.hi + 1
    places = np.arange(edge.grid.lo + 1, edge.grid.hi + 1)
    limits = np.tile(never[:, None], (1, count))
    for row, counts in zip(limits, jumps, strict=True):
        at = np.repeat(places, counts)
        row[: len(at)] = at
    one = np.ones_like(bias)
    return Staircase(one, limits, one, bias)


def _looked_up(op: Table, draft: Draft, node: Node) -> str:
    """A table as a list of all its rows, and the place in it of each value."""
    edge, (rows, entries) = draft.edge(node), op.values.shape
    starts = np.arange(rows) * entries - op.lo
    where = f"node {node.name!r}"
    check_exact(where, "the places in its table", [*starts.tolist(), op.values.size])
    check_exact(where, "the values of its table", op.values.ravel().tolist())
    x = draft.affine(draft.source(node), np.ones(1), starts, edge.shape)
    x, values = draft.cast(x, INT64), draft.constant(op.values.ravel())
    return draft.emit("Gather", values, x, shape=draft.shapes[x], kind=FLOAT, axis=0)
