"""Reshape: the same values in the same order, and no hardware."""

from __future__ import annotations

import numpy as np
import pytest
from agree import chain, check_hardware, check_unit, refused, samples, stalls

from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, Grid, Ints, signed
from bitwright.models.ops import Add, MaxPool, Reshape
from bitwright.models.program import Edge, Node, Program


def naive(shape: tuple[int, ...], x: Ints) -> Ints:
    y = np.zeros((len(x), *shape), np.int64)
    for frame in range(len(x)):
        for to, at in zip(np.ndindex(shape), np.ndindex(x.shape[1:]), strict=True):
            y[(frame, *to)] = x[(frame, *at)]
    return y


@pytest.mark.parametrize("shape", [(24,), (24, 1), (1, 1, 24), (4, 3, 2), (2, 3, 4), (6, 4)])
@pytest.mark.parametrize("grid", [BINARY, signed(5)], ids=str)
def test_any_shape(shape: tuple[int, ...], grid: Grid):
    check_unit(Reshape(shape), Edge.of((2, 3, 4), grid), lambda x: naive(shape, x))


def test_it_has_no_hardware():
    program = chain("p", Edge.of((4, 3), signed(3)), Reshape((6, 2)), MaxPool(2), Reshape((6, 1)))
    design = Design(program, {}, {})
    assert [i.layer for i in design.instances if i.layer is not None] == ["n1"]
    check_hardware(design, samples(program.input, 4), stalls(0.3))


def test_ranges_follow_the_values():
    edge = Edge((2, 3), np.array([1, 2, 3]), np.array([4, 5, 6]))
    y = Reshape((3, 2)).infer(edge)
    # Rows of values (0 1) (2 0) (1 2): channel 0 of the result holds channels 0, 2 and 1.
    assert (y.lo.tolist(), y.hi.tolist()) == ([1, 1], [6, 6])
    flat = Reshape((6,)).infer(edge)
    assert (flat.lo.tolist(), flat.hi.tolist()) == ([1, 2, 3] * 2, [4, 5, 6] * 2)


def test_two_views_of_one_edge_meet():
    nodes = (
        Node("a", Reshape((3, 4)), ("input",)),
        Node("b", Reshape((3, 4)), ("input",)),
        Node("c", Add(), ("a", "b")),
    )
    program = Program("views", Edge.of((12,), signed(4)), nodes)
    x = samples(program.input, 3)
    check_hardware(Design(program, {"c": Fold(2)}, {}), x, stalls(0.3))


@pytest.mark.parametrize("shape", [(), (0,), (4, -1)])
def test_sizes_are_positive(shape: tuple[int, ...]):
    with refused(f"Reshape has positive sizes, not {shape}"):
        Reshape(shape)


def test_the_number_of_values_stays():
    with refused("Reshape from (2, 3) to (5,) changes the number of values from 6 to 5"):
        Reshape((5,)).infer(Edge.of((2, 3), BINARY))
