"""Convolutions by lookup in one kernel: where they are recognised, and that they are exact."""

from __future__ import annotations

import numpy as np
import pytest

from bitwright.models.fixed import BINARY, Grid, signed, unsigned
from bitwright.models.ops import Add, Lookup, Tables, Window
from bitwright.models.program import Edge, Node, Program
from bitwright.sim import kernels
from bitwright.sim.kernels.fusion import fused

SPACES, WORDS, SIZE, RESULTS = 2, 5, 3, 4


PIXELS, BOOKS = unsigned(4), signed(8)


def program(
    walk: Window | None, grid: Grid = PIXELS, books: Grid = BOOKS, more: str = ""
) -> Program:
    """Tables over images of 6 x 5, windows over them, lookups; `more` also reads that edge."""
    rng = np.random.default_rng(0)
    codebooks = rng.integers(books.lo, books.hi, (SPACES, WORDS, SIZE), endpoint=True)
    taps = walk.kernel[0] * walk.kernel[1] if walk else 1
    indices = rng.integers(0, WORDS, (RESULTS, taps, SPACES))
    nodes = [Node("tables", Tables(codebooks, books), ("input",))]
    if walk:
        nodes.append(Node("windows", walk, ("tables",)))
    nodes.append(Node("lookup", Lookup(indices, WORDS), (nodes[-1].name,)))
    if more:
        taps = taps if more == "windows" else 1
        other = Lookup(rng.integers(0, WORDS, (RESULTS, taps, SPACES)), WORDS)
        nodes += [Node("other", other, (more,)), Node("sum", Add(), ("lookup", "other"))]
    return Program("net", Edge.of((6, 5, SPACES * SIZE), grid), tuple(nodes))


def frames(one: Program) -> np.ndarray:
    grid = one.input.grid
    x = np.random.default_rng(1).integers(grid.lo, grid.hi, (3, *one.input.shape), endpoint=True)
    return np.where(x < 0, -1, 1) if grid.step == 2 else x


TOGETHER = {
    "a pixel": program(None),
    "3 x 3, padded": program(Window((3, 3), padding=(1, 1, 1, 1))),
    "strided": program(Window((2, 3), (2, 1), (0, 1, 0, 1)), signed(8)),
    "255 and -128": program(Window((3, 2)), unsigned(8), Grid(-128, -128)),
    "signs": program(Window((3, 3), padding=(1, 1, 1, 1)), BINARY),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_convolutions_by_lookup_are_one_kernel_and_exact(name: str):
    one = TOGETHER[name]
    assert list(fused(one)) == ["lookup"]
    x = frames(one)
    assert np.array_equal(kernels.run(one, x), one(x))


def test_one_other_word_changes_the_result():
    one = TOGETHER["3 x 3, padded"]
    tables = one.nodes[0].op
    assert isinstance(tables, Tables)
    spoilt = tables.codebooks.copy()
    spoilt[0, one.nodes[2].op.indices[0, 4, 0], 0] ^= 1  # type: ignore[attr-defined]
    nodes = (Node("tables", Tables(spoilt, tables.grid), ("input",)), *one.nodes[1:])
    x = frames(one)
    assert not np.array_equal(kernels.run(Program("net", one.input, nodes), x), one(x))


APART = {
    "lopsided padding": program(Window((2, 2), padding=(1, 0, 0, 0))),
    "cropped": program(Window((2, 2), padding=(-1, 0, -1, 0))),
    "dilated": program(Window((2, 2), dilation=(2, 1))),
    "padded with another value": program(Window((2, 2), padding=(1, 1, 1, 1), pad=3)),
    "inputs of 9 bits": program(Window((2, 2)), unsigned(9)),
    "words of 9 bits": program(Window((2, 2)), books=Grid(128, 255)),
    "tables that others read": program(Window((1, 1)), more="tables"),
    "windows that others read": program(Window((1, 1)), more="windows"),
}


@pytest.mark.parametrize("name", APART)
def test_others_stay_apart_and_exact(name: str):
    one = APART[name]
    assert not fused(one)
    x = frames(one)
    assert np.array_equal(kernels.run(one, x), one(x))
