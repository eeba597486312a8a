"""FINN's rule for choosing a folding (its `SetFolding`), on our units, as a baseline.

From its description, none of its code: every unit by itself, without regard to area.  A matrix unit
takes more and more columns at once until its cycles are below the target or a row's weights are
wider than 36 bits, then more and more rows.  A window feeds a depthwise or pooling unit as many
channels as that one takes.  Where a unit misses the target, all are folded again to the slowest.
FINN wants strictly fewer cycles than its target; here the target itself is allowed, as for ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bitwright.codegen.choices import Choice, Choices
from bitwright.models.ops import DepthwiseDot, Dot, MaxPool, SumPool, Window

WIDEST = 36
"""Most bits of a row's weights."""


def greedy(choices: Choices, target: int) -> dict[str, Choice]:
    """The choice of each layer."""
    chosen = _pass(choices, target)
    slowest = max(choice.cycles for choice in chosen.values())
    return chosen if slowest <= target else _pass(choices, slowest)


def _pass(choices: Choices, target: int) -> dict[str, Choice]:
    chosen: dict[str, Choice] = {}
    for layer, every in reversed(choices.layers.items()):
        op = choices.nodes[layer].op
        if isinstance(op, Dot):
            chosen[layer] = _matrix(every, op, target)
        elif isinstance(op, Window) and (lanes := _lanes_of_reader(choices, layer, chosen)):
            chosen[layer] = next(choice for choice in every if choice.output == lanes)
        else:
            chosen[layer] = _first(sorted(every, key=lambda c: c.output), target)
    return {layer: chosen[layer] for layer in choices.layers}


def _first(every: Sequence[Choice], target: int) -> Choice:
    """The first that is fast enough, or else the last."""
    return next((choice for choice in every if choice.cycles <= target), every[-1])


def _matrix(every: Sequence[Choice], op: Dot, target: int) -> Choice:
    narrow = [c for c in every if c.fold.pe == 1 and c.fold.simd * op.grid.bits <= WIDEST]
    columns = _first(sorted(narrow, key=lambda c: c.fold.simd), target).fold.simd
    rows = [choice for choice in every if choice.fold.simd == columns]
    return _first(sorted(rows, key=lambda c: c.fold.pe), target)


def _lanes_of_reader(
    choices: Choices, layer: str, chosen: Mapping[str, Choice]
) -> int | None:  # fmt: skip
    """Lanes that a depthwise or pooling unit behind a window takes."""
    for wire in choices.from_source(layer):
        if wire.reader and isinstance(
            choices.nodes[wire.reader].op, DepthwiseDot | MaxPool | SumPool
        ):
            return chosen[wire.reader].inputs[wire.port]
    return None
