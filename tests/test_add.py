"""Add: definition, kernel and hardware against a sum written out."""

from __future__ import annotations

import numpy as np
import pytest
from agree import check_hardware, check_unit, check_values, refused, samples, stalls

from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Add
from bitwright.models.program import Edge, Node, Program


def naive(a: Ints, b: Ints) -> Ints:
    y = np.zeros_like(a)
    for at in np.ndindex(a.shape):
        y[at] = int(a[at]) + int(b[at])
    return y


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (signed(4), unsigned(3)),
        (BINARY, BINARY),
        (BINARY, signed(3)),
        (Grid(-1, 0), unsigned(1)),
        (Grid(5, 5), Grid(-5, -5)),
        (Grid(-9, -3), Grid(3, 9)),
        (signed(31), signed(16)),
        (TERNARY, Grid(100, 101)),
    ],
    ids=str,
)
def test_any_two_ranges(a: Grid, b: Grid):
    check_unit(Add(), [Edge.of((2, 3), a), Edge.of((2, 3), b)], naive, Fold(3))


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
def test_every_folding(pe: int):
    edges = [Edge.of((2, 6), signed(4)), Edge.of((2, 6), signed(5))]
    check_unit(Add(), edges, naive, Fold(pe), seed=pe)


@pytest.mark.parametrize("pe", [1, 2, 4, 12])
def test_an_edge_added_to_itself(pe: int):
    """Lanes may cross positions; the fork feeds both inputs of one unit."""
    program = Program("twice", Edge.of((3, 4), signed(5)), (Node("n", Add(), ("input", "input")),))
    x = samples(program.input, 4, pe)
    check_values(program, x, naive)
    for gates in ({}, stalls(0.4, pe)):
        check_hardware(Design(program, {"n": Fold(pe)}, {}), x, gates)


def test_the_range_is_attained_per_channel():
    a = Edge((2,), np.array([-3, 0]), np.array([4, 1]))
    b = Edge((2,), np.array([7, -2]), np.array([7, 5]))
    y = Add().infer(a, b)
    assert (y.lo.tolist(), y.hi.tolist(), y.step) == ([4, -2], [11, 6], 1)


def test_shapes_must_be_the_same():
    with refused(
        "Add takes two inputs of one shape, not (2, 3) and (3,); bring the branches to one shape"
    ):
        Add().infer(Edge.of((2, 3), BINARY), Edge.of((3,), BINARY))


def test_a_sum_beyond_64_bits_is_refused():
    largest = Edge.of((1,), Grid(0, 2**63 - 1))
    Add().infer(largest, Edge.of((1,), Grid(-5, 0)))
    with refused(
        "a sum reaches 9223372036854775808, beyond signed 64 bits; use narrower weights or inputs"
    ):
        Add().infer(largest, Edge.of((1,), Grid(0, 1)))
