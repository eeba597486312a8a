"""MaxPool and SumPool: definition, kernel and hardware against loops over taps."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import chain, check_hardware, check_unit, refused, samples

from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import MaxPool, Requantise, Reshape, SumPool, Window
from bitwright.models.ops.pool import Pool
from bitwright.models.program import Edge

REDUCE = {MaxPool: max, SumPool: sum}
KINDS = [MaxPool, SumPool]


def naive(op: Pool, x: Ints) -> Ints:
    channels = x.shape[-1] // op.size
    y = np.zeros((*x.shape[:-1], channels), np.int64)
    for at in np.ndindex(x.shape[:-1]):
        for c in range(channels):
            taps = [int(x[(*at, k * channels + c)]) for k in range(op.size)]
            y[(*at, c)] = REDUCE[type(op)](taps)
    return y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "grid",
    [BINARY, TERNARY, signed(5), unsigned(1), unsigned(6), Grid(-9, -4), Grid(-1, 0), Grid(3, 3),
     signed(40)],
    ids=str,
)  # fmt: skip
def test_any_range(kind: type[Pool], grid: Grid):
    op = kind(3)
    check_unit(op, Edge.of((3, 12), grid), lambda x: naive(op, x), Fold(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_folding(kind: type[Pool], pe: int, size: int):
    op = kind(size)
    check_unit(op, Edge.of((2, 6 * size), signed(4)), lambda x: naive(op, x), Fold(pe))


@pytest.mark.parametrize("kind", KINDS)
def test_one_channel(kind: type[Pool]):
    op = kind(4)
    check_unit(op, Edge.of((3, 4), signed(3)), lambda x: naive(op, x))


@pytest.mark.parametrize("kind", KINDS)
def test_taps_of_different_ranges(kind: type[Pool]):
    """The result may lie far from what a tap can hold, or from any prefix of the sum."""
    op = kind(3)
    edge = Edge((3,), np.array([-90, 60, 10]), np.array([-80, 70, 11]))
    check_unit(op, edge, lambda x: naive(op, x), frames=6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_range_is_attained(kind: type[Pool]):
    edge = Edge((4,), np.array([-2, 0, 1, -3]), np.array([0, 2, 3, 3]))
    spans = [range(lo, hi + 1) for lo, hi in zip(edge.lo, edge.hi, strict=True)]
    y = kind(2)(np.array(list(product(*spans))))
    assert y.min(0).tolist() == kind(2).infer(edge).lo.tolist()
    assert y.max(0).tolist() == kind(2).infer(edge).hi.tolist()


def test_the_largest_of_signs_is_a_sign():
    assert MaxPool(2).infer(Edge.of((4,), BINARY)).step == 2
    assert SumPool(2).infer(Edge.of((4,), BINARY)).step == 1


def test_a_two_by_two_pool_is_a_window_and_a_pool():
    program = chain("pool", Edge.of((4, 6, 2), signed(5)), Window((2, 2), (2, 2)), MaxPool(4))
    x = samples(program.input, 4)
    want = x.reshape(4, 2, 2, 3, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(4, 2, 3, 4, 2).max(3)
    np.testing.assert_array_equal(program(x), want)
    check_hardware(Design(program, {"n0": Fold(1, 2), "n1": Fold(1)}, {}), x)


def test_a_global_average_is_a_reshape_a_sum_and_a_requantise():
    mean = Requantise(np.ones(3, int), np.zeros(3, int), 4, -16, 15)
    program = chain(
        "mean", Edge.of((4, 4, 3), signed(5)), Reshape((1, 1, 48)), SumPool(16), mean
    )  # fmt: skip
    x = samples(program.input, 4)
    want = np.floor(x.mean((1, 2)) + 0.5).astype(int)
    np.testing.assert_array_equal(program(x)[:, 0, 0], want)
    check_hardware(Design(program, {"n1": Fold(3), "n2": Fold(1)}, {}), x)


def test_a_pool_takes_a_tap_or_more():
    with refused("MaxPool takes 1 tap or more, not 0"):
        MaxPool(0)


def test_taps_divide_the_last_axis():
    with refused(
        "SumPool splits the last axis of (2, 10) into 4 taps, which does not divide 10; "
        "put a Window of 4 taps before it"
    ):
        SumPool(4).infer(Edge.of((2, 10), BINARY))


@pytest.mark.parametrize("lo", [-(2**62) - 1, -(2**63)])
def test_a_sum_beyond_64_bits_is_refused(lo: int):
    MaxPool(2).infer(Edge.of((2,), Grid(lo, 0)))
    with refused(
        f"a sum over taps reaches {2 * lo}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        SumPool(2).infer(Edge.of((2,), Grid(lo, 0)))


@pytest.mark.parametrize("lows", [(-8, 2), (-300, 2)])
def test_a_maximum_so_far_may_lie_below_every_output(lows: tuple[int, int]):
    """The first tap alone may be less than the output's least value, which other taps ensure."""
    edge = Edge((1, 2), np.array(lows), np.array([7, 5]))
    check_unit(MaxPool(2), edge, lambda x: x.max(-1, keepdims=True))
