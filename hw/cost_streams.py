"""Features of the units that order, choose and pool values, and of the links between units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..models.ops import Concatenate, MaxPool, Select, SumPool, TopK, Window
from .concatenate import turns
from .convert import Narrow, Widen
from .cost_families import Family
from .cost_memory import logic, ram
from .cost_parts import Features, Parts, count_bits, counting, features, gates, together
from .fifo import Fifo
from .fork import Fork
from .select import emitting
from .unit import Place, ports
from .window import Buffered, Walk, padded_somewhere, walk_of


@features.register
def _(op: Window, place: Place, family: Family) -> Features:
    return features(Buffered(op), place, family)


@features.register
def _(op: Buffered, place: Place, family: Family) -> Features:
    walk, depth = walk_of(op, place)
    window, (height, width, _) = op.op, place.inputs[0].shape
    beat = ports(op, place).inputs[0].width
    address = count_bits(depth)
    ahead, held = _window_counters(walk, depth)
    padding = _padding_bits(window, height, width)
    padded = padded_somewhere(window, place)
    runs = sum(int(np.diff(walk.released, axis=axis).any(1 - axis).sum()) for axis in (0, 1))
    parts = together(
        gates(1 + (1 if padded else 0), constant=1),
        counting(*_live_counters(walk, padded)),
        ram(beat, depth, family),
        gates(2 * address, address=address),
        gates(ahead + held, balance=ahead + held),
        gates(2 * padding, padding=padding),
        gates(output=ports(op, place).outputs[0].width if padded else 0, runs=runs),
    )
    # A single tap goes through the ring by constant steps: much falls away.
    point = "Window.repeat" if window.repeats else "Window.point"
    return Features(point if window.kernel == (1, 1) else "Window", parts)


def _live_counters(walk: Walk, padded: bool) -> list[int]:
    """Sizes of the read counters, less the outer ones that decide nothing, which Yosys drops."""
    changes = {"oy": np.diff(walk.released, axis=0).any(), "ox": np.diff(walk.released).any()}
    sizes, strides = dict(walk.levels), walk.strides
    for number, (name, size) in reversed(list(enumerate(walk.levels.items()))):
        if size > 1 and (padded or changes.get(name, True) or strides[number] != strides[-1]):
            break
        del sizes[name]
    return list(sizes.values())


def _window_counters(walk: Walk, depth: int) -> tuple[int, int]:
    """Bits of the counts of words ahead of the reader and of words held, as `window` has them."""
    reads = np.concatenate([walk.reads, walk.reads + walk.words])
    valid = np.concatenate([walk.valid, walk.valid])
    written = np.maximum.accumulate(np.where(valid, reads + 1, 0))
    before = np.concatenate([[0], written[:-1]])
    low = np.concatenate([walk.low[:-1], walk.low[:-1] + walk.words])
    low = low[np.arange(len(reads)) // walk.steps_per_position]
    ahead = _signed_bits(int((before - reads).min()), int((low + depth - reads).max()))
    held = _signed_bits(min(int((before - low).min()), -1), depth)
    return ahead + 1, held + 1


def _signed_bits(lo: int, hi: int) -> int:
    return 1 + max((~lo).bit_length(), hi.bit_length())


def _padding_bits(window: Window, height: int, width: int) -> int:
    """Bits of a row and a column number, where padding is looked for."""
    return sum(
        _signed_bits(int(at.min()), int(at.max()))
        for size, at in ((height, window.rows(height)), (width, window.columns(width)))
        if at.min() < 0 or at.max() >= size
    )


@features.register
def _(op: MaxPool, place: Place, family: Family) -> Features:
    pe, bits = place.fold.pe, place.output.grid.bits
    # One bit is an or; up to 4 bits are compared in LUTs, more in a carry chain.
    size = {"single": pe} if bits == 1 else {"narrow" if bits <= 4 else "wide": pe * bits}
    lanes = pe if bits > 1 else 0
    return Features("MaxPool", _pooling(op, place) + gates(constant=1, lanes=lanes, **size))


@features.register
def _(op: SumPool, place: Place, family: Family) -> Features:
    pe, bits = place.fold.pe, place.output.grid.bits
    parts = gates(constant=1, lanes=pe, sum=pe * bits)
    return Features("SumPool", _pooling(op, place) + parts)


def _pooling(op: MaxPool | SumPool, place: Place) -> Parts:
    groups = place.output.channels // place.fold.pe
    running = place.fold.pe * place.output.grid.bits
    return gates(1 + running * (groups + 1)) + counting(groups, op.size)


@features.register
def _(op: Concatenate, place: Place, family: Family) -> Features:
    bits = place.fold.pe * place.output.grid.bits
    others = len(place.inputs) - 1
    choice = {"two" if others == 1 else "more": bits * others}
    parts = gates(1 + bits, constant=1, **choice) + counting(len(turns(place)))
    return Features("Concatenate", parts)


@features.register
def _(op: Select, place: Place, family: Family) -> Features:
    beats, whole = emitting(op, place)[:, None], replace(family, leaf=0)
    parts = together(
        gates(1 + ports(op, place).outputs[0].width, constant=1),
        counting(len(beats)),
        # Not read by a clock as tables are: Yosys makes more of it, and shares no ends of trees.
        gates(**{f"{name}s": value for name, value in logic(beats, whole).lut.items()}),
    )
    return Features("Select", parts)


@features.register
def _(op: TopK, place: Place, family: Family) -> Features:
    edge, simd = place.inputs[0], place.fold.simd
    value, index = edge.grid.bits, place.output.grid.bits
    beats = edge.channels // simd
    kept = op.k * (1 + value + index) if beats > 1 else 0
    entry = 1 + value + index
    power = simd & (simd - 1) == 0
    # Value k of a beat is compared with every place that can be filled by then.
    filled = [op.k if beats > 1 else min(k, op.k) for k in range(simd)]
    best = sum(places > 0 for places in filled[1:])
    parts = together(
        gates(1 + kept + op.k * index, constant=1),
        counting(beats),
        gates(first=filled[0] * entry, chain=best * entry),
        gates(places=(sum(filled[1:]) - best) * entry),
        # The index, beat * simd + lane, takes a multiplier where simd is no power of two.
        Parts(dsp=1 if not power and count_bits(beats) > 1 else 0),
    )
    return Features("TopK", parts)


# --- links --------------------------------------------------------------------------------------


def _link_bits(place: Place, lanes: int) -> int:
    return place.inputs[0].grid.bits * lanes


@features.register
def _(op: Fifo, place: Place, family: Family) -> Features:
    width = _link_bits(place, place.fold.pe)
    depth = op.depth - 1 if op.deep else op.depth
    level = op.depth.bit_length()
    parts = together(
        gates(level + (1 if op.deep else 0), constant=1, level=level),
        counting(depth, depth),
        ram(width, depth, family, clocked=op.deep),
    )
    return Features("Fifo.deep" if op.deep else "Fifo.shallow", parts)


@features.register
def _(op: Fork, place: Place, family: Family) -> Features:
    width = _link_bits(place, place.fold.pe)
    return Features("Fork", gates(width + op.branches, branches=op.branches))


@features.register
def _(op: Widen, place: Place, family: Family) -> Features:
    wide = _link_bits(place, place.fold.pe)
    narrow = _link_bits(place, place.fold.simd)
    parts = gates(1 + 2 * wide - narrow, constant=1)
    return Features("Widen", parts + counting(place.fold.pe // place.fold.simd))


@features.register
def _(op: Narrow, place: Place, family: Family) -> Features:
    wide = _link_bits(place, place.fold.simd)
    times = place.fold.simd // place.fold.pe
    parts = gates(1 + wide, constant=1, word=wide)
    return Features("Narrow", parts + counting(times))
