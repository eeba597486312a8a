"""A design in Amaranth's own simulator: every transfer of every stream, value and cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    sample = [
        value
        for tap in dut.taps.values()
        for value in (tap.valid & tap.ready, tap.data)
    ]  # fmt: skip

    async def bench(ctx: Any) -> None:
        ctx.set(dut.aresetn, 0)
        await ctx.tick()
        ctx.set(dut.aresetn, 1)
        sent, offered, cycle = 0, False, 0
        source, sink = _Gate(gates.get("source")), _Gate(gates.get("sink"))
        while cycle < limit and any(len(traces[n].words) < wanted[n] for n in wanted):
            offered = sent < len(beats) and (offered or source.open(cycle))
            ctx.set(dut.s_axis_tvalid, offered)
            if offered:
                ctx.set(dut.s_axis_tdata, beats[sent])
                ctx.set(dut.s_axis_tlast, sent % design.input.beats == design.input.beats - 1)
            ctx.set(dut.m_axis_tready, sink.open(cycle))
            _, _, *values = await ctx.tick().sample(*sample)
            for k, trace in enumerate(traces.values()):
                if values[2 * k]:
                    trace.words.append(values[2 * k + 1])
                    trace.cycles.append(cycle)
            if values[0]:
                sent, offered = sent + 1, False
            cycle += 1

    simulator = Simulator(dut)
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
