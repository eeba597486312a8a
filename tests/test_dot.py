"""Dot: definition, kernel and hardware against sums of products of Python integers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import chain, check_hardware, check_unit, check_values, one_node, refused, samples
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Dot, Window
from bitwright.models.program import Edge

RNG = np.random.default_rng(1)


def weights(rows: int, columns: int, grid: Grid) -> Ints:
    """Random weights that hold both ends of their grid."""
    if grid.step == 2:
        return RNG.choice([-1, 1], (rows, columns))
    w = RNG.integers(grid.lo, grid.hi, (rows, columns), endpoint=True)
    w[0, 0], w[-1, -1] = grid.lo, grid.hi
    return w


def naive(w: Ints, x: Ints) -> Ints:
    y = np.zeros((*x.shape[:-1], len(w)), np.int64)
    for at in np.ndindex(x.shape[:-1]):
        for n, row in enumerate(w.tolist()):
            y[(*at, n)] = sum(a * b for a, b in zip(row, x[at].tolist(), strict=True))
    return y


DATAPATHS = {
    "xnor": (BINARY, BINARY),
    "masked xnor": (TERNARY, BINARY),
    "add or subtract signed": (signed(5), BINARY),
    "add or subtract unsigned": (unsigned(3), BINARY),
    "add or subtract bits": (unsigned(1), BINARY),
    "add or subtract 0 and -1": (Grid(-1, 0), BINARY),
    "ternary signed": (signed(4), TERNARY),
    "ternary unsigned": (unsigned(4), TERNARY),
    "ternary on signs": (BINARY, TERNARY),
    "product": (signed(5), signed(4)),
    "product of unsigned": (unsigned(4), unsigned(3)),
    "product with signs": (BINARY, signed(3)),
    "product with masks": (signed(4), Grid(0, 1)),
    "product with 0 and -1": (unsigned(4), Grid(-1, 0)),
    "16 bits": (signed(16), signed(16)),
    "16 bits unsigned": (unsigned(16), unsigned(16)),
    "constant input": (Grid(-6, -6), signed(4)),
    "zero input": (Grid(0, 0), BINARY),
    "constant weights": (signed(4), Grid(-7, -7)),
    "zero weights": (signed(4), Grid(0, 0)),
}


@pytest.mark.parametrize(("x", "w"), DATAPATHS.values(), ids=DATAPATHS)
def test_every_datapath(x: Grid, w: Grid):
    op = Dot(weights(4, 6, w), w)
    check_unit(op, Edge.of((2, 6), x), lambda x: naive(op.weights, x), Fold(2, 3))


@pytest.mark.parametrize("pe", [1, 2, 4])
@pytest.mark.parametrize("simd", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", ["xnor", "masked xnor", "product"])
def test_every_folding(kind: str, pe: int, simd: int):
    x, w = DATAPATHS[kind]
    op = Dot(weights(4, 6, w), w)
    check_unit(op, Edge.of((2, 6), x), lambda x: naive(op.weights, x), Fold(pe, simd), seed=simd)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("kind", ["xnor", "product"])
def test_one_row_or_one_column(kind: str, shape: tuple[int, int]):
    x, w = DATAPATHS[kind]
    op = Dot(weights(*shape, w), w)
    check_unit(op, Edge.of((3, shape[1]), x), lambda x: naive(op.weights, x))


def test_channels_of_different_ranges():
    """A narrow row may need fewer bits than its prefix sums; the accumulator wraps harmlessly."""
    op = Dot(np.array([[7, -7, 7, -7], [1, 0, 0, 0]]), signed(4))
    edge = Edge((4,), np.array([100, 100, -9, -9]), np.array([101, 101, -8, -8]))
    check_unit(op, edge, lambda x: naive(op.weights, x), Fold(2, 1), frames=8)


@pytest.mark.parametrize("kind", DATAPATHS)
def test_a_row_of_a_thousand(kind: str):
    x, w = DATAPATHS[kind]
    op = Dot(weights(3, 1000, w), w)
    program = one_node(op, Edge.of((1000,), x))
    check_values(program, samples(program.input, 5), lambda x: naive(op.weights, x))


def test_values_of_62_bits_are_exact():
    op = Dot(np.array([[1, 0], [-1, 0], [0, 1]]), TERNARY)
    check_unit(op, Edge.of((2,), signed(62)), lambda x: naive(op.weights, x), Fold(3, 1), frames=6)


def test_a_convolution_is_a_window_and_a_dot():
    w = weights(3, 3 * 2 * 2, signed(4)).reshape(3, 3, 2, 2)
    program = chain(
        "conv", Edge.of((5, 4, 2), signed(4)), Window((3, 2)), Dot(w.reshape(3, -1), signed(4))
    )
    x = samples(program.input, 4)
    want = np.zeros((4, 3, 3, 3), np.int64)
    for f, i, j, n in np.ndindex(want.shape):
        for ky, kx, c in product(range(3), range(2), range(2)):
            want[f, i, j, n] += w[n, ky, kx, c] * x[f, i + ky, j + kx, c]
    np.testing.assert_array_equal(program(x), want)
    check_hardware(Design(program, {"n0": Fold(1, 2), "n1": Fold(3, 4)}, {}), x)


grids = st.sampled_from([BINARY, TERNARY, signed(3), unsigned(2), Grid(-2, -1), Grid(3, 3)])


@given(x=st.lists(grids, min_size=1, max_size=4), w=grids, seed=st.integers(0, 1000))
def test_the_range_is_attained(x: list[Grid], w: Grid, seed: int):
    """Bounds are the least and the greatest result of all inputs, row by row."""
    rng = np.random.default_rng(seed)
    values = [v for v in range(w.lo, w.hi + 1) if w.holds(np.array([v]))]
    op = Dot(rng.choice(values, (2, len(x))), w)
    edge = Edge((len(x),), np.array([g.lo for g in x]), np.array([g.hi for g in x]))
    every = op(np.array(list(product(*(range(g.lo, g.hi + 1) for g in x)))))
    y = op.infer(edge)
    assert (y.lo.tolist(), y.hi.tolist()) == (every.min(0).tolist(), every.max(0).tolist())


def test_weights_have_two_axes():
    with refused("Dot weights have shape (N, S), not (2, 3, 1)"):
        Dot(np.ones((2, 3, 1), int), BINARY)
    with refused("Dot weights have shape (N, S), not (0, 3)"):
        Dot(np.ones((0, 3), int), BINARY)


def test_weights_lie_on_their_grid():
    with refused("Dot weights take 1 to 16 bits, not 17; quantise them"):
        Dot(np.ones((1, 1), int), signed(17))
    with refused("Dot weights span -9..7, outside -8..7 step 1; declare a wider grid"):
        Dot(np.array([[-9, 7]]), signed(4))
    with refused("Dot weights span -1..1, outside -1..1 step 2; declare a wider grid"):
        Dot(np.array([[-1, 0, 1]]), BINARY)


def test_weights_are_integers():
    with refused("integers are expected, not float64; round the values before building operators"):
        Dot(np.ones((1, 1)), BINARY)


def test_the_input_has_a_value_per_column():
    with refused(
        "Dot has weights for 3 inputs, and the last axis of (4, 2) is 2; flatten or reshape first"
    ):
        Dot(np.ones((1, 3), int), BINARY).infer(Edge.of((4, 2), BINARY))


@pytest.mark.parametrize("columns", [1, 2])
def test_a_sum_beyond_64_bits_is_refused(columns: int):
    """The bound is of Python integers: NumPy's would have wrapped to a small number."""
    op, edge = Dot(np.ones((1, columns), int), BINARY), Edge.of((columns,), signed(63))
    if columns == 1:
        assert op.infer(edge).hi.tolist() == [2**62 - 1]
        return
    with refused(
        f"a dot product reaches {2**63}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        op.infer(edge)
