"""FINN's own cost formulas and published foldings, to stand beside ours.

Facts taken from FINN's documentation and classes (Xilinx/finn, `get_exp_cycles`, `lut_estimation`,
`bram_estimation` of its HLS matrix unit); none of its code.  With them a TFC-w1a1 at its published
folding is 5650 + 784 + 784 + 905 = 8,123 LUT and 22 + 2 + 2 + 3 block RAMs of 18 kbit, as FINN's
own classes print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2

from bitwright.models.ops import Dot
from bitwright.models.program import Program

TFC: Sequence[tuple[int, int]] = ((16, 49), (8, 8), (8, 8), (10, 8))
CNV: Sequence[tuple[int, int]] = (
    (16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1),
)  # fmt: skip
PUBLISHED: Mapping[str, Sequence[tuple[int, int]]] = {"tfc": TFC, "cnv": CNV}
"""(PE, SIMD) of each matrix unit, in order (finn-examples; MLPerf Tiny v0.7 for CNV)."""


@dataclass(frozen=True)
class Matrix:
    """A matrix-vector unit: `rows` x `columns` weights of `w` bits on inputs of `a` bits."""

    rows: int
    columns: int
    pe: int
    simd: int
    w: int
    a: int
    vectors: int

    @property
    def cycles(self) -> int:
        """Cycles per frame."""
        return self.rows // self.pe * (self.columns // self.simd) * self.vectors

    @property
    def luts(self) -> float:
        """Estimated LUT6 without thresholds, weights in block RAM."""
        multiply = self.simd * (2 * ceil((self.w + self.a) / 6) - 1) * (self.w + self.a)
        add = (self.w + self.a) * (2 * self.simd - 1)
        alpha = log2(self.columns) + self.w + self.a - 1
        accumulate = ceil(alpha + log2(1 + 2**-alpha) + 1)
        return 300 + 1.1 * self.pe * (multiply + add + accumulate)

    @property
    def bram18(self) -> int:
        """Estimated block RAMs of 18 kbit for the weights, beside the datapath."""
        depth, width = self.rows * self.columns // (self.pe * self.simd), self.pe * self.simd
        width *= self.w
        for bits, words in ((1, 16384), (2, 8192), (4, 4096), (9, 2048)):
            if width <= bits:
                return ceil(depth / words) * ceil(width / bits)
        if width <= 18 or depth > 512:
            return ceil(depth / 1024) * ceil(width / 18)
        return ceil(depth / 512) * ceil(width / 36)


def folding(program: Program, pairs: Sequence[tuple[int, int]]) -> dict[str, dict[str, int]]:
    """A fold file for the matrix units of a program; the other layers are left out."""
    names = [node.name for node in program.nodes if isinstance(node.op, Dot)]
    return {name: {"pe": pe, "simd": simd} for name, (pe, simd) in zip(names, pairs, strict=True)}


def matrices(program: Program, folds: Mapping[str, Mapping[str, int]]) -> dict[str, Matrix]:
    """FINN's view of the matrix units of a program, by layer."""
    found: dict[str, Matrix] = {}
    for node in program.nodes:
        if isinstance(node.op, Dot):
            x = program.edges[node.inputs[0]]
            rows, columns = node.op.weights.shape
            fold = folds[node.name]
            found[node.name] = Matrix(
                rows, columns, fold["pe"], fold["simd"], node.op.grid.bits, x.grid.bits,
                x.elements // columns,
            )  # fmt: skip
    return found
