"""Width converters: between any producer's and any consumer's lanes.

Narrow to wide collects parts and emits on the last; wide to narrow hands out parts, and the next
word enters as the last part leaves.  Lanes that do not divide one another meet in a word of their
least common multiple: first `Widen`, then `Narrow`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal

from .elastic import counter, pipeline
from .timing import Arc, Timing, after, pipeline_timing
from .unit import (
    Fold,
    Place,
    Port,
    Ports,
    Unit,
    component,
    fill,
    foldings,
    ports,
    tail,
    timing,
)


@dataclass(frozen=True)
class Widen:
    """From `simd` lanes to `pe` lanes, a multiple."""


@dataclass(frozen=True)
class Narrow:
    """From `simd` lanes to `pe` lanes, a divisor."""


@foldings.register(Widen)
@foldings.register(Narrow)
def _(op: Widen | Narrow, place: Place) -> tuple[Fold, ...]:
    return (place.fold,)


@ports.register(Widen)
@ports.register(Narrow)
def _(op: Widen | Narrow, place: Place) -> Ports:
    edge = place.inputs[0]
    return Ports((Port.of(edge, place.fold.simd),), (Port.of(edge, place.fold.pe),))


@timing.register
def _(op: Widen, place: Place) -> Timing:
    parts = place.fold.pe // place.fold.simd
    beats = place.inputs[0].elements // place.fold.simd
    emit = np.arange(beats) % parts == parts - 1
    return pipeline_timing(1, beats, {"i": after(beats)}, emit)


@timing.register
def _(op: Narrow, place: Place) -> Timing:
    parts = place.fold.simd // place.fold.pe
    beats = place.inputs[0].elements // place.fold.pe
    words = beats // parts
    word = np.arange(words, dtype=np.int64)
    part = np.arange(beats, dtype=np.int64)
    return Timing(
        {"load": words},
        {"i": ("load", after(words))},
        (
            Arc("load", "o", 1, part // parts),
            Arc("o", "load", 0, word * parts - 1),
        ),
    )


@fill.register
def _(op: Widen, place: Place) -> int:
    return place.fold.pe // place.fold.simd


@fill.register
def _(op: Narrow, place: Place) -> int:
    return 1


@tail.register(Widen)
def _(op: Widen, place: Place) -> int:
    return 1


@tail.register(Narrow)
def _(op: Narrow, place: Place) -> int:
    return place.fold.simd // place.fold.pe


class Widener(Unit):
    """The component of `Widen`."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fold, width = self.place.fold, self.ports.inputs[0].width
        take = Signal(name="part_taken")
        _, last = counter(m, fold.pe // fold.simd, take, "part")
        (taken,) = pipeline(m, 1, self.i.valid, self.o, emit=last)
        m.d.comb += [take.eq(taken), self.i.ready.eq(taken)]
        kept = Signal(len(self.o.payload) - width)
        word = Cat(kept, self.i.payload)
        with m.If(taken):
            m.d.sync += kept.eq(word[width:])
        with m.If(taken & last):
            m.d.sync += self.o.payload.eq(word)
        return m


class Narrower(Unit):
    """The component of `Narrow`."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fold, width = self.place.fold, self.ports.outputs[0].width
        leave, load = Signal(name="leave"), Signal(name="load")
        _, last = counter(m, fold.simd // fold.pe, leave, "part")
        word = Signal(len(self.i.payload))
        m.d.comb += [
            leave.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(~self.o.valid | (leave & last)),
            load.eq(self.i.valid & self.i.ready),
            self.o.payload.eq(word[:width]),
        ]
        with m.If(leave | load):
            m.d.sync += word.eq(Mux(load, self.i.payload, word[width:]))
        m.d.sync += self.o.valid.eq(load | (self.o.valid & ~(leave & last)))
        return m


@component.register
def _(op: Widen, place: Place) -> Unit:
    return Widener(op, place)


@component.register
def _(op: Narrow, place: Place) -> Unit:
    return Narrower(op, place)
