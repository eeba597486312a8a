"""Buffers between units: at least two entries, with a registered ready."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered

from ..models.fixed import ProgramError
from .timing import Arc, Timing, after
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
    timing,
)

SHALLOW = 32
"""Up to this depth a FIFO reads its memory without a clock (LUT RAM or registers)."""


@dataclass(frozen=True)
class Fifo:
    """`depth` beats of buffer; beyond `SHALLOW` in a memory that block RAM can hold."""

    depth: int = 2

    def __post_init__(self) -> None:
        if self.depth < 2:
            raise ProgramError(f"a buffer has 2 entries or more, not {self.depth}")

    @property
    def deep(self) -> bool:
        """True if the memory is read by the clock."""
        return self.depth > SHALLOW


@foldings.register
def _(op: Fifo, place: Place) -> tuple[Fold, ...]:
    return (place.fold,)


@ports.register
def _(op: Fifo, place: Place) -> Ports:
    port = Port.of(place.inputs[0], place.fold.pe)
    return Ports((port,), (port,))


@timing.register
def _(op: Fifo, place: Place) -> Timing:
    return fifo_timing(place.inputs[0].elements // place.fold.pe, op.depth, op.deep)


def fifo_timing(beats: int, depth: int, deep: bool) -> Timing:
    """Timing of either form, at any depth; a deep one is never faster than one that is not."""
    takes = {"i": ("write", after(beats))}
    if not deep:
        return Timing(
            {"write": beats},
            takes,
            (Arc("write", "o", 1, after(beats)), Arc("o", "write", 1, after(beats, depth))),
        )
    # Two places: depth - 1 entries of memory, then the register that the memory reads into.
    return Timing(
        {"write": beats, "read": beats},
        takes,
        (
            Arc("write", "read", 1, after(beats)),
            Arc("read", "write", 1, after(beats, depth - 1)),
            Arc("read", "o", 1, after(beats)),
            Arc("o", "read", 0, after(beats, 1)),
        ),
    )


@fill.register
def _(op: Fifo, place: Place) -> int:
    return 2 if op.deep else 1


class Buffer(Unit):
    """The component of `Fifo`."""

    op: Fifo

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kind = SyncFIFOBuffered if self.op.deep else SyncFIFO
        m.submodules.fifo = fifo = kind(width=self.ports.inputs[0].width, depth=self.op.depth)
        m.d.comb += [
            fifo.w_data.eq(self.i.payload),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            self.o.payload.eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
        ]
        return m


@component.register
def _(op: Fifo, place: Place) -> Unit:
    return Buffer(op, place)
