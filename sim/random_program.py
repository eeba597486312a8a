"""Random accelerators, each from one seed: a program, its foldings and buffers, inputs, stalls.

Everything is drawn from one `numpy` generator, so that a seed means the same case under any hash
seed, path or machine.  A draw that breaks a rule of the program is dropped and drawn anew: the
operators' own `ProgramError`s say what fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

from ..hw.buffers import buffered, least
from ..hw.design import LEAST_BUFFER, SINK, SOURCE, Design, folding_choices, with_depths
from ..hw.fifo import Fifo
from ..hw.fork import Fork
from ..hw.pack import Pack
from ..hw.unit import Fold, Place, cycles
from ..hw.window import Buffered, walk_of
from ..models.fixed import Ints, ProgramError
from ..models.ops import Dot
from ..models.program import Edge, Node, Program
from .random_layers import between, pick, random_program

MOST_CYCLES = 1500
MOST_STALLED = 500
"""Cycles of a case of the schedule's own campaign."""
MOST_UNITS = 18
"""Units of such a case, links included: simulators take long to build, and there are many cases."""
MOST_PRODUCTS = 24
"""Results times operands of a unit in one cycle."""
MOST_CONSTANT = 150
"""The same where weights are constants: one cycle for the whole matrix."""


@dataclass(frozen=True, eq=False)
class Case:
    """A design, the frames (N, *shape) that it is fed, and stall patterns of both ends."""

    seed: int
    design: Design
    inputs: Ints
    gates: Mapping[str, np.ndarray]

    @property
    def program(self) -> Program:
        """The program that the design computes."""
        return self.design.program

    @cached_property
    def values(self) -> dict[str, Ints]:
        """Every edge, by the definitions."""
        return self.program.run(self.inputs)

    @cached_property
    def promise(self) -> dict[str, Ints]:
        """The cycle, from reset's end, of every transfer of every stream."""
        frames = len(self.inputs)
        return self.design.transfers(self.design.graph(self.gates).evaluate(frames), frames)

    @property
    def cycles(self) -> int:
        """Cycles from reset to the last transfer."""
        return 1 + max(int(at[-1]) for at in self.promise.values())


def draw(seed: int) -> Case:
    """Return the case of a seed: always the same."""
    rng = np.random.default_rng(seed)
    while True:
        try:
            case = _case(rng, seed)
            if case.cycles <= MOST_CYCLES:
                return case
        except ProgramError:
            continue


def _case(rng: Generator, seed: int) -> Case:
    program = random_program(rng, f"fuzz{seed}")
    frames = between(rng, 2, 4)
    design = _depths(rng, Design(program, _folds(rng, program, MOST_CYCLES // frames), {}))
    gates = {end: _stalls(rng) for end in (SOURCE, SINK) if rng.random() < 0.6}
    return Case(seed, design, _inputs(rng, program.input, frames), gates)


def draw_stalled(seed: int) -> Case:
    """Return a case for the schedule's own campaign: always the same for a seed.

    Both ends stall, in patterns of every kind; every other seed has branches; buffers are random,
    or the least for full throughput, in turn.
    """
    rng = np.random.default_rng([seed, 1])
    while True:
        try:
            case = _stalled_case(rng, seed)
            if case.cycles <= MOST_STALLED:
                return case
        except ProgramError:
            continue


def _stalled_case(rng: Generator, seed: int) -> Case:
    program = random_program(rng, f"stalled{seed}")
    frames = between(rng, 2, 3)
    target = MOST_STALLED // frames // 2
    design = Design(program, _folds(rng, program, target), {})
    branches = any(isinstance(instance.op, Fork) for instance in design.instances)
    large = design.interval > target or len(design.instances) > MOST_UNITS
    if large or (seed % 2 and not branches):
        raise ProgramError("another case is wanted")
    if seed // 2 % 2:
        design = with_depths(design, least(design).depths)
    else:
        design = _random_depths(rng, design)
    gates = {end: _any_stalls(rng) for end in (SOURCE, SINK)}
    return Case(seed, design, _inputs(rng, program.input, frames), gates)


def _inputs(rng: Generator, edge: Edge, frames: int) -> Ints:
    """Frames of random values, some of them at the ends of the range."""
    shape = (frames, *edge.shape)
    values = rng.integers(edge.lo, edge.hi, shape, endpoint=True)
    extremes = np.where(rng.random(shape) < 0.5, edge.lo, edge.hi)
    chosen = rng.random((frames, *(1 for _ in edge.shape))) < 0.25
    values = np.where(chosen, extremes, values)
    return np.where(values >= 0, 1, -1) if edge.step == 2 else values


def _stalls(rng: Generator) -> np.ndarray:
    """A boolean per cycle: single stalls, or bursts of them."""
    open_share = rng.uniform(0.2, 0.95)
    burst = 1 if rng.random() < 0.6 else between(rng, 2, 24)
    return np.repeat(rng.random(MOST_CYCLES // burst) < open_share, burst)


def _any_stalls(rng: Generator) -> np.ndarray:
    """A pattern with stalls: at random, in bursts, in step, or all of them at the start."""
    kind = between(rng, 0, 4)
    if kind < 2:
        pattern = _stalls(rng)[:MOST_STALLED]
    elif kind == 2:
        pattern = np.arange(MOST_STALLED) % between(rng, 2, 7) == 0
    elif kind == 3:
        pattern = np.arange(MOST_STALLED) % between(rng, 2, 7) > 0
    else:
        pattern = np.arange(MOST_STALLED // 4) >= between(rng, 1, MOST_STALLED // 5)
    # A first stall that is sure to be one.
    pattern[0] = False
    return pattern


# Hardware.


def _folds(rng: Generator, program: Program, target: int) -> dict[str, Fold]:
    """A folding of each layer, both factors above 1 about as often as not."""
    nodes = {node.name: node for node in program.nodes}
    folds = {}
    for name, choices in folding_choices(program).items():
        fit = [fold for fold in choices if _fits(program, nodes[name], fold, target)]
        both = [fold for fold in fit if fold.pe > 1 and fold.simd > 1]
        folds[name] = pick(rng, both if both and rng.random() < 0.6 else fit or choices)
        op = nodes[name].op
        packs = {fold: _pack(program, nodes[name], fold) for fold in both}
        pairs = [fold for fold, pack in packs.items() if pack]
        # One product that is added to no other before the split: a case of its own.
        alone = [f for f, pack in packs.items() if pack and f.simd % (1 << pack.layers) == 1]
        if pairs and rng.random() < 0.8:
            folds[name] = pick(rng, alone or pairs)
        elif isinstance(op, Dot) and op.weights.size <= MOST_CONSTANT and rng.random() < 0.15:
            folds[name] = Fold(*op.weights.shape)
    return folds


def _pack(program: Program, node: Node, fold: Fold) -> Pack | None:
    """How two rows of a dot product share multipliers, where they do."""
    if not isinstance(node.op, Dot) or node.op.grid.bipolar or fold.pe % 2:
        return None
    return Pack.of(program.edges[node.inputs[0]].grid, node.op.grid, fold.simd)


def _fits(program: Program, node: Node, fold: Fold, target: int) -> bool:
    inputs = tuple(program.edges[name] for name in node.inputs)
    place = Place(inputs, program.edges[node.name], fold)
    return fold.pe * fold.simd <= MOST_PRODUCTS and cycles(node.op, place) <= target


def _depths(rng: Generator, design: Design) -> Design:
    """Buffers for full throughput, or random ones; the caller finds those that deadlock."""
    return buffered(design) if rng.random() < 0.5 else _random_depths(rng, design)


def _random_depths(rng: Generator, design: Design) -> Design:
    depths = {}
    for instance in design.instances:
        if isinstance(instance.op, Fifo):
            deep = rng.random() < 0.15
            depths[instance.name] = between(rng, LEAST_BUFFER, 48 if deep else 6)
        elif isinstance(instance.op, Buffered):
            least = walk_of(instance.op, instance.place)[0].least_depth
            depths[instance.name] = least + pick(rng, (0, 0, 1, 2, 5, 12))
    return with_depths(design, depths)
