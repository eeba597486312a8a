"""Buffer depths: full throughput for random chains and branches, and occupancy by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import inf

import numpy as np
import pytest
from agree import chain, check_hardware, check_interval, samples, sign

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.buffers import buffered, least, occupancy, prove
from bitwright.hw.design import Design, figures, folding_choices, with_depths
from bitwright.hw.fifo import Fifo
from bitwright.hw.unit import Fold
from bitwright.models import zoo
from bitwright.models.fixed import BINARY, Ints, signed
from bitwright.models.ops import Add, Concatenate, Dot, MaxPool, Requantise, SumPool, Window
from bitwright.models.program import Edge, Node, Op, Program
from bitwright.models.zoo.shapes import SHAPES
from bitwright.sim import rtl

Maker = Callable[[np.random.Generator], Program]


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


def with_depth(design: Design, name: str, depth: int) -> Design:
    return with_depths(design, {**design.depths, name: depth})


def measured(design: Design, frames: int = 60) -> Fraction | float:
    """Cycles per frame in the long run, counted in a schedule; infinite for a deadlock."""
    if design.deadlock() is not None:
        return inf
    last = design.schedule(frames)["output"][design.output.beats - 1 :: design.output.beats]
    return Fraction(int(last[-1] - last[-13]), 12)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("make", [random_chain, residual])
def test_least_depths_are_enough_and_none_can_be_less(make: Maker, seed: int):
    """Seen in the schedule itself, which knows nothing of how they were found."""
    rng = np.random.default_rng(seed)
    program = make(rng)
    free = Design(program, random_folds(program, rng), {})
    sizing = least(free)
    design = with_depths(free, sizing.depths)
    assert measured(design) == sizing.interval == design.interval
    for name, instance in design.by_name.items():
        if instance.is_buffer and instance.depth > instance.least_depth:
            less = measured(with_depth(design, name, instance.depth - 1))
            assert less >= sizing.less[name] > sizing.interval
        else:
            assert name not in sizing.less
    assert prove(design) == sizing.less
    assert sizing.bound <= sizing.bits <= sizing.enough


def test_least_depths_by_trying_all():
    """Every pair of depths that keeps the interval is no less in one of the two."""
    ones = np.ones((8, 8), int)
    program = chain("two", Edge.of((8,), signed(4)), *[Dot(ones, BINARY)] * 3)
    folds = {"n0": Fold(1, 2), "n1": Fold(1, 1), "n2": Fold(2, 1)}
    sizing = least(Design(program, folds, {}))
    names = ("n0__fifo", "n1__fifo")
    kept = {
        pair
        for pair in product(range(2, 12), repeat=2)
        if measured(Design(program, folds, dict(zip(names, pair, strict=True)))) == 64
    }
    found = tuple(sizing.depths[name] for name in names)
    assert found in kept
    assert not any(pair != found and pair[0] <= found[0] and pair[1] <= found[1] for pair in kept)


def deep_branch(layers: int) -> Design:
    """A chain of balanced products beside its own input, whose FIFO has the deep form."""
    rng = np.random.default_rng(0)
    nodes, source = [], "input"
    for k in range(layers):
        weights = Dot(rng.choice([-1, 1], (8, 8)), BINARY)
        nodes += [Node(f"d{k}", weights, (source,)), Node(f"s{k}", sign(8), (f"d{k}",))]
        source = f"s{k}"
    nodes.append(Node("sum", Add(), (source, "input")))
    return Design(Program(f"deep{layers}", Edge.of((8,), BINARY), tuple(nodes)), {}, {})


@pytest.mark.parametrize("layers", range(2, 7))
def test_the_form_of_a_fifo_may_change_on_the_way(layers: int):
    sizing = least(deep_branch(layers))
    design = with_depths(deep_branch(layers), sizing.depths)
    assert measured(design) == 64
    assert min(sizing.less.values(), default=inf) > 64
    deep = [i.name for i in design.instances if isinstance(i.op, Fifo) and i.op.deep]
    assert bool(deep) == (layers > 4)


def test_what_less_costs_is_said_for_any_depths():
    design = buffered(deep_branch(2))
    more = with_depth(design, "source__1__fifo", design.depths["source__1__fifo"] + 1)
    assert prove(more)["source__1__fifo"] == 64
    assert prove(with_depths(design, {})) == {}


@pytest.mark.cosim
@pytest.mark.parametrize("engine", rtl.ENGINES)
def test_the_verilog_keeps_the_interval_and_loses_what_the_schedule_says(engine: str):
    """A chain, residual branches and a FIFO of the deep form; least depths, and an entry less."""
    ones, rng = np.ones((8, 8), int), np.random.default_rng(11)
    program = chain("two", Edge.of((8,), signed(4)), Dot(ones, BINARY), Dot(ones, BINARY))
    branches = residual(rng)
    designs = [
        Design(program, {}, {}),
        Design(branches, random_folds(branches, rng), {}),
        deep_branch(5),
    ]
    trials: list[Trial] = []
    for free in designs:
        sizing = least(free)
        kept = with_depths(free, sizing.depths)
        assert measured(kept) == free.interval
        slower = [name for name, ratio in sizing.less.items() if ratio < inf]
        changed = [with_depth(kept, n, kept.by_name[n].depth - 1) for n in slower[:3]]
        for design in (kept, *changed):
            named = replace(design, program=replace(design.program, name=f"buffers{len(trials)}"))
            inputs = samples(named.program.input, 6)
            trials.append(Trial(f"d{len(trials)}", named, write_rtl(named), inputs, {}))
    assert len(trials) >= 6
    outcomes = rtl.simulate(trials, engine).outcomes
    assert [outcome.report for outcome in outcomes] == [[]] * len(trials)


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
