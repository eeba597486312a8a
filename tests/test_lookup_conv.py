from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.models.fixed import Grid, ProgramError
from bitwright.sim.kernels import lookup_conv
from bitwright.sim.kernels.lookup_conv import LookupConv, Places
from bitwright.sim.kernels.lookup_loops import AVX2, PORTABLE, has_avx2

GRIDS = [Grid(0, 255), Grid(-128, 127), Grid(-20, 50), Grid(0, 15), Grid(3, 77), Grid(-9, -2)]


def convolution(places, x, codebooks, indices, groups):
    """The plain integer convolution with the weights that the indices name."""
    outputs, _, spaces = indices.shape
    (height, width), (sy, sx), (py, px) = places.output, places.stride, places.padding
    x = np.pad(x.astype(np.int64), ((0, 0), (py, py), (px, px), (0, 0)))
    share = spaces * codebooks.shape[2]
    out = np.zeros((len(x), height, width, outputs), np.int64)
    for n in range(outputs):
        group = n // (outputs // groups)
        books = codebooks[group * spaces : (group + 1) * spaces].astype(np.int64)
        part = x[..., group * share : (group + 1) * share]
        for t, (ky, kx) in enumerate(np.ndindex(*places.kernel)):
            weights = np.concatenate(
                [book[k] for book, k in zip(books, indices[n, t], strict=True)]
            )
            rows, columns = slice(ky, ky + sy * height, sy), slice(kx, kx + sx * width, sx)
            out[..., n] += part[:, rows, columns][:, :height, :width] @ weights
    return out


def operands(rng, places, grid, spaces=2, words=16, size=8, outputs=8, groups=1, top=127, images=1):
    """Random images, codebooks with magnitudes up to `top`, and indices."""
    taps = places.kernel[0] * places.kernel[1]
    codebooks = rng.integers(-top - (top == 127), top + 1, (spaces * groups, words, size))
    indices = rng.integers(0, words, (outputs * groups, taps, spaces))
    shape = (images, *places.size, spaces * groups * size)
    kind = np.int8 if grid.lo < 0 else np.uint8
    return (
        rng.integers(grid.lo, grid.hi + 1, shape).astype(kind),
        codebooks.astype(np.int8),
        indices,
    )


def assert_equal(conv, places, x, codebooks, indices, groups=1):
    got = conv(x)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, convolution(places, x, codebooks, indices, groups))


@st.composite
def places_of(draw):
    pair = lambda lo, hi: (draw(st.integers(lo, hi)), draw(st.integers(lo, hi)))  # noqa: E731
    places = Places(pair(1, 21), pair(1, 5), pair(1, 3), pair(0, 3))
    return places if min(places.output) >= 1 else replace(places, size=(7, 9))


@settings(max_examples=150, deadline=None)
@given(
    places=places_of(),
    grid=st.sampled_from(GRIDS),
    shape=st.fixed_dictionaries(
        {
            "spaces": st.integers(1, 4),
            "words": st.integers(1, 40),
            "size": st.integers(1, 9),
            "outputs": st.integers(1, 40),
            "groups": st.integers(1, 3),
            "top": st.sampled_from([1, 7, 31, 64, 127]),
            "images": st.integers(0, 2),
        }
    ),
    portable=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_plain_convolution(places, grid, shape, portable, seed):
    x, codebooks, indices = operands(np.random.default_rng(seed), places, grid, **shape)
    conv = LookupConv.pack(places, grid, codebooks, indices, shape["groups"])
    if portable:
        vars(conv)["form"] = PORTABLE
    assert_equal(conv, places, x, codebooks, indices, shape["groups"])


@pytest.mark.parametrize("grid", GRIDS[:2], ids=str)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("top", [1, 3, 16, 64, 127])
def test_is_exact_where_every_product_is_extreme(grid, sign, top):
    """Constant inputs and words reach the bounds that stretches, parts and forms are chosen by."""
    places = Places((5, 6), (3, 3), padding=(1, 1))
    codebooks = np.full((4, 3, 8), sign * top, np.int8)
    indices = np.zeros((9, 9, 4), np.int64)
    conv = LookupConv.pack(places, grid, codebooks, indices)
    for value in {grid.lo, grid.hi}:
        x = np.full((1, 5, 6, 32), value, np.int8 if grid.lo < 0 else np.uint8)
        assert_equal(conv, places, x, codebooks, indices)


@pytest.mark.parametrize(
    ("grid", "weight", "stretch", "parts"),
    [
        (Grid(0, 15), 15, 4, 1),  # 4 * 8 * 15 * 15 = 7200
        (Grid(0, 63), 31, 2, 1),  # 2 * 8 * 31 * 63 = 31248
        (Grid(0, 65), 63, 1, 1),  # 8 * 63 * 65 = 32760
        (Grid(0, 66), 63, 1, 2),  # 8 * 63 * 66 = 33264
        (Grid(0, 64), -64, 1, 1),  # 8 * -64 * 64 = -32768
        (Grid(0, 65), -64, 1, 2),  # 8 * -64 * 65 = -33280
        (Grid(0, 255), 127, 1, 8),  # 127 * 255 = 32385
    ],
    ids=str,
)
def test_stretches_are_as_long_and_parts_as_few_as_int16_allows(grid, weight, stretch, parts):
    codebooks = np.full((1, 1, 8), weight, np.int8)
    conv = LookupConv.pack(Places((3, 3), (3, 3)), grid, codebooks, np.zeros((1, 9, 1), int))
    assert (conv.stretch, len(conv.words)) == (stretch, parts)


def test_many_taps_use_both_halves_of_the_sums():
    """256 entries of either sign near the bound: low and high halves both run full."""
    rng = np.random.default_rng(0)
    places = Places((16, 17), (16, 16))
    x, codebooks, indices = operands(
        rng, places, Grid(0, 255), spaces=1, words=2, size=1, outputs=5
    )
    codebooks[0] = [[-128], [127]]
    for image in (x, np.zeros_like(x), np.full_like(x, 255)):
        for chosen in (indices, np.zeros_like(indices), np.ones_like(indices)):
            conv = LookupConv.pack(places, Grid(0, 255), codebooks, chosen)
            assert_equal(conv, places, image, codebooks, chosen)


def test_images_beyond_the_cache_are_done_in_parts(monkeypatch):
    rng = np.random.default_rng(1)
    places = Places((23, 19), (3, 2), (1, 2), (1, 1))
    x, codebooks, indices = operands(rng, places, Grid(0, 60), groups=2, top=31)
    whole = LookupConv.pack(places, Grid(0, 60), codebooks, indices, 2)
    monkeypatch.setattr(lookup_conv, "TABLE_BYTES", 2**10)
    parts = LookupConv.pack(places, Grid(0, 60), codebooks, indices, 2)
    assert parts.plan.blocks == 1 < whole.plan.blocks
    for conv in (whole, parts):
        assert_equal(conv, places, x, codebooks, indices, 2)


def test_a_workspace_serves_many_calls():
    rng = np.random.default_rng(2)
    places, grid = Places((6, 7), (3, 3), padding=(1, 1)), Grid(-128, 127)
    x, codebooks, indices = operands(rng, places, grid, images=3, top=15)
    conv = LookupConv.pack(places, grid, codebooks, indices)
    space = conv.workspace()
    for image in np.split(x, 3):
        np.testing.assert_array_equal(conv(image, space), conv(image))


def test_inputs_may_be_strided_and_of_either_type_that_holds_them():
    rng = np.random.default_rng(3)
    places, grid = Places((6, 7), (3, 3)), Grid(0, 99)
    x, codebooks, indices = operands(rng, places, grid, top=15)
    conv = LookupConv.pack(places, grid, codebooks, indices)
    expected = convolution(places, x, codebooks, indices, 1)
    np.testing.assert_array_equal(conv(x.astype(np.int8)), expected)
    np.testing.assert_array_equal(conv(np.asfortranarray(x)), expected)


@pytest.mark.skipif(not has_avx2(), reason="no AVX2 here")
@pytest.mark.parametrize(("weight", "form"), [(64, AVX2), (65, PORTABLE)])
def test_saturating_products_are_used_where_no_two_leave_int16(weight, form):
    """Raised inputs reach 255: 2 * 64 * 255 = 32640 fits, 2 * 65 * 255 = 33150 does not."""
    codebooks = np.full((1, 1, 2), weight, np.int8)
    indices = np.zeros((1, 1, 1), int)
    assert LookupConv.pack(Places((1, 1), (1, 1)), GRIDS[1], codebooks, indices).form == form


def test_everything_is_exact_on_other_processors():
    """Run this file again; without NUMBA_CPU_FEATURES Numba would keep the host's features."""
    target = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(
        [*command, "-k", "not other_processors"],
        env=os.environ | target,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def refuses(message):
    return pytest.raises(ProgramError, match=f"^{re.escape(message)}$")


def fitting():
    return {
        "places": Places((4, 5), (3, 3)),
        "grid": Grid(0, 255),
        "codebooks": np.zeros((2, 4, 8), np.int8),
        "indices": np.zeros((6, 9, 2), np.int64),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"codebooks": np.zeros((2, 4, 8))},
            (
                "codebooks must be int8 (M, K, Cs) and not empty, got float64 (2, 4, 8); quantise "
                "the words to 8 bits"
            ),
        ),
        (
            {"groups": 4},
            (
                "4 groups must share 2 sub-spaces and indices (6, 9, 2) evenly; let no sub-space "
                "cross a group"
            ),
        ),
        (
            {"indices": np.zeros((6, 8, 2), int)},
            (
                "indices must be (N, 9, 2), got (6, 8, 2); give each output a word for each tap "
                "and sub-space of its group"
            ),
        ),
        (
            {"indices": np.full((6, 9, 2), 4)},
            "indices must be integers within 0..3, got int64 4..4; each names one of the words",
        ),
        (
            {"grid": Grid(-1, 128)},
            "the input must fit int8 or uint8, got -1..128; requantise it to 8 bits",
        ),
        (
            {"places": Places((2, 5), (3, 3))},
            "a kernel of (3, 3) does not fit an image of (2, 5) padded by (0, 0); pad it more",
        ),
        (
            {"places": Places((4, 5), (1, 257))},
            "a kernel has at most 256 taps, got 257; split it into kernels of fewer",
        ),
    ],
)
def test_refuses_what_does_not_fit_together(change, message):
    with refuses(message):
        LookupConv.pack(**fitting() | change)


def test_refuses_sums_beyond_int32():
    codebooks = np.full((1100, 1, 1), 127, np.int8)
    indices = np.zeros((1, 64, 1100), np.int64)
    with refuses(
        "the sums of an output may reach 2279904000, beyond int32 (2147483647); "
        "use fewer channels or a narrower input"
    ):
        LookupConv.pack(Places((8, 8), (8, 8)), Grid(0, 255), codebooks, indices)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.zeros((1, 4, 5, 16), np.int16),
            (
                "x must be int8 or uint8 (N, 4, 5, 16), got int16 (1, 4, 5, 16); pack again for "
                "other images"
            ),
        ),
        (
            np.zeros((1, 4, 6, 16), np.uint8),
            (
                "x must be int8 or uint8 (N, 4, 5, 16), got uint8 (1, 4, 6, 16); pack again for "
                "other images"
            ),
        ),
        (
            np.full((1, 4, 5, 16), 10, np.uint8),
            "x must stay within 0..9, got 10..10; pack again with a wider grid",
        ),
    ],
)
def test_refuses_other_inputs(x, message):
    conv = LookupConv.pack(**fitting() | {"grid": Grid(0, 9)})
    with refuses(message):
        conv(x)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_the_kernel_reads_in_order(kernel):
    """It would copy what lies in another order, in each pass."""
    places = Places((5, 5), kernel)
    for groups, spaces in ((1, 1), (1, 4), (2, 3)):
        rng = np.random.default_rng(groups)
        _, *packed = operands(rng, places, Grid(0, 255), spaces=spaces, groups=groups)
        conv = LookupConv.pack(places, Grid(0, 255), *packed, groups)
        for array in (conv.words, conv.starts, conv.offsets):
            assert array.flags.c_contiguous
