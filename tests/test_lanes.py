"""Lanes, packed products and stages: shapes as promised, every product exact, no stage too full."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from agree import chain, check_hardware, one_node, samples
from amaranth.hdl import Fragment, Module, Shape, Signal
from amaranth.hdl import signed as signed_shape
from amaranth.hdl import unsigned as unsigned_shape
from amaranth.sim import Simulator

from bitwright.hw.design import Design
from bitwright.hw.dot import plan
from bitwright.hw.elastic import in_block
from bitwright.hw.lanes import Lanes, Operands
from bitwright.hw.levels import levels_for
from bitwright.hw.pack import Pack
from bitwright.hw.sums import cut, layers
from bitwright.hw.unit import Fold, Place
from bitwright.models.fixed import BINARY, TERNARY, Grid, signed, unsigned
from bitwright.models.ops import DepthwiseDot, Dot
from bitwright.models.program import Edge

KINDS = {
    "xnor": (BINARY, BINARY),
    "masked": (TERNARY, BINARY),
    "pairs": (unsigned(3), BINARY),
    "ternary": (signed(4), TERNARY),
    "packed": (signed(4), signed(4)),
    "packed unsigned": (unsigned(3), unsigned(3)),
    "multiply": (signed(8), signed(8)),
}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("simd", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_the_hardware_has_the_shapes_of_the_plan(kind: str, simd: int, rows: int):
    x, w = KINDS[kind]
    lanes = Lanes(x, w, simd, rows, 12)
    m, first = Module(), lanes.steps[0]
    on = Operands(
        [Signal(shape) for shape in first.shared],
        [[Signal(shape) for shape in first.row] for _ in range(first.rows)],
    )
    for step in lanes.steps:
        assert tuple(value.shape() for value in on.shared) == step.shared, step.name
        assert len(on.rows) == step.rows
        for row in on.rows:
            assert tuple(value.shape() for value in row) == step.row, step.name
        if step.name != "accumulate":
            on = lanes.build(m, step, step.name, on)
    Fragment.get(m, None)  # A module that nobody elaborates is a warning.


def packed(inputs: Grid, weights: Grid, simd: int) -> Pack:
    made = Pack.of(inputs, weights, simd)
    assert made is not None
    return made


PACKED = [
    (signed(8), signed(4)), (unsigned(8), signed(4)), (unsigned(8), unsigned(4)),
    (signed(5), unsigned(4)), (unsigned(5), signed(6)), (signed(8), Grid(-15, 15)),
]  # fmt: skip


@pytest.mark.parametrize(("x", "w"), PACKED, ids=str)
def test_packed_products_are_exact_for_all_operands(x: Grid, w: Grid):
    """What the wires of `operand` stand for, times every input, in every pair of weights."""
    pack = packed(x, w, 1)
    span = np.arange(w.lo, w.hi + 1)
    a, b, value = (v.ravel() for v in np.meshgrid(span, span, np.arange(x.lo, x.hi + 1)))
    words = pack.words(a, b)
    assert pack.stored.holds(words)
    code = words & ((1 << w.bits) - 1)
    extended = code | np.where(a < 0, (1 << pack.low) - (1 << w.bits), 0)
    operand = ((words >> w.bits) << pack.low) + extended
    assert operand.min() >= -(1 << 17)
    assert operand.max() < 1 << 17
    np.testing.assert_array_equal(operand * value, (b * value << pack.low) + a * value)


@pytest.mark.parametrize("x", [signed(3), unsigned(3)], ids=str)
@pytest.mark.parametrize("w", [signed(3), unsigned(3)], ids=str)
def test_packed_hardware_multiplies_all_operands(x: Grid, w: Grid):
    pack = packed(x, w, 1)
    m = Module()
    word, value = Signal(pack.stored.bits), Signal(Shape(x.bits, x.signed))
    made = Signal(pack.product)
    m.d.comb += made.eq(value * pack.operand(word))
    (low,), (high,) = pack.split(m, [made], "p")
    cases = list(product(range(w.lo, w.hi + 1), range(w.lo, w.hi + 1), range(x.lo, x.hi + 1)))

    async def bench(ctx: Any) -> None:
        for a, b, number in cases:
            ctx.set(word, int(pack.words(np.array(a), np.array(b))) & ((1 << len(word)) - 1))
            ctx.set(value, number)
            assert (ctx.get(low), ctx.get(high)) == (a * number, b * number)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("simd", [1, 2, 5, 16, 40])
@pytest.mark.parametrize(("x", "w"), [(signed(4), signed(4)), (unsigned(3), unsigned(4))], ids=str)
def test_sums_of_packed_products_keep_to_their_part(x: Grid, w: Grid, simd: int):
    """At the ends of both grids, as many as are added before the split, and no more would fit."""
    pack = packed(x, w, simd)
    count, sign = 1 << pack.layers, pack.sum.signed
    ends = [count * a * b for a, b in product((x.lo, x.hi), (w.lo, w.hi))]
    assert min(ends) >= (-(1 << pack.low - 1) if sign else 0)
    assert max(ends) < 1 << pack.low - sign
    full = 2 * max(ends) >= 1 << pack.low - sign or 2 * min(ends) < -(1 << pack.low - 1)
    assert count >= simd or full


LEFTOVERS = [
    (unsigned(8), signed(3), 2, 9), (unsigned(7), signed(4), 4, 25), (signed(5), signed(5), 4, 25),
    (unsigned(6), signed(4), 2, 9), (signed(8), unsigned(4), 4, 3), (signed(5), signed(5), 2, 5),
]  # fmt: skip


@pytest.mark.parametrize(("x", "w", "pe", "simd"), LEFTOVERS, ids=str)
def test_a_packed_product_that_is_left_over_keeps_its_sign(x: Grid, w: Grid, pe: int, simd: int):
    """More lanes than are added up before the split, and one of them added to no other."""
    pack = packed(x, w, simd)
    assert pack.sum.signed
    split = next(step for step in Lanes(x, w, simd, pe, 40).steps if step.name == "split")
    assert min(term.width for term in split.row) < pack.most
    rng = np.random.default_rng(simd)
    weights = rng.choice([w.lo, w.hi, -1 if w.lo else 1], (pe, 2 * simd))
    edge = Edge.of((8, 2 * simd), x)
    design = Design(one_node(Dot(weights, w), edge), {"unit": Fold(pe, simd)}, {})
    frames = rng.choice([x.lo, x.hi], (4, *edge.shape))
    check_hardware(design, frames)


@pytest.mark.parametrize(
    ("x", "w"), [(signed(8), signed(8)), (unsigned(8), signed(5)), (signed(19), signed(2))], ids=str
)
def test_operands_that_no_multiplier_holds_are_not_packed(x: Grid, w: Grid):
    assert Pack.of(x, w, 4) is None


def test_sums_by_hand():
    one = [unsigned_shape(1)] * 7
    assert [[s.width for s in layer] for layer in layers(one, None)] == [
        [1] * 7, [2, 2, 1], [3, 1], [4],
    ]  # fmt: skip
    wide = [signed_shape(5)] * 3
    assert [[s.width for s in layer] for layer in layers(wide, 6)] == [[5] * 3, [6, 5], [6]]


def test_a_stage_takes_steps_while_they_fit():
    assert cut([1, 1, 1, 2, 2, 3], 3) == (0, 0, 0, 1, 2, 3)
    assert cut([1, 1, 1, 2, 2, 3], 4) == (0, 0, 0, 1, 1, 2)
    assert cut([5, 1], 3) == (0, 1)
    assert cut([1, 2], 3, used=3) == (1, 1)
    assert cut([1, 2], 100, used=4) == (0, 0)


@pytest.mark.parametrize("levels", [1, 2, 5, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_levels_gives_the_same_values_in_the_cycles_promised(kind: str, levels: int):
    x, w = KINDS[kind]
    weights = samples(Edge.of((4, 6), w), 4)[3]
    for op, fold, edge in (
        (Dot(weights, w), Fold(2, 3), Edge.of((2, 6), x)),
        (DepthwiseDot(weights, w), Fold(2), Edge.of((24,), x)),
    ):
        program = one_node(op, edge)
        design = Design(program, {"unit": fold}, {}, levels)
        unit = design.by_name["unit"]
        assert unit.place.levels == levels
        check_hardware(design, samples(program.input, 3))


def test_fewer_levels_make_more_stages():
    op, edge = Dot(np.ones((4, 64), int), BINARY), Edge.of((64,), BINARY)
    found = [
        plan(op, Place((edge,), op.infer(edge), Fold(2, 32), levels)).stages
        for levels in (1, 2, 3, 4, 7, 100)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] == 2


def test_links_know_the_levels_too():
    design = Design(chain("one", Edge.of((4,), signed(3)), Dot(np.eye(4, dtype=int), TERNARY)),
                    {"n0": Fold(2, 2)}, {}, 5)  # fmt: skip
    assert {instance.place.levels for instance in design.instances} == {5}


def test_large_constant_memories_are_in_block_ram():
    assert in_block(256, 64)
    assert not in_block(256, 63)
    assert not in_block(16, 64)
    assert in_block(8, 256)


def test_levels_for_a_clock():
    found = [levels_for(clock) for clock in (20, 60, 90, 110, 130)]
    assert found == sorted(found, reverse=True)
    assert levels_for(50) > levels_for(120)
