"""What units do in a frame: counted by hand, and against the steps of their own timing."""

import numpy as np
import pytest
from programs import every_operator, table_operators, tile_operators

from bitwright.hw.constant_dot import graph_of
from bitwright.hw.convert import Widen
from bitwright.hw.design import Design
from bitwright.hw.fifo import Fifo
from bitwright.hw.thresholds import plan_of
from bitwright.hw.unit import Fold, Place, timing
from bitwright.hw.work import KINDS, Work, adding_up, doing, work
from bitwright.models.fixed import BINARY, TERNARY, Grid, signed, unsigned
from bitwright.models.ops import (
    Add,
    DepthwiseDot,
    Dot,
    Lookup,
    MaxPool,
    Requantise,
    Scale,
    SumPool,
    Table,
    Tables,
    TableSum,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from bitwright.models.program import Edge

RNG = np.random.default_rng(0)


def placed(op, shape, grid, pe=1, simd=1):
    edge = Edge.of(shape, grid)
    sources = (edge,) * op.inputs[0] if hasattr(op, "inputs") else (edge,)
    return op, Place(sources, op.infer(*sources), Fold(pe, simd))


def dot(x, weights, pe, simd):
    values = RNG.choice([-1, 1], (6, 8)) if weights.bipolar else RNG.integers(-1, 1, (6, 8))
    return placed(Dot(values, weights), (5, 8), x, pe, simd)


def test_a_tree_has_an_addition_less_than_terms():
    # 5 values of one bit: two sums of 2 bits, one of 3, one of 4.
    assert adding_up(5, 1, 8) == Work(counts={"add": 4}, bits={"add": 2 * 2 + 3 + 4})
    assert adding_up(5, 1, 3).bits["add"] == 2 * 2 + 3 + 3
    assert adding_up(1, 7, 9) == Work()


@pytest.mark.parametrize("fold", [(1, 1), (2, 4), (6, 2), (6, 8)], ids=str)
def test_binary_products_are_xnors_and_additions(fold):
    done = work(*dot(BINARY, BINARY, *fold))
    products = 5 * 6 * 8
    assert done.multiply_adds == products
    assert {kind: done.counts.get(kind, 0) for kind in KINDS} == {
        "multiply": 0, "add": products, "xnor": products, "compare": 0, "lookup": 0,
    }  # fmt: skip
    assert done.bits["xnor"] == products


@pytest.mark.parametrize("weights", [BINARY, TERNARY], ids=["binary", "ternary"])
def test_signs_on_integers_negate_and_add(weights):
    done = work(*dot(unsigned(4), weights, 1, 4))
    assert done.counts == {"xnor": 240, "add": 240}
    # An input of 4 bits takes a sign when it is negated.
    assert done.bits["xnor"] == 240 * 5
    assert work(*dot(signed(4), weights, 1, 4)).bits["xnor"] == 240 * 4


def test_sums_of_pairs_are_made_once_for_all_rows():
    done = work(*dot(unsigned(4), BINARY, 2, 4))
    steps = 5 * 3 * 2
    # Once: two sums and two differences.  Each of two rows: two choices, their sum, accumulate.
    assert done.counts == {"xnor": steps * 2 * 2, "add": steps * (4 + 2 * 2)}
    assert done.bits["xnor"] == steps * 2 * 2 * 6
    # Of three lanes the last stands alone.
    odd = Dot(RNG.choice([-1, 1], (6, 9)), BINARY)
    counts = work(*placed(odd, (5, 9), unsigned(4), 3, 3)).counts
    assert counts == {"xnor": 30 * 3 * 2, "add": 30 * (2 + 3 * 2)}


def test_padded_signs_are_counted_once_a_step():
    done = work(*dot(Grid(-1, 1), BINARY, 2, 4))
    steps = 5 * 3 * 2
    # Each row: a tree of 3, the difference, the accumulator; all rows: one more tree of 3.
    assert done.counts == {"xnor": 240, "add": steps * (2 * 5 + 3)}


def test_integers_multiply():
    done = work(*dot(unsigned(4), signed(3), 3, 4))
    assert done.counts == {"multiply": 240, "add": 240}
    assert done.bits["multiply"] == 240 * 4 * 3


def test_two_rows_share_a_multiplier():
    done = work(*dot(unsigned(4), signed(3), 2, 4))
    # A step: 4 products and 3 sums of packed words, a split, and an accumulation of each row.
    assert done.counts == {"multiply": 30 * 4, "add": 30 * (3 + 1 + 2)}
    # The word: 14 bits of the low weight, 3 of the high one and its borrow.
    assert done.bits["multiply"] == 30 * 4 * 4 * 18


def test_a_constant_matrix_is_its_adders():
    op, place = dot(unsigned(4), signed(3), 6, 8)
    graph = graph_of(op, place)
    done = work(op, place)
    sums = len(graph.adders) + sum(output.negative for output in graph.outputs)
    assert done.counts == {"add": 5 * sums}
    assert (done.multiply_adds, done.memory_bits) == (5 * 48, 0)
    assert done.bits == {"add": 5 * graph.bits}


@pytest.mark.parametrize("fold", [(1, 1), (2, 4), (3, 8), (6, 2)], ids=str)
def test_memory_bits_of_a_dot_are_words_times_steps(fold):
    pe, simd = fold
    op, place = dot(unsigned(4), signed(3), *fold)
    done, steps = work(op, place), int(timing(op, place).gaps["s0"].sum())
    # Two weights that share a multiplier take a bit more.
    assert done.constant_reads == steps * simd * (pe // 2 * 7 if pe % 2 == 0 else pe * 3)
    reuse = pe < 6
    assert done.value_reads == (steps * simd * 4 if reuse else 0)
    assert done.value_writes == (5 * 8 * 4 if reuse else 0)


def test_weights_of_one_word_are_no_memory():
    assert work(*dot(unsigned(4), signed(3), 6, 8)).memory_bits == 0


def test_depthwise_products():
    op, place = placed(
        DepthwiseDot(RNG.integers(-3, 4, (4, 9)), signed(3)), (5, 36), unsigned(2), 2
    )
    done = work(op, place)
    assert done.multiply_adds == 5 * 36
    assert done.counts == {"multiply": 180, "add": 180}
    assert done.constant_reads == timing(op, place).stages["s0"] * 2 * 3


@pytest.mark.parametrize("fold", [(1, 1), (2, 3), (4, 3), (8, 6)], ids=str)
def test_tables_multiply_inside_their_sub_spaces(fold):
    op, place = placed(
        Tables(RNG.integers(-128, 128, (2, 4, 3)), signed(8)), (5, 6), unsigned(4), *fold
    )
    done = work(op, place)
    products = 5 * 2 * 4 * 3
    assert done.multiply_adds == products
    assert done.counts == {"multiply": products, "add": products}
    assert done.bits["multiply"] == products * 4 * 8
    assert done.constant_reads == (products * 8 if fold[0] < 8 else 0)
    assert done.value_reads == (5 * 6 * 4 * (4 // fold[0]) if fold[0] < 4 else 0)


@pytest.mark.parametrize("fold", [(1, 4), (3, 8), (6, 24)], ids=str)
def test_lookups_choose_and_add(fold):
    op, place = placed(Lookup(RNG.integers(0, 4, (6, 2, 3)), 4), (5, 24), signed(7), *fold)
    done = work(op, place)
    chosen = 5 * 6 * 2 * 3
    assert done.counts == {"lookup": chosen, "add": chosen}
    assert done.bits["lookup"] == chosen * 7
    assert done.constant_reads == (chosen * 2 if fold != (6, 24) else 0)
    assert done.value_writes == (5 * 24 * 7 if fold[0] < 6 else 0)
    assert done.value_reads == done.value_writes * (6 // fold[0])


@pytest.mark.parametrize("fold", [(1, 1), (2, 3), (4, 6)], ids=str)
def test_sums_of_tables_read_an_entry_an_input(fold):
    op, place = placed(TableSum(RNG.integers(-8, 8, (4, 6, 8)), signed(4)), (5, 6), unsigned(3),
                       *fold)  # fmt: skip
    done = work(op, place)
    assert done.counts == {"lookup": 5 * 24, "add": 5 * 24}
    assert done.constant_reads == 5 * 24 * 4
    assert done.multiply_adds == 0


@pytest.mark.parametrize("pe", [1, 4])
def test_trees_compare_once_a_level(pe):
    op, place = placed(
        Tree(RNG.integers(0, 3, (4, 3)), RNG.integers(-9, 9, (4, 7))), (5, 12), signed(5), pe
    )
    done = work(op, place)
    assert done.counts == {"compare": 5 * 4 * 3}
    # A limit of hi + 1 = 16 takes a bit more than the inputs.
    assert done.bits["compare"] == 5 * 4 * 3 * 6
    assert done.constant_reads == 5 * 4 * 6 * (3 if pe == 1 else 2)


def test_windows_and_buffers_move_words():
    op, place = placed(Window((3, 3), padding=(1, 1, 1, 1)), (5, 6, 4), unsigned(3), 1, 2)
    stages = timing(op, place).stages
    done = work(op, place)
    assert done.value_reads == stages["read"] * 2 * 3
    assert done.value_writes == stages["write"] * 2 * 3
    edge = place.inputs[0]
    fifo = work(Fifo(4), Place((edge,), edge, Fold(2)))
    assert (fifo.value_reads, fifo.value_writes) == (5 * 6 * 4 * 3, 5 * 6 * 4 * 3)
    assert work(Widen(), Place((edge,), edge, Fold(4, 2))) == Work()


@pytest.mark.parametrize("pe", [1, 4])
def test_thresholds_compare(pe):
    cuts = RNG.integers(-9, 9, (4, 3))
    op = Thresholds(cuts, np.zeros(4, int), np.ones(4, int))
    done = work(*placed(op, (7, 4), signed(5), pe))
    # hi + 1 = 16 takes a bit more than the inputs.
    assert done.counts["compare"] == 28 * 3
    assert done.bits["compare"] == 28 * 3 * 6
    assert done.constant_reads == (28 * 3 * 6 if pe == 1 else 0)


@pytest.mark.parametrize("pe", [1, 4])
def test_thresholds_by_search_compare_once_a_step(pe):
    cuts = np.sort(RNG.integers(-200, 200, (4, 63)))
    op, place = placed(Thresholds(cuts, np.zeros(4, int), np.ones(4, int)), (7, 4), signed(9), pe)
    assert plan_of(op, place).steps == 6
    done = work(op, place)
    assert done.counts == {"compare": 28 * 6}
    # The first step of all lanes side by side compares with constants.
    assert done.constant_reads == 28 * 10 * (6 if pe == 1 else 5)


def test_a_power_of_two_is_no_multiplication():
    x = signed(6)
    op = Requantise(np.array([4, 3]), np.array([0, 0]), 2, -8, 7)
    done = work(*placed(op, (5, 2), x, 2))
    assert done.counts == {"multiply": 5, "add": 10, "compare": 20}
    folded = work(*placed(op, (5, 2), x, 1))
    # One lane for both channels multiplies always, by what a memory holds.
    assert folded.counts["multiply"] == 10
    assert folded.constant_reads == 5 * 2 * 3
    wires = work(*placed(Scale(np.array([-2, 1]), np.array([0, 5])), (5, 2), x, 2))
    # One channel is negated, the other has something added to it.
    assert wires.counts == {"add": 10}
    # One lane for both: still shifts, whose signs come from memory.
    shifts = work(*placed(Scale(np.array([-2, 1]), np.array([0, 5])), (5, 2), x, 1))
    assert shifts.counts == {"add": 10, "xnor": 10}


@pytest.mark.parametrize(
    ("op", "counts"),
    [
        (MaxPool(4), {"compare": 3 * 6}),
        (SumPool(4), {"add": 3 * 6}),
        (Table(np.arange(16)[None], 0), {"lookup": 24}),
        (TopK(2), {"compare": 2 * 24}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_operators_by_channel(op, counts):
    assert work(*placed(op, (3, 8), unsigned(4))).counts == counts


def test_sums_of_branches():
    edge = Edge.of((3, 8), unsigned(4))
    done = work(Add(), Place((edge, edge), Add().infer(edge, edge)))
    assert done == doing("add", 5, 24)


def test_nobody_has_said_what_an_unknown_unit_does():
    assert work(object(), Place((), Edge.of((1,), BINARY))) is None


def test_every_operator_is_counted():
    tables = Design(table_operators(), {"lookup2": Fold(1, 4)}, {}).instances
    tables += Design(tile_operators(), {}, {}).instances
    units = Design(every_operator(), {"top": Fold(2)}, {}).instances + tables
    assert all(work(unit.op, unit.place) is not None for unit in units)
