"""DepthwiseDot: definition, kernel and hardware against sums over taps, channel by channel."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import check_unit, check_values, one_node, refused, samples

from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import DepthwiseDot
from bitwright.models.program import Edge

RNG = np.random.default_rng(3)


def weights(channels: int, taps: int, grid: Grid) -> Ints:
    """Random weights that hold both ends of their grid."""
    if grid.step == 2:
        return RNG.choice([-1, 1], (channels, taps))
    w = RNG.integers(grid.lo, grid.hi, (channels, taps), endpoint=True)
    w[0, 0], w[-1, -1] = grid.lo, grid.hi
    return w


def naive(w: Ints, x: Ints) -> Ints:
    channels, taps = w.shape
    y = np.zeros((*x.shape[:-1], channels), np.int64)
    for at in np.ndindex(x.shape[:-1]):
        for c in range(channels):
            y[(*at, c)] = sum(int(w[c, k]) * int(x[(*at, k * channels + c)]) for k in range(taps))
    return y


@pytest.mark.parametrize(
    ("x", "w"),
    [
        (BINARY, BINARY),
        (TERNARY, BINARY),
        (signed(5), BINARY),
        (unsigned(3), BINARY),
        (signed(4), TERNARY),
        (unsigned(4), Grid(0, 1)),
        (unsigned(4), signed(3)),
        (BINARY, signed(4)),
        (signed(8), signed(16)),
        (unsigned(16), unsigned(16)),
        (Grid(6, 6), Grid(-3, -3)),
    ],
    ids=str,
)
def test_every_datapath(x: Grid, w: Grid):
    op = DepthwiseDot(weights(4, 3, w), w)
    check_unit(op, Edge.of((2, 12), x), lambda x: naive(op.weights, x), Fold(2))


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize("taps", [1, 2, 5])
def test_every_folding(pe: int, taps: int):
    op = DepthwiseDot(weights(6, taps, signed(4)), signed(4))
    check_unit(op, Edge.of((2, 6 * taps), signed(4)), lambda x: naive(op.weights, x), Fold(pe))


@pytest.mark.parametrize("taps", [1, 4])
def test_one_channel(taps: int):
    op = DepthwiseDot(weights(1, taps, signed(3)), signed(3))
    check_unit(op, Edge.of((3, taps), unsigned(2)), lambda x: naive(op.weights, x))


def test_the_range_is_attained():
    op = DepthwiseDot(weights(2, 2, signed(3)), signed(3))
    edge = Edge((4,), np.array([-1, 0, 2, -3]), np.array([1, 2, 3, -2]))
    spans = [range(lo, hi + 1) for lo, hi in zip(edge.lo, edge.hi, strict=True)]
    y = op(np.array(list(product(*spans))))
    assert y.min(0).tolist() == op.infer(edge).lo.tolist()
    assert y.max(0).tolist() == op.infer(edge).hi.tolist()


def test_wide_values_are_exact():
    op = DepthwiseDot(np.array([[2**15 - 1, -(2**15)]]), signed(16))
    program = one_node(op, Edge.of((2,), signed(47)))
    check_values(program, samples(program.input, 8), lambda x: naive(op.weights, x))


def test_weights_have_two_axes():
    with refused("DepthwiseDot weights have shape (C, K), not (3,)"):
        DepthwiseDot(np.ones(3, int), BINARY)


def test_weights_lie_on_their_grid():
    with refused("DepthwiseDot weights take 1 to 16 bits, not 17; quantise them"):
        DepthwiseDot(np.ones((1, 1), int), signed(17))
    with refused("DepthwiseDot weights span 0..1, outside -1..1 step 2; declare a wider grid"):
        DepthwiseDot(np.array([[0, 1]]), BINARY)


def test_the_input_holds_all_taps():
    with refused(
        "DepthwiseDot takes 3 taps of 2 channels, 6 values, and the last axis of (5, 4) is 4; "
        "put a Window before it"
    ):
        DepthwiseDot(np.ones((2, 3), int), BINARY).infer(Edge.of((5, 4), BINARY))


def test_a_product_beyond_64_bits_is_refused():
    with refused(
        f"a depthwise dot product reaches {2**60 * 4 * 2}, beyond signed 64 bits; "
        "use narrower weights or inputs"
    ):
        DepthwiseDot(np.full((1, 2), 4), signed(4)).infer(Edge.of((2,), Grid(-(2**60), 0)))
