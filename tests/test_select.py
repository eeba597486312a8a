"""Select: definition, kernel and hardware against channels picked one by one."""

from __future__ import annotations

import numpy as np
import pytest
from agree import check_unit, check_values, one_node, refused, samples
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw import select as select_unit
from bitwright.hw.design import Design
from bitwright.hw.select import emitting
from bitwright.hw.unit import Fold, Place, fill, foldings, tail
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Select
from bitwright.models.program import Edge


def select(*channels: int) -> Select:
    return Select(np.array(channels, int))


def naive(op: Select, x: Ints) -> Ints:
    wanted = set(op.channels.tolist())
    y = [value for row in x.reshape(-1, x.shape[-1]).tolist()
         for channel, value in enumerate(row) if channel in wanted]  # fmt: skip
    return np.array(y).reshape(*x.shape[:-1], len(wanted))


CASES = {
    "a part in the middle": (12, select(4, 5, 6, 7)),
    "the beginning": (12, select(0, 1, 2)),
    "the end": (12, select(9, 10, 11)),
    "every other": (12, select(1, 3, 5, 7, 9, 11)),
    "of every four the middle two": (12, select(1, 2, 5, 6, 9, 10)),
    "of every four but the first the last": (12, select(7, 11)),
    "anything": (12, select(0, 2, 3, 7, 11)),
    "one": (12, select(5)),
    "all": (12, select(*range(12))),
    "all of one": (1, select(0)),
    "one of two": (2, select(1)),
    "a prime number": (7, select(2, 3, 4)),
}


@pytest.mark.parametrize(("channels", "op"), CASES.values(), ids=CASES)
def test_every_folding(channels: int, op: Select):
    edge = Edge.of((2, 3, channels), signed(4))
    folds = foldings(op, Place((edge,), op.infer(edge), Fold()))
    for seed, fold in enumerate(folds):
        check_unit(op, edge, lambda x: naive(op, x), fold, frames=3, seed=seed)


@pytest.mark.parametrize(
    ("op", "pairs"),
    [
        ("a part in the middle", [(1, 1), (2, 2), (4, 4), (4, 12)]),
        ("the beginning", [(1, 1), (3, 3), (3, 4), (3, 6), (3, 12)]),
        ("every other", [(1, 1), (1, 2), (2, 4), (3, 6), (6, 12)]),
        ("of every four but the first the last", [(1, 1), (1, 2), (1, 4), (2, 6), (2, 12)]),
        ("anything", [(1, 1), (5, 12)]),
        ("all", [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (12, 12)]),
    ],
)
def test_the_foldings_are_those_whose_beats_keep_the_same_lanes(
    op: str, pairs: list[tuple[int, int]]
):
    edge = Edge.of((CASES[op][0],), BINARY)
    place = Place((edge,), CASES[op][1].infer(edge), Fold())
    assert foldings(CASES[op][1], place) == tuple(Fold(pe, simd) for pe, simd in pairs)


def test_a_folding_whose_beats_differ_is_refused():
    program = one_node(select(4, 5), Edge.of((8,), BINARY))
    with refused(
        "layer 'unit': Select cannot be folded with pe 1 and simd 2; pe is one of 1, 2 and simd "
        "one of 1, 2, 4, 8"
    ):
        _ = Design(program, {"unit": Fold(1, 2)}, {}).instances


@pytest.mark.parametrize(
    "grid",
    [BINARY, TERNARY, signed(9), unsigned(1), unsigned(7), Grid(-9, -3), Grid(4, 4), signed(48)],
    ids=str,
)
def test_any_range(grid: Grid):
    op = select(1, 2, 5)
    check_unit(op, Edge.of((3, 6), grid), lambda x: naive(op, x), Fold(1, 1))
    check_unit(op, Edge.of((3, 6), grid), lambda x: naive(op, x), Fold(3, 6))


def test_ranges_follow_channels():
    """What is kept is stored as narrow as it is."""
    edge = Edge((2, 4), np.array([-9, 2, 0, -100]), np.array([3, 3, 7, 100]))
    y = select(1, 2).infer(edge)
    assert (y.shape, y.lo.tolist(), y.hi.tolist(), y.grid.bits) == ((2, 2), [2, 0], [3, 7], 3)
    check_unit(select(1, 2), edge, lambda x: naive(select(1, 2), x), Fold(2, 4))


@pytest.mark.parametrize(("op", "step"), [(select(0, 1), 2), (select(0, 2), 1), (select(1), 1)])
def test_signs_stay_signs_unless_one_is_left(op: Select, step: int):
    edge = Edge((4, 3), np.array([-1, 1, -1]), np.array([-1, 1, -1]), 2)
    assert op.infer(edge).step == step
    check_unit(op, edge, lambda x: naive(op, x))


def test_the_parts_of_a_split_make_the_whole():
    edge = Edge.of((3, 8), signed(5))
    x = samples(edge, 5)
    parts = [select(*range(k, k + 2)) for k in range(0, 8, 2)]
    np.testing.assert_array_equal(np.concatenate([op(x) for op in parts], -1), x)


@given(x=st.lists(st.integers(-4, 3), min_size=1, max_size=9), data=st.data())
def test_any_channels(x: list[int], data: st.DataObject):
    channels = data.draw(st.sets(st.integers(0, len(x) - 1), min_size=1))
    op = select(*sorted(channels))
    check_values(one_node(op, Edge.of((len(x),), signed(3))), np.array([x]), lambda x: naive(op, x))


@pytest.mark.parametrize("grid", [Grid(-(2**63), 2**63 - 1), Grid(-(2**63), -(2**63) + 1)], ids=str)
def test_the_ends_of_64_bits(grid: Grid):
    program = one_node(select(0, 3), Edge.of((4,), grid))
    check_values(program, samples(program.input, 8), lambda x: naive(select(0, 3), x))


@pytest.mark.parametrize(
    ("op", "fold", "first", "last"),
    [
        (select(4, 5), Fold(1, 1), 5, -5),
        (select(4, 5), Fold(2, 2), 3, -2),
        (select(4, 5), Fold(2, 12), 1, 1),
        (select(0, 11), Fold(1, 1), 1, 1),
    ],
)
def test_beats_without_channels_take_a_cycle_each(op: Select, fold: Fold, first: int, last: int):
    """The first beat leaves when it has come, and trailing beats enter after the last has left."""
    edge = Edge.of((5, 12), signed(4))
    design = Design(one_node(op, edge), {"unit": fold}, {})
    place = design.by_name["unit"].place
    assert (fill(op, place), tail(op, place)) == (first, last)
    cycles = design.schedule(1)
    into = next(s.name for s in design.streams if s.consumer[0] == "unit")
    out = next(s.name for s in design.streams if s.producer[0] == "unit")
    assert cycles[out][0] - cycles[into][0] == first
    assert cycles[out][-1] - cycles[into][-1] == last


def test_the_table_of_beats_is_as_short_as_it_repeats():
    op, edge = select(1, 2, 5, 6, 9, 10), Edge.of((12,), BINARY)
    place = Place((edge,), op.infer(edge), Fold(1, 1))
    assert emitting(op, place).tolist() == [False, True, True, False]


@pytest.mark.parametrize("word", [1, 2, 4, 8, 16])
def test_a_long_table_is_cut_into_words(monkeypatch: pytest.MonkeyPatch, word: int):
    monkeypatch.setattr(select_unit, "WORD", word)
    op, edge = select(0, 2, 3, 7, 8, 9, 12), Edge.of((2, 13), signed(3))
    check_unit(op, edge, lambda x: naive(op, x), Fold(1, 1))


@pytest.mark.parametrize("shape", [(0,), (1, 2), ()])
def test_channels_have_one_axis(shape: tuple[int, ...]):
    with refused(f"Select channels have shape (K,) with K of 1 or more, not {shape}"):
        Select(np.ones(shape, int))


@pytest.mark.parametrize(
    ("channels", "behind", "before"), [((0, 2, 2), 2, 2), ((3, 4, 1, 0), 1, 4)]
)
def test_channels_rise(channels: tuple[int, ...], behind: int, before: int):
    with refused(
        f"Select takes channels in rising order, and {behind} follows {before}; sort them, each "
        "once"
    ):
        select(*channels)


def test_channels_count_from_0():
    with refused("Select counts channels from 0, and -1 is below; name existing channels"):
        select(-1, 2)


def test_channels_exist():
    with refused(
        "Select takes channel 6, and the last axis of (2, 6) has channels 0 to 5; name existing "
        "channels"
    ):
        select(0, 6).infer(Edge.of((2, 6), BINARY))
