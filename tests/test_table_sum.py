"""TableSum: definition, kernel and hardware against entries taken one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import chain, check_hardware, check_unit, refused, samples, stalls
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.buffers import buffered
from bitwright.hw.design import Design
from bitwright.hw.table_sum import plan
from bitwright.hw.unit import Fold, Place
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import TableSum, Tree
from bitwright.models.program import Edge
from bitwright.sim.kernels import run

RNG = np.random.default_rng(24)


def tables(results: int, inputs: int, leaves: int, grid: Grid) -> TableSum:
    if grid.step == 2:
        return TableSum(RNG.choice([-1, 1], (results, inputs, leaves)), grid)
    values = RNG.integers(grid.lo, grid.hi, (results, inputs, leaves), endpoint=True)
    values[0, 0, 0], values[-1, -1, -1] = grid.lo, grid.hi
    return TableSum(values, grid)


def naive(op: TableSum, x: Ints) -> Ints:
    y = np.zeros((*x.shape[:-1], len(op.tables)), np.int64)
    for at in np.ndindex(y.shape):
        leaves = x[at[:-1]].tolist()
        y[at] = sum(op.tables[at[-1], c].tolist()[leaf] for c, leaf in enumerate(leaves))
    return y


@pytest.mark.parametrize(
    "grid", [BINARY, TERNARY, unsigned(1), signed(8), unsigned(16), Grid(-7, -7)], ids=str
)
@pytest.mark.parametrize("leaves", [1, 5, 16])
def test_any_entries(grid: Grid, leaves: int):
    op = tables(4, 6, leaves, grid)
    check_unit(op, Edge.of((2, 6), Grid(0, leaves - 1)), lambda x: naive(op, x), Fold(2, 3))


@pytest.mark.parametrize("pe", [1, 2, 4])
@pytest.mark.parametrize("simd", [1, 2, 3, 6])
def test_every_folding(pe: int, simd: int):
    op = tables(4, 6, 8, signed(4))
    check_unit(op, Edge.of((2, 6), unsigned(3)), lambda x: naive(op, x), Fold(pe, simd), seed=simd)


@pytest.mark.parametrize(
    ("inputs", "leaves", "first"),
    [
        (64, 16, 2),
        # The vector is in block RAM as well: it is held once more before it is an address.
        (512, 8, 3),
    ],
)
def test_memories_in_block_ram_take_a_stage_more(inputs: int, leaves: int, first: int):
    op = tables(2, inputs, leaves, signed(8))
    edge = Edge.of((inputs,), Grid(0, leaves - 1))
    made = plan(op, Place((edge,), op.infer(edge), Fold(1, 2)))
    assert (made.first, made.at[0]) == (first, first + 1)
    check_unit(op, edge, lambda x: naive(op, x), Fold(1, 2), frames=2)


def test_ranges_of_inputs_differ():
    """Entries that no input reaches may be wider than the result."""
    values = np.array([[[2**15 - 1, 1, 2], [-3, 5, -(2**15)]]])
    op = TableSum(values, signed(16))
    edge = Edge((2,), np.array([1, 0]), np.array([2, 1]))
    assert op.infer(edge).grid == Grid(-2, 7)
    check_unit(op, edge, lambda x: naive(op, x), frames=8)


@given(seed=st.integers(0, 1000), cut=st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_the_range_is_attained(seed: int, cut: list[int]):
    op = TableSum(np.random.default_rng(seed).integers(-8, 8, (3, 2, 4)), signed(4))
    lo, hi = np.sort(np.array(cut).reshape(2, 2), 0)
    every = op(np.array(list(product(*(range(a, b + 1) for a, b in zip(lo, hi, strict=True))))))
    y = op.infer(Edge((2,), lo, hi))
    assert (y.lo.tolist(), y.hi.tolist()) == (every.min(0).tolist(), every.max(0).tolist())


@pytest.mark.parametrize("seed", range(4))
def test_trees_and_tables_are_a_product_of_quantised_inputs(seed: int):
    """Behind trees, each result adds up the entries of the leaves: by definition and in gates."""
    rng = np.random.default_rng(seed)
    trees, levels, results = int(rng.integers(1, 5)), int(rng.integers(1, 5)), 6
    order = rng.integers(0, levels, (trees, levels))
    limits = rng.integers(0, 17, (trees, (1 << levels) - 1))
    entries = rng.integers(-128, 128, (results, trees, 1 << levels))
    edge = Edge.of((5, trees * levels), unsigned(4))
    program = chain("hashed", edge, Tree(order, limits), TableSum(entries, signed(8)))
    x = samples(edge, 5, seed)
    wanted = np.zeros((5, 5, results), np.int64)
    for f, p, c in product(range(5), range(5), range(trees)):
        leaf = 0
        for level in range(levels):
            value = x[f, p, c * levels + order[c, level]]
            leaf = 2 * leaf + int(value >= limits[c, 2**level - 1 + leaf])
        wanted[f, p] += entries[:, c, leaf]
    np.testing.assert_array_equal(program(x), wanted)
    np.testing.assert_array_equal(run(program, x), wanted)
    design = buffered(Design(program, {"n0": Fold(trees), "n1": Fold(3, 1)}, {}))
    check_hardware(design, x, stalls(0.3, seed))


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 0, 2)])
def test_tables_have_three_axes(shape: tuple[int, ...]):
    with refused(f"TableSum tables have shape (N, C, leaves), not {shape}"):
        TableSum(np.ones(shape, int), BINARY)


def test_entries_lie_on_their_grid():
    with refused("TableSum weights take 1 to 16 bits, not 17; quantise them"):
        TableSum(np.ones((1, 1, 1), int), signed(17))
    with refused("TableSum weights span 0..1, outside -1..1 step 2; declare a wider grid"):
        TableSum(np.array([[[0, 1]]]), BINARY)


def test_there_is_a_table_for_each_input():
    with refused(
        "TableSum has tables for 3 inputs, and the last axis of (4, 2) is 2; flatten or reshape "
        "first"
    ):
        TableSum(np.ones((1, 3, 2), int), BINARY).infer(Edge.of((4, 2), unsigned(1)))


@pytest.mark.parametrize(("lo", "hi"), [(-1, 3), (0, 4)])
def test_inputs_outside_the_tables_are_refused(lo: int, hi: int):
    with refused(
        f"TableSum has entries for 0..3, and channel 1 of its input lies in {lo}..{hi}; extend the "
        "tables or clamp the input"
    ):
        edge = Edge((2,), np.array([0, lo]), np.array([3, hi]))
        TableSum(np.ones((1, 2, 4), int), BINARY).infer(edge)
