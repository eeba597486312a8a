"""Folded scales: thresholds are exact, multipliers as near as their docstring says."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from bitwright.models.fixed import Grid, ProgramError, signed, unsigned
from bitwright.models.folding import requantise, thresholds
from bitwright.models.program import Edge

LO, HI = -300, 260
ACCUMULATORS = np.arange(LO, HI + 1)
SCALE = np.array([0.37, -0.0421, 0.0, 0.0, 3e-9, 0.5, -0.5, 123.0])
OFFSET = np.array([-3.3, 1.25, 4.5, -70.0, 0.75, 0.0, 0.25, -0.3])
EDGE = Edge((len(SCALE),), np.array([LO]), np.array([HI]))


def wanted(channel: int, step: Fraction, grid: Grid) -> list[int]:
    """Round half up, in fractions."""
    r, o = Fraction(SCALE[channel]) / step, Fraction(OFFSET[channel]) / step
    rounded = (floor(r * a + o + Fraction(1, 2)) for a in ACCUMULATORS.tolist())
    return [min(max(y, grid.lo), grid.hi) for y in rounded]


@pytest.mark.parametrize("grid", [unsigned(2), unsigned(4), signed(2), signed(3), Grid(0, 16)])
@pytest.mark.parametrize("step", [Fraction(1), Fraction(0.3), Fraction(7, 2)])
def test_thresholds_are_exact(grid, step):
    op = thresholds(EDGE, SCALE, OFFSET, step, grid)
    found = op(np.repeat(ACCUMULATORS[:, None], len(SCALE), 1))
    for channel in range(len(SCALE)):
        assert found[:, channel].tolist() == wanted(channel, step, grid)
    edge = op.infer(EDGE)
    assert np.array_equal(edge.lo, found.min(0))
    assert np.array_equal(edge.hi, found.max(0))


def test_thresholds_stay_in_reach_of_the_accumulator():
    op = thresholds(EDGE, SCALE, OFFSET, Fraction(1, 10**6), unsigned(4))
    assert op.thresholds.min() >= LO
    assert op.thresholds.max() <= HI + 1


@pytest.mark.parametrize("grid", [unsigned(8), signed(8), signed(16)])
@pytest.mark.parametrize("step", [Fraction(1), Fraction(0.3), Fraction(7, 2)])
def test_multipliers_differ_only_next_to_a_half(grid, step):
    op = requantise(EDGE, SCALE, OFFSET, step, grid)
    found = op(np.repeat(ACCUMULATORS[:, None], len(SCALE), 1))
    assert np.abs(op.multiplier).max() < 1 << 15
    for channel in range(len(SCALE)):
        r, o = Fraction(SCALE[channel]) / step, Fraction(OFFSET[channel]) / step
        for a, y, exact in zip(
            ACCUMULATORS.tolist(),
            found[:, channel].tolist(),
            wanted(channel, step, grid),
            strict=True,
        ):
            if y != exact:
                value = r * a + o + Fraction(1, 2)
                near = abs(value - round(value))
                bound = Fraction(abs(a) + 1, 2 ** (op.shift + 1))
                assert near <= bound
                assert abs(y - exact) <= bound + 1


def test_the_shift_is_the_largest_that_fits():
    op = requantise(EDGE, SCALE, OFFSET, Fraction(1), unsigned(8))
    assert 1 << 13 <= np.abs(op.multiplier).max() < 1 << 15
    assert op.shift == 8


def test_wide_accumulators_shrink_the_shift_and_still_fit():
    edge = Edge((1,), np.array([-(1 << 55)]), np.array([1 << 55]))
    op = requantise(edge, np.array([2.0**-20]), np.array([0.5]), Fraction(1), signed(8))
    assert op.shift == 25
    assert op.infer(edge).hi.tolist() == [127]


def test_a_scale_beyond_the_multiplier_is_refused():
    with pytest.raises(ProgramError) as caught:
        requantise(EDGE, 1e5 * SCALE, OFFSET, Fraction(1), unsigned(8))
    assert str(caught.value) == (
        "a scale of 1.23e+07 steps needs a multiplier of more than 16 bits; calibrate with inputs "
        "of the usual size"
    )
