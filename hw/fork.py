"""The eager fork: each branch takes when it can; the register frees at the latest branch."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Signal

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
    output_names,
    ports,
    timing,
)


@dataclass(frozen=True)
class Fork:
    """One stream to `branches` streams, a beat of `pe` lanes at a time."""

    branches: int


@foldings.register
def _(op: Fork, place: Place) -> tuple[Fold, ...]:
    return (place.fold,)


@ports.register
def _(op: Fork, place: Place) -> Ports:
    port = Port.of(place.inputs[0], place.fold.pe)
    return Ports((port,), (port,) * op.branches)


@timing.register
def _(op: Fork, place: Place) -> Timing:
    beats = place.inputs[0].elements // place.fold.pe
    arcs = []
    for branch in output_names(ports(op, place)):
        arcs.append(Arc("load", branch, 1, after(beats)))
        arcs.append(Arc(branch, "load", 0, after(beats, 1)))
    return Timing({"load": beats}, {"i": ("load", after(beats))}, tuple(arcs))


@fill.register
def _(op: Fork, place: Place) -> int:
    return 1


class EagerFork(Unit):
    """The component of `Fork`."""

    op: Fork

    def elaborate(self, platform: object) -> Module:
        m = Module()
        branches = [self.stream(name) for name in output_names(self.ports)]
        waiting = [Signal(name=f"waiting{k}") for k in range(len(branches))]
        held = Signal(self.ports.inputs[0].width)
        free, load = Signal(name="free"), Signal(name="load")
        stays = [flag & ~branch.ready for flag, branch in zip(waiting, branches, strict=True)]
        blocked = stays[0]
        for stay in stays[1:]:
            blocked = blocked | stay
        m.d.comb += [free.eq(~blocked), self.i.ready.eq(free), load.eq(self.i.valid & free)]
        with m.If(load):
            m.d.sync += held.eq(self.i.payload)
        for flag, branch, stay in zip(waiting, branches, stays, strict=True):
            m.d.comb += [branch.valid.eq(flag), branch.payload.eq(held)]
            m.d.sync += flag.eq(load | stay)
        return m


@component.register
def _(op: Fork, place: Place) -> Unit:
    return EagerFork(op, place)
