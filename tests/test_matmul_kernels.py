from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import config

from bitwright.sim.kernels import matmul_wide
from bitwright.sim.kernels.matmul_int8 import (
    ENGINES,
    PanelWeights,
    PortableWeights,
    int8_matmul,
    pack_int8,
)
from bitwright.sim.kernels.matmul_wide import wide_matmul
from bitwright.sim.kernels.matmul_xnor import (
    pack_bits,
    pack_signs,
    xnor_matmul,
    xnor_matmul_masked,
)

# Around every edge: empty, one, a tile (6 rows, 32 or 64 outputs), a word (64 bits), a group (4).
ROWS = [0, 1, 5, 6, 7, 13]
OUTPUTS = [0, 1, 31, 32, 33, 64, 65, 97]
LENGTHS = [0, 1, 3, 4, 63, 64, 65, 130]

several = settings(max_examples=60, deadline=None)
shapes = st.tuples(
    st.integers(0, 20) | st.sampled_from(ROWS),
    st.integers(0, 140) | st.sampled_from(OUTPUTS),
    st.integers(0, 300) | st.sampled_from(LENGTHS),
)
seeds = st.integers(0, 2**32 - 1)


def panels_of(engine):
    """Return a way to pack weights, skipped where Numba's target lacks the engine."""
    skip = pytest.mark.skipif(not engine.available(), reason=f"no {engine.feature} here")
    return pytest.param(partial(PanelWeights.pack, engine=engine), id=engine.feature, marks=skip)


FORMS = [
    *map(panels_of, ENGINES),
    pytest.param(PortableWeights.pack, id="portable"),
]


def reference(x, weights):
    return x.astype(np.int64) @ weights.astype(np.int64).T


def assert_equal(got, expected, dtype):
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)


def signs(bits):
    return 2 * bits.astype(np.int64) - 1


# ---- signs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
@pytest.mark.parametrize("length", LENGTHS)
def test_pack_bits_puts_position_64k_plus_b_into_bit_b_of_word_k(length, dtype):
    bits = np.random.default_rng(length).integers(0, 2, (2, 3, length)).astype(dtype)
    words = pack_bits(bits)
    assert words.dtype == np.uint64
    assert words.shape == (2, 3, -(-length // 64))
    unpacked = (words[..., None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    unpacked = unpacked.reshape(2, 3, 64 * words.shape[-1])
    np.testing.assert_array_equal(unpacked[..., :length], bits)
    assert not unpacked[..., length:].any()


@several
@given(shapes, seeds)
def test_xnor_matmul_is_the_product_of_signs(shape, seed):
    rows, outputs, length = shape
    rng = np.random.default_rng(seed)
    x, w = rng.integers(0, 2, (rows, length)), rng.integers(0, 2, (outputs, length))
    got = xnor_matmul(pack_bits(x), pack_signs(w))
    assert_equal(got, reference(signs(x), signs(w)), np.int32)


@several
@given(shapes, seeds)
def test_masked_xnor_matmul_is_the_product_of_ternary_rows(shape, seed):
    rows, outputs, length = shape
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-1, 2, (rows, length)), rng.integers(0, 2, (outputs, length))
    # The signs of zeros are arbitrary on purpose: the mask alone decides.
    sign = np.where(x == 0, rng.integers(0, 2, x.shape), x > 0)
    got = xnor_matmul_masked(pack_bits(x != 0), pack_bits(sign), pack_signs(w))
    assert_equal(got, reference(x, signs(w)), np.int32)


@pytest.mark.parametrize("length", [1, 64, 65, 70_000])
@pytest.mark.parametrize(("x", "w"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_xnor_matmul_reaches_both_ends_of_its_range(x, w, length):
    got = xnor_matmul(pack_bits(np.full((7, length), x)), pack_signs(np.full((33, length), w)))
    assert_equal(got, np.full((7, 33), length if x == w else -length), np.int32)


def test_xnor_matmul_takes_strided_words():
    bits = np.random.default_rng(0).integers(0, 2, (24, 256))
    x, w = pack_bits(bits)[::2], pack_signs(bits[:20])
    assert_equal(xnor_matmul(x, w), reference(signs(bits[::2]), signs(bits[:20])), np.int32)


def refuses(error, sentence):
    return pytest.raises(error, match=f"^{re.escape(sentence)}$")


def test_pack_bits_refuses_signs():
    with refuses(
        ValueError,
        "pack_bits takes values 0 and 1, got -1 to 1; pass a comparison such as x >= 0",
    ):
        pack_bits(np.array([-1, 1]))


def test_xnor_matmul_refuses_words_of_another_length():
    with refuses(
        ValueError,
        "x must be uint64 words (M, 2) for signs of length 65, got uint64 (3, 1); "
        "make it with pack_bits",
    ):
        xnor_matmul(np.zeros((3, 1), np.uint64), pack_signs(np.zeros((4, 65), np.uint8)))


def test_masked_xnor_matmul_refuses_a_mask_of_another_shape():
    with refuses(
        ValueError,
        "valid and x must have one shape, got (2, 1) and (3, 1); pack both alike",
    ):
        x = np.zeros((3, 1), np.uint64)
        xnor_matmul_masked(x[:2], x, pack_signs(np.zeros((4, 64), np.uint8)))


# ---- 8 bits ------------------------------------------------------------------------------------


def random_bytes(rng, dtype, shape):
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("pack", FORMS)
@several
@given(shapes, seeds)
def test_int8_matmul_is_the_product(pack, dtype, shape, seed):
    rows, outputs, length = shape
    rng = np.random.default_rng(seed)
    x = random_bytes(rng, dtype, (rows, length))
    w = random_bytes(rng, np.int8, (outputs, length))
    assert_equal(int8_matmul(x, pack(w)), reference(x, w), np.int32)


@pytest.mark.parametrize("length", [4, 7, 4609, 65_793])
@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("value", [np.uint8(0), np.uint8(255), np.int8(-128), np.int8(127)])
@pytest.mark.parametrize("pack", FORMS)
def test_int8_matmul_is_exact_at_extreme_values(pack, value, weight, length):
    x, w = np.full((7, length), value), np.full((3, length), weight, np.int8)
    assert_equal(int8_matmul(x, pack(w)), reference(x, w), np.int32)


@pytest.mark.parametrize("pack", FORMS)
def test_int8_matmul_is_exact_at_its_longest_signed_rows(pack):
    x, w = np.full((1, 131_071), -128, np.int8), np.full((1, 131_071), -128, np.int8)
    assert_equal(int8_matmul(x, pack(w)), [[131_071 * 128**2]], np.int32)


@pytest.mark.parametrize("pack", FORMS)
def test_int8_matmul_refuses_what_int32_may_not_hold(pack):
    w = np.full((1, 65_794), -128, np.int8)
    with refuses(
        OverflowError,
        "the products of a row may sum up to 2147516160, beyond int32 (2147483647); "
        "use wide_matmul",
    ):
        int8_matmul(np.zeros((1, 65_794), np.uint8), pack(w))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("rows", [127, 128, 129, 300])
@pytest.mark.parametrize("pack", FORMS)
def test_int8_matmul_crosses_strips_of_rows_and_blocks_of_depth(pack, rows, dtype):
    rng = np.random.default_rng(rows)
    x, w = random_bytes(rng, dtype, (rows, 1300)), random_bytes(rng, np.int8, (70, 1300))
    assert_equal(int8_matmul(x, pack(w)), reference(x, w), np.int32)


@pytest.mark.parametrize("pack", FORMS)
def test_int8_matmul_takes_strided_rows(pack):
    x = random_bytes(np.random.default_rng(0), np.int8, (12, 64))
    w = x[:5, ::2].copy()
    assert_equal(int8_matmul(x[::2, ::2], pack(w)), reference(x[::2, ::2], w), np.int32)


def test_pack_int8_chooses_by_the_target_of_numba(monkeypatch):
    w = np.zeros((2, 3), np.int8)
    for engine in [engine for engine in ENGINES if engine.available()][:1]:
        assert pack_int8(w).engine is engine
    monkeypatch.setattr(config, "CPU_NAME", "haswell")
    assert isinstance(pack_int8(w), PortableWeights)


@pytest.mark.parametrize("engine", ENGINES)
def test_int8_matmul_refuses_an_engine_that_is_not_there(engine, monkeypatch):
    packed = PanelWeights.pack(np.zeros((2, 3), np.int8), engine)
    monkeypatch.setattr(config, "CPU_NAME", "haswell")
    with refuses(
        RuntimeError,
        f"these weights are packed for {engine.feature}, which is not available here; "
        "pack them with pack_int8",
    ):
        int8_matmul(np.zeros((1, 3), np.uint8), packed)


def test_int8_matmul_refuses_other_operands():
    with refuses(
        ValueError,
        "pack_int8 takes int8 weights (N, K), got uint8 (2, 3); use wide_matmul for other integers",
    ):
        pack_int8(np.zeros((2, 3), np.uint8))
    with refuses(
        ValueError,
        "x must be uint8 or int8 (M, 3), got int16 (1, 3); use wide_matmul for other integers",
    ):
        int8_matmul(np.zeros((1, 3), np.int16), pack_int8(np.zeros((2, 3), np.int8)))


# ---- any width ---------------------------------------------------------------------------------


@several
@given(shapes, seeds, st.integers(1, 54), st.integers(1, 54))
def test_wide_matmul_is_the_product(shape, seed, x_bits, weight_bits):
    rows, outputs, length = shape
    weight_bits = min(weight_bits, 54 - x_bits) or 1  # 300 products stay within int64
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2 ** (x_bits - 1)), 2 ** (x_bits - 1), (rows, length))
    w = rng.integers(-(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1), (outputs, length))
    assert_equal(wide_matmul(x, w), reference(x, w), np.int64)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 513, 1000])
@pytest.mark.parametrize(
    ("x", "w"),
    [
        (255, -128),
        (2**12, 2**12),
        (2**12 + 1, 2**12 - 1),
        (-(2**15), -(2**15)),
        (2**24 - 1, 1),
        (2**24 + 1, 1),
        (2**31 - 1, 2**15),
        (2**53 + 1, 1),
        (-(2**26), 2**26 + 1),
        (2**26 + 1, -(2**26) - 1),
    ],
)
def test_wide_matmul_is_exact_around_every_limit(x, w, length):
    got = wide_matmul(np.full((5, length), x), np.full((3, length), w))
    assert_equal(got, np.full((5, 3), x * w * length), np.int64)


def test_wide_matmul_crosses_the_blocks_of_its_int64_loops():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-(2**51), 2**51, (3, 300)), rng.integers(-2, 3, (1100, 300))
    assert_equal(matmul_wide._int64_matmul(x, w), reference(x, w), np.int64)


def test_wide_matmul_holds_the_ends_of_int64():
    one = np.ones((1, 1), np.int64)
    assert wide_matmul(np.array([[2**63 - 1025]]), one).item() == 2**63 - 1025
    near = 2**62 - 2**20
    assert wide_matmul(np.array([[near, 1]]), np.array([[2, -1]])).item() == 2 * near - 1


def test_wide_matmul_takes_large_values_that_do_not_meet():
    x, w = np.diag([2**40, 1]), np.diag([1, 2**40])
    assert_equal(wide_matmul(x, w), np.diag([2**40, 2**40]), np.int64)


def test_wide_matmul_refuses_what_int64_may_not_hold():
    with refuses(
        OverflowError,
        "the products of a row may sum up to 9.223e+18, beyond int64 (2**63 = 9.223e18); "
        "requantize one operand to fewer bits",
    ):
        wide_matmul(np.full((1, 2), 2**31), np.full((1, 2), -(2**31)))


def test_wide_matmul_refuses_other_operands():
    with refuses(
        TypeError,
        "wide_matmul multiplies integers, got float64 and int64; quantize them first",
    ):
        wide_matmul(np.zeros((1, 2)), np.zeros((1, 2), np.int64))
    with refuses(
        ValueError,
        "wide_matmul takes x (M, K) and weights (N, K), got (1, 2) and (2, 1); "
        "pass the weights with one output a row",
    ):
        wide_matmul(np.zeros((1, 2), np.int64), np.zeros((2, 1), np.int64))


# ---- other processors --------------------------------------------------------------------------


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
def test_everything_is_exact_on_other_processors(processor):
    """Run this file again; without NUMBA_CPU_FEATURES Numba would keep the host's features."""
    target = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(
        [*command, "-k", "not other_processors"],
        env=os.environ | target,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout
