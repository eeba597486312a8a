"""Thresholds: definition, kernel and hardware against counting one threshold at a time."""

from __future__ import annotations

import numpy as np
import pytest
from agree import check_unit, check_values, one_node, refused
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Thresholds
from bitwright.models.program import Edge

RNG = np.random.default_rng(5)


def naive(op: Thresholds, x: Ints) -> Ints:
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        c = at[-1]
        reached = [t for t in op.thresholds[c].tolist() if x[at] >= t]
        y[at] = int(op.offset[c]) + int(op.step[c]) * len(reached)
    return y


def steps(thresholds: list[list[int]], offset: list[int], step: list[int]) -> Thresholds:
    return Thresholds(np.array(thresholds), np.array(offset), np.array(step))


CASES = {
    "rising": (signed(5), steps([[-9, 0, 5], [1, 2, 3], [-16, 0, 15]], [0, 0, 0], [1, 1, 1])),
    "falling": (signed(5), steps([[-9, 0, 5], [1, 2, 3], [-16, 0, 15]], [3, 3, 3], [-1, -1, -1])),
    "mixed": (signed(5), steps([[-9, 0], [1, 1], [-3, 15]], [0, -7, 9], [1, -3, 5])),
    "unsigned": (unsigned(4), steps([[0, 15], [1, 14], [7, 8]], [-1, 0, 1], [1, 1, 1])),
    "signs": (signed(5), steps([[-2], [0], [9]], [-1, 1, -1], [2, -2, 2])),
    "signs of signs": (BINARY, steps([[0], [1], [2]], [-1, 1, -1], [2, -2, 2])),
    "always and never": (signed(3), steps([[-99, 99], [-4, 4], [-5, 3]], [0] * 3, [1] * 3)),
    "never a sign": (unsigned(3), steps([[99], [-99], [8]], [-1] * 3, [2] * 3)),
    "always one sign": (unsigned(3), steps([[99], [9], [8]], [-1] * 3, [2] * 3)),
    "not sorted": (signed(4), steps([[5, -5, 0], [0, 0, 0], [7, 7, -8]], [1] * 3, [1] * 3)),
    "step of zero": (signed(4), steps([[1], [2], [3]], [4, 5, 6], [0, 0, 0])),
    "one value": (Grid(6, 6), steps([[5, 6], [7, 8], [6, 7]], [0] * 3, [1] * 3)),
    "negative input": (Grid(-9, -3), steps([[-9, -3], [-5, 0], [-4, -2]], [0] * 3, [2] * 3)),
    "extreme thresholds": (signed(4), steps([[2**63 - 1], [-(2**63)], [0]], [0] * 3, [1] * 3)),
    "wide input": (signed(40), steps([[2**38], [-(2**38)], [0]], [0] * 3, [1] * 3)),
}


@pytest.mark.parametrize(("grid", "op"), CASES.values(), ids=CASES)
def test_any_thresholds(grid: Grid, op: Thresholds):
    check_unit(op, Edge.of((6, 3), grid), lambda x: naive(op, x), Fold(3))


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize("count", [1, 3, 5, 15, 20])
def test_every_folding(count: int, pe: int):
    op = Thresholds(RNG.integers(-9, 9, (6, count)), RNG.integers(-3, 3, 6), RNG.integers(-3, 3, 6))
    check_unit(op, Edge.of((3, 6), signed(4)), lambda x: naive(op, x), Fold(pe), seed=pe)


def test_one_channel():
    op = steps([[-3, 0, 3]], [-1], [1])
    check_unit(op, Edge.of((9, 1), signed(4)), lambda x: naive(op, x))


def test_ranges_of_channels_differ():
    """A threshold that one channel always reaches may be beyond another's range."""
    op = steps([[50, 55], [-8, 0], [7, 8]], [0] * 3, [1, -1, 1])
    edge = Edge((3,), np.array([49, -8, 7]), np.array([60, -2, 7]))
    check_unit(op, edge, lambda x: naive(op, x), Fold(3), frames=8)


@given(
    t=st.lists(st.integers(-20, 20), min_size=1, max_size=6),
    offset=st.integers(-9, 9), step=st.integers(-3, 3), bits=st.integers(1, 5),
)  # fmt: skip
def test_the_range_is_attained(t: list[int], offset: int, step: int, bits: int):
    op = steps([t], [offset], [step])
    program = one_node(op, Edge.of((1,), signed(bits)))
    every = np.arange(-(1 << bits - 1), 1 << bits - 1)[:, None]
    check_values(program, every, lambda x: naive(op, x))
    y = program.output
    assert (int(y.lo[0]), int(y.hi[0])) == (int(op(every).min()), int(op(every).max()))


@pytest.mark.parametrize(
    ("offset", "step", "bits"), [(-1, 2, 1), (1, -2, 1), (-1, 1, 1), (-1, 3, 3), (0, 2, 2)]
)
def test_a_sign_takes_one_bit(offset: int, step: int, bits: int):
    y = steps([[0]], [offset], [step]).infer(Edge.of((1,), signed(4)))
    assert y.grid.bits == bits
    assert (y.step == 2) == (step == -2 * offset)


def test_batch_normalisation_of_either_sign_is_thresholds():
    """sign(gamma * (x - mean) + beta), with gamma of both signs, is one threshold a channel."""
    gamma, mean, beta = np.array([0.5, -0.7]), np.array([3.3, -1.2]), np.array([0.25, 1.0])
    x = np.arange(-16, 16)[:, None] * np.ones(2, int)
    edge = mean - beta / gamma
    op = steps([[int(np.ceil(edge[0]))], [int(np.floor(edge[1])) + 1]], [-1, 1], [2, -2])
    want = np.where(gamma * (x - mean) + beta >= 0, 1, -1)
    np.testing.assert_array_equal(op(x), want)


def test_shapes_are_per_channel():
    with refused("thresholds have shape (C, T), not (3,)"):
        Thresholds(np.zeros(3, int), np.zeros(3, int), np.zeros(3, int))
    with refused("thresholds have shape (C, T), not (3, 0)"):
        Thresholds(np.zeros((3, 0), int), np.zeros(3, int), np.zeros(3, int))
    with refused("Thresholds step has shape (3,), not (2,)"):
        Thresholds(np.zeros((3, 1), int), np.zeros(3, int), np.zeros(2, int))
    with refused(
        "Thresholds has 3 channels, and the last axis of (2, 4) is 4; "
        "give one row of thresholds per channel"
    ):
        Thresholds(np.zeros((3, 1), int), np.zeros(3, int), np.zeros(3, int)).infer(
            Edge.of((2, 4), BINARY)
        )


def test_outputs_beyond_64_bits_are_refused():
    with refused(
        f"a threshold output reaches {2**63}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        steps([[0, 1]], [0], [2**62]).infer(Edge.of((1,), signed(4)))
    with refused(
        f"a threshold output reaches {-(2**63) - 1}, beyond signed 64 bits; "
        "use narrower weights or inputs"
    ):
        steps([[0]], [-1], [-(2**63)]).infer(Edge.of((1,), signed(4)))


def test_an_input_without_room_for_a_greater_threshold_is_refused():
    with refused(
        f"a threshold reaches {2**63}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        steps([[0]], [0], [1]).infer(Edge.of((1,), Grid(0, 2**63 - 1)))
