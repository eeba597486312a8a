"""Calibration data on its way through a growing integer program, and the step of an activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import ops
from .fixed import Grid, Ints, ProgramError
from .program import Edge, Execute, Node, Op

Floats = NDArray[np.float64]

CHUNK_ELEMENTS = 1 << 22
SAMPLES_MAX = 1 << 18
CLIPPINGS = np.linspace(0.1, 1, 46)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The nodes so far, with the value of every edge on the calibration data.

    Windows are many times larger than what they read, so they are computed again for each chunk of
    frames and never kept whole.  `execute` computes an operator, as for `Program.run`.
    """

    execute: Execute
    frames: int
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    edges: dict[str, Edge] = field(default_factory=dict[str, Edge])
    kept: dict[str, Ints] = field(default_factory=dict[str, Ints])

    def chunks(self, name: str) -> Iterator[slice]:
        """Slices of frames that hold a limited number of elements of the edge `name`."""
        step = max(1, CHUNK_ELEMENTS // self.edges[name].elements)
        return (slice(start, start + step) for start in range(0, self.frames, step))

    def values(self, name: str, part: slice) -> Ints:
        """The edge `name` on some of the frames."""
        if name in self.kept:
            return self.kept[name][part]
        node = self.nodes[name]
        edges = tuple(self.edges[source] for source in node.inputs)
        xs = (self.values(source, part) for source in node.inputs)
        return self.execute(node.op, edges, self.edges[name], *xs)

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
            parts = [self.values(name, part) for part in self.chunks(inputs[0])]
            self.kept[name] = np.concatenate(parts)
        return name


def best_step(real: Floats, grid: Grid) -> float:
    """The step with which `real` loses least, in square, when it is rounded to the grid.

    Large values are clipped where that gives the others a finer step; a fixed subset of the samples
    decides.
    """
    samples = real.ravel()[:: -(-real.size // SAMPLES_MAX)]
    largest = float(np.abs(samples).max()) or 1.0
    steps = CLIPPINGS * largest / grid.hi
    return float(min(steps, key=lambda step: _square_error(samples, step, grid)))


def best_argument_step(real: Floats, grid: Grid, function: Callable[[Floats], Floats]) -> float:
    """The step of an argument (..., C) with which the function of it loses least, in square."""
    rows = real.reshape(-1, real.shape[-1])
    rows = rows[:: -(-real.size // SAMPLES_MAX)]
    steps = CLIPPINGS * (float(np.abs(rows).max()) or 1.0) / grid.hi
    wanted = function(rows)

    def loss(step: float) -> float:
        rounded = np.clip(np.floor(rows / step + 0.5), grid.lo, grid.hi)
        return float(((function(step * rounded) - wanted) ** 2).sum())

    return float(min(steps, key=loss))


def _square_error(real: Floats, step: float, grid: Grid) -> float:
    rounded = np.clip(np.floor(real / step + 0.5), grid.lo, grid.hi)
    return float(((step * rounded - real) ** 2).sum())
