"""Bits of buffers for full throughput: the least, and two customary ways of sizing.

For networks of published shapes at FINN's published foldings (tfc, cnv), or at a coarse one:

- occupancy: what each buffer holds at most when all are unbounded (`hw.buffers.buffered`);
- powers of two: the same, each FIFO rounded up, as FINN's FIFO sizing does;
- least: depths of which none can be one entry less, with the bound that no depths fall below.

Seconds are those of one processor, everything from the folding on included.

    python benchmarks/bench_buffers.py [NETWORK ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping

import finn

from bitwright.codegen.folding import complete, fold_for, read_folds
from bitwright.hw.buffers import buffered, least
from bitwright.hw.design import Design
from bitwright.hw.fifo import Fifo
from bitwright.models.zoo.shapes import SHAPES

COARSE = {"resnet8": 600_000, "dscnn": 100_000}
"""Cycles per frame."""


def design_of(name: str) -> Design:
    """A network at its folding."""
    program = SHAPES[name]()
    if name in COARSE:
        return Design(program, fold_for(program, COARSE[name]), {})
    given = read_folds(finn.folding(program, finn.PUBLISHED[name]))
    return Design(program, complete(program, given), {})


def rounded(design: Design, depths: Mapping[str, int]) -> int:
    """Bits where each FIFO has a power of two entries; rings are rings of any size."""
    total = 0
    for name, depth in depths.items():
        instance = design.by_name[name]
        if isinstance(instance.op, Fifo):
            depth = 1 << (depth - 1).bit_length()
        total += depth * instance.entry_bits
    return total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"some of {', '.join(SHAPES)} (default: all)")
    names = parser.parse_args().networks or list(SHAPES)
    if unknown := set(names) - set(SHAPES):
        parser.error(f"there is no network {sorted(unknown)[0]!r}")
    heads = ("interval", "occupancy", "seconds", "powers of two", "least", "bound", "seconds")
    print(f"{'bits':8}", *(f"{head:>13}" for head in heads))
    for name in names:
        # Once for the compiler, once for the clock.
        least(design_of("tfc"))
        design, start = design_of(name), time.process_time()
        enough = buffered(design).depths
        seconds = time.process_time() - start
        start = time.process_time()
        sizing = least(design_of(name), lambda line: print(line, file=sys.stderr))
        least_seconds = time.process_time() - start
        row = (sizing.interval, sizing.enough, f"{seconds:.2f}", rounded(design, enough))
        row = (*row, sizing.bits, sizing.bound, f"{least_seconds:.2f}")
        print(f"{name:8}", *(f"{value:>13}" for value in row), flush=True)


if __name__ == "__main__":
    main()
