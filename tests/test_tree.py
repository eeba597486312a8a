"""Tree: definition, kernel and hardware against decisions made one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import check_unit, check_values, one_node, refused
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Tree
from bitwright.models.program import Edge

RNG = np.random.default_rng(23)


def tree(
    trees: int, levels: int, grid: Grid, alike: bool = False, inputs: int | None = None
) -> Tree:
    """Random trees of `inputs` (or `levels`), some of whose thresholds always or never hold."""
    order = RNG.integers(0, inputs or levels, (1 if alike else trees, levels))
    limits = RNG.integers(grid.lo - 1, grid.hi + 2, (trees, (1 << levels) - 1), endpoint=True)
    return Tree(np.repeat(order, trees if alike else 1, 0), limits)


def naive(op: Tree, x: Ints) -> Ints:
    trees, levels = op.order.shape
    y = np.zeros((*x.shape[:-1], trees), np.int64)
    for at in np.ndindex(y.shape):
        c, bits = at[-1], ""
        inputs = x[at[:-1]].reshape(trees, -1)[c].tolist()
        for level in range(levels):
            place = sum(1 << k for k in range(level)) + int(bits or "0", 2)
            taken = inputs[int(op.order[c, level])] >= int(op.thresholds[c, place])
            bits += "1" if taken else "0"
        y[at] = int(bits, 2)
    return y


@pytest.mark.parametrize(
    "grid",
    [BINARY, TERNARY, signed(4), unsigned(5), Grid(-9, -3), Grid(7, 7), signed(16), signed(40)],
    ids=str,
)
@pytest.mark.parametrize("alike", [True, False])
def test_any_values(grid: Grid, alike: bool):
    op = tree(4, 3, grid, alike)
    check_unit(op, Edge.of((4, 12), grid), lambda x: naive(op, x), Fold(2), frames=6)


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_every_folding(pe: int, levels: int):
    op = tree(6, levels, signed(4))
    check_unit(op, Edge.of((2, 6 * levels), signed(4)), lambda x: naive(op, x), Fold(pe))


@pytest.mark.parametrize("inputs", [1, 3, 7])
@pytest.mark.parametrize("alike", [True, False])
def test_as_many_inputs_as_wanted(inputs: int, alike: bool):
    op = tree(4, 3, signed(4), alike, inputs)
    check_unit(op, Edge.of((3, 4 * inputs), signed(4)), lambda x: naive(op, x), Fold(2))


def test_thresholds_far_outside_the_range():
    op = Tree(np.array([[0, 1]]), np.array([[-(2**62), 3, 2**62]]))
    edge = Edge.of((3, 2), signed(4))
    assert (op.infer(edge).lo.tolist(), op.infer(edge).hi.tolist()) == ([2], [2])
    check_unit(op, edge, lambda x: naive(op, x))


def test_the_first_decision_is_the_most_significant():
    op = Tree(np.array([[1, 0]]), np.array([[5, 0, 9]]))
    x = np.array([[0, 4], [-1, 4], [9, 5], [8, 5]])
    np.testing.assert_array_equal(op(x).ravel(), [1, 0, 3, 2])


@given(
    seed=st.integers(0, 10_000), levels=st.integers(1, 3),
    grid=st.sampled_from([BINARY, TERNARY, signed(3), unsigned(2), Grid(2, 2), Grid(-3, 0)]),
)  # fmt: skip
def test_the_range_is_attained(seed: int, levels: int, grid: Grid):
    """Also where one input is compared twice and a decision leaves no choice to the next."""
    rng = np.random.default_rng(seed)
    limits = rng.integers(grid.lo - 1, grid.hi + 2, (1, (1 << levels) - 1), endpoint=True)
    op = Tree(rng.integers(0, levels, (1, levels)), limits)
    values = [v for v in range(grid.lo, grid.hi + 1) if grid.holds(np.array([v]))]
    every = np.array(list(product(values, repeat=levels)))
    program = one_node(op, Edge.of((levels,), grid))
    check_values(program, every, lambda x: naive(op, x))
    y, reached = program.output, op(every)
    assert (int(y.lo[0]), int(y.hi[0])) == (reached.min(), reached.max())


def test_eight_levels():
    op = tree(2, 8, unsigned(8))
    program = one_node(op, Edge.of((16,), unsigned(8)))
    x = RNG.integers(0, 256, (50, 16))
    check_values(program, x, lambda x: naive(op, x))
    with refused("Tree has at most 8 levels, not 9; use more trees of fewer"):
        Tree(np.zeros((1, 9), int), np.zeros((1, 511), int))


@pytest.mark.parametrize("shape", [(4,), (0, 2), (1, 2, 2)])
def test_order_has_two_axes(shape: tuple[int, ...]):
    with refused(f"Tree order has shape (C, L), not {shape}"):
        Tree(np.zeros(shape, int), np.zeros((1, 3), int))


def test_a_tree_reads_its_own_inputs():
    with refused("Tree order spans 0..2, outside 0..1; name the tree's own inputs"):
        Tree(np.array([[0, 2]]), np.zeros((1, 3), int)).infer(Edge.of((4, 2), BINARY))
    with refused("Tree order names inputs from 0, not -1; count each tree's own"):
        Tree(np.array([[0, -1]]), np.zeros((1, 3), int))


def test_there_is_a_threshold_for_each_decision():
    with refused("Tree thresholds of 2 levels have shape (3, 3), not (3, 4)"):
        Tree(np.zeros((3, 2), int), np.zeros((3, 4), int))


def test_the_input_holds_all_trees():
    with refused(
        "Tree gives each of 3 trees as many inputs, and the last axis of (4, 5) is 5; select "
        "channels first"
    ):
        Tree(np.zeros((3, 2), int), np.zeros((3, 3), int)).infer(Edge.of((4, 5), BINARY))
