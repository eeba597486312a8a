"""Sums of many terms, layer by layer, and the cut of a datapath into stages.

A datapath is a row of steps, each of so many levels of logic.  A stage takes steps as long as they
fit its levels; what stands between two stages is held in registers.  Terms of one bit are added by
threes, a full adder each, which takes the gates in front of it into the same LUTs; wider terms in
pairs, a carry chain each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TypeVar

from amaranth.hdl import Module, Shape, Signal, Value

GATE, CHAIN, MULTIPLY, READ = 1, 2, 5, 4
"""Levels of a function of few bits, of a carry chain, of a multiplier, of a block RAM's read.

One level is about 1.1 ns on an ECP5: a LUT and the wire to it (nextpnr-ecp5; see levels.py).
"""
NARROW = 3
"""Bits of a sum that is made of LUTs, without a carry chain."""

Item = TypeVar("Item")


def groups(terms: Sequence[Item], shapes: Sequence[Shape]) -> list[Sequence[Item]]:
    """The terms that one layer adds together."""
    bits = all(shape.width == 1 and not shape.signed for shape in shapes)
    size = 3 if bits else 2
    return [terms[k : k + size] for k in range(0, len(terms), size)]


def sum_shape(shapes: Sequence[Shape], most: int | None) -> Shape:
    """The shape of a sum, at most `most` bits; beyond them it wraps."""
    if len(shapes) == 1:
        return shapes[0]
    sign = any(shape.signed for shape in shapes)
    wide = max(shape.width + (sign and not shape.signed) for shape in shapes)
    wide += 1
    return Shape(wide if most is None else min(wide, most), sign)


def layers(shapes: Sequence[Shape], most: int | None) -> list[tuple[Shape, ...]]:
    """The terms before the first layer, behind each layer, and at last the one sum."""
    made = [tuple(shapes)]
    while len(made[-1]) > 1:
        made.append(tuple(sum_shape(group, most) for group in groups(made[-1], made[-1])))
    return made


def layer_levels(sums: Sequence[Shape]) -> int:
    """Levels of the layer that gives these sums."""
    return GATE if max(shape.width for shape in sums) <= NARROW else CHAIN


def add_layer(m: Module, terms: Sequence[Value], most: int | None, name: str) -> list[Value]:
    """One layer of sums: as many terms as `layers` says."""
    made: list[Value] = []
    for k, group in enumerate(groups(terms, [term.shape() for term in terms])):
        if len(group) == 1:
            made.append(group[0])
            continue
        shape = sum_shape([term.shape() for term in group], most)
        wire = Signal(shape, name=f"{name}_{k}")
        m.d.comb += wire.eq(reduce(add, group)[: shape.width])
        made.append(wire)
    return made


def cut(levels: Sequence[int], most: int, used: int = 0) -> tuple[int, ...]:
    """The stage of each step, from 0: a stage takes steps while their levels fit into `most`.

    used: levels of the first stage that are taken already.
    """
    stage, made = 0, list[int]()
    for step in levels:
        if used and used + step > most:
            stage, used = stage + 1, 0
        used += step
        made.append(stage)
    return tuple(made)
