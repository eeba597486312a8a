"""Lookup: definition, kernel and hardware against entries taken one by one, and a plain Dot."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import chain, check_hardware, check_unit, refused, samples, stalls
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.buffers import buffered
from bitwright.hw.design import Design
from bitwright.hw.lookup import plan
from bitwright.hw.unit import Fold, Place, foldings
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Dot, Lookup, Tables, Window
from bitwright.models.program import Edge, Program
from bitwright.sim.kernels import run

RNG = np.random.default_rng(22)


def lookup(results: int, taps: int, spaces: int, words: int) -> Lookup:
    indices = RNG.integers(0, words, (results, taps, spaces))
    indices[0, 0, 0], indices[-1, -1, -1] = 0, words - 1
    return Lookup(indices, words)


def naive(op: Lookup, x: Ints) -> Ints:
    results, taps, spaces = op.indices.shape
    y = np.zeros((*x.shape[:-1], results), np.int64)
    for at in np.ndindex(x.shape[:-1]):
        for n, t, m in np.ndindex(op.indices.shape):
            table = x[at].reshape(taps, spaces, op.words)[t, m].tolist()
            y[(*at, n)] += table[int(op.indices[n, t, m])]
    return y


@pytest.mark.parametrize(
    "grid",
    [BINARY, TERNARY, unsigned(1), signed(9), unsigned(12), Grid(-6, -6), Grid(5, 9), signed(40)],
    ids=str,
)
@pytest.mark.parametrize("words", [1, 3, 16])
def test_any_entries(grid: Grid, words: int):
    op = lookup(4, 3, 2, words)
    check_unit(op, Edge.of((2, 6 * words), grid), lambda x: naive(op, x), Fold(2, 2 * words))


def test_every_folding():
    op = lookup(4, 3, 2, 3)
    edge = Edge.of((2, 18), signed(4))
    folds = foldings(op, Place((edge,), op.infer(edge)))
    assert {fold.pe for fold in folds} == {1, 2, 4}
    assert {fold.simd for fold in folds} == {3, 6, 9, 18}
    for fold in folds:
        check_unit(op, edge, lambda x: naive(op, x), fold, seed=fold.simd)


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_stages_hold_so_many_levels(levels: int):
    """A deeper stage takes more of the muxes and sums: choosing from 16 takes 2 levels."""
    op, edge = lookup(4, 2, 4, 16), Edge.of((3, 128), signed(6))
    program = chain("deep", edge, op)
    stages = plan(op, Place((edge,), op.infer(edge), Fold(4, 64), levels)).stages
    assert stages == {1: 5, 2: 5, 4: 4, 8: 3}[levels]
    design = Design(program, {"n0": Fold(4, 64)}, {}, levels)
    check_hardware(design, samples(edge, 3), stalls(0.3))


@given(x=st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), min_size=8, max_size=8))
def test_the_range_is_attained(x: list[tuple[int, int]]):
    op = Lookup(np.array([[[0, 1]], [[1, 1]], [[3, 2]]]), 4)
    lo = np.array([low for low, _ in x])
    edge = Edge((8,), lo, lo + np.array([more for _, more in x]))
    y = op.infer(edge)
    np.testing.assert_array_equal(op(edge.lo), y.lo)
    np.testing.assert_array_equal(op(edge.hi), y.hi)


def both(seed: int) -> tuple[Program, Program]:
    """A convolution by tables and lookups, and the plain one with the words as weights."""
    rng = np.random.default_rng(seed)
    spaces, words, size = (int(rng.integers(1, 5)) for _ in range(3))
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    stride, dilation = (
        tuple(int(n) for n in rng.integers(1, 3, 2)),
        tuple(int(n) for n in rng.integers(1, 3, 2)),
    )
    padding = tuple(int(n) for n in rng.integers(0, 3, 4))
    window = Window(kernel, stride, padding, dilation)  # type: ignore[arg-type]
    grid, x = ((signed(4), signed(5)), (BINARY, unsigned(3)), (signed(8), unsigned(8)))[seed % 3]
    books = rng.integers(grid.lo, grid.hi, (spaces, words, size), endpoint=True)
    books = np.where(books < 0, -1, 1) if grid.step == 2 else books
    indices = rng.integers(0, words, (int(rng.integers(1, 7)), kernel[0] * kernel[1], spaces))
    edge = Edge.of((6, 5, spaces * size), x)
    weights = books[np.arange(spaces), indices].reshape(len(indices), -1)
    quantised = chain("quantised", edge, Tables(books, grid), window, Lookup(indices, words))
    return quantised, chain("plain", edge, window, Dot(weights, grid))


@pytest.mark.parametrize("seed", range(24))
def test_tables_and_lookups_are_a_convolution_with_words_as_weights(seed: int):
    quantised, plain = both(seed)
    x = samples(quantised.input, 5, seed)
    wanted = plain(x)
    np.testing.assert_array_equal(quantised(x), wanted)
    np.testing.assert_array_equal(run(quantised, x), wanted)
    assert quantised.output.lo.tolist() == plain.output.lo.tolist()
    assert quantised.output.hi.tolist() == plain.output.hi.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_a_quantised_convolution_in_hardware(seed: int):
    quantised, plain = both(seed)
    op = quantised.nodes[2].op
    assert isinstance(op, Lookup)
    folds = {"n2": Fold(len(op.indices), op.words)}
    design = buffered(Design(quantised, folds, {}))
    x = samples(quantised.input, 3, seed)
    check_hardware(design, x, stalls(0.2, seed) if seed % 2 else None)
    np.testing.assert_array_equal(quantised(x), plain(x))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 1, 1)])
def test_indices_have_three_axes(shape: tuple[int, ...]):
    with refused(f"Lookup indices have shape (N, T, M), not {shape}"):
        Lookup(np.zeros(shape, int), 4)


@pytest.mark.parametrize(("index", "words"), [(4, 4), (-1, 2)])
def test_indices_name_words(index: int, words: int):
    span = f"{min(index, 0)}..{max(index, 0)}"
    with refused(f"Lookup indices span {span}, outside 0..{words - 1}; name existing words"):
        Lookup(np.array([[[index, 0]]]), words)
    with refused("Lookup takes tables of 1 or more words, not 0"):
        Lookup(np.zeros((1, 1, 1), int), 0)


def test_the_input_holds_all_tables():
    with refused(
        "Lookup takes 2 taps of 3 tables of 4 words, 24 values, and the last axis of (5, 12) is "
        "12; put a Window over Tables before it"
    ):
        Lookup(np.zeros((1, 2, 3), int), 4).infer(Edge.of((5, 12), BINARY))


def test_a_sum_beyond_64_bits_is_refused():
    with refused(
        f"a sum of table entries reaches {2**63}, beyond signed 64 bits; use narrower weights or "
        "inputs"
    ):
        Lookup(np.zeros((1, 1, 2), int), 1).infer(Edge.of((2,), signed(63)))


def test_one_entry_of_a_table_alone_is_read():
    """A wrong index in one place shows: no two entries of the frames are alike."""
    op = Lookup(np.array(list(product(range(3), repeat=2)))[:, None, :], 3)
    x = np.array([[1, 2, 3, 10, 20, 30]])
    np.testing.assert_array_equal(op(x), [[11, 21, 31, 12, 22, 32, 13, 23, 33]])
