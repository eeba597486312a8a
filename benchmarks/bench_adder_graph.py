"""Fully unrolled constant matrices: our adder graphs beside da4ml's Verilog, through one Yosys run.

python benchmarks/bench_adder_graph.py [--cases 16x16x6,32x32x4] [--levels 0,1]

A case is rows x columns x bits of the weights, uniform random of a fixed seed; inputs are signed
8 bits.  Levels are the adders behind one another between registers; 0 is without registers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from amaranth.hdl import C, Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitwright.codegen.synth import SECONDS, synthesise
from bitwright.codegen.verilog import Rtl, write_component
from bitwright.hw.adder_graph import Graph, adder_graph
from bitwright.hw.constant_dot import Staged
from bitwright.hw.elastic import numbers, resize
from bitwright.models.fixed import Ints, signed

INPUT = signed(8)
# Cells that no design here holds: the lookup table wants a memory file even where it is unused.
UNUSED = ("wrapper", "lookup_table")


class Bare(wiring.Component):
    """A graph between plain ports, with a register behind every `levels` adders, or none."""

    def __init__(self, graph: Graph, levels: int) -> None:
        self.graph, self.levels = graph, levels
        self.bits = [
            graph.grids[o.node].bits + o.shift + o.negative if o.node >= 0 else 1
            for o in graph.outputs
        ]
        super().__init__({"x": In(INPUT.bits * len(graph.lo)), "y": Out(sum(self.bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = max(self.graph.depths)
        levels = self.levels or depth
        take = [C(1)] * max(1, -(-depth // levels))
        inputs = numbers(m, self.x, len(self.graph.lo), INPUT, "x")
        rows = Staged(m, self.graph, inputs, take, levels).rows()
        domain = m.d.sync if self.levels else m.d.comb
        domain += self.y.eq(Cat(*map(resize, rows, self.bits)))
        return m


def ours(weights: Ints, levels: int) -> tuple[Rtl, int]:
    """Our Verilog, and the adders behind one another."""
    columns = weights.shape[1]
    graph = adder_graph(weights, np.full(columns, INPUT.lo), np.full(columns, INPUT.hi))
    return write_component(Bare(graph, levels), "dot"), max(graph.depths)


def theirs(weights: Ints, levels: int) -> tuple[Rtl, int]:
    """The Verilog of da4ml by its public interface, as it writes it, and its latency in adders."""
    from da4ml.codegen import RTLModel
    from da4ml.trace import FixedVariableArrayInput, HWConfig, comb_trace

    cost = HWConfig(1, -1, -1)
    x = FixedVariableArrayInput((weights.shape[1],), cost).quantize(1, INPUT.bits - 1, 0)
    traced = comb_trace(x, x @ weights.T.astype(float))
    with TemporaryDirectory() as folder:
        model = RTLModel(traced, "dot", folder, latency_cutoff=levels or -1, print_latency=False)
        model.write()
        files = sorted(Path(folder, "src").rglob("*.v"))
        text = [f.read_text() for f in files if not any(name in f.name for name in UNUSED)]
    return Rtl("dot", "\n".join(text), {}), int(max(traced.latency))


def cases(text: str) -> Iterator[tuple[str, Ints]]:
    """The matrices by their names."""
    for name in text.split(","):
        rows, columns, bits = map(int, name.split("x"))
        grid = signed(bits)
        rng = np.random.default_rng(0)
        yield name, rng.integers(grid.lo, grid.hi, (rows, columns), endpoint=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="16x16x6,32x32x4")
    parser.add_argument("--families", default="ecp5,xc7")
    parser.add_argument("--levels", default="0,1")
    parser.add_argument("--seconds", type=float, default=4 * SECONDS, help="limit of a Yosys run")
    args = parser.parse_args()
    print(f"{'case':<10} {'levels':>6} {'by':<9} {'depth':>5} {'found in s':>10}  LUT and FF")
    for name, weights in cases(args.cases):
        for levels in map(int, args.levels.split(",")):
            for by, make in (("bitwright", ours), ("da4ml", theirs)):
                begin = time.perf_counter()
                rtl, depth = make(weights, levels)
                found = time.perf_counter() - begin
                print(f"{name:<10} {levels:>6} {by:<9} {depth:>5} {found:>10.2f}", end="")
                for family in args.families.split(","):
                    area = synthesise(rtl, family, args.seconds)
                    print(f"  {family} {area.lut} {area.ff}", end="", flush=True)
                print()


if __name__ == "__main__":
    main()
