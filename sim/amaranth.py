"""A design in Amaranth's own simulator: every transfer of every stream, value and cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.sim import Simulator

from ..codegen.top import Accelerator
from ..hw.beats import to_beats
from ..hw.design import Design
from ..models.fixed import Ints


@dataclass(frozen=True, eq=False)
class Trace:
    """What went through one stream: words and the cycles of their transfers, from reset's end."""

    words: list[int]
    cycles: list[int]


def simulate(
    design: Design,
    inputs: Ints,
    gates: Mapping[str, np.ndarray] | None = None,
    limit: int | None = None,
) -> dict[str, Trace]:
    """Feed frames of integers (N, *shape) and return the trace of each stream, by name.

    gates: for "source" and "sink" a boolean per cycle; the source starts to offer a beat, and the
    sink takes one, only in cycles where it holds; beyond its end always.  limit: cycles after which
    a design that gives no more is given up.
    """
    gates = gates or {}
    dut = Accelerator(design)
    beats = to_beats(inputs, design.input)
    wanted = {stream.name: len(inputs) * stream.port.beats for stream in design.streams}
    traces = {name: Trace([], []) for name in dut.taps}
    limit = limit or (len(inputs) + 2) * design.interval * (len(design.instances) + 2) * 4 + 1000
    # Few values, written and read at once: each access costs the simulator as much as a step.
    pins = Cat(dut.s_axis_tvalid, dut.s_axis_tlast, dut.m_axis_tready, dut.s_axis_tdata)
    moves = Signal(len(dut.taps))
    top = Module()
    top.submodules.dut = dut
    top.d.comb += moves.eq(Cat(tap.valid & tap.ready for tap in dut.taps.values()))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.aresetn, 0)
        await ctx.tick()
        ctx.set(dut.aresetn, 1)
        sent, offered, cycle, left = 0, False, 0, sum(wanted.values())
        source, sink = _Gate(gates.get("source")), _Gate(gates.get("sink"))
        while cycle < limit and left > 0:
            offered = sent < len(beats) and (offered or source.open(cycle))
            last = sent % design.input.beats == design.input.beats - 1
            beat = beats[sent] << 3 if offered else 0
            ctx.set(pins, beat | sink.open(cycle) << 2 | (offered and last) << 1 | offered)
            moved = ctx.get(moves)
            for k, (name, trace) in enumerate(traces.items()):
                if moved >> k & 1:
                    trace.words.append(ctx.get(dut.taps[name].data))
                    trace.cycles.append(cycle)
                    left -= len(trace.words) <= wanted[name]
            if moved & 1:
                sent, offered = sent + 1, False
            await ctx.tick()
            cycle += 1

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return traces


class _Gate:
    """A stall pattern: open where it holds, and always beyond its end."""

    def __init__(self, pattern: np.ndarray | None) -> None:
        self.pattern = np.ones(0, bool) if pattern is None else pattern

    def open(self, cycle: int) -> bool:
        return cycle >= len(self.pattern) or bool(self.pattern[cycle])
