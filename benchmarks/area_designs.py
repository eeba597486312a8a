"""Whole designs that estimates are judged on: random programs, and networks of the usual kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from bitwright.hw.buffers import buffered
from bitwright.hw.design import Design, folding_choices
from bitwright.hw.unit import Fold, Place, cycles
from bitwright.models import zoo
from bitwright.models.fixed import BINARY, signed, unsigned
from bitwright.models.ops import (
    DepthwiseDot,
    Dot,
    MaxPool,
    Requantise,
    Reshape,
    SumPool,
    Thresholds,
    TopK,
    Window,
)
from bitwright.models.program import INPUT, Edge, Node, Op, Program
from bitwright.sim.random_program import draw

RANDOM = 5
LEAST_UNITS = 15
"""Units, links included, of a random design that is large enough to count."""


def designs(seed: int) -> dict[str, Callable[[], Design]]:
    """Designs by name, made when they are wanted; the same in every run."""
    made: dict[str, Callable[[], Design]] = {}
    number = seed
    while len(made) < RANDOM:
        case = draw(number)
        if len(case.design.instances) >= LEAST_UNITS and _varies(case.design.program):
            made[f"random{number}"] = lambda case=case: case.design
        number += 1
    shipped = zoo.programs()["digits-binary"].load()
    for program, target in [*_programs(seed), (shipped, 2000)]:
        made[program.name] = lambda program=program, target=target: _folded(program, target)
    return made


def _varies(program: Program) -> bool:
    """Whether results depend on the input: of constants, synthesis leaves the handshake only.

    The ranges of the program say so, whatever an estimate of its units is.
    """
    return bool((program.output.lo < program.output.hi).any())


def _folded(program: Program, target: int) -> Design:
    """Each layer with the fewest lanes that keep to a target: a folding that asks for no area."""
    nodes = {node.name: node for node in program.nodes}

    def least(name: str, choices: Iterable[Fold]) -> Fold:
        node = nodes[name]
        inputs = tuple(program.edges[source] for source in node.inputs)
        every = [Place(inputs, program.edges[name], fold) for fold in choices]
        spans = {place.fold: cycles(node.op, place) for place in every}
        fast = [fold for fold, span in spans.items() if span <= max(target, min(spans.values()))]
        return min(fast, key=lambda fold: (fold.pe * fold.simd, fold.pe))

    folds = {name: least(name, choices) for name, choices in folding_choices(program).items()}
    return buffered(Design(program, folds, {}))


def _chain(name: str, edge: Edge, *ops: Op) -> Program:
    nodes, source = [], INPUT
    for number, op in enumerate(ops):
        nodes.append(Node(f"{type(op).__name__.lower()}{number}", op, (source,)))
        source = nodes[-1].name
    return Program(name, edge, tuple(nodes))


def _programs(seed: int) -> list[tuple[Program, int]]:
    """Small networks, and the cycles per frame that they are folded to."""
    rng = np.random.default_rng(seed)

    def signs(*shape: int) -> Dot:
        return Dot(rng.choice([-1, 1], shape), BINARY)

    def sign(count: int, reach: int) -> Thresholds:
        cuts = rng.integers(-reach, reach, (count, 1))
        return Thresholds(cuts, np.full(count, -1), np.full(count, 2))

    def scale(count: int) -> Requantise:
        return Requantise(
            rng.integers(64, 256, count), rng.integers(-4000, 4000, count), 14, 0, 255
        )

    def integers(*shape: int) -> Dot:
        return Dot(rng.integers(-8, 8, shape), signed(4))

    binary = _chain(
        "binary", Edge.of((8, 8, 1), unsigned(4)),
        Window((3, 3)), signs(16, 9), sign(16, 20), Window((3, 3)), signs(32, 144), sign(32, 12),
        Window((2, 2), (2, 2)), MaxPool(4), Reshape((128,)), signs(10, 128), TopK(1),
    )  # fmt: skip
    quantised = _chain(
        "quantised", Edge.of((8, 8, 3), unsigned(8)),
        Window((3, 3), padding=(1, 1, 1, 1)), integers(8, 27), scale(8),
        Window((3, 3), padding=(1, 1, 1, 1)),
        DepthwiseDot(rng.integers(-8, 8, (8, 9)), signed(4)), scale(8), integers(16, 8), scale(16),
        Reshape((1, 1, 1024)), SumPool(64), integers(10, 16),
    )  # fmt: skip
    dense = _chain(
        "dense", Edge.of((64,), unsigned(4)),
        signs(64, 64), scale(64), signs(32, 64), scale(32), signs(10, 32),
    )  # fmt: skip
    return [(binary, 600), (quantised, 800), (dense, 128)]
