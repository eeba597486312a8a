"""Requantise: definition, kernel and hardware against rounding of exact fractions."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from agree import check_unit, check_values, one_node, refused, samples
from hypothesis import given
from hypothesis import strategies as st

from bitwright.codegen.verilog import write_component
from bitwright.hw.requantise import plan_of
from bitwright.hw.unit import Fold, Place, component
from bitwright.models.fixed import BINARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Requantise
from bitwright.models.program import Edge


def naive(op: Requantise, x: Ints) -> Ints:
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        m, b = int(op.multiplier[at[-1]]), int(op.bias[at[-1]])
        exact = Fraction(int(x[at]) * m + b, 1 << op.shift)
        # Python rounds fractions half to even.
        rounded = round(exact) if op.even else floor(exact + Fraction(1, 2))
        y[at] = min(max(rounded, op.lo), op.hi)
    return y


def constants(
    m: list[int], b: list[int], shift: int, lo: int, hi: int, even: int = 0
) -> Requantise:
    return Requantise(np.array(m), np.array(b), shift, lo, hi, even)


CASES = {
    "signed": (signed(6), constants([5, -7, 0], [100, -3, 9], 3, -20, 21)),
    "unsigned": (unsigned(6), constants([5, 7, 1], [0, 1, 2], 2, 0, 63)),
    "signs": (BINARY, constants([5, -7, 3], [1, 1, 1], 1, -8, 7)),
    "one constant": (signed(4), constants([3, 3, 3], [0, 0, 0], 1, -128, 127)),
    "negative only": (Grid(-9, -2), constants([-3, -2, -1], [-5, -5, -5], 2, -8, 7)),
    "always clamped high": (signed(4), constants([1, 1, 1], [900] * 3, 1, -8, 7)),
    "always clamped low": (signed(4), constants([1, 1, 1], [-900] * 3, 1, -8, 7)),
    "one value": (Grid(5, 5), constants([3, -3, 1], [1, 2, 3], 2, -100, 100)),
    "clamped to one value": (signed(4), constants([3, -3, 1], [1, 2, 3], 2, 4, 4)),
    "clamped above zero": (signed(4), constants([3, -3, 1], [1, 2, 3], 2, 2, 5)),
    "clamped below zero": (signed(4), constants([3, -3, 1], [1, 2, 3], 2, -5, -2)),
    "shift beyond the product": (signed(4), constants([1, -1, 1], [0, 0, -1], 30, -8, 7)),
    "widest shift": (signed(4), constants([2**59, -(2**59), 1], [1, -1, 0], 62, -8, 7)),
    "wide multiplier": (signed(20), constants([2**31, -(2**31), 77], [0] * 3, 33, -(2**17), 2**17)),
    "halves to even": (signed(7), constants([1, -1, 3], [0, 4, -4], 3, -128, 127, 1)),
    "halves to even, clamped": (signed(7), constants([1, 2, -2], [0, 0, 1], 2, -5, 6, 1)),
    "halves to even, unsigned": (unsigned(6), constants([1, 2, 3], [0, 1, 2], 1, 0, 63, 1)),
    "halves to even, far": (signed(4), constants([1, -1, 0], [0, 0, 0], 30, -8, 7, 1)),
    "wide bias": (signed(4), constants([1, 2, 3], [2**61, -(2**61), 0], 50, -4096, 4095)),
}  # fmt: skip


@pytest.mark.parametrize(("grid", "op"), CASES.values(), ids=CASES)
def test_any_constants(grid: Grid, op: Requantise):
    check_unit(op, Edge.of((4, 3), grid), lambda x: naive(op, x), Fold(3))


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
def test_every_folding(pe: int):
    op = constants([3, -5, 7, 9, -11, 13], [1, 2, 3, -4, -5, -6], 3, -16, 15)
    check_unit(op, Edge.of((3, 6), signed(5)), lambda x: naive(op, x), Fold(pe), seed=pe)


FIXED = {
    "one": (signed(6), constants([1] * 6, [0] * 6, 2, -16, 15)),
    "one, halves to even": (signed(6), constants([1] * 6, [0] * 6, 2, -16, 15, 1)),
    "one, clamped": (signed(6), constants([1] * 6, [3] * 6, 1, -5, 6, 1)),
    "power of two": (unsigned(5), constants([8] * 6, [-7] * 6, 4, 0, 9)),
    "power of two, halves to even": (unsigned(5), constants([4] * 6, [8] * 6, 4, 0, 9, 1)),
    "shift below the power": (signed(4), constants([8] * 6, [1] * 6, 1, -99, 99, 1)),
    "negative": (signed(6), constants([-4] * 6, [5] * 6, 3, -16, 15)),
    "negative, halves to even": (signed(6), constants([-4] * 6, [12] * 6, 3, -16, 15, 1)),
    "lowest multiplier": (Grid(0, 1), constants([-(2**63)] * 6, [0] * 6, 60, -8, 7, 1)),
    "nothing": (signed(6), constants([0] * 6, [20] * 6, 3, -16, 15, 1)),
    "nothing, shift beyond": (signed(6), constants([0] * 6, [0] * 6, 30, -16, 15, 1)),
    "any multiplier": (signed(6), constants([181] * 6, [-300] * 6, 7, -20, 21)),
    "any multiplier, halves to even": (signed(6), constants([-6] * 6, [4] * 6, 3, -20, 21, 1)),
    "signs": (BINARY, constants([3] * 6, [1] * 6, 1, -8, 7, 1)),
    "only the multiplier": (signed(6), constants([-2] * 6, [1, 2, 3, -4, -5, 6], 2, -9, 9, 1)),
    "only the bias": (signed(6), constants([1, -2, 4, -8, 0, 3], [6] * 6, 3, -20, 21, 1)),
    "by residue": (signed(6), constants([1, -2, 0] * 2, [5, 0, -3] * 2, 2, -16, 15, 1)),
}  # fmt: skip
"""Constants that are the same in every beat of a lane, in most foldings or in all."""


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize(("grid", "op"), FIXED.values(), ids=FIXED)
def test_constants_that_do_not_vary(grid: Grid, op: Requantise, pe: int):
    check_unit(op, Edge.of((3, 6), grid), lambda x: naive(op, x), Fold(pe), seed=pe)


def varying(op: Requantise, pe: int) -> tuple[bool, bool]:
    edge = Edge.of((3, op.multiplier.size), signed(6))
    plan = plan_of(op, Place((edge,), op.infer(edge), Fold(pe)))
    return not plan.factor.fixed, not plan.addend.fixed


def test_only_constants_that_vary_are_stored():
    op = constants([1, -2, 0] * 2, [5, 5, 5, 5, 5, 9], 2, -16, 15)
    assert varying(op, 1) == varying(op, 2) == (True, True)
    assert varying(op, 3) == (False, True)
    assert varying(op, 6) == (False, False)
    assert [bool(memories(op, pe)) for pe in (1, 2, 3, 6)] == [True, True, True, False]


def memories(op: Requantise, pe: int) -> Mapping[str, str]:
    edge = Edge.of((3, op.multiplier.size), signed(6))
    return write_component(component(op, Place((edge,), op.infer(edge), Fold(pe))), "unit").memories


def test_one_channel():
    op = constants([-3], [7], 1, -16, 15)
    check_unit(op, Edge.of((6, 1), signed(5)), lambda x: naive(op, x))


def test_a_half_is_rounded_up():
    op = constants([1], [0], 1, -100, 100)
    halves = np.array([[-5], [-3], [-1], [1], [3], [5]])
    assert op(halves).ravel().tolist() == [-2, -1, 0, 1, 2, 3]
    even = constants([1], [0], 1, -100, 100, 1)
    assert even(halves).ravel().tolist() == [-2, -2, 0, 0, 2, 2]


def test_even_is_a_switch():
    with refused("Requantise has even 0 or 1, not 2"):
        constants([1], [0], 1, 0, 1, 2)


integers = st.integers(-(2**40), 2**40)


@given(
    m=integers, b=integers, shift=st.integers(1, 62), ends=st.tuples(integers, integers),
    bits=st.integers(1, 20), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_constants_are_exact(
    m: int, b: int, shift: int, ends: tuple[int, int], bits: int, seed: int
):
    op = constants([m], [b], shift, min(ends), max(ends))
    program = one_node(op, Edge.of((5, 1), signed(bits)))
    check_values(program, samples(program.input, 4, seed), lambda x: naive(op, x))


@given(m=st.integers(-9, 9), b=integers, shift=st.integers(1, 6), clamp=st.integers(1, 60))
def test_the_range_is_attained(m: int, b: int, shift: int, clamp: int):
    op = constants([m], [b % 257 - 128], shift, -clamp, clamp)
    edge = Edge.of((1,), signed(5))
    every = op(np.arange(-16, 16)[:, None])
    y = op.infer(edge)
    assert (int(y.lo[0]), int(y.hi[0])) == (int(every.min()), int(every.max()))


def test_constants_come_per_channel():
    with refused(
        "Requantise has one multiplier and one bias per channel, not shapes (2,) and (3,)"
    ):
        constants([1, 2], [1, 2, 3], 1, 0, 1)
    with refused(
        "Requantise has 2 channels, and the last axis of (4, 3) is 3; "
        "give one multiplier per channel"
    ):
        constants([1, 2], [1, 2], 1, 0, 1).infer(Edge.of((4, 3), BINARY))


@pytest.mark.parametrize("shift", [0, 63])
def test_shifts_are_1_to_62(shift: int):
    with refused(f"Requantise shifts by 1 to 62 bits, not {shift}"):
        constants([1], [1], shift, 0, 1)


def test_the_clamp_is_not_empty():
    with refused("Requantise clamps to lo <= hi, not 2..1"):
        constants([1], [1], 1, 2, 1)


def test_constants_beyond_64_bits_are_refused():
    with refused("a constant does not fit signed 64 bits; scale the values down"):
        constants([2**63], [1], 1, 0, 1)


@pytest.mark.parametrize(
    ("x", "m", "b", "reached"),
    [
        (Grid(0, 4), 2**61, 0, 2**63),
        (Grid(-5, 0), 2**61, 0, -5 * 2**61),
        (Grid(0, 1), 1, 2**63 - 2, 2**63),  # the product fits, the sum with half a unit does not
        (Grid(-4, 4), 2**61, -(2**62), 2**63),  # the sums fit, the product alone does not
    ],
    ids=str,
)
def test_a_product_beyond_64_bits_is_refused(x: Grid, m: int, b: int, reached: int):
    with refused(
        f"a product before rounding reaches {reached}, beyond signed 64 bits; "
        "use narrower weights or inputs"
    ):
        constants([m], [b], 1, 0, 1).infer(Edge.of((1,), x))


def test_a_bias_must_fit_with_its_half_unit():
    with refused(
        "a bound or a bias with its rounding reaches 11529215046068469759, beyond signed 64 bits; "
        "use narrower weights or inputs"
    ):
        constants([2**60], [2**63 - 1], 62, -8, 7)
