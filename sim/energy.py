"""Energy of a frame by a model: operations and memory bits times an energy of each.

Not a measurement, and no statement about an FPGA: the figures are those of arithmetic and SRAM in
a 45 nm process at 0.9 V (Horowitz, "Computing's energy problem (and what we can do about it)",
ISSCC 2014, pp. 10-14), without clock, wires, control, leakage and I/O.  They serve to compare
networks and foldings.

| in the source | pJ | here |
|---|---|---|
| 32-bit add | 0.1 | in proportion to the width (8-bit add: 0.025, source 0.03) |
| 32-bit multiply | 3.1 | in proportion to both widths (8 x 8: 0.194, source 0.2) |
| 64 bits of an 8 kB SRAM | 10 | in proportion to the bits, read or written |

A comparison is a subtraction, and an XNOR counts as a bit of an addition, which is above its cost.
A lookup is its memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..hw.work import Work

ADD_32, MULTIPLY_32, SRAM_64 = 0.1, 3.1, 10.0
PJ_PER_BIT = {
    "multiply": MULTIPLY_32 / 32**2,
    "add": ADD_32 / 32,
    "xnor": ADD_32 / 32,
    "compare": ADD_32 / 32,
    "lookup": 0.0,
}
"""Energy of an operation per bit, in pJ; a multiplication's bits are the product of its widths."""
PJ_PER_MEMORY_BIT = SRAM_64 / 64

ABOUT = (
    "Energy is a model and no measurement: operations and memory bits, each times its energy in a "
    "45 nm process (Horowitz, ISSCC 2014: 32-bit add 0.1 pJ, 32-bit multiply 3.1 pJ, 64 bits of an "
    "8 kB SRAM 10 pJ), additions scaled by their width, multiplications by both widths, memory by "
    "bits; clock, wires, control and leakage are not in it"
)
"""A sentence that belongs beside every figure."""


@dataclass(frozen=True)
class Energy:
    """Energy per frame in pJ, of the arithmetic and of the memories."""

    arithmetic: float
    memory: float

    @property
    def total(self) -> float:
        """Both."""
        return self.arithmetic + self.memory


def energy(of: Work) -> Energy:
    """The modelled energy of a frame."""
    arithmetic = sum(PJ_PER_BIT[kind] * bits for kind, bits in of.bits.items())
    return Energy(arithmetic, PJ_PER_MEMORY_BIT * of.memory_bits)
