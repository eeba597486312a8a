"""The arithmetic of a matrix-vector unit: what its lanes add to each row, as steps of logic.

The datapath is chosen by the two grids.  With `Lanes.starts` as the accumulators' starts, all of
them equal the plain sum of products modulo 2**width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from amaranth.hdl import C, Cat, Module, Mux, Shape, Signal, Value, signed, unsigned

from ..models.fixed import Grid, Ints
from .elastic import numbers, resize
from .pack import Pack, number_shape
from .sums import CHAIN, GATE, MULTIPLY, add_layer, layer_levels, layers


@dataclass
class Operands:
    """What a step reads: values that all rows share, and those of each row."""

    shared: list[Value]
    rows: list[list[Value]]


@dataclass(frozen=True)
class Step:
    """A step of the datapath: its levels of logic, and the shapes of what it reads.

    shared, row: of the values that all rows share, and of those of each of `rows` rows, or pairs of
    rows where two are packed into one word.
    """

    name: str
    levels: int
    rows: int
    row: tuple[Shape, ...]
    shared: tuple[Shape, ...] = ()

    @property
    def bits(self) -> int:
        """Registers that hold the operands in front of a stage that begins with this step."""
        widths = [sum(shape.width for shape in shapes) for shapes in (self.shared, self.row)]
        return widths[0] + self.rows * widths[1]


@dataclass(frozen=True)
class Lanes:
    """`simd` lanes of each of `rows` rows, whose sums may wrap at `width` bits."""

    inputs: Grid
    weights: Grid
    simd: int
    rows: int
    width: int

    @cached_property
    def kind(self) -> str:
        """The datapath: xnor, masked, pairs, signs, ternary or multiply."""
        x, w = self.inputs, self.weights
        if not w.bipolar:
            return "ternary" if (w.lo, w.hi) == (-1, 1) else "multiply"
        if (x.lo, x.hi) == (-1, 1):
            return "xnor" if x.bipolar else "masked"
        # Sums and differences of two inputs, made once for all rows, save LUTs if rows share them.
        return "pairs" if self.rows > 1 and self.simd > 1 else "signs"

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order, the last of which, "accumulate", reads one value of each row."""
        x = (unsigned(self.simd * self.inputs.bits),)
        w = (unsigned(self.simd * self.stored.bits),)
        if self.pack:
            steps, terms = self._packed_steps(self.pack, x, w)
        else:
            lanes = MULTIPLY if self.kind == "multiply" else GATE
            steps, terms = [Step("lanes", lanes, self.rows, w, x)], self._terms()
        if self.kind == "pairs":
            sums = tuple(s for pair in self._pairs() for s in pair)
            steps = [Step("pairs", CHAIN, self.rows, w, x), Step("lanes", GATE, self.rows, w, sums)]
        masked = self.kind == "masked"
        made = layers(terms, self._most)
        for before, behind in pairwise(made):
            shared = before if masked else ()
            steps.append(Step("sums", layer_levels(behind), self.rows, before, shared))
        (last,) = made[-1]
        if masked:
            steps.append(Step("both", CHAIN, self.rows, (last,), (last,)))
            last = signed(last.width + 2)
        steps.append(Step("accumulate", GATE + CHAIN, self.rows, (last,)))
        return tuple(steps)

    def _packed_steps(
        self, pack: Pack, x: tuple[Shape, ...], w: tuple[Shape, ...]
    ) -> tuple[list[Step], tuple[Shape, ...]]:
        pairs = self.rows // 2
        steps = [Step("lanes", MULTIPLY, pairs, w, x)]
        terms = (pack.product,) * self.simd
        for _ in range(pack.layers):
            behind = layers(terms, pack.most)[1]
            steps.append(Step("packed", layer_levels(behind), pairs, terms))
            terms = behind
        steps.append(Step("split", CHAIN if pack.sum.signed else 0, pairs, terms))
        return steps, (pack.sum,) * len(terms)

    @property
    def _most(self) -> int | None:
        return None if self.kind in ("xnor", "masked") else self.width

    @cached_property
    def pack(self) -> Pack | None:
        """How two rows share a multiplier, where they do."""
        if self.kind != "multiply" or self.rows % 2:
            return None
        return Pack.of(self.inputs, self.weights, self.simd)

    @property
    def stored(self) -> Grid:
        """The grid of what the weight memory holds for each lane, of a row or of a packed pair."""
        return self.pack.stored if self.pack else self.weights

    def words(self, weights: Ints) -> Ints:
        """What the weight memory holds, from weights (D, rows * simd): values on `stored`."""
        if not self.pack:
            return weights
        rows = weights.reshape(len(weights), self.rows // 2, 2, self.simd)
        return self.pack.words(rows[:, :, 0], rows[:, :, 1]).reshape(len(weights), -1)

    def build(self, m: Module, step: Step, name: str, on: Operands) -> Operands:
        """The hardware of any step but the last; `name` starts the names of its wires."""
        match step.name:
            case "pairs":
                return Operands(self._sums_of_pairs(m, on.shared[0], name), on.rows)
            case "lanes":
                shared, x = self._inputs(m, on.shared, name)
                return Operands(
                    shared,
                    [self._lanes(m, x, row[0], f"{name}_{k}") for k, row in enumerate(on.rows)],
                )
            case "packed":
                assert self.pack
                return Operands(
                    [],
                    [
                        add_layer(m, row, self.pack.most, f"{name}_{k}")
                        for k, row in enumerate(on.rows)
                    ],
                )
            case "split":
                assert self.pack
                both = [self.pack.split(m, row, f"{name}_{k}") for k, row in enumerate(on.rows)]
                return Operands([], [row for pair in both for row in pair])
            case "sums":
                return Operands(
                    add_layer(m, on.shared, self._most, f"{name}_all"),
                    [add_layer(m, row, self._most, f"{name}_{k}") for k, row in enumerate(on.rows)],
                )
            case _:
                valid = on.shared[0]
                return Operands([], [[Cat(C(0, 1), row[0]) - valid] for row in on.rows])

    def addend(self, row: Sequence[Value]) -> Value:
        """What "accumulate" adds, from what it reads."""
        return Cat(C(0, 1), row[0]) if self.kind == "xnor" else row[0]

    def starts(self, rows: Ints) -> Ints:
        """What the accumulator of each row (N, S) starts from, for the lanes to be that simple.

        Signs: -S, to which twice the number of equal signs is added.  What is subtracted:
        -x = ~x + 1, and all those ones of a row are known beforehand, one for a pair.
        """
        if self.kind == "xnor":
            return np.full(len(rows), -rows.shape[1])
        if self.kind in ("masked", "multiply"):
            return np.zeros(len(rows), np.int64)
        if self.kind == "pairs":
            rows = rows.reshape(len(rows), -1, self.simd)[:, :, ::2].reshape(len(rows), -1)
        return np.count_nonzero(rows < 0, axis=1)

    def _terms(self) -> tuple[Shape, ...]:
        """Shapes of what the lanes of a row give to the sums."""
        x, w = number_shape(self.inputs), number_shape(self.weights)
        wide = signed(x.width + (not x.signed))
        if self.kind in ("xnor", "masked"):
            return (unsigned(1),) * self.simd
        if self.kind == "pairs":
            return tuple(
                signed(max(s.width + (not s.signed) for s in pair)) for pair in self._pairs()
            )
        if self.kind in ("signs", "ternary"):
            return (wide,) * self.simd
        return (Shape(x.width + w.width, x.signed or w.signed),) * self.simd

    def _pairs(self) -> list[tuple[Shape, ...]]:
        """Shapes of sum and difference of two inputs each; of a last odd input, its own."""
        x = number_shape(self.inputs)
        both = (Shape(x.width + 1, x.signed), signed(x.width + 1))
        return [both] * (self.simd // 2) + [(x,)] * (self.simd % 2)

    def _sums_of_pairs(self, m: Module, x: Value, name: str) -> list[Value]:
        values = numbers(m, x, self.simd, self.inputs, f"{name}_x")
        made: list[Value] = []
        for k, shapes in enumerate(self._pairs()):
            pair = values[2 * k : 2 * k + 2]
            results = [pair[0] + pair[1], pair[0] - pair[1]] if len(pair) == 2 else pair
            for value, shape, what in zip(results, shapes, ("sum", "less"), strict=False):
                wire = Signal(shape, name=f"{name}_{what}{k}")
                m.d.comb += wire.eq(value)
                made.append(wire)
        return made

    def _inputs(
        self, m: Module, shared: Sequence[Value], name: str
    ) -> tuple[list[Value], list[Value]]:
        """What stays shared behind the lanes, and what each row's lanes read."""
        if self.kind == "xnor":
            return [], list(shared)
        if self.kind == "masked":
            # Two's complement of {-1, 0, 1} is (valid, negative).
            valid, negative = (
                Cat(*(shared[0][2 * k + bit] for k in range(self.simd))) for bit in (0, 1)
            )
            held = Signal(self.simd, name=f"{name}_valid")
            m.d.comb += held.eq(valid)
            return list(held), [held, negative]
        if self.kind == "pairs":
            return [], list(shared)
        return [], numbers(m, shared[0], self.simd, self.inputs, f"{name}_x")

    def _lanes(self, m: Module, x: Sequence[Value], w: Value, name: str) -> list[Value]:
        if self.kind in ("xnor", "masked"):
            equal = Signal(self.simd, name=f"{name}_equal")
            m.d.comb += equal.eq(~(x[0] ^ w) if self.kind == "xnor" else x[0] & (x[1] ^ w))
            return list(equal)
        made: list[Value] = []
        shapes = (self.pack.product,) * self.simd if self.pack else self._terms()
        for k, shape in enumerate(shapes):
            wire = Signal(shape, name=f"{name}_m{k}")
            m.d.comb += wire.eq(self._term(x, w, k, shape.width))
            made.append(wire)
        return made

    def _term(self, x: Sequence[Value], w: Value, k: int, width: int) -> Value:
        bits = self.stored.bits
        if self.kind == "pairs":
            return _choose(x[2 * k : 2 * k + 2], w[2 * k : 2 * k + 2], width)
        weight = w[k * bits : (k + 1) * bits]
        if self.pack:
            return x[k] * self.pack.operand(weight)
        if self.kind == "multiply":
            return x[k] * (weight.as_signed() if self.weights.signed else weight)
        if self.kind == "signs":
            # X, or ~x, which is -x - 1: the accumulator starts with all those ones of its row.
            return resize(x[k], width) ^ (~weight[0]).replicate(width)
        # X, 0 or ~x; bit 0 of a ternary weight says nonzero, bit 1 negative.
        kept = resize(x[k], width) & weight[0].replicate(width)
        return kept ^ weight[1].replicate(width)


def _choose(x: Sequence[Value], w: Value, width: int) -> Value:
    """+-(a + b) or +-(a - b), where minus is ~: one LUT4 a bit, for two lanes."""
    flip = (~w[0]).replicate(width)
    if len(x) == 1:
        return resize(x[0], width) ^ flip
    return Mux(w[0] ^ w[1], resize(x[1], width), resize(x[0], width)) ^ flip
