"""Features of the matrix-vector units: the steps of `lanes`, their registers, and the memories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from amaranth.hdl import Shape

from ..models.fixed import Grid, Ints, signed, unsigned
from ..models.ops import DepthwiseDot, Dot, SparseDot, Tables
from . import tables
from .adder_graph import Graph
from .constant_dot import adders_in_stage, constant_stages, graph_of, is_constant
from .cost_families import Family, cuts, multipliers
from .cost_memory import as_bits, large_rom, ram, registered, rom
from .cost_parts import Features, Parts, counting, features, gates, together
from .cost_sums import product_of_names, soft_product, sum_of
from .depthwise_dot import plan as depthwise_plan
from .dot import passes, plan, weight_rows
from .elastic import accumulator
from .lanes import Lanes
from .matrix import Passes, Plan
from .pack import Pack
from .sparse_dot import Tiles, tile_rows
from .sparse_dot import plan as sparse_plan
from .sums import groups
from .unit import Place

Shapes = tuple[Shape, ...]


@features.register
def _(op: Dot, place: Place, family: Family) -> Features:
    if is_constant(op, place):
        return _adder_graph(op, place)
    fold, made, steps = place.fold, plan(op, place), passes(op, place)
    words = steps.rows * steps.columns
    parts = together(
        around(place, steps, made.stages, words, family, _chosen_in_lanes(made, family)),
        _weights(made, 1, words, lambda: made.lanes.words(weight_rows(op, fold)), family),
        _arithmetic(made, fold.pe, family),
        _starts(op, place, made, family),
    )
    # Without folding the weights are constants, into which Yosys looks deeply: a kind of its own.
    unrolled = ".unrolled" if words == 1 else ""
    return Features(f"Dot.{made.lanes.kind}{unrolled}", parts)


GATE_INPUTS = {"signs": 4, "xnor": 4, "ternary": 5, "masked": 6}
"""Inputs of the gate of a lane that also chooses between the stream and the vector's buffer."""


def _chosen_in_lanes(made: Plan[Lanes], family: Family) -> bool:
    """Whether the LUTs of the lanes choose their input, as no register stands in between."""
    inputs = GATE_INPUTS.get(made.lanes.kind)
    return inputs is not None and inputs <= family.inputs and made.at[0] == made.first


def around(
    place: Place, steps: Passes, stages: int, words: int, family: Family, chosen: bool = False
) -> Parts:
    """What every unit of passes has: control, counters, the vector's buffer, results.

    words: those of its memory, which are read one after another.  chosen: its lanes choose between
    the stream and the buffer.
    """
    beat = place.inputs[0].grid.bits * place.fold.simd
    reuse = Parts()
    if steps.rows > 1:
        reuse = ram(beat, steps.columns, family, one_address=True)
        reuse += gates(1) if chosen else gates(1, input=beat)
    return together(
        gates(2 * stages + beat, constant_of_passes=1, stages=stages),
        counting(steps.columns, steps.rows, words),
        reuse,
        gates(place.fold.pe * place.output.grid.bits),
    )


@features.register
def _(op: Tables, place: Place, family: Family) -> Features:
    made, steps = tables.plan(op, place), tables.passes(op, place)
    blocks, *_ = tables.folded(op, place.fold)
    words = len(op.codebooks) // blocks * steps.rows * steps.columns
    parts = together(
        around(place, steps, made.stages, words, family, _chosen_in_lanes(made, family)),
        _weights(made, blocks, words, lambda: tables.memory_words(op, place), family),
        _arithmetic(made, made.lanes.rows, family) * blocks,
        _starts(op, place, made, family),
    )
    # The same unit as a `Dot` has, but for the order of its memory.
    return Features(f"Dot.{made.lanes.kind}" + (".unrolled" if words == 1 else ""), parts)


@features.register
def _(op: SparseDot, place: Place, family: Family) -> Features:
    if is_constant(op, place):
        return _adder_graph(op, place)
    fold, made, tiles = place.fold, sparse_plan(op, place), Tiles.of(op, place.fold)
    steps, beat = len(tiles), place.inputs[0].grid.bits * fold.simd
    there = (2 * tiles.beats).bit_length() + 1
    schedule = np.array(tiles.schedule)[:, None]
    parts = together(
        gates(2 * made.stages - 1, constant_of_passes=1, stages=made.stages),
        counting(steps, steps, tiles.beats, 2, 2),
        # Beats in the ring, which are counted, added to and compared with a column.
        gates(there + 1 + tiles.schedule_bits, count=2 * there),
        large_rom(
            steps,
            tiles.schedule_bits,
            lambda: as_bits(schedule, unsigned(tiles.schedule_bits)),
            family,
        ),
        ram(beat, tiles.ring, family),
        _weights(made, 1, steps, lambda: made.lanes.words(tile_rows(op, fold)), family),
        _arithmetic(made, fold.pe, family),
        gates(fold.pe * place.output.grid.bits),
        _starts(op, place, made, family),
    )
    # Beside its sequencers it is a `Dot`, and its parts weigh what they do there.
    return Features(f"Dot.{made.lanes.kind}", parts)


@features.register
def _(op: DepthwiseDot, place: Place, family: Family) -> Features:
    pe, made = place.fold.pe, depthwise_plan(op, place)
    channels, taps = op.weights.shape
    held = channels // pe
    one = _arithmetic(made, 1, family)
    words = op.weights.T.reshape(taps * held, pe)
    parts = together(
        gates(3 * made.stages - 2 + place.inputs[0].grid.bits * pe, constant=1, stages=made.stages),
        counting(held, taps, held * taps),
        rom(as_bits(words, op.grid), family),
        # Each lane has its own datapath, and running sums of all groups of channels.
        one * pe,
        gates(pe * accumulator(place.output.grid).width * (held - 1)),
        gates(pe * place.output.grid.bits),
        _starts(op, place, made, family),
    )
    return Features("DepthwiseDot", parts)


def _weights(
    made: Plan[Lanes], blocks: int, depth: int, values: Callable[[], Ints], family: Family
) -> Parts:
    """The memory of weights of so many datapaths, whose bits are only made where they matter."""
    lanes, rows = made.lanes, made.lanes.steps[0].rows
    width = blocks * lanes.simd * lanes.stored.bits * rows
    return large_rom(depth, width, lambda: as_bits(values(), lanes.stored), family)


def _starts(
    op: Dot | DepthwiseDot | Tables, place: Place, made: Plan[Lanes], family: Family
) -> Parts:
    """The memory of what accumulators start from, its counter, and the register behind it."""
    pe, lanes = place.fold.pe, made.lanes
    # Pairs differ by the lanes that are added in pairs; all others start alike in every folding.
    alike = replace(lanes, rows=min(lanes.rows, 2), simd=lanes.simd if lanes.kind == "pairs" else 1)
    values = _start_values(op, alike).reshape(-1, pe)
    if (values == values[0, 0]).all():
        return Parts()
    bits = as_bits(values, Grid(0, int(values.max())))
    behind = gates(registered(bits)) if made.stages > 2 else Parts()
    return counting(len(values)) + rom(bits, family) + behind


@lru_cache(maxsize=64)
def _start_values(op: Dot | DepthwiseDot | Tables, lanes: Lanes) -> Ints:
    words = op.codebooks if isinstance(op, Tables) else op.weights
    return lanes.starts(words.reshape(-1, words.shape[-1]))


def _arithmetic(made: Plan[Lanes], rows: int, family: Family) -> Parts:
    """Lanes, sums and accumulators of so many rows, and the registers between their stages."""
    # Rows are alike, except for a single one, and for pairs of them that are packed.
    few = rows if rows == 1 else 2 + rows % 2
    shared, some = _shared_and_rows(Plan(replace(made.lanes, rows=few), made.at), family)
    lut = {name: value * rows / few for name, value in some.lut.items()}
    return shared + Parts(lut, ff=some.ff * rows // few, dsp=some.dsp * rows // few)


@lru_cache(maxsize=1024)
def _shared_and_rows(made: Plan[Lanes], family: Family) -> tuple[Parts, Parts]:
    """What all rows share, and what the rows take together."""
    lanes = made.lanes
    shared, lut = Counter[str](), Counter[str]()
    dsp = 0
    for step, behind in pairwise(lanes.steps):
        given = step.rows * sum(shape.width for shape in behind.row)
        if step.name == "pairs":
            # Sums and differences of two inputs.
            shared["pairs"] += sum(shape.width for shape in behind.shared)
        elif step.name == "lanes" and lanes.kind == "multiply":
            x, w, count = lanes.inputs, lanes.weights, lanes.simd * step.rows
            if lanes.pack:
                w = signed(lanes.pack.low + lanes.stored.bits - w.bits)
            dsp = count * multipliers(x, w, family)
            if dsp:
                lut["partial"] += cuts(x, w, family) * given
            else:
                soft = _packed_product(x, lanes.pack) if lanes.pack else soft_product(x, w)
                lut.update((Parts(soft) * count).lut)
        elif step.name == "split":
            # A low part that is negative has borrowed from the high one.
            lut["split"] += given if lanes.pack and lanes.pack.sum.signed else 0
        elif step.name in ("lanes", "both"):
            lut[step.name] += given
    for times, columns, rows in sums(made, 1 if dsp and family.packs else 0):
        (lut if rows else shared).update((Parts(sum_of(columns)) * (times * (rows or 1))).lut)
    lut["accumulate"] += lanes.rows * lanes.width
    starts = [lanes.steps[made.at.index(k)] for k in range(2, made.stages)]
    once = sum(shape.width for step in starts for shape in step.shared)
    held = sum(step.bits for step in starts) - once + lanes.rows * lanes.width
    if dsp and family.packs:
        # Into a multiplier go the registers in front of it and behind it, and a first sum.
        if lanes.pack and starts[0].name == "lanes":
            # But for a packed word, whose sign stands in many places.
            held += starts[0].rows * sum(shape.width for shape in starts[0].row)
        held -= sum(step.bits for step in starts[: 3 if lanes.simd > 1 else 2])
        if made.at[0] == 1:
            held -= sum(shape.width for shape in lanes.steps[0].shared)
    return Parts(dict(shared), ff=once), Parts(dict(lut), ff=held, dsp=dsp)


def _packed_product(x: Grid, pack: Pack) -> Mapping[str, float]:
    """Features of a packed product in LUTs, which takes many equal bits of its factor once."""
    names = packed_names(pack)
    return product_of_names(x.bits, names, x.bits + len(names))


def packed_names(pack: Pack) -> tuple[int | None, ...]:
    """Which bit of a stored pair each bit of the factor is, lowest first; None: 0."""
    bits, stored = pack.weights.bits, pack.stored.bits
    between = bits - 1 if pack.weights.signed else None
    return (*range(bits), *[between] * (pack.low - bits), *range(bits, stored))


def sums(made: Plan[Any], packed: int) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """Sums that Yosys makes as one, since no register cuts them: how many, and their columns.

    The last of each: in how many rows; 0 where they are made once for all rows.  packed: layers
    that multipliers add.
    """
    steps = list(zip(made.lanes.steps, made.at, strict=True))
    steps = steps[:1] + steps[1 + packed :]
    for (name, _), run in groupby(enumerate(steps), lambda item: (item[1][0].name, item[1][1])):
        places = [place for place, _ in run]
        if name not in ("packed", "sums"):
            continue
        inside, after = [steps[place][0] for place in places], steps[places[-1] + 1][0]
        rows = inside[0].rows
        yield from ((n, c, rows) for n, c in _joined([s.row for s in inside], after.row))
        if inside[0].shared:
            yield from ((n, c, 0) for n, c in _joined([s.shared for s in inside], after.shared))


def _joined(layers: list[Shapes], after: Shapes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """How many terms of the first layer each sum of the last one adds, and in which columns."""
    counts = [1] * len(layers[0])
    for shapes in layers:
        counts = [sum(group) for group in _grouped(counts, shapes)]
    bit, width = layers[0][0].width == 1, max(shape.width for shape in after)
    for terms, times in Counter(counts).items():
        columns = (terms, *[0] * (width - 1)) if bit else (terms,) * width
        yield times, columns


def _grouped(counts: list[int], shapes: Shapes) -> Iterator[list[int]]:
    at = 0
    for group in groups(shapes, shapes):
        yield counts[at : at + len(group)]
        at += len(group)


def _adder_graph(op: Dot, place: Place) -> Features:
    """Constants without a memory."""
    out = gates(constant_stages(op, place) + sum(_row_bits(op, place)), constant=1)
    graph = graph_of(op, place)
    held = graph_registers(graph, adders_in_stage(place), constant_stages(op, place) - 1)
    return Features("Dot.graph", out + gates(held, chains=graph.bits, sums=len(graph.adders)))


def graph_registers(graph: Graph, levels: int, last: int) -> int:
    """Bits between the stages of a graph, each `levels` adders deep, up to stage `last`."""
    stages = [max(depth - 1, 0) // levels for depth in graph.depths]
    until = list(stages)
    for number, adder in enumerate(graph.adders, len(graph.grids) - len(graph.adders)):
        for operand in (adder.a, adder.b):
            until[operand] = max(until[operand], stages[number])
    for output in graph.outputs:
        if output.node >= 0:
            until[output.node] = last
    spans = zip(stages, until, graph.grids, strict=True)
    return sum((end - stage) * grid.bits for stage, end, grid in spans)


def _row_bits(op: Dot, place: Place) -> list[int]:
    """Bits of each result, of which those that constants decide fall away."""
    nonzero = op.weights[np.any(op.weights != 0, axis=1)]
    low = [int(np.bitwise_or.reduce(row) & -np.bitwise_or.reduce(row)) for row in nonzero]
    return [place.output.grid.bits - (value.bit_length() - 1) for value in low]
