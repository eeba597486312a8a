"""DepthToSpace: definition, kernel and hardware against pixels that are put in place one by one."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from agree import chain, check_unit, one_node, refused, samples

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.buffers import buffered
from bitwright.hw.depth_to_space import Lines
from bitwright.hw.design import Design
from bitwright.hw.unit import Fold, Place, cycles, fill, tail
from bitwright.hw.work import work
from bitwright.models.fixed import BINARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import DepthToSpace, MaxPool, Window
from bitwright.models.program import Edge
from bitwright.models.saved import load, save
from bitwright.sim.rtl import simulate

Pair = tuple[int, int]


def naive(op: DepthToSpace, x: Ints) -> Ints:
    (by, bx), (height, width) = op.block, op.size
    channels = x.shape[-1] // (by * bx)
    y = np.zeros((len(x), height, width, channels), np.int64)
    for h, w, c in product(range(height), range(width), range(channels)):
        y[:, h, w, c] = x[:, h // by, w // bx, ((h % by) * bx + w % bx) * channels + c]
    return y


def source(op: DepthToSpace, channels: int, grid: Grid) -> Edge:
    (by, bx), (height, width) = op.block, op.size
    return Edge.of((-(-height // by), -(-width // bx), by * bx * channels), grid)


def check(op: DepthToSpace, channels: int, simd: int, grid: Grid | None = None) -> None:
    edge = source(op, channels, grid or signed(3))
    fold = Fold(1, simd)
    check_unit(op, edge, lambda x: naive(op, x), fold, seed=simd)
    design = Design(one_node(op, edge), {"unit": fold}, {})
    place, moves = design.by_name["unit"].place, design.schedule(1)
    into = next(s.name for s in design.streams if s.consumer[0] == "unit")
    out = next(s.name for s in design.streams if s.producer[0] == "unit")
    assert moves[out][0] - moves[into][0] == fill(op, place)
    assert moves[out][-1] - moves[into][-1] == tail(op, place)


@pytest.mark.parametrize("width", range(1, 6))
@pytest.mark.parametrize("height", range(1, 6))
def test_every_size_of_blocks_of_two(height: int, width: int):
    check(DepthToSpace((2, 2), (height, width)), 2, 1 + height % 2)


@pytest.mark.parametrize(
    ("block", "size"),
    [
        ((1, 1), (3, 4)), ((1, 3), (2, 7)), ((3, 1), (7, 3)), ((3, 4), (8, 5)), ((4, 2), (4, 9)),
        ((4, 4), (1, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("simd", [1, 3])
def test_other_blocks(block: Pair, size: Pair, simd: int):
    check(DepthToSpace(block, size), 3, simd)


@pytest.mark.parametrize("grid", [BINARY, unsigned(8), Grid(-7, -7)], ids=str)
def test_any_values(grid: Grid):
    check(DepthToSpace((2, 2), (3, 4)), 4, 2, grid)


def test_ranges_are_those_of_all_pixels_of_a_channel():
    edge = Edge((1, 1, 4), np.array([0, -3, 1, 2]), np.array([1, 4, 1, 9]))
    y = DepthToSpace((1, 2), (1, 2)).infer(edge)
    assert (y.shape, y.lo.tolist(), y.hi.tolist()) == ((1, 2, 2), [0, -3], [1, 9])
    assert DepthToSpace((1, 2), (1, 2)).infer(Edge.of((1, 1, 4), BINARY)).step == 2


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
def test_a_beat_a_cycle_whatever_is_dropped(size: Pair):
    op = DepthToSpace((2, 2), size)
    edge = source(op, 6, signed(4))
    for simd in (1, 2, 6):
        place = Place((edge,), op.infer(edge), Fold(1, simd))
        assert cycles(op, place) == edge.elements // simd


def test_two_lines_of_blocks_take_a_row_and_a_word():
    op = DepthToSpace((2, 2), (8, 10))
    edge = source(op, 6, signed(4))
    place = Place((edge,), op.infer(edge), Fold(1, 2))
    assert Lines.of(op, place).depth == 5 * 4 * 3 + 1


def test_its_work_is_moving_words():
    op = DepthToSpace((2, 2), (3, 3))
    edge = source(op, 2, signed(4))
    done = work(op, Place((edge,), op.infer(edge), Fold(1, 1)))
    assert done
    assert (done.counts, done.value_writes, done.value_reads) == ({}, 4 * 8 * 4, 9 * 2 * 4)


def test_its_errors_are_sentences():
    with refused("DepthToSpace block has 2 integers from 1 to 256, not (2, 0)"):
        DepthToSpace((2, 0), (4, 4))
    with refused("DepthToSpace size has 2 integers from 1 to 65536, not (4,)"):
        DepthToSpace((2, 2), (4,))  # type: ignore[arg-type]
    op = DepthToSpace((2, 2), (3, 4))
    with refused("DepthToSpace takes (H, W, C), not (4, 8); reshape the input"):
        op.infer(Edge.of((4, 8), BINARY))
    with refused(
        "DepthToSpace takes 4 pixels of some channels each, and the last axis of (2, 2, 6) is 6, "
        "no multiple; use another block"
    ):
        op.infer(Edge.of((2, 2, 6), BINARY))
    with refused("DepthToSpace of size (3, 4) takes 2x2 blocks, not 3x2; correct the size"):
        op.infer(Edge.of((3, 2, 8), BINARY))


def test_a_saved_one_stays_one(tmp_path: Path):
    op = DepthToSpace((2, 2), (3, 4))
    save(one_node(op, source(op, 2, signed(4))), tmp_path / "one.npz")
    again = load(tmp_path / "one.npz").nodes[0].op
    assert type(again) is DepthToSpace
    assert again.digest == op.digest


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_in_both_simulators(engine: str):
    trials: list[Trial] = []
    rng = np.random.default_rng(5)
    cases = (((2, 2), (5, 6), 4, 2), ((3, 2), (7, 3), 2, 1), ((1, 4), (3, 9), 1, 1))
    for k, (block, size, channels, simd) in enumerate(cases):
        op = DepthToSpace(block, size)
        edge = source(op, channels, (signed(4), BINARY, unsigned(3))[k])
        program = chain(f"space{k}", edge, op, Window((2, 2)), MaxPool(4))
        plain = Design(program, {"n0": Fold(1, simd)}, {})
        design = buffered(plain) if k % 2 else plain
        gates = {end: rng.random(400) >= 0.3 for end in ("source", "sink")} if k else {}
        trials.append(Trial(f"t{k}", design, write_rtl(design), samples(edge, 6), gates))
    outcomes = simulate(trials, engine).outcomes
    assert all(outcome.right for outcome in outcomes), [o.report for o in outcomes]
