"""The border: exact rounding in every mode, layouts there and back, finished answers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from agree import refused
from hypothesis import given
from hypothesis import strategies as st

from bitwright.models.border import Border
from bitwright.models.fixed import signed
from bitwright.models.program import Edge
from bitwright.models.rounding import MODES, cut, quotients, rounded

PLAIN = {
    "half_even": {-1.5: -2, -0.5: 0, 0.5: 0, 1.5: 2, 2.5: 2, 0.25: 0, -1.75: -2, 3.0: 3},
    "half_up": {-1.5: -2, -0.5: -1, 0.5: 1, 1.5: 2, 2.5: 3, 0.25: 0, -1.75: -2, 3.0: 3},
    "half_down": {-1.5: -1, -0.5: 0, 0.5: 0, 1.5: 1, 2.5: 2, 0.25: 0, -1.75: -2, 3.0: 3},
    "floor": {-1.5: -2, -0.5: -1, 0.5: 0, 1.5: 1, 0.25: 0, -1.75: -2, 3.0: 3, -3.0: -3},
    "ceil": {-1.5: -1, -0.5: 0, 0.5: 1, 1.5: 2, 0.25: 1, -1.75: -1, 3.0: 3, -3.0: -3},
    "up": {-1.5: -2, -0.5: -1, 0.5: 1, 1.5: 2, 0.25: 1, -1.75: -2, 3.0: 3, -3.0: -3, 0.0: 0},
    "down": {-1.5: -1, -0.5: 0, 0.5: 0, 1.5: 1, 0.25: 0, -1.75: -1, 3.0: 3, -3.0: -3, 0.0: 0},
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_round_as_their_names_say(mode: str):
    for value, wanted in PLAIN[mode].items():
        assert rounded(mode, Fraction(value)) == wanted, value


@given(st.sampled_from(MODES), st.fractions(-20, 20, max_denominator=8), st.integers(-20, 20))
def test_a_cut_is_where_the_rounded_value_passes(mode: str, value: Fraction, k: int):
    at, reached = cut(mode, k)
    assert (rounded(mode, value) >= k) == (value > at or (value == at and reached))


@given(
    st.sampled_from(MODES),
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=8),
    st.floats(2**-10, 8, width=32),
    st.floats(-8, 8, width=32),
)
def test_quotients_are_exact(mode: str, values: list[float], scale: float, offset: float):
    ratio, shift = np.array([Fraction(scale)]), np.array([Fraction(offset)])
    # Values that sit on ties and integers, and beside them, are where doubles would go wrong.
    ties = [offset + scale * k / 2 for k in range(-5, 6)]
    x = np.array([*values, *ties, *np.nextafter(ties, 9e9)], np.float64)
    wanted = [rounded(mode, (Fraction(v) - Fraction(offset)) / Fraction(scale)) for v in x.tolist()]
    assert quotients(x, ratio, shift, mode).tolist() == wanted


def test_channels_first_and_back():
    border, edge = Border(shape=(3, 2, 5), axes=(2, 0, 1)), Edge.of((2, 5, 3), signed(8))
    own = np.arange(2 * 30).reshape(2, 3, 2, 5)
    inside = border.inward(own, edge)
    np.testing.assert_array_equal(inside, own.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(border.outward(inside, edge), own)


def test_a_flat_shape_of_channels_first():
    border, edge = Border(shape=(30,), axes=(2, 0, 1)), Edge.of((2, 5, 3), signed(8))
    own = np.arange(30).reshape(1, 30)
    np.testing.assert_array_equal(border.outward(border.inward(own, edge), edge), own)


def test_layouts_that_do_not_fit_are_refused():
    with refused("the border's layout (7,) by () is none of (2, 3)"):
        Border(shape=(7,)).check(Edge.of((2, 3), signed(4)))
    with refused("axes at the border are a permutation, not (0, 2)"):
        Border(axes=(0, 2))


def test_integers_that_stand_for_themselves_stay_integers():
    edge, y = Edge.of((2,), signed(4)), np.array([[1, -3]])
    answer = Border(offset=(Fraction(7),)).answer(y, edge)
    assert answer.dtype == np.int64
    assert answer.tolist() == [[8, 4]]
    assert Border((Fraction(1, 2),)).answer(y, edge).tolist() == [[0.5, -1.5]]


def test_the_host_finishes():
    edge, y = Edge.of((2,), signed(4)), np.array([[1, -3]])
    for finish in ("softmax", "log_softmax", "sigmoid", "tanh"):
        found = Border((Fraction(1, 2),), finish=finish).answer(y, edge)
        x = y / 2
        wanted = {
            "softmax": np.exp(x) / np.exp(x).sum(),
            "log_softmax": np.log(np.exp(x) / np.exp(x).sum()),
            "sigmoid": 1 / (1 + np.exp(-x)),
            "tanh": np.tanh(x),
        }[finish]
        np.testing.assert_allclose(found, wanted)
    with refused("an answer is finished by one of softmax, log_softmax, sigmoid, tanh"):
        Border(finish="exec")
