"""Calibration data on its way through a growing integer program, and the step of an activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from numpy.typing import NDArray

from . import ops
from .fixed import Grid, Ints, ProgramError
from .program import Edge, Execute, Node, Op, storage
from .store import Store, Stored, chunks

Floats = NDArray[np.float64]

SAMPLES_MAX = 1 << 18
CLIPPINGS = np.linspace(0.1, 1, 46)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The nodes so far, with the value of every edge on the calibration data.

    Windows are many times larger than what they read, so they are computed again for each chunk of
    frames and never kept whole; all else lies in `store`, whatever the number of frames.  `execute`
    computes an operator, as for `Program.run`.
    """

    execute: Execute
    frames: int
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    edges: dict[str, Edge] = field(default_factory=dict[str, Edge])
    kept: dict[str, Stored] = field(default_factory=dict[str, Stored])
    store: Store = field(default_factory=Store)

    def chunks(self, *names: str) -> Iterator[slice]:
        """Slices of frames that hold a limited number of elements of each of the edges."""
        return chunks(self.frames, max(self.edges[name].elements for name in names))

    def values(self, name: str, part: slice) -> Ints:
        """The edge `name` on some of the frames."""
        if name in self.kept:
            return self.kept[name][part].astype(np.int64)
        node = self.nodes[name]
        edges = tuple(self.edges[source] for source in node.inputs)
        xs = (self.values(source, part) for source in node.inputs)
        return self.execute(node.op, edges, self.edges[name], *xs)

    def keep(self, name: str, edge: Edge, values: Callable[[slice], Ints], *beside: str) -> None:
        """Keep an edge whose `values` are asked for part by part, each with those `beside` it."""
        self.edges[name] = edge
        stored = self.store.reserve((self.frames, *edge.shape), np.dtype(storage(edge)))
        for part in self.chunks(name, *beside):
            stored.write(part, values(part))
        self.kept[name] = stored

    def emit(self, name: str, op: Op, *inputs: str) -> str:
        """Append a node and run it; return its name."""
        try:
            edge = op.infer(*(self.edges[source] for source in inputs))
        except ProgramError as error:
            raise ProgramError(f"node {name!r}: {error}") from None
        if name in self.edges:
            raise ProgramError(f"two nodes would be called {name!r}; rename the layer")
        self.nodes[name], self.edges[name] = Node(name, op, inputs), edge
        if not isinstance(op, ops.Window):
            self.keep(name, edge, lambda part: self.values(name, part), *inputs)
        return name

    def samples(self, name: str, real: Callable[[Ints], Floats]) -> Floats:
        """Every k-th position of what `real` makes of an edge, (R, C), about 2**18 numbers in all.

        Whole positions: a stride over single numbers would meet some channels alone.  And one
        without a factor of the number of positions, lest it meet some columns of images alone.
        """
        edge = self.edges[name]
        positions = edge.elements // edge.channels
        step = -(-self.frames * edge.elements // SAMPLES_MAX)
        while gcd(step, positions) > 1:
            step += 1
        found: list[Floats] = []
        for part in self.chunks(name):
            rows = real(self.values(name, part)).reshape(-1, edge.channels)
            # A copy, lest the view hold the whole chunk.
            found.append(rows[-(part.start * positions) % step :: step].copy())
        return np.concatenate(found)


def best_step(samples: Floats, grid: Grid) -> float:
    """The step with which the samples lose least, in square, when they are rounded to the grid.

    Large values are clipped where that gives the others a finer step.
    """
    steps = CLIPPINGS * (float(np.abs(samples).max()) or 1.0) / grid.hi
    return float(min(steps, key=lambda step: _square_error(samples, step, grid)))


def best_argument_step(rows: Floats, grid: Grid, function: Callable[[Floats], Floats]) -> float:
    """The step of arguments (R, C) with which the function of them loses least, in square."""
    steps = CLIPPINGS * (float(np.abs(rows).max()) or 1.0) / grid.hi
    wanted = function(rows)

    def loss(step: float) -> float:
        rounded = np.clip(np.floor(rows / step + 0.5), grid.lo, grid.hi)
        return float(((function(step * rounded) - wanted) ** 2).sum())

    return float(min(steps, key=loss))


def _square_error(real: Floats, step: float, grid: Grid) -> float:
    rounded = np.clip(np.floor(real / step + 0.5), grid.lo, grid.hi)
    return float(((step * rounded - real) ** 2).sum())
