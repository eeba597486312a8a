"""Requantise: definition, kernel and hardware against rounding of exact fractions."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from agree import check_simulators, check_unit, check_values, one_node, refused, samples
from amaranth.hdl import Shape
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.codegen.verilog import write_component
from bitwright.hw import product
from bitwright.hw.requantise import plan_of
from bitwright.hw.unit import Fold, Place, component, fill
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


def ends(bits: int, shift: int, even: int = 0, low: int = 0) -> Requantise:
    """Multipliers at and around the ends of so many bits, from `low` up, of signs that vary."""
    top = 2**bits - 1
    m = [max(low, m) for m in (top, -top - 1, top - 1, -top, 0, top // 3)]
    half = 1 << (shift - 1)
    return constants(m, [0, -1, half, -half, 7 * half, 1], shift, -100, 127, even)


WIDE = {
    "2 x 2": (signed(2), ends(1, 1, 1)),
    "17 unsigned x 17": (unsigned(17), ends(16, 30)),
    "18 x 17 unsigned": (signed(18), ends(17, 30, 0, 1)),
    "18 unsigned x 18 unsigned": (unsigned(18), ends(18, 31, 1, 3)),
    "18 unsigned x 8": (unsigned(18), ends(7, 17)),
    "19 x 7 unsigned": (signed(19), ends(7, 20, 0, 64)),
    "19 unsigned x 19 unsigned": (unsigned(19), ends(19, 32, 0, 1)),
    "24 x 16 unsigned": (signed(24), ends(16, 32, 0, 2**15)),
    "24 x 16, even": (signed(24), ends(15, 32, 1)),
    "35 x 20": (signed(35), ends(19, 47, 1)),
    "36 x 18": (signed(36), ends(17, 46)),
    "40 x 22": (signed(40), ends(21, 55)),
    "40 unsigned x 22 unsigned": (unsigned(40), ends(22, 56, 0, 1)),
    "22 x 40": (signed(22), ends(39, 53)),
    "not around 0": (Grid(-(2**30), -(2**29)), ends(20, 44)),
    "ties": (signed(30), constants([m << 19 for m in (1, -1, 3, -3, 5, 7)], [b << 19 for b in
             (0, 1, 2, 3, -1, -2)], 20, -(2**31), 2**31, 1)),
    "one multiplier": (signed(24), constants([-(2**20) + 3] * 6, [5] * 6, 37, -128, 127, 1)),
    "one with zeros": (signed(24), constants([5 << 30] * 6, [9 << 40] * 6, 47, -128, 127)),
    "ones far apart": (signed(20), constants([2**36 + 1] * 6, [0] * 6, 40, -(2**17), 2**17)),
    "by residue": (signed(24), constants([2**20 + 1, -8, 0] * 2, [1, 2**30, -1] * 2, 33, -99, 99)),
    "wires": (signed(40), constants([4, -4] * 3, [2**40 - 1, 3] * 3, 33, -128, 127, 1)),
    "lowest product": (Grid(0, 2), constants([-(2**62), 3] * 3, [-1, 0] * 3, 60, -8, 7)),
}  # fmt: skip
"""Products that take several multipliers, and what lies at their edges."""


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize(("grid", "op"), WIDE.values(), ids=WIDE)
def test_any_number_of_levels(grid: Grid, op: Requantise, levels: int):
    check_unit(op, Edge.of((2, 6), grid), lambda x: naive(op, x), Fold(levels), levels=levels)


@given(
    bits=st.integers(2, 40), sign=st.booleans(), shift=st.integers(1, 61), even=st.integers(0, 1),
    levels=st.integers(1, 9), seed=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=15)
def test_any_width_in_any_number_of_levels(
    bits: int, sign: bool, shift: int, even: int, levels: int, seed: int
):
    rng = np.random.default_rng(seed)
    wide = 1 << int(rng.integers(1, min(40, 61 - bits) + 1))
    m, b = rng.integers(-wide, wide, 4), rng.integers(-(2**60), 2**60, 4)
    op = Requantise(m, b, shift, -(2 ** int(rng.integers(1, 20))), int(rng.integers(0, 9999)), even)
    edge = Edge.of((3, 4), signed(bits) if sign else unsigned(bits))
    fold = Fold(int(rng.choice([1, 2, 4])))
    check_unit(op, edge, lambda x: naive(op, x), fold, seed=seed, levels=levels)


@pytest.mark.parametrize(
    ("op", "stages"),
    [
        # Multiply 5, add partial products 2; add 2, compare 2, select 1.
        (ends(16, 32, 0, 2**15), {1: 6, 2: 6, 3: 5, 4: 5, 5: 4, 7: 3, 100: 3}),
        # One partial product, and whether a half was odd: 32 bits shifted out are 3 levels.
        (ends(7, 32, 1, 64), {1: 6, 3: 5, 4: 5, 5: 4, 8: 3, 100: 3}),
        (constants([1] * 6, [9] * 6, 4, -8, 7), {1: 4, 2: 4, 3: 3, 4: 3, 5: 3, 100: 3}),
    ],
)
def test_there_are_only_the_stages_that_are_needed(op: Requantise, stages: dict[int, int]):
    edge = Edge.of((2, 6), signed(18 if op.even else 24))
    found = {k: fill(op, Place((edge,), op.infer(edge), Fold(2), k)) for k in stages}
    assert found == stages


def test_wires_of_any_width_take_no_stage():
    op = constants([1] * 6, [9] * 6, 4, -8, 7)
    edge = Edge.of((2, 6), signed(40))
    assert plan_of(op, Place((edge,), op.infer(edge), Fold(2))).products.at == (1,)


def test_constants_in_block_ram_are_read_in_a_stage_of_their_own():
    op = constants([128 + k for k in range(64)], [k << 14 for k in range(64)], 16, -128, 127)
    edge = Edge.of((2, 64), signed(16))
    folds = [plan_of(op, Place((edge,), op.infer(edge), Fold(pe))) for pe in (1, 2)]
    assert [plan.products.first for plan in folds] == [2, 1]
    check_unit(op, edge, lambda x: naive(op, x))


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_wide_products_in_both_simulators(engine: str):
    units = [(op, Edge.of((2, 6), grid), Fold(2)) for grid, op in WIDE.values()]
    check_simulators(units, (1, 3, 7), engine)


MUTANTS = {
    "no sign": (product.Slice, "of", lambda self, value: value[self.low :][: self.shape.width]),
    "a bit off": (product.Slice, "of", lambda self, value: value[self.low + (self.low > 0) :]),
    "no register": (product, "carried", lambda m, value, *rest: value),
    "no sum": (product.Product, "add", lambda self, m, values, *rest: values[::2]),
    "no carry": (product.Term, "above", lambda self, other: Shape(1)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_is_altered_in_a_product_is_caught(mutant: str, monkeypatch: pytest.MonkeyPatch):
    grid, op = WIDE["24 x 16, even"]
    monkeypatch.setattr(*MUTANTS[mutant])
    with pytest.raises(AssertionError):
        check_unit(op, Edge.of((2, 6), grid), lambda x: naive(op, x), Fold(2))


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
