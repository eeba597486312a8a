"""The accelerator's top level: every unit, every stream, and AXI4-Stream at both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hw.design import SINK, SOURCE, Design, Stream
from ..hw.elastic import counter
from ..hw.unit import Port, component


def data_width(port: Port) -> int:
    """Bits of tdata: the payload padded to whole bytes."""
    return (port.width + 7) // 8 * 8


@dataclass(frozen=True)
class Tap:
    """The three signals of a stream at the top level."""

    valid: Signal
    ready: Signal
    data: Signal

    @classmethod
    def of(cls, stream: Stream) -> Tap:
        """New signals, named after the stream."""
        return cls(
            Signal(name=f"{stream.name}_valid"),
            Signal(name=f"{stream.name}_ready"),
            Signal(stream.port.width, name=f"{stream.name}_data"),
        )


class Accelerator(wiring.Component):
    """A design between two AXI4-Stream ports (AMBA IHI 0051A).

    `aresetn` is sampled by the clock and returns the design to its initial state at any time.
    `s_axis_tlast` never gates data: frames are counted, and a frame that is short or long sets the
    sticky `error`.  `m_axis_tlast` marks the last beat of each frame.  Each stream of the design
    is a set of three signals, `NAME_valid`, `NAME_ready` and `NAME_data`, which traces tap.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        super().__init__(
            {
                "aclk": In(1),
                "aresetn": In(1),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "s_axis_tdata": In(data_width(design.input)),
                "s_axis_tlast": In(1),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tdata": Out(data_width(design.output)),
                "m_axis_tlast": Out(1),
                "error": Out(1),
            }
        )
        self.taps = {stream.name: Tap.of(stream) for stream in design.streams}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = sync = ClockDomain("sync")
        sync.clk = self.aclk
        m.d.comb += sync.rst.eq(~self.aresetn)
        units: dict[str, Any] = {}
        for instance in self.design.instances:
            units[instance.name] = component(instance.op, instance.place)
            m.submodules[instance.name] = units[instance.name]
        for stream in self.design.streams:
            self._connect(m, stream, units)
        return m

    def _connect(self, m: Module, stream: Stream, units: dict[str, Any]) -> None:
        tap = self.taps[stream.name]
        valid, ready, data = tap.valid, tap.ready, tap.data
        unit, port = stream.producer
        if unit == SOURCE:
            m.d.comb += [
                valid.eq(self.s_axis_tvalid),
                data.eq(self.s_axis_tdata[: stream.port.width]),
                self.s_axis_tready.eq(ready),
            ]
            moved = Signal(name="source_moved")
            m.d.comb += moved.eq(valid & ready)
            _, last = counter(m, stream.port.beats, moved, "source_beat")
            with m.If(moved & (self.s_axis_tlast != last)):
                m.d.sync += self.error.eq(1)
        else:
            out = units[unit].stream(port)
            m.d.comb += [valid.eq(out.valid), data.eq(out.payload), out.ready.eq(ready)]
        unit, port = stream.consumer
        if unit == SINK:
            moved = Signal(name="sink_moved")
            m.d.comb += moved.eq(valid & ready)
            _, last = counter(m, stream.port.beats, moved, "sink_beat")
            m.d.comb += [
                self.m_axis_tvalid.eq(valid),
                self.m_axis_tdata.eq(data),
                self.m_axis_tlast.eq(last),
                ready.eq(self.m_axis_tready),
            ]
        else:
            into = units[unit].stream(port)
            m.d.comb += [into.valid.eq(valid), into.payload.eq(data), ready.eq(into.ready)]
