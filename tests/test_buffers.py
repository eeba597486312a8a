"""Buffer depths: full throughput for random chains and branches, and occupancy by hand."""

from __future__ import annotations

import numpy as np
import pytest
from agree import chain, check_hardware, check_interval, samples, sign

from bitwright.codegen.folding import build
from bitwright.hw.buffers import buffered, occupancy
from bitwright.hw.design import Design, figures, folding_choices
from bitwright.hw.fifo import Fifo
from bitwright.hw.unit import Fold
from bitwright.models import zoo
from bitwright.models.fixed import BINARY, Ints, signed
from bitwright.models.ops import Add, Concatenate, Dot, MaxPool, Requantise, SumPool, Window
from bitwright.models.program import Edge, Node, Op, Program
from bitwright.models.zoo.shapes import SHAPES


@pytest.mark.parametrize(
    ("arrive", "leave", "most"),
    [
        ([0], [1], 1),
        ([0, 1, 2], [1, 2, 3], 2),  # the place of an entry is free in the cycle after it left
        ([0, 1, 2], [10, 11, 12], 3),
        ([0, 5, 10], [1, 6, 11], 1),
        ([0, 1, 2, 8], [3, 4, 9, 10], 3),
        ([0, 1, 2, 3], [2, 3, 4, 5], 3),
    ],
)
def test_occupancy(arrive: list[int], leave: list[int], most: int):
    assert occupancy(np.array(arrive), np.array(leave), 100) == most
    held = max(
        sum(a <= cycle <= b for a, b in zip(arrive, leave, strict=True)) for cycle in range(20)
    )
    assert held == most


def random_chain(rng: np.random.Generator) -> Program:
    """A window, a dot, and what fits behind them."""
    channels, rows = rng.integers(1, 5, 2).tolist()
    size = tuple(rng.integers(3, 7, 2).tolist())
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    pad = tuple(rng.integers(0, 2, 4).tolist())
    ops: list[Op] = [
        Window(kernel, tuple(rng.integers(1, 3, 2).tolist()), pad),
        Dot(rng.choice([-1, 1], (2 * rows, kernel[0] * kernel[1] * channels)), BINARY),
        sign(2 * rows),
        Requantise(np.full(2 * rows, 3), np.zeros(2 * rows, int), 1, -8, 7),
        Dot(rng.integers(-8, 8, (6, 2 * rows)), signed(4)),
        [MaxPool, SumPool][int(rng.integers(2))](2),
    ]
    return chain("chain", Edge.of((*size, channels), signed(3)), *ops)


def random_folds(program: Program, rng: np.random.Generator) -> dict[str, Fold]:
    choices = folding_choices(program)
    return {name: folds[int(rng.integers(len(folds)))] for name, folds in choices.items()}


@pytest.mark.parametrize("seed", range(40))
def test_random_chains_keep_their_throughput(seed: int):
    rng = np.random.default_rng(seed)
    program = random_chain(rng)
    check_interval(buffered(Design(program, random_folds(program, rng), {})))


def residual(rng: np.random.Generator) -> Program:
    """A convolution beside its own input, then both side by side with a third branch."""
    taps = rng.choice([-1, 1], (4, 36))
    scale = Requantise(np.full(4, 5), np.zeros(4, int), 5, -8, 7)
    nodes = (
        Node("window", Window((3, 3), padding=(1, 1, 1, 1)), ("input",)),
        Node("dot", Dot(taps, BINARY), ("window",)),
        Node("scale", scale, ("dot",)),
        Node("sum", Add(), ("scale", "input")),
        Node("other", Requantise(np.full(4, 1), np.zeros(4, int), 1, -4, 3), ("input",)),
        Node("both", Concatenate(), ("sum", "other", "scale")),
    )
    return Program("residual", Edge.of((5, 6, 4), signed(4)), nodes)


@pytest.mark.parametrize("seed", range(20))
def test_branches_keep_their_throughput(seed: int):
    rng = np.random.default_rng(seed)
    program = residual(rng)
    check_interval(buffered(Design(program, random_folds(program, rng), {})))


def test_buffers_that_were_deepened_behave_as_promised():
    """Depths as computed, and beyond those of shallow FIFOs, in Amaranth's simulator."""
    rng = np.random.default_rng(2)
    design = buffered(Design(residual(rng), {"dot": Fold(4, 9), "window": Fold(1, 4)}, {}))
    assert any(i.op.deep for i in design.instances if isinstance(i.op, Fifo))
    check_hardware(design, samples(design.program.input, 3))


def test_two_balanced_units_need_room_between_them():
    """A trap: exact schedules at two thirds of the speed, until the buffer holds six beats."""
    ones = np.ones((8, 8), int)
    program = chain("two", Edge.of((8,), signed(4)), Dot(ones, BINARY), Dot(ones, BINARY))
    designs = [Design(program, {}, {"n0__fifo": depth}) for depth in range(2, 9)]
    assert [interval(design) for design in designs] == [92, 84, 76, 68, 64, 64, 64]
    assert buffered(designs[0]).depths["n0__fifo"] in (6, 7)


def interval(design: Design) -> int | None:
    output: Ints = design.schedule(6)["output"]
    return figures(output, design.output.beats)["interval"]


def test_units_in_step_need_hardly_any_room():
    ops = [Requantise(np.full(4, 1), np.zeros(4, int), 1, -8, 7)] * 3
    design = buffered(Design(chain("even", Edge.of((6, 4), signed(4)), *ops), {}, {}))
    assert max(design.depths.values()) <= 3


@pytest.mark.parametrize("depth", [4, 12])
def test_a_short_branch_waits_for_a_deep_one(depth: int):
    """More frames are inside the deep branch at once than any fixed number."""
    rng = np.random.default_rng(0)
    nodes, source = [], "input"
    for k in range(depth):
        weights = Dot(rng.choice([-1, 1], (16, 16)), BINARY)
        nodes += [Node(f"d{k}", weights, (source,)), Node(f"s{k}", sign(16), (f"d{k}",))]
        source = f"s{k}"
    nodes.append(Node("sum", Add(), (source, "input")))
    program = Program("deep", Edge.of((16,), BINARY), tuple(nodes))
    design = buffered(Design(program, {}, {}))
    arrivals = design.schedule(40)[design.streams[-1].name]
    last = arrivals[design.output.beats - 1 :: design.output.beats]
    assert set(np.diff(last).tolist()) == {design.interval} == {256}


@pytest.mark.parametrize("name", sorted(zoo.programs().keys() - SHAPES.keys()))
def test_the_zoo_runs_at_the_pace_of_its_slowest_unit(name: str):
    program = zoo.programs()[name].load()
    for target in (576, 700, 1024, 4096, 16384):
        design = build(program, target)
        arrivals = design.schedule(8)[design.streams[-1].name]
        last = arrivals[design.output.beats - 1 :: design.output.beats]
        assert set(np.diff(last).tolist()) == {design.interval}
        assert design.limiting in {node.name for node in program.nodes}
