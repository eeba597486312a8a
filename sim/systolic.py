"""Cycles of a systolic array of equal size, in closed form, to stand beside a design's own.

An array of R x C processing elements computes a product of (M, S) inputs with (S, N) weights, M
positions of S values for N filters, in folds: as many rows and columns at a time as it holds.

| dataflow | rows hold | columns hold | T, streamed | cycles of a fold |
|---|---|---|---|---|
| weight stationary | S | N | M | 2R + C + T - 2 |
| input stationary | S | M | N | 2R + C + T - 2 |
| output stationary | M | N | S | R + C + T - 2 |

Where the operand that stays is loaded first, a fold takes R cycles more.  The total is that of all
folds less 1: cycles are counted to the last one, which has the number total - 1.  This is how
SCALE-Sim counts (Samajdar et al., arXiv 1811.02883), without stalls of its memories;
`benchmarks/bench_systolic.py` runs it and compares.  Layers follow one another, each on the whole
array; what is between them costs nothing, which is in the array's favour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, isqrt

from ..hw.design import Design
from ..models.ops import DepthwiseDot, Dot
from .units import operator

DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")


@dataclass(frozen=True)
class Product:
    """A matrix product: `positions` x `terms` inputs with `terms` x `filters` weights."""

    positions: int
    terms: int
    filters: int
    times: int = 1
    """How many such products a layer is: a depthwise layer is one a channel."""


@dataclass(frozen=True)
class Array:
    """Processing elements in rows and columns."""

    rows: int
    columns: int

    @classmethod
    def of(cls, elements: int) -> Array:
        """The square of at most so many elements, its columns as many as there are left for."""
        rows = isqrt(elements)
        return cls(rows, elements // rows)

    @property
    def elements(self) -> int:
        """Multiply-adds in a cycle at best."""
        return self.rows * self.columns

    def cycles(self, product: Product, dataflow: str) -> int:
        """Cycles of a layer; dataflow: one of `DATAFLOWS`."""
        m, s, n = product.positions, product.terms, product.filters
        held_by_rows, held_by_columns, streamed, loading = {
            "weight_stationary": (s, n, m, self.rows),
            "output_stationary": (m, n, s, 0),
            "input_stationary": (s, m, n, self.rows),
        }[dataflow]
        folds = ceil(held_by_rows / self.rows) * ceil(held_by_columns / self.columns)
        each = loading + self.rows + self.columns + streamed - 2
        return product.times * (folds * each - 1)

    def total(self, products: Iterable[Product], dataflow: str) -> int:
        """Cycles of layers one after another."""
        return sum(self.cycles(product, dataflow) for product in products)


def products(design: Design) -> dict[str, Product]:
    """The matrix products of a design, by layer."""
    found: dict[str, Product] = {}
    for unit in design.instances:
        op, out = operator(unit), unit.place.output
        if unit.layer is None or not isinstance(op, Dot | DepthwiseDot):
            continue
        filters, terms = op.weights.shape
        positions = out.elements // out.channels
        found[unit.layer] = (
            Product(positions, terms, filters)
            if isinstance(op, Dot)
            else Product(positions, terms, 1, times=filters)
        )
    return found


def multipliers(design: Design) -> int:
    """Multiply-adds that all matrix units of a design do in a cycle: PE * SIMD, summed."""
    units = (unit for unit in design.instances if isinstance(operator(unit), Dot | DepthwiseDot))
    return sum(unit.place.fold.pe * unit.place.fold.simd for unit in units)


def beside(design: Design) -> dict[str, int] | None:
    """What an array of the design's size takes for a frame; None without matrix products.

    {"rows", "columns", "elements", and for each dataflow the cycles}: frames follow one another.
    """
    layers = products(design)
    if not layers:
        return None
    array = Array.of(multipliers(design))
    shape = {"rows": array.rows, "columns": array.columns, "elements": array.elements}
    return shape | {flow: array.total(layers.values(), flow) for flow in DATAFLOWS}
