"""LUTs and flip-flops of thresholds by comparators and by a search in memories, through Yosys.

python benchmarks/bench_thresholds.py [--family ecp5] [--counts 1,3,7,15,63,255] [--bits 8,16,24]

One lane that serves `--channels` channels.  The form that `plan_of` chooses is marked by *.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from bitwright.codegen.synth import synthesise
from bitwright.codegen.verilog import write_component
from bitwright.hw import thresholds
from bitwright.hw.unit import Fold, Place, component
from bitwright.models.fixed import signed
from bitwright.models.ops import Thresholds
from bitwright.models.program import Edge


def place(count: int, bits: int, channels: int) -> tuple[Thresholds, Place]:
    """Random thresholds over the whole range of an input, at one lane."""
    rng = np.random.default_rng(count)
    grid = signed(bits)
    values = rng.integers(grid.lo, grid.hi, (channels, count), endpoint=True)
    op = Thresholds(values, np.zeros(channels, int), np.ones(channels, int))
    edge = Edge.of((channels,), grid)
    return op, Place((edge,), op.infer(edge), Fold(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", default="ecp5")
    parser.add_argument("--counts", default="1,3,7,15,63,255")
    parser.add_argument("--bits", default="8,16,24")
    parser.add_argument("--channels", type=int, default=16)
    args = parser.parse_args()
    print(f"{'T':>4} {'bits':>4} {'form':<12} {'LUT':>6} {'FF':>6} {'BRAM':>4} {'stages':>6}")
    for count in map(int, args.counts.split(",")):
        for bits in map(int, args.bits.split(",")):
            op, at = place(count, bits, args.channels)
            chosen = thresholds.plan_of(op, at)
            for form, steps in (("comparators", 0), ("search", count.bit_length())):
                plan = replace(chosen, steps=steps)
                with patch.object(thresholds, "plan_of", lambda *_, plan=plan: plan):
                    rtl = write_component(component(op, at), "unit")
                area = synthesise(rtl, args.family)
                name = form + " *" * (steps == chosen.steps)
                print(
                    f"{count:>4} {bits:>4} {name:<12} {area.lut:>6} {area.ff:>6} {area.bram:>4} "
                    f"{plan.stages:>6}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
