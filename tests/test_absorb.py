"""Absorbed chains equal their exact meaning for every integer of the accumulator."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bitwright.models.absorb import absorb
from bitwright.models.exact import (
    Absolute,
    Affine,
    Chain,
    Clip,
    Gated,
    Leaky,
    Round,
    Sigmoid,
    Sign,
    Steps,
    Tanh,
    composed,
    extended,
    fraction_array,
)
from bitwright.models.fixed import Ints, ProgramError
from bitwright.models.ops import Requantise, Table, Thresholds
from bitwright.models.program import Edge
from bitwright.models.rounding import MODES


def wanted(edge: Edge, chain: Chain, xs: Ints) -> Ints:
    return np.array(
        [
            [int(composed(chain, c, Fraction(int(x)))) for c, x in enumerate(row)]
            for row in xs.tolist()
        ]
    )


def everything(edge: Edge) -> Ints:
    """Every integer of every channel, as rows."""
    count = int((edge.hi - edge.lo).max()) + 1
    return np.minimum(edge.lo + np.arange(count)[:, None], edge.hi)


def check(edge: Edge, chain: Chain) -> object:
    absorbed, xs = absorb(edge, chain), everything(edge)
    if absorbed.op is None:
        found = xs
    else:
        absorbed.op.infer(edge)
        found = absorbed.op(xs)
    np.testing.assert_array_equal(found, wanted(edge, chain, xs))
    return absorbed.op


fractions = st.fractions(-4, 4, max_denominator=64)
functions = st.one_of(
    st.builds(lambda a, b: Clip(min(a, b), max(a, b)), fractions, fractions),
    st.just(Clip(Fraction(0), None)),
    st.builds(lambda s: Leaky(fraction_array(*s)), st.lists(fractions, min_size=3, max_size=3)),
    st.builds(lambda s: Leaky(fraction_array(abs(s))), fractions),
    st.sampled_from([Sigmoid(), Tanh(), Absolute(), Gated((Sigmoid(),)), Sign()]),
    st.builds(
        lambda s, o: Affine(fraction_array(*s), fraction_array(*o)),
        st.lists(fractions, min_size=3, max_size=3),
        st.lists(fractions, min_size=3, max_size=3),
    ),
    st.builds(lambda s, o: Affine(fraction_array(s), fraction_array(o)), fractions, fractions),
    st.builds(lambda m: Round(m, -5, 9), st.sampled_from(MODES)),
)
ends = st.builds(
    lambda m, k, lo: Round(m, lo, lo + k),
    st.sampled_from(MODES),
    st.integers(0, 40),
    st.integers(-20, 3),
)
steps = st.builds(
    lambda rows, reached: Steps(np.array([sorted(r) for r in rows], object), reached, -1),
    st.lists(st.lists(fractions, min_size=3, max_size=3), min_size=3, max_size=3),
    st.booleans(),
)


@hypothesis_settings(max_examples=200)
@given(
    st.lists(functions, max_size=3),
    st.one_of(ends, steps, st.just(Sign())),
    st.lists(st.integers(-60, 60), min_size=6, max_size=6),
)
def test_any_chain(before: list[object], last: object, bounds: list[int]):
    lo, hi = np.minimum(bounds[:3], bounds[3:]), np.maximum(bounds[:3], bounds[3:])
    chain: Chain = ()
    for function in (*before, last):
        chain = extended(chain, function)  # type: ignore[arg-type]
    edge = Edge((3,), lo, hi)
    xs = everything(edge)
    # `extended` may merge functions: the meaning is that of all of them, one by one.
    np.testing.assert_array_equal(wanted(edge, chain, xs), wanted(edge, (*before, last), xs))
    check(edge, chain)


def rescaled(ratio: Fraction, offset: Fraction, mode: str = "half_even", bits: int = 8) -> Chain:
    grid = Round(mode, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return (Affine(fraction_array(ratio), fraction_array(offset)), grid)


@pytest.mark.parametrize("ratio", [0.0123, -0.00391, 1.7, 0.5004])
def test_eight_bits_become_a_multiplier_where_one_is_exact(ratio: float):
    edge = Edge((2,), np.array([-20000, -300]), np.array([19999, 700]))
    op = check(edge, rescaled(Fraction(np.float32(ratio).item()), Fraction(1, 3)))
    assert isinstance(op, Requantise)


def test_one_more_or_less_in_the_multiplier_is_wrong():
    edge = Edge((1,), np.array([-20000]), np.array([20000]))
    chain = rescaled(Fraction(0.0063), Fraction(1, 3))
    op, xs = check(edge, chain), everything(edge)
    assert isinstance(op, Requantise)
    for change in (-1, 1):
        off = Requantise(op.multiplier + change, op.bias, op.shift, op.lo, op.hi)
        assert (off(xs) != op(xs)).any()


def test_ties_to_even_of_a_power_of_two_are_met():
    edge = Edge((1,), np.array([-4095]), np.array([4095]))
    for ratio, offset in ((Fraction(1, 32), Fraction(0)), (Fraction(-3, 64), Fraction(5, 64))):
        op = check(edge, rescaled(ratio, offset))
        assert isinstance(op, Requantise)
        assert op.even


def test_few_levels_become_thresholds():
    op = check(
        Edge((1,), np.array([-99]), np.array([99])), rescaled(Fraction(1, 7), Fraction(0), bits=4)
    )
    assert isinstance(op, Thresholds)


def test_what_is_not_monotone_becomes_a_table_or_is_refused():
    chain: Chain = (Absolute(), Round("half_even", 0, 100))
    assert isinstance(check(Edge((1,), np.array([-99]), np.array([99])), chain), Table)
    with pytest.raises(ProgramError, match="takes more than 4096 entries"):
        absorb(Edge((1,), np.array([-9999]), np.array([99])), chain)


def test_what_changes_nothing_needs_no_operator():
    edge = Edge((2,), np.array([-8, 0]), np.array([7, 3]))
    assert absorb(edge, (Round("half_even", -8, 7),)).op is None
    assert absorb(edge, (Round("half_even", -8, 6),)).op is not None


def test_signs_are_stored_in_one_bit():
    edge = Edge((2,), np.array([-9, -4]), np.array([9, 5]))
    steps = Steps(np.array([[Fraction(0)]], object), True)
    flipped: Chain = (Affine(fraction_array(1, -1), fraction_array(Fraction(1, 2), 0)), steps)
    op = absorb(edge, flipped, bipolar=True).op
    assert isinstance(op, Thresholds)
    assert op.infer(edge).step == 2
    xs = everything(edge)
    np.testing.assert_array_equal(op(xs), 2 * wanted(edge, flipped, xs) - 1)
