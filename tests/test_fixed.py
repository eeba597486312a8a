"""Grids and the one rounding primitive, against fractions and bit strings."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from agree import refused
from hypothesis import given
from hypothesis import strategies as st

from bitwright.models.fixed import (
    BINARY,
    TERNARY,
    Grid,
    frozen,
    round_shift,
    signed,
    unsigned,
)

GRIDS = [Grid(lo, hi) for lo in range(-32, 33) for hi in range(lo, 33)]
UP_TO_SIX_BITS = [grid for grid in (*GRIDS, BINARY) if grid.bits <= 6]


def pattern(value: int, grid: Grid) -> int:
    """The stored bits of a value, written out as text."""
    if grid.step == 2:
        return {-1: 0, 1: 1}[value]
    if value >= 0:
        return int(f"{value:b}", 2)
    return int("".join("10"[int(bit)] for bit in f"{-value - 1:0{grid.bits}b}"), 2)


def test_every_grid_of_up_to_six_bits_round_trips():
    for grid in UP_TO_SIX_BITS:
        values = np.arange(grid.lo, grid.hi + 1, grid.step)
        codes = grid.encode(values)
        assert codes.tolist() == [pattern(v, grid) for v in values.tolist()], grid
        assert codes.max() < 1 << grid.bits
        assert grid.decode(codes).tolist() == values.tolist(), grid


def test_bits_are_the_fewest():
    for grid in UP_TO_SIX_BITS[:-1]:
        enough = next(
            bits
            for bits in range(1, 9)
            if (grid.lo >= 0 and grid.hi < 2**bits)
            or (grid.lo < 0 and grid.lo >= -(2 ** (bits - 1)) and grid.hi < 2 ** (bits - 1))
        )
        assert grid.bits == enough, grid


@pytest.mark.parametrize(
    "grid", [signed(63), unsigned(63), signed(64), Grid(-1, 2**62), Grid(-(2**63), -(2**63))],
    ids=str,
)  # fmt: skip
def test_wide_grids_round_trip(grid: Grid):
    values = np.array([grid.lo, max(grid.lo, min(0, grid.hi)), grid.hi])
    assert grid.decode(grid.encode(values)).tolist() == values.tolist()


@pytest.mark.parametrize("bits", [1, 2, 7, 16])
def test_named_grids(bits: int):
    assert signed(bits) == Grid(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert unsigned(bits) == Grid(0, 2**bits - 1)
    assert (signed(bits).bits, unsigned(bits).bits) == (bits, bits)
    assert (BINARY.bits, TERNARY.bits) == (1, 2)


def test_holds():
    assert BINARY.holds(np.array([-1, 1, 1]))
    assert not BINARY.holds(np.array([-1, 0, 1]))
    assert TERNARY.holds(np.array([-1, 0, 1]))
    assert not TERNARY.holds(np.array([2]))
    assert not Grid(3, 5).holds(np.array([3, 2]))
    assert Grid(3, 5).holds(np.zeros(0, int))


def test_a_grid_is_not_empty():
    with refused("a grid needs lo <= hi, and 3 is above 2"):
        Grid(3, 2)


@pytest.mark.parametrize(("lo", "hi", "step"), [(-1, 1, 3), (-2, 2, 2), (0, 1, 2), (-1, 1, 0)])
def test_only_signs_have_step_2(lo: int, hi: int, step: int):
    with refused(
        f"a grid has step 1, or is -1..1 with step 2, not {lo}..{hi} with step {step}"
    ):  # fmt: skip
        Grid(lo, hi, step)


integers = st.integers(-(2**31), 2**31)


@given(acc=integers, m=integers, b=st.integers(-(2**60), 2**60), s=st.integers(1, 60),
       ends=st.tuples(integers, integers))  # fmt: skip
def test_round_shift_rounds_half_up(acc: int, m: int, b: int, s: int, ends: tuple[int, int]):
    lo, hi = sorted(ends)
    want = floor(Fraction(acc * m + b, 2**s) + Fraction(1, 2))
    got = round_shift(np.array([acc]), np.array([m]), np.array([b]), s, lo, hi)
    assert int(got[0]) == min(max(want, lo), hi)


def test_halves_go_up_on_both_sides_of_zero():
    halves = np.arange(-5, 6, 2)
    got = round_shift(halves, np.array(1), np.array(0), 1, -9, 9)
    assert got.tolist() == [-2, -1, 0, 1, 2, 3]


def test_frozen_copies_and_refuses_writes():
    source = np.array([1, 2, 3], np.uint8)
    array = frozen(source)
    source[0] = 9
    assert (array.tolist(), array.dtype) == ([1, 2, 3], np.int64)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, np.array([2**63], np.uint64)])
def test_frozen_refuses_what_does_not_fit(value: object):
    with refused("a constant does not fit signed 64 bits; scale the values down"):
        frozen(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1.0, "1", 1j])
def test_frozen_takes_integers_alone(value: object):
    kind = np.asarray(value).dtype
    with refused(f"integers are expected, not {kind}; round the values before building operators"):
        frozen(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [[1, 0.5], [1, None]])
def test_frozen_refuses_objects_that_are_no_integers(value: object):
    with refused("integers are expected, not object; round the values before building operators"):
        frozen(np.array(value, object))
