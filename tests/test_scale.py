"""Scale: definition, kernel and hardware against products and sums of plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from agree import (
    chain,
    check_simulators,
    check_unit,
    check_values,
    one_node,
    refused,
    samples,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.hw.scale import plan_of
from bitwright.hw.unit import Fold, Place, fill
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Scale
from bitwright.models.program import Edge, Program
from bitwright.models.saved import load, save


def naive(op: Scale, x: Ints) -> Ints:
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        y[at] = int(x[at]) * int(op.multiplier[at[-1]]) + int(op.bias[at[-1]])
    return y


def constants(m: list[int], b: list[int]) -> Scale:
    return Scale(np.array(m), np.array(b))


def channels(op: Scale, grid: Grid) -> Edge:
    return Edge.of((3, len(op.multiplier)), grid)


CASES = {
    "signed": (signed(6), constants([5, -7, 0], [100, -3, 9])),
    "unsigned": (unsigned(6), constants([5, 7, 1], [0, 1, 2])),
    "signs": (BINARY, constants([5, -7, 3], [1, 0, -9])),
    "no bias": (signed(5), constants([5, -7, 3], [0, 0, 0])),
    "one multiplier": (signed(5), constants([13] * 3, [1, 2, -3])),
    "one multiplier alone": (unsigned(5), constants([-13] * 3, [0] * 3)),
    "one bias": (signed(5), constants([5, 6, -7], [9, 9, 9])),
    "negation": (signed(5), constants([-1] * 3, [0] * 3)),
    "negation of unsigned": (unsigned(5), constants([-1] * 3, [0] * 3)),
    "some negated": (signed(5), constants([-1, 1, -1], [0] * 3)),
    "some negated and biased": (unsigned(3), constants([-1, 1, -1], [7, -3, 0])),
    "identity": (signed(5), constants([1] * 3, [0] * 3)),
    "bias only": (signed(5), constants([1] * 3, [-30, 4, 30])),
    "one bias only": (unsigned(5), constants([1] * 3, [-16] * 3)),
    "doubled": (signed(4), constants([2] * 3, [0] * 3)),
    "powers of two": (signed(4), constants([1, -8, 64], [0] * 3)),
    "powers of two and zero": (unsigned(4), constants([0, -8, 2], [5, 0, -5])),
    "zero": (signed(4), constants([0, 0, 0], [1, -2, 3])),
    "all zero": (signed(4), constants([0, 0, 0], [0, 0, 0])),
    "signs negated": (BINARY, constants([-1] * 3, [0] * 3)),
    "some signs negated": (BINARY, constants([-1, 1, -1], [0] * 3)),
    "bits to signs": (unsigned(1), constants([2, -2, 2], [-1, 1, -1])),
    "negative only": (Grid(-9, -2), constants([-3, -2, -1], [-5, -5, -5])),
    "one value": (Grid(5, 5), constants([3, -3, 1], [1, 2, 3])),
    "wide multiplier": (signed(20), constants([2**31, -(2**31) - 1, 77], [0] * 3)),
    "wide bias": (signed(4), constants([1, 2, 3], [2**61, -(2**61), 0])),
    "widest sum": (unsigned(1), constants([-(2**62), 1, 1], [2**62, 0, 0])),
    "widest output": (unsigned(1), constants([-(2**63), 2**62, 3], [0, 2**62 - 1, 0])),
}


@pytest.mark.parametrize("pe", [1, 3])
@pytest.mark.parametrize(("grid", "op"), CASES.values(), ids=CASES)
def test_any_constants(grid: Grid, op: Scale, pe: int):
    check_unit(op, channels(op, grid), lambda x: naive(op, x), Fold(pe))


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("multiplier", [[3, -5, 7, 9, -11, 13], [1, -2, 4, 1, -2, 4]], ids=str)
def test_every_folding(multiplier: list[int], bias: int, pe: int):
    op = constants(multiplier, [bias * b for b in (1, 2, 3, -4, -5, -6)])
    check_unit(op, channels(op, signed(5)), lambda x: naive(op, x), Fold(pe), seed=pe)


def test_one_channel():
    op = constants([-3], [7])
    check_unit(op, Edge.of((6, 1), signed(5)), lambda x: naive(op, x))


def test_ranges_of_channels_differ():
    op = constants([-3, 1, 8], [0, -40, 2])
    edge = Edge((3,), np.array([49, -8, 7]), np.array([60, -2, 7]))
    check_unit(op, edge, lambda x: naive(op, x), Fold(3), frames=8)


@pytest.mark.parametrize(
    ("multiplier", "bias", "pe", "stages"),
    [
        ([1, 1, 1, 1], [0, 0, 0, 0], 1, 1),  # wires
        ([-4, -4, -4, -4], [9, 9, 9, 9], 1, 1),  # an adder of a constant
        ([1, -2, 1, -2], [5, 6, 5, 6], 2, 1),  # a lane always sees the same channel's constants
        ([1, -2, 1, -2], [5, 6, 5, 6], 1, 2),  # constants from a memory
        ([1, 0, 4, -2], [0, 0, 0, 0], 4, 1),
        ([3, 3, 3, 3], [0, 0, 0, 0], 1, 2),  # a multiplier
        ([3, 3, 3, 3], [0, 0, 0, 1], 1, 3),  # a multiplier and an adder
    ],
)
def test_there_are_only_the_stages_that_are_needed(
    multiplier: list[int], bias: list[int], pe: int, stages: int
):
    op = constants(multiplier, bias)
    edge = channels(op, signed(4))
    place = Place((edge,), op.infer(edge), Fold(pe))
    assert fill(op, place) == plan_of(op, place).stages == stages
    check_unit(op, edge, lambda x: naive(op, x), Fold(pe))


WIDE = {
    "24 x 13": (signed(24), [2**12 - 1, -(2**12), 3], [0, 0, 0]),
    "24 x 13, biased": (signed(24), [2**12 - 1, -(2**12), 3], [2**35, -(2**35) - 1, 1]),
    "18 unsigned x 18 unsigned": (unsigned(18), [2**18 - 1, 2**17, 5], [0, -1, 2**36]),
    "18 unsigned x 4": (unsigned(18), [7, -8, 5], [0, -1, 2**20]),
    "19 x 19 unsigned": (signed(19), [2**19 - 1, 2**18, 1], [0, 0, 0]),
    "40 x 22": (signed(40), [2**21 - 1, -(2**21), 1], [2**61, -(2**61), 0]),
    "40 unsigned x 23 unsigned": (unsigned(40), [2**22, 2**22 - 1, 3], [0, -9, 2**61]),
    "20 x 40": (signed(20), [2**39 - 1, -(2**39), 2**35 + 1], [1, -1, 0]),
    "one multiplier": (signed(24), [-(2**20) - 3] * 3, [4, 5, 6]),
    "one multiplier and bias": (unsigned(24), [-(5 << 30)] * 3, [7] * 3),
    "ones far apart": (signed(20), [2**36 + 1] * 3, [0] * 3),
    "widest": (signed(2), [2**62, 2**61 + 1, -(2**60) - 1], [0, 1, 2**60]),
    "powers of two": (signed(20), [1, -(2**20), 2**40], [3, 0, -(2**50)]),
    "many powers of two": (unsigned(8), [0, 2**50, -(2**30)], [2**61, 0, 1]),
}
"""Products that take several multipliers, and choices between shifts."""


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize(("grid", "multiplier", "bias"), WIDE.values(), ids=WIDE)
def test_any_number_of_levels(grid: Grid, multiplier: list[int], bias: list[int], levels: int):
    op = constants(multiplier, bias)
    check_unit(op, channels(op, grid), lambda x: naive(op, x), Fold(levels), levels=levels)


@given(
    bits=st.integers(2, 40), sign=st.booleans(), wide=st.integers(1, 40), biased=st.booleans(),
    levels=st.integers(1, 9), seed=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=15)
def test_any_width_in_any_number_of_levels(
    bits: int, sign: bool, wide: int, biased: bool, levels: int, seed: int
):
    rng = np.random.default_rng(seed)
    most = 1 << min(wide, 61 - bits)
    m, b = rng.integers(-most, most, 4), rng.integers(-(2**60), 2**60, 4) * biased
    op = Scale(m, b)
    edge = channels(op, signed(bits) if sign else unsigned(bits))
    fold = Fold(int(rng.choice([1, 2, 4])))
    check_unit(op, edge, lambda x: naive(op, x), fold, seed=seed, levels=levels)


@pytest.mark.parametrize(
    ("name", "pe", "stages"),
    [
        # Multiply 5, add partial products 2; add 2.
        ("24 x 13", 3, {1: 3, 3: 3, 6: 3, 7: 2, 100: 2}),
        ("24 x 13, biased", 3, {1: 4, 3: 4, 6: 4, 7: 3, 100: 3}),
        ("40 x 22", 3, {3: 6, 4: 5, 6: 4, 9: 4, 11: 3}),
        # Flip and choose between three 3, add 2.
        ("powers of two", 1, {1: 3, 3: 3, 4: 3, 5: 2, 100: 2}),
        ("powers of two", 3, {1: 1, 3: 1}),
    ],
)
def test_fewer_levels_make_more_stages(name: str, pe: int, stages: dict[int, int]):
    grid, multiplier, bias = WIDE[name]
    op = constants(multiplier, bias)
    edge = channels(op, grid)
    found = {k: fill(op, Place((edge,), op.infer(edge), Fold(pe), k)) for k in stages}
    assert found == stages


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_wide_products_in_both_simulators(engine: str):
    ops = [(constants(multiplier, bias), grid) for grid, multiplier, bias in WIDE.values()]
    units = [(op, channels(op, grid), Fold(pe)) for op, grid in ops for pe in (1, 3)]
    check_simulators(units, (1, 3, 7), engine)


integers = st.integers(-(2**40), 2**40)


@given(m=integers, b=integers, bits=st.integers(1, 20), seed=st.integers(0, 99))
def test_any_constants_are_exact(m: int, b: int, bits: int, seed: int):
    op = constants([m], [b])
    program = one_node(op, Edge.of((5, 1), signed(bits)))
    check_values(program, samples(program.input, 4, seed), lambda x: naive(op, x))


@given(m=st.integers(-9, 9), b=integers, lo=st.integers(-20, 20), span=st.integers(0, 20))
def test_the_range_is_attained(m: int, b: int, lo: int, span: int):
    op = constants([m], [b])
    every = op(np.arange(lo, lo + span + 1)[:, None])
    y = op.infer(Edge.of((1,), Grid(lo, lo + span)))
    assert (int(y.lo[0]), int(y.hi[0])) == (int(every.min()), int(every.max()))
    assert y.step == (2 if set(every.ravel().tolist()) == {-1, 1} else 1)


@pytest.mark.parametrize(
    ("grid", "multiplier", "bias", "bits"),
    [
        (BINARY, [-1, 1], [0, 0], 1),
        (unsigned(1), [2, -2], [-1, 1], 1),
        (BINARY, [0, 0], [-1, 1], 1),
        (TERNARY, [-1, 1], [0, 0], 2),  # 0 is among the outputs
        (TERNARY, [1, 0], [0, 1], 2),
        (BINARY, [0, 0], [1, 1], 1),  # one value: no signs, but one bit all the same
        (BINARY, [-1, 1], [0, 2], 3),
    ],
)
def test_signs_take_one_bit(grid: Grid, multiplier: list[int], bias: list[int], bits: int):
    op = constants(multiplier, bias)
    y = op.infer(Edge.of((2,), grid))
    assert y.grid.bits == bits
    every = op(np.array([[v, v] for v in range(grid.lo, grid.hi + 1, grid.step)]))
    assert (y.step == 2) == (set(every.ravel().tolist()) == {-1, 1})


def test_a_negation_undoes_itself():
    edge = Edge.of((2, 2), signed(7))
    program = chain("twice", edge, *[constants([-1, -1], [0, 0])] * 2)
    x = samples(edge, 6)
    np.testing.assert_array_equal(program(x), x)
    assert (program.output.lo == edge.lo).all()
    assert (program.output.hi == edge.hi).all()


def test_it_is_saved(tmp_path):
    program = chain("scaled", Edge.of((3,), signed(4)), constants([2**40, -1, 0], [1, -(2**50), 3]))
    save(program, tmp_path / "scaled.npz")
    loaded: Program = load(tmp_path / "scaled.npz")
    assert loaded.digest == program.digest


def test_constants_come_per_channel():
    with refused("Scale has one multiplier and one bias per channel, not shapes (2,) and (3,)"):
        constants([1, 2], [1, 2, 3])
    with refused("Scale has one multiplier and one bias per channel, not shapes (1, 2) and (1, 2)"):
        Scale(np.ones((1, 2), int), np.ones((1, 2), int))
    with refused(
        "Scale has 2 channels, and the last axis of (4, 3) is 3; give one multiplier per channel"
    ):
        constants([1, 2], [1, 2]).infer(Edge.of((4, 3), BINARY))


@pytest.mark.parametrize(
    ("x", "m", "b", "what", "reached"),
    [
        (Grid(0, 4), 2**61, 0, "product", 2**63),
        (Grid(-5, 0), 2**61, 0, "product", -5 * 2**61),
        (Grid(0, 1), 1, 2**63 - 1, "output", 2**63),
        (Grid(-1, 0), 1, -(2**63), "output", -(2**63) - 1),
        (Grid(0, 4), -(2**61) - 1, 2**62, "product", -(2**63) - 4),  # the sum would fit
    ],
    ids=str,
)
def test_what_leaves_64_bits_is_refused(x: Grid, m: int, b: int, what: str, reached: int):
    with refused(
        f"a scaled {what} reaches {reached}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        constants([m], [b]).infer(Edge.of((1,), x))
