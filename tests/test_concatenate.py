"""Concatenate: definition, kernel and hardware against values put side by side one by one."""

from __future__ import annotations

import numpy as np
import pytest
from agree import check_hardware, check_unit, check_values, refused, samples, stalls

from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Concatenate
from bitwright.models.program import Edge, Node, Program


def naive(*xs: Ints) -> Ints:
    rows = [
        [int(value) for x in xs for value in x[at]] for at in np.ndindex(xs[0].shape[:-1])
    ]  # fmt: skip
    return np.array(rows).reshape(*xs[0].shape[:-1], -1)


@pytest.mark.parametrize(
    "grids",
    [
        (BINARY, BINARY),
        (BINARY, TERNARY),
        (BINARY, signed(4), unsigned(3)),
        (Grid(7, 7), Grid(-1, 0)),
        (unsigned(1), signed(9), BINARY, Grid(3, 5)),
    ],
    ids=str,
)
def test_any_ranges(grids: tuple[Grid, ...]):
    check_unit(Concatenate(), [Edge.of((2, 2), grid) for grid in grids], naive, Fold(2))


@pytest.mark.parametrize("pe", [1, 2])
@pytest.mark.parametrize("channels", [(2, 6), (4, 2), (2, 4, 2)])
def test_channels_that_differ(channels: tuple[int, ...], pe: int):
    check_unit(Concatenate(), [Edge.of((3, c), signed(4)) for c in channels], naive, Fold(pe))


def test_one_channel_each_and_sixteen_branches():
    program = Program(
        "many", Edge.of((2, 1), signed(3)), (Node("n", Concatenate(), ("input",) * 16),)
    )
    x = samples(program.input, 4)
    check_values(program, x, naive)
    check_hardware(Design(program, {}, {}), x, stalls(0.3))


def test_ranges_follow_channels():
    y = Concatenate().infer(Edge.of((3, 2), BINARY), Edge.of((3, 1), unsigned(4)))
    assert (y.shape, y.lo.tolist(), y.hi.tolist(), y.step) == ((3, 3), [-1, -1, 0], [1, 1, 15], 1)
    assert Concatenate().infer(*[Edge.of((3, 2), BINARY)] * 2).step == 2


def test_positions_must_be_the_same():
    with refused(
        "Concatenate takes inputs that differ in channels only, not (2, 3), (3, 3), (2, 1)"
    ):
        Concatenate().infer(*(Edge.of(shape, BINARY) for shape in ((2, 3), (3, 3), (2, 1))))
