"""Tables: definition, kernel and hardware against inner products word by word."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import check_unit, check_values, one_node, refused, samples
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.dot import plan as dot_plan
from bitwright.hw.tables import plan
from bitwright.hw.unit import Fold, Place, foldings
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Dot, Tables
from bitwright.models.program import Edge

RNG = np.random.default_rng(21)


def books(spaces: int, words: int, size: int, grid: Grid) -> Tables:
    if grid.step == 2:
        return Tables(RNG.choice([-1, 1], (spaces, words, size)), grid)
    values = RNG.integers(grid.lo, grid.hi, (spaces, words, size), endpoint=True)
    values[0, 0, 0], values[-1, -1, -1] = grid.lo, grid.hi
    return Tables(values, grid)


def naive(op: Tables, x: Ints) -> Ints:
    spaces, words, size = op.codebooks.shape
    y = np.zeros((*x.shape[:-1], spaces * words), np.int64)
    for at in np.ndindex(x.shape[:-1]):
        for m, k, j in product(range(spaces), range(words), range(size)):
            y[(*at, m * words + k)] += int(op.codebooks[m, k, j]) * int(x[(*at, m * size + j)])
    return y


@pytest.mark.parametrize(
    ("x", "w"),
    [
        (BINARY, BINARY), (TERNARY, BINARY), (signed(5), BINARY), (unsigned(3), TERNARY),
        (unsigned(8), signed(8)), (signed(5), signed(4)), (BINARY, signed(3)),
        (unsigned(16), unsigned(16)), (Grid(-6, -6), signed(4)),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("fold", [Fold(2, 3), Fold(8, 6)], ids=str)
def test_every_datapath(x: Grid, w: Grid, fold: Fold):
    op = books(2, 4, 3, w)
    check_unit(op, Edge.of((2, 6), x), lambda x: naive(op, x), fold)


@pytest.mark.parametrize("grid", [BINARY, signed(4)], ids=str)
def test_every_folding(grid: Grid):
    op, edge = books(4, 2, 2, grid), Edge.of((3, 8), signed(4))
    folds = foldings(op, Place((edge,), op.infer(edge)))
    inside = [(pe, simd) for pe in (1, 2) for simd in (1, 2)]
    assert [(fold.pe, fold.simd) for fold in folds] == [*inside, (4, 4), (8, 8)]
    for fold in folds:
        check_unit(op, edge, lambda x: naive(op, x), fold, seed=fold.pe)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 2), (3, 5, 1), (1, 4, 3)])
def test_small_shapes(shape: tuple[int, int, int]):
    op = books(*shape, signed(4))
    check_unit(op, Edge.of((3, shape[0] * shape[2]), signed(3)), lambda x: naive(op, x))


def test_it_is_a_block_diagonal_dot():
    op = books(3, 4, 2, signed(5))
    matrix = np.zeros((12, 6), np.int64)
    for m in range(3):
        matrix[4 * m : 4 * m + 4, 2 * m : 2 * m + 2] = op.codebooks[m]
    x = samples(Edge.of((5, 6), signed(6)), 4)
    np.testing.assert_array_equal(op(x), Dot(matrix, signed(5))(x))


def test_one_sub_space_is_a_dot_with_the_same_stages():
    op, edge = books(1, 4, 6, signed(4)), Edge.of((6,), signed(4))
    same = Dot(op.codebooks[0], signed(4))
    for fold in (Fold(2, 3), Fold(1, 6), Fold(4, 2)):
        place = Place((edge,), op.infer(edge), fold)
        assert plan(op, place) == dot_plan(same, place)


grids = st.sampled_from([BINARY, TERNARY, signed(3), unsigned(2), Grid(-2, -1), Grid(3, 3)])


@given(x=st.lists(grids, min_size=4, max_size=4), w=grids, seed=st.integers(0, 1000))
def test_the_range_is_attained(x: list[Grid], w: Grid, seed: int):
    rng = np.random.default_rng(seed)
    values = [v for v in range(w.lo, w.hi + 1) if w.holds(np.array([v]))]
    op = Tables(rng.choice(values, (2, 2, 2)), w)
    edge = Edge((4,), np.array([g.lo for g in x]), np.array([g.hi for g in x]))
    every = op(np.array(list(product(*((g.lo, g.hi) for g in x)))))
    y = op.infer(edge)
    assert (y.lo.tolist(), y.hi.tolist()) == (every.min(0).tolist(), every.max(0).tolist())


def test_wide_values_are_exact():
    op = Tables(np.array([[[2**15 - 1, -(2**15)]], [[-1, 1]]]), signed(16))
    program = one_node(op, Edge.of((4,), signed(47)))
    check_values(program, samples(program.input, 8), lambda x: naive(op, x))


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 0, 3)])
def test_codebooks_have_three_axes(shape: tuple[int, ...]):
    with refused(f"Tables codebooks have shape (M, K, Cs), not {shape}"):
        Tables(np.ones(shape, int), BINARY)


def test_words_lie_on_their_grid():
    with refused("Tables weights take 1 to 16 bits, not 17; quantise them"):
        Tables(np.ones((1, 1, 1), int), signed(17))
    with refused("Tables weights span -9..-9, outside -8..7 step 1; declare a wider grid"):
        Tables(np.full((1, 1, 1), -9), signed(4))


def test_the_input_holds_all_sub_spaces():
    with refused(
        "Tables has codebooks for 2 sub-spaces of 3 channels, 6 values, and the last axis of "
        "(4, 5) is 5; reshape first"
    ):
        Tables(np.ones((2, 4, 3), int), BINARY).infer(Edge.of((4, 5), BINARY))


def test_a_sum_beyond_64_bits_is_refused():
    with refused(
        f"a dot product reaches {2**63}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        Tables(np.ones((1, 1, 2), int), BINARY).infer(Edge.of((2,), signed(63)))
