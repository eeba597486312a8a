"""Fully unrolled `Dot`: adder graphs against plain sums of products, and in both simulators."""

from __future__ import annotations

import time

import numpy as np
import pytest
from agree import chain, check_unit, samples
from hypothesis import given
from hypothesis import strategies as st

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.adder_graph import adder_graph, depth_of, digit_counts, digits, plain_graph
from bitwright.hw.constant_dot import constant_stages, is_constant
from bitwright.hw.design import Design
from bitwright.hw.unit import Fold, Place
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Dot
from bitwright.models.program import Edge
from bitwright.sim.rtl import simulate

RNG = np.random.default_rng(11)


def matrix(rows: int, columns: int, grid: Grid, seed: int = 0) -> Ints:
    rng = np.random.default_rng(seed)
    if grid.step == 2:
        return rng.choice([-1, 1], (rows, columns))
    return rng.integers(grid.lo, grid.hi, (rows, columns), endpoint=True)


def ends(columns: int, grid: Grid) -> tuple[Ints, Ints]:
    return np.full(columns, grid.lo), np.full(columns, grid.hi)


@given(st.integers(-(1 << 15), (1 << 16) - 1))
def test_digits_are_the_number_and_never_neighbours(value: int):
    plus, minus = (int(word[0, 0]) for word in digits(np.array([[value]])))
    assert plus - minus == value
    assert plus & minus == 0
    assert (plus | minus) & (plus | minus) << 1 == 0


def signs() -> Ints:
    """Rows by halves: any, equal, opposite, as many of both signs, of one sign, of one input."""
    rows = matrix(8, 12, BINARY, 9)
    rows[1], rows[2] = rows[0], -rows[0]
    rows[3] = np.where(np.arange(12) % 2, 1, -1)
    rows[4], rows[5] = -rows[3], 1
    rows[6] = -1
    rows[7] = np.where(np.arange(12) == 4, 1, -1)
    return rows


MATRICES = {
    "6 bits": matrix(8, 9, signed(6)),
    "16 bits": matrix(3, 4, signed(16)),
    "unsigned": matrix(5, 6, unsigned(5)),
    "binary": matrix(9, 12, BINARY),
    "by halves": signs(),
    "nothing but minus": np.full((8, 12), -1),
    "ternary": matrix(9, 12, TERNARY),
    "negative": -matrix(4, 5, unsigned(4), 1),
    "zero": np.zeros((2, 3), np.int64),
    "zero rows and columns": np.array([[0, 3, 0], [0, 0, 0], [0, -5, 0]]),
    "one": np.array([[1]]),
    "minus one": np.array([[-1]]),
    "shifted": np.array([[4], [-8], [0], [1]]),
    "equal and opposite rows": np.array([[1, 3], [1, 3], [-1, -3], [2, 6]]),
    "one row": matrix(1, 20, signed(5)),
    "one column": matrix(20, 1, signed(8)),
}


@pytest.mark.parametrize("weights", MATRICES.values(), ids=MATRICES)
@pytest.mark.parametrize("grid", [signed(8), unsigned(3), Grid(-9, -3), Grid(5, 5), Grid(0, 0)])
def test_a_graph_is_its_matrix(weights: Ints, grid: Grid):
    """Adders and shifts are linear: what they make of unit vectors proves all inputs."""
    columns = weights.shape[1]
    graph = adder_graph(weights, *ends(columns, grid))
    np.testing.assert_array_equal(graph(np.eye(columns, dtype=np.int64)), weights.T)
    x = samples(Edge.of((columns,), grid), 20)
    np.testing.assert_array_equal(graph(x), x @ weights.T)
    for values, range_ in zip(graph.nodes(x), graph.grids, strict=True):
        assert range_.holds(values)


@pytest.mark.parametrize("weights", MATRICES.values(), ids=MATRICES)
def test_the_depth_is_what_the_formula_says(weights: Ints):
    graph = adder_graph(weights, *ends(weights.shape[1], signed(4)))
    depths = [graph.depths[o.node] + o.negative for o in graph.outputs if o.node >= 0]
    assert max(depths, default=0) == depth_of(weights)


@pytest.mark.parametrize("columns", [1000, 2000])
def test_a_long_row_takes_seconds(columns: int):
    """And is as deep as the formula says, though not every pair is looked at."""
    weights = matrix(1, columns, BINARY)
    begin = time.process_time()
    graph = adder_graph(weights, *ends(columns, signed(4)))
    last = graph.grids[graph.outputs[0].node]
    assert time.process_time() - begin < 20
    plus, less = int((weights > 0).sum()), int((weights < 0).sum())
    assert (last.lo, last.hi) == (-8 * plus - 7 * less, 7 * plus + 8 * less)
    assert graph.depths[graph.outputs[0].node] == depth_of(weights)
    assert len(graph.adders) == columns - 1
    x = samples(Edge.of((columns,), signed(4)), 3)
    np.testing.assert_array_equal(graph(x), x @ weights.T)


@pytest.mark.parametrize("grid", [signed(6), signed(2), unsigned(3)], ids=str)
def test_long_rows_are_their_matrix(grid: Grid):
    weights = matrix(2, 150, grid, 3)
    weights[0, :40] = 0
    graph = adder_graph(weights, *ends(150, unsigned(2)))
    np.testing.assert_array_equal(graph(np.eye(150, dtype=np.int64)), weights.T)
    depths = [graph.depths[o.node] + o.negative for o in graph.outputs]
    assert max(depths) == depth_of(weights)


def test_ranges_are_those_of_the_columns():
    weights, (lo, hi) = np.ones((3, 5), np.int64), ends(4, signed(4))
    with pytest.raises(ValueError, match="inputs for"):
        adder_graph(weights, lo, hi)


def test_ranges_are_attained():
    """Of every node, by brute force over all inputs."""
    graph = adder_graph(matrix(4, 3, signed(5), 2), np.array([-2, 0, -3]), np.array([1, 3, -1]))
    every = np.stack(np.meshgrid(*map(np.arange, graph.lo, graph.hi + 1)), -1).reshape(-1, 3)
    for values, grid in zip(graph.nodes(every), graph.grids, strict=True):
        assert (int(values.min()), int(values.max())) == (grid.lo, grid.hi)


def test_sums_are_shared():
    """Fewer adders than digits less rows; a row's double and its negative cost no adder."""
    weights = matrix(16, 16, signed(6), 3)
    graph = adder_graph(weights, *ends(16, signed(8)))
    assert len(graph.adders) < 0.75 * (int(digit_counts(weights).sum()) - 16)
    one = adder_graph(weights[:1], *ends(16, signed(8)))
    two = adder_graph(np.vstack([weights[:1], 2 * weights[:1]]), *ends(16, signed(8)))
    assert len(two.adders) == len(one.adders)


@pytest.mark.parametrize(("rows", "columns"), [(8, 16), (16, 64), (32, 27)])
def test_signs_are_summed_by_halves(rows: int, columns: int):
    """For a sixth less of the bits at least, and one adder more behind one another."""
    weights = matrix(rows, columns, BINARY, 5)
    graph, plain = (f(weights, *ends(columns, unsigned(4))) for f in (adder_graph, plain_graph))
    assert graph.bits < 0.84 * plain.bits
    assert len(graph.adders) < len(plain.adders)
    assert max(graph.depths) == (columns - 1).bit_length() + 1
    few = weights[:7]
    assert (
        adder_graph(few, *ends(columns, unsigned(4))).adders
        == plain_graph(few, *ends(columns, unsigned(4))).adders
    )
    # Rows that share most of their sums as they are stay so.
    two = np.array([[1, 1], [1, -1]])
    structured = np.kron(np.kron(two, two), np.kron(two, two))
    hadamard = (f(structured, *ends(16, unsigned(4))).adders for f in (adder_graph, plain_graph))
    assert next(hadamard) == next(hadamard)
    twice = np.vstack([weights, -weights])
    assert len(adder_graph(twice, *ends(columns, unsigned(4))).adders) <= len(graph.adders) + rows


def test_the_same_matrix_gives_the_same_graph():
    weights = matrix(12, 12, signed(6), 4)
    first = adder_graph(weights, *ends(12, signed(8)))
    again = adder_graph(weights.copy(), *ends(12, unsigned(3)))
    assert adder_graph(weights, *ends(12, signed(8))).adders == first.adders
    assert again.grids != first.grids


UNITS = {
    "product": (signed(5), signed(6)),
    "unsigned product": (unsigned(4), unsigned(3)),
    "negative": (signed(4), Grid(-5, -1)),
    "ternary": (signed(4), TERNARY),
    "binary": (unsigned(3), BINARY),
    "ternary inputs": (TERNARY, BINARY),
    "constant input": (Grid(-6, -6), signed(4)),
    "zero": (signed(4), Grid(0, 0)),
    "16 bits": (signed(16), signed(16)),
}


@pytest.mark.parametrize(("x", "w"), UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("shape", [(5, 7), (1, 4), (3, 1)])
def test_unrolled_units(x: Grid, w: Grid, shape: tuple[int, int]):
    op = Dot(matrix(*shape, w, 5), w)
    check_unit(op, Edge.of((2, shape[1]), x), lambda x: x @ op.weights.T, Fold(*shape))


@pytest.mark.parametrize("levels", [1, 3, 7])
@pytest.mark.parametrize("x", [unsigned(4), signed(3), Grid(-6, -6)], ids=str)
def test_units_by_halves(x: Grid, levels: int):
    op = Dot(signs(), BINARY)
    edge = Edge.of((2, 12), x)
    check_unit(op, edge, lambda x: x @ op.weights.T, Fold(8, 12), levels=levels)


def test_channels_of_different_ranges():
    op = Dot(np.array([[7, -7, 7, -7], [1, 0, 0, 0]]), signed(4))
    edge = Edge((4,), np.array([100, 100, -9, -9]), np.array([101, 101, -8, -8]))
    check_unit(op, edge, lambda x: x @ op.weights.T, Fold(2, 4), frames=8)


def place(op: Dot, grid: Grid, fold: Fold) -> Place:
    edge = Edge.of((op.weights.shape[1],), grid)
    return Place((edge,), op.infer(edge), fold)


def test_which_units_are_graphs():
    op = Dot(matrix(2, 3, signed(4)), signed(4))
    assert is_constant(op, place(op, signed(8), Fold(2, 3)))
    assert not is_constant(op, place(op, signed(8), Fold(1, 3)))
    assert not is_constant(op, place(op, BINARY, Fold(2, 3)))
    wide = Dot(np.array([[1, 0], [0, 1]]), TERNARY)
    assert not is_constant(wide, place(wide, signed(61), Fold(2, 2)))
    large = Dot(matrix(80, 80, signed(16)), signed(16))
    assert not is_constant(large, place(large, signed(8), Fold(80, 80)))
    for columns, graph in ((4096, True), (4097, False)):
        long = Dot(matrix(1, columns, BINARY), BINARY)
        assert is_constant(long, place(long, signed(8), Fold(1, columns))) == graph


def test_stages_hold_so_many_levels():
    ones = [Dot(np.ones((1, k), int), TERNARY) for k in (1, 2, 4, 5, 16, 17)]
    for levels, stages in (
        (7, [1, 1, 1, 2, 2, 3]),
        (3, [1, 1, 2, 3, 4, 5]),
        (1, [1, 1, 2, 3, 4, 5]),
    ):
        edge = Edge.of((1,), signed(8))
        at = Place((edge,), edge, Fold(1, 1), levels)
        assert [constant_stages(op, at) for op in ones] == stages


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_in_both_simulators(engine: str):
    """Designs of several datapaths, with stalls, value for value and cycle for cycle."""
    trials = []
    firsts = [(x, Dot(matrix(4, 5, w, 6), w)) for x, w in UNITS.values()]
    for k, (x, op) in enumerate([*firsts, (unsigned(4), Dot(signs(), BINARY))]):
        rows, columns = op.weights.shape
        second = Dot(matrix(3, rows, signed(3), 7), signed(3))
        program = chain(f"graphs{k}", Edge.of((3, columns), x), op, second)
        design = Design(program, {"n0": Fold(rows, columns), "n1": Fold(3, rows)}, {})
        gates = {end: RNG.random(200) >= 0.3 for end in ("source", "sink")}
        trials.append(Trial(f"t{k}", design, write_rtl(design), samples(program.input, 12), gates))
    outcomes = simulate(trials, engine).outcomes
    assert all(outcome.right for outcome in outcomes), [o.report for o in outcomes]
