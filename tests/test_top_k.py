"""TopK: definition, kernel and hardware against picking the largest again and again."""

from __future__ import annotations

import numpy as np
import pytest
from agree import check_unit, check_values, one_node, refused, samples
from hypothesis import given
from hypothesis import strategies as st

from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import TopK
from bitwright.models.program import Edge


def naive(k: int, x: Ints) -> Ints:
    y = np.zeros((*x.shape[:-1], k), np.int64)
    for at in np.ndindex(x.shape[:-1]):
        left = dict(enumerate(x[at].tolist()))
        for place in range(k):
            best = min(left, key=lambda index: (-left[index], index))
            y[(*at, place)] = best
            del left[best]
    return y


@pytest.mark.parametrize("k", [1, 2, 3, 6])
@pytest.mark.parametrize(
    "grid",
    [BINARY, signed(2), signed(9), unsigned(1), unsigned(7), Grid(-9, -3), Grid(4, 4), signed(48)],
    ids=str,
)
def test_any_range(grid: Grid, k: int):
    check_unit(TopK(k), Edge.of((3, 6), grid), lambda x: naive(k, x), Fold(k, 2))


@pytest.mark.parametrize("simd", [1, 2, 3, 6])
@pytest.mark.parametrize("k", [1, 4])
def test_every_folding(k: int, simd: int):
    edge = Edge.of((2, 6), signed(3))
    check_unit(TopK(k), edge, lambda x: naive(k, x), Fold(k, simd), seed=simd)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_all_of_few_channels(channels: int):
    edge = Edge.of((3, channels), signed(2))
    check_unit(TopK(channels), edge, lambda x: naive(channels, x), Fold(channels, channels))


@given(
    x=st.lists(st.integers(-2, 2), min_size=1, max_size=9), k=st.integers(1, 9)
)  # fmt: skip
def test_ties_go_to_the_smaller_index(x: list[int], k: int):
    k = min(k, len(x))
    program = one_node(TopK(k), Edge.of((len(x),), signed(3)))
    check_values(program, np.array([x]), lambda x: naive(k, x))


@pytest.mark.parametrize("grid", [Grid(-(2**63), 2**63 - 1), Grid(-(2**63), -(2**63) + 1)], ids=str)
def test_the_ends_of_64_bits(grid: Grid):
    program = one_node(TopK(2), Edge.of((4,), grid))
    check_values(program, samples(program.input, 8), lambda x: naive(2, x))


def test_the_range_is_of_indices():
    y = TopK(3).infer(Edge.of((2, 10), signed(8)))
    assert (y.shape, y.grid) == ((2, 3), Grid(0, 9))


@pytest.mark.parametrize("k", [0, 65])
def test_it_keeps_1_to_64(k: int):
    with refused(f"TopK keeps 1 to 64 values, not {k}"):
        TopK(k)


def test_there_are_enough_channels():
    with refused("TopK of 4 needs as many channels, and (2, 3) has fewer"):
        TopK(4).infer(Edge.of((2, 3), BINARY))
