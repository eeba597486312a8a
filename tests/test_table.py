"""Table: definition, kernel and hardware against looking up one value at a time."""

from __future__ import annotations

import numpy as np
import pytest
from agree import chain, check_unit, check_values, one_node, refused
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.table import contents_of
from bitwright.hw.unit import Fold, Place
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Table
from bitwright.models.program import Edge, Program
from bitwright.models.saved import load, save

RNG = np.random.default_rng(7)


def naive(op: Table, x: Ints) -> Ints:
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        row = op.values[at[-1] if len(op.values) > 1 else 0].tolist()
        y[at] = dict(enumerate(row, op.lo))[int(x[at])]
    return y


def table(values: list[list[int]], lo: int) -> Table:
    return Table(np.array(values), lo)


def between(lo: int, hi: int, *shape: int) -> Ints:
    return RNG.integers(lo, hi, shape, endpoint=True)


CASES = {
    "one for all": (signed(4), Table(between(-99, 99, 1, 16), -8)),
    "per channel": (signed(4), Table(between(-99, 99, 3, 16), -8)),
    "unsigned": (unsigned(4), Table(between(0, 30, 3, 16), 0)),
    "longer than the input": (signed(3), Table(between(-9, 9, 3, 40), -20)),
    "far from zero": (Grid(100, 107), Table(between(-9, 9, 3, 8), 100)),
    "far below zero": (Grid(-107, -101), Table(between(-9, 9, 3, 8), -107)),
    "wide but few": (Grid(2**40 - 3, 2**40 + 4), Table(between(-9, 9, 3, 8), 2**40 - 3)),
    "uneven range": (Grid(-1, 14), Table(between(-9, 9, 3, 16), -1)),
    "signs in": (BINARY, Table(between(-9, 9, 3, 3), -1)),
    "signs out": (signed(4), Table(RNG.choice([-1, 1], (3, 16)), -8)),
    "signs in and out": (BINARY, table([[-1, 7, 1], [1, 7, -1], [1, 7, 1]], -1)),
    "ternary": (TERNARY, table([[1, 0, 1], [-1, 0, -1], [0, 1, 0]], -1)),
    "one value in": (Grid(5, 5), table([[9], [-3], [0]], 5)),
    "one value out": (signed(3), table([[4] * 8], -4)),
    "equal tables": (signed(3), table([list(range(8))] * 3, -4)),
    "wide values": (signed(3), Table(between(-(2**63), 2**63 - 1, 3, 8), -4)),
    "large": (unsigned(12), Table(between(-9, 9, 1, 4096), 0)),
}


@pytest.mark.parametrize("pe", [1, 3])
@pytest.mark.parametrize(("grid", "op"), CASES.values(), ids=CASES)
def test_any_values(grid: Grid, op: Table, pe: int):
    check_unit(op, Edge.of((5, 3), grid), lambda x: naive(op, x), Fold(pe), frames=6)


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize("rows", [1, 6])
def test_every_folding(rows: int, pe: int):
    op = Table(between(-9, 9, rows, 16), -8)
    check_unit(op, Edge.of((3, 6), signed(4)), lambda x: naive(op, x), Fold(pe), seed=pe)


def test_ranges_of_channels_differ():
    """A channel may lie where another one's entries would not fit the output."""
    op = table([[2**40, 1, 2, 3], [-7, -6, 2**40, 2**40], [0, 0, 9, 2**40]], 10)
    edge = Edge((3,), np.array([11, 10, 12]), np.array([13, 11, 12]))
    assert op.infer(edge).grid == Grid(-7, 9)
    check_unit(op, edge, lambda x: naive(op, x), Fold(1), frames=8)
    check_unit(op, edge, lambda x: naive(op, x), Fold(3), frames=8)


@given(
    values=st.lists(st.integers(-20, 20), min_size=1, max_size=12), lo=st.integers(-20, 20),
    cut=st.tuples(st.integers(0, 11), st.integers(0, 11)),
)  # fmt: skip
def test_the_range_is_attained(values: list[int], lo: int, cut: tuple[int, int]):
    first, last = sorted(at % len(values) for at in cut)
    op = table([values], lo)
    program = one_node(op, Edge.of((1,), Grid(lo + first, lo + last)))
    every = np.arange(lo + first, lo + last + 1)[:, None]
    check_values(program, every, lambda x: naive(op, x))
    y, reached = program.output, values[first : last + 1]
    assert (int(y.lo[0]), int(y.hi[0])) == (min(reached), max(reached))
    assert y.step == (2 if set(reached) == {-1, 1} else 1)


@pytest.mark.parametrize(
    ("grid", "values", "step"),
    [
        (signed(2), [[1, -1, -1, 1]], 2),
        (Grid(-2, 0), [[1, -1, -1, 9]], 2),  # the last entry is never read
        (BINARY, [[9, -1, 9, 1]], 2),  # of signs only two entries are
        (Grid(-1, 1), [[9, -1, 0, 1]], 1),
        (signed(2), [[1, 1, 1, 1]], 1),
    ],
)
def test_signs_take_one_bit(grid: Grid, values: list[list[int]], step: int):
    y = table(values, -2).infer(Edge.of((3,), grid))
    assert (y.step, y.grid.bits == 1) == (step, step == 2 or y.grid == Grid(1, 1))


@pytest.mark.parametrize(
    ("grid", "rows", "pe", "depth"),
    [
        (signed(4), 1, 2, 16),
        (signed(4), 6, 2, 3 * 16),
        (signed(4), 6, 6, 16),
        (Grid(0, 8), 6, 1, 6 * 16),
        (Grid(100, 103), 6, 1, 6 * 4),
        (Grid(102, 105), 6, 1, 6 * 4),
        (Grid(-120, -120), 6, 1, 6),
        (Grid(-1, 14), 6, 1, 6 * 16),
        (BINARY, 6, 1, 6 * 2),
    ],
)
def test_memories_are_as_deep_as_they_must_be(grid: Grid, rows: int, pe: int, depth: int):
    op = Table(between(-9, 9, rows, 256), -128)
    edge = Edge.of((6,), grid)
    contents = contents_of(op, Place((edge,), op.infer(edge), Fold(pe)))
    assert contents.words.shape == (pe, depth)


def test_equal_tables_are_stored_once():
    op = Table(np.repeat(between(-9, 9, 2, 16), 3, axis=0), -8)
    edge = Edge.of((6,), signed(4))
    depths = {
        pe: contents_of(op, Place((edge,), op.infer(edge), Fold(pe))).words.shape[1]
        for pe in (1, 2, 3, 6)
    }
    assert depths == {1: 96, 2: 48, 3: 32, 6: 16}
    same = Table(op.values[[0] * 6], -8)
    assert contents_of(same, Place((edge,), same.infer(edge), Fold(1))).words.shape == (1, 16)


def test_it_is_saved(tmp_path):
    program = chain("looked-up", Edge.of((2,), signed(3)), Table(between(-9, 9, 2, 9), -5))
    save(program, tmp_path / "table.npz")
    loaded: Program = load(tmp_path / "table.npz")
    assert loaded.digest == program.digest


@pytest.mark.parametrize("shape", [(4,), (2, 0), (0, 4), (1, 2, 2)])
def test_values_are_rows(shape: tuple[int, ...]):
    with refused(f"Table values have shape (C, R), not {shape}"):
        Table(np.zeros(shape, int), 0)


def test_a_table_has_at_most_4096_entries():
    assert Table(np.zeros((1, 4096), int), 0).values.shape == (1, 4096)
    with refused(
        "Table has at most 4096 entries a channel, not 4097; requantise its input to fewer values"
    ):
        Table(np.zeros((1, 4097), int), 0)


def test_rows_are_one_or_one_per_channel():
    with refused(
        "Table has 2 channels, and the last axis of (4, 3) is 3; "
        "give one row of values per channel, or one for all"
    ):
        Table(np.zeros((2, 4), int), 0).infer(Edge.of((4, 3), unsigned(2)))


@pytest.mark.parametrize(("lo", "entries"), [(-3, 11), (-4, 11), (-3, 99), (2**70, 4)])
def test_inputs_outside_the_table_are_refused(lo: int, entries: int):
    edge = Edge((3,), np.array([0, 0, -4]), np.array([1, 6, 7]))
    with refused(
        f"Table has values for {lo}..{lo + entries - 1}, and channel "
        f"{0 if lo > 0 else 2} of its input lies in {'0..1' if lo > 0 else '-4..7'}; "
        "extend the table or clamp the input"
    ):
        Table(np.zeros((1, entries), int), lo).infer(edge)
    Table(np.zeros((1, 12), int), -4).infer(edge)
