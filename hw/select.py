"""Some channels of each pixel: beats that hold none are taken and dropped, lanes are wires.

`simd` lanes come a beat and `pe` of them leave, the same ones from every beat that holds any.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Array, C, Cat, Module, Signal, Value

from ..models.ops import Select
from .elastic import counter, numbers, pipeline, stored
from .timing import Timing, after, pipeline_timing
from .unit import (
    Fold,
    Place,
    Port,
    Ports,
    Unit,
    component,
    divisors,
    fill,
    foldings,
    ports,
    tail,
    timing,
)

WORD = 4096
"""Entries of a table that are one constant; the tools do not read constants of any length."""


def kept(op: Select, channels: int, simd: int) -> np.ndarray:
    """Whether each channel is kept, of shape (beats, simd), for one pixel."""
    mask = np.zeros(channels, bool)
    mask[op.channels] = True
    return mask.reshape(-1, simd)


def emitting(op: Select, place: Place) -> np.ndarray:
    """Whether each beat holds channels that are kept, for as many beats as it takes to repeat."""
    beats = kept(op, place.inputs[0].channels, place.fold.simd).any(1)
    rounds = (beats[:period] for period in divisors(len(beats))
              if (beats.reshape(-1, period) == beats[:period]).all())  # fmt: skip
    return next(rounds)


@foldings.register
def _(op: Select, place: Place) -> tuple[Fold, ...]:
    channels = place.inputs[0].channels
    folds: list[Fold] = []
    for simd in divisors(channels):
        beats = kept(op, channels, simd)
        beats = beats[beats.any(1)]
        if (beats == beats[0]).all():
            folds.append(Fold(int(beats[0].sum()), simd))
    return tuple(folds)


@ports.register
def _(op: Select, place: Place) -> Ports:
    return Ports(
        (Port.of(place.inputs[0], place.fold.simd),), (Port.of(place.output, place.fold.pe),)
    )


@timing.register
def _(op: Select, place: Place) -> Timing:
    steps, emit = ports(op, place).inputs[0].beats, emitting(op, place)
    return pipeline_timing(1, steps, {"i": after(steps)}, np.tile(emit, steps // len(emit)))


@fill.register
def _(op: Select, place: Place) -> int:
    return 1 + int(emitting(op, place).argmax())


@tail.register
def _(op: Select, place: Place) -> int:
    return 1 - int(emitting(op, place)[::-1].argmax())


class Selection(Unit):
    """The component of `Select`."""

    op: Select

    def elaborate(self, platform: object) -> Module:
        m = Module()
        source, target, simd = (
            self.place.inputs[0].grid,
            self.place.output.grid,
            self.place.fold.simd,
        )
        take, emit = Signal(name="take"), Signal(name="emit")
        m.d.comb += emit.eq(self._emit(m, take))
        (taken,) = pipeline(m, 1, self.i.valid, self.o, emit=emit)
        m.d.comb += [take.eq(taken), self.i.ready.eq(taken)]
        values = numbers(m, self.i.payload, simd, source, "x")
        lanes = kept(self.op, self.place.inputs[0].channels, simd).any(0)
        with m.If(taken & emit):
            m.d.sync += self.o.payload.eq(
                Cat(*(stored(values[k], target) for k in np.flatnonzero(lanes)))
            )
        return m

    def _emit(self, m: Module, take: Value) -> Value:
        """Whether the current beat holds channels that are kept: a table over the beats."""
        emit = emitting(self.op, self.place)
        beat, _ = counter(m, len(emit), take, "beat")
        words = [emit[at : at + WORD] for at in range(0, len(emit), WORD)]
        tables = [
            C(sum(1 << k for k in np.flatnonzero(word).tolist()), len(word)) for word in words
        ]
        table = Array(tables)[beat >> WORD.bit_length() - 1] if len(words) > 1 else tables[0]
        return table.bit_select(beat[: WORD.bit_length() - 1], 1)


@component.register
def _(op: Select, place: Place) -> Unit:
    return Selection(op, place)
