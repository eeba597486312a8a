"""The half-add form of binary weights beside the forms that the units have: LUTs by Yosys.

python benchmarks/bench_half_add.py [--families ecp5,ice40,xc7] [--write]

With weights w in {-1, +1} and integer inputs, sum w x = 2 * sum_{w=1} x - sum x, and sum x is the
same for all rows.  Folded: the datapath of PE rows of SIMD lanes between registers, with its
accumulators; +-x starts each row from a constant of a memory of 16 words, the half-add form from 0
and subtracts once behind the accumulators.  Unrolled: adder graphs of random matrices, row by row,
and by halves as units have them (`hw/adder_graph.py`), both as deep.  Inputs are unsigned, as
activations are.  --write makes docs/half_add.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from area_synthesis import areas

from bitwright.codegen import synth
from bitwright.codegen.verilog import Rtl, write_component
from bitwright.hw.adder_graph import adder_graph, plain_graph
from bitwright.hw.constant_dot import Staged
from bitwright.hw.elastic import numbers, resize, rom, rom_words
from bitwright.hw.lanes import Lanes, Operands
from bitwright.hw.sums import add_layer
from bitwright.models.fixed import BINARY, Ints, signed, unsigned

PAGE = Path(__file__).resolve().parent.parent / "docs" / "half_add.md"
FOLDS = ((1, 1), (1, 8), (4, 4), (4, 16), (8, 8), (16, 4))
"""PE and SIMD."""
INPUT_BITS = (2, 8)
VECTOR = 64
"""Inputs of a row, which decide the width of its accumulator."""
STARTS = 16
SHAPES = ((8, 16), (16, 32))
"""Rows and columns of unrolled matrices."""


class Folded(wiring.Component):
    """PE rows of SIMD lanes and their accumulators, operands and results in registers."""

    def __init__(self, pe: int, simd: int, bits: int, half: bool):
        self.pe, self.simd, self.grid, self.half = pe, simd, unsigned(bits), half
        self.width = bits + VECTOR.bit_length()
        super().__init__(
            {
                "x": In(bits * simd), "w": In(pe * simd), "first": In(1), "last": In(1),
                "row": In(4), "y": Out(pe * self.width),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x, w = Signal.like(self.x), Signal.like(self.w)
        first, last = Signal(), Signal()
        m.d.sync += [x.eq(self.x), w.eq(self.w), first.eq(self.first), last.eq(self.last)]
        rows = self._halves(m, x, w, first) if self.half else self._signs(m, x, w, first)
        with m.If(last):
            m.d.sync += self.y.eq(Cat(*(resize(row, self.width) for row in rows)))
        return m

    def _signs(self, m: Module, x: Value, w: Value, first: Value) -> list[Value]:
        """As the unit of `Dot` does it."""
        lanes = Lanes(self.grid, BINARY, self.simd, self.pe, self.width)
        on = Operands([x], [[w[k * self.simd : (k + 1) * self.simd]] for k in range(self.pe)])
        for k, step in enumerate(lanes.steps[:-1]):
            on = lanes.build(m, step, f"step{k}", on)
        bits = (VECTOR // (2 if lanes.kind == "pairs" else 1)).bit_length()
        random = np.random.default_rng(0)
        words = [
            int.from_bytes(random.bytes(bits * self.pe // 8 + 1), "little")
            & ((1 << bits * self.pe) - 1)
            for _ in range(STARTS)
        ]
        starts = rom(m, "starts", words, bits * self.pe, self.row, C(1))
        return [
            self._accumulated(m, lanes.addend(row), starts[k * bits : (k + 1) * bits], first, k)
            for k, row in enumerate(on.rows)
        ]

    def _halves(self, m: Module, x: Value, w: Value, first: Value) -> list[Value]:
        values = numbers(m, x, self.simd, self.grid, "x")
        whole = self._accumulated(m, self._sum(m, values, "all"), C(0), first, self.pe)
        rows: list[Value] = []
        for k in range(self.pe):
            chosen = [
                value & w[k * self.simd + j].replicate(self.grid.bits)
                for j, value in enumerate(values)
            ]
            half = self._accumulated(m, self._sum(m, chosen, f"row{k}_"), C(0), first, k)
            rows.append(Cat(C(0, 1), half) - whole)
        return rows

    def _sum(self, m: Module, terms: list[Value], name: str) -> Value:
        layer = 0
        while len(terms) > 1:
            terms, layer = add_layer(m, terms, self.width, f"{name}{layer}"), layer + 1
        return terms[0]

    def _accumulated(self, m: Module, addend: Value, start: Value, first: Value, k: int) -> Value:
        held, total = (Signal(self.width, name=f"{name}{k}") for name in ("held", "total"))
        m.d.comb += total.eq(Mux(first, start, held) + addend)
        m.d.sync += held.eq(total)
        return total


class Unrolled(wiring.Component):
    """All of a matrix of signs in one cycle."""

    def __init__(self, weights: Ints, bits: int, half: bool):
        self.weights, self.grid, self.half = weights, unsigned(bits), half
        self.width = bits + weights.shape[1].bit_length() + 1
        super().__init__({"x": In(bits * weights.shape[1]), "y": Out(len(weights) * self.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x, columns = Signal.like(self.x), self.weights.shape[1]
        m.d.sync += x.eq(self.x)
        ends = (np.full(columns, end) for end in (self.grid.lo, self.grid.hi))
        graph = (adder_graph if self.half else plain_graph)(self.weights, *ends)
        inputs = numbers(m, x, columns, self.grid, "x")
        rows = Staged(m, graph, inputs, [C(1)], max(graph.depths)).rows()
        m.d.sync += self.y.eq(Cat(*(resize(row, self.width) for row in rows)))
        return m


def check(pe: int, simd: int, bits: int) -> None:
    """Simulate the half-add form on random vectors of four beats; raise where a sum is wrong."""
    dut, random = Folded(pe, simd, bits, True), np.random.default_rng(0)
    x, w = random.integers(0, 1 << bits, (9, 4, simd)), random.choice([-1, 1], (9, 4, pe, simd))
    wanted = np.einsum("vbs,vbps->vp", x, w)
    grid = signed(dut.width)

    async def bench(ctx: Any) -> None:
        for vector in range(9):
            for beat in range(4):
                ctx.set(dut.x, rom_words(x[vector, beat][None], dut.grid)[0])
                ctx.set(dut.w, rom_words(w[vector, beat].reshape(1, -1), BINARY)[0])
                ctx.set(dut.first, beat == 0)
                ctx.set(dut.last, beat == 3)
                await ctx.tick()
            ctx.set(dut.last, 0)
            await ctx.tick()
            y = ctx.get(dut.y)
            found = [y >> k * grid.bits & (1 << grid.bits) - 1 for k in range(pe)]
            assert found == [int(v) & (1 << grid.bits) - 1 for v in wanted[vector]]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def pairs() -> Iterator[tuple[str, Rtl, Rtl]]:
    """What is compared: its name, with +-x, and in the half-add form."""
    for bits in INPUT_BITS:
        for pe, simd in FOLDS:
            made = [Folded(pe, simd, bits, half) for half in (False, True)]
            yield f"{pe} x {simd}, {bits} bits", *map(_written, made)
    for rows, columns in SHAPES:
        weights = np.random.default_rng(rows).choice([-1, 1], (rows, columns))
        made = [Unrolled(weights, 4, half) for half in (False, True)]
        yield f"unrolled {rows} x {columns}, 4 bits", *map(_written, made)


def _written(one: wiring.Component) -> Rtl:
    return write_component(one, "rows")


def page(names: Sequence[str], families: Sequence[str], luts: Ints) -> Iterator[str]:
    """The table, as Markdown, of LUTs (families, names, 2)."""
    yield "# Binary weights by half the additions\n"
    smaller = int((luts[:, :, 1] < luts[:, :, 0]).sum())
    yield (
        f"Made by `python benchmarks/bench_half_add.py --write` on "
        f"{datetime.now(UTC).date().isoformat()}, {synth.yosys_version()}: LUTs of the datapath "
        "with +-x and with 2 * (sum of the x whose weight is +1) - (sum of all x). The second is "
        f"smaller in {smaller} of {luts[:, :, 0].size} cases. Folded units have the first: in rows "
        "that share them, sums and differences of two inputs already halve the additions of a row, "
        "for a LUT4 a bit. Unrolled layers of many rows have the second where it is smaller, with "
        "one adder more behind one another, which is allowed to both here (`hw/adder_graph.py`); "
        "their figures are those of the adders alone, without registers between them.\n"
    )
    yield (
        "| PE x SIMD, bits of an input | " + " | ".join(f"{f}: +-x, half" for f in families) + " |"
    )
    yield "|" + " --- |" * (len(families) + 1)
    for k, name in enumerate(names):
        cells = (f"{one[k, 0]:,}, {one[k, 1]:,}" for one in luts)
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--families", default="ecp5,ice40,xc7", help="default: ecp5,ice40,xc7")
    parser.add_argument("--write", action="store_true", help="write docs/half_add.md")
    given = parser.parse_args()
    if given.write and given.families != parser.get_default("families"):
        parser.error("--write makes the page of all families; leave --families out")
    for pe, simd in FOLDS:
        check(pe, simd, max(INPUT_BITS))
    made = list(pairs())
    families = given.families.split(",")
    designs = [rtl for _, *both in made for rtl in both]
    luts = np.array(
        [[area.lut for area in areas(designs, family, 1)] for family in families]
    ).reshape(len(families), len(made), 2)
    text = "\n".join(page([name for name, *_ in made], families, luts))
    print(text)
    if given.write:
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
