"""Bit-exact fast kernels, one file per operator: a witness to the definitions, and nothing else.

`execute` is what `Program.run` takes to compute every edge with them, and `run` computes the output
alone, in fewer steps where one kernel does what several operators say.  Kernels pack their weights
once per operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...models.fixed import Ints
from ...models.program import INPUT, Edge, Op, Program
from ...models.store import chunks
from . import add as add
from . import concatenate as concatenate
from . import depth_to_space as depth_to_space
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
from . import tap_transform as tap_transform
from . import thresholds as thresholds
from . import top_k as top_k
from . import tree as tree
from . import window as window
from .fusion import fused
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


@dataclass(frozen=True, eq=False)
class Step:
    """One kernel of a program: it reads the edges `inputs`; `last` are those none reads after."""

    name: str
    inputs: tuple[str, ...]
    kernel: Kernel
    last: tuple[str, ...]


@lru_cache(maxsize=64)
def _steps(program: Program) -> tuple[Step, ...]:
    """What computes the output, in order."""
    together = fused(program)
    wanted, steps = {program.nodes[-1].name}, list[Step]()
    for node in reversed(program.nodes):
        if node.name not in wanted:
            continue
        if node.name in together:
            source, kernel = together[node.name]
            inputs = (source,)
        else:
            inputs = node.inputs
            edges = tuple(program.edges[name] for name in inputs)
            kernel = _prepared(node.op, edges, program.edges[node.name])
        steps.append(Step(node.name, inputs, kernel, tuple(set(inputs) - wanted)))
        wanted.update(inputs)
    return tuple(reversed(steps))


def forget() -> None:
    """Drop the kernels that are kept ready, and with them the operators and programs they hold."""
    _prepared.cache_clear()
    _steps.cache_clear()


def run(program: Program, x: Array) -> Ints:
    """Compute a program's output by kernels: (N, *shape) integers or floats in, int64 out."""
    x = program.check_input(x).astype(storage(program.input))
    steps = _steps(program)
    largest = max(program.edges[step.name].elements for step in steps)
    parts = [_run(steps, x[part]) for part in chunks(len(x), largest)]
    return np.concatenate(parts).astype(np.int64) if parts else program(x)


def _run(steps: tuple[Step, ...], x: Array) -> Array:
    """The output for a few frames; what is read no more is freed."""
    values = {INPUT: x}
    for step in steps:
        values[step.name] = step.kernel(*(values[name] for name in step.inputs))
        for name in step.last:
            del values[name]
    return values[steps[-1].name]
