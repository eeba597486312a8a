"""Deadlocks: predicted with cycle, buffers and remedy, and so in every simulator."""

from __future__ import annotations

import numpy as np
import pytest
from agree import check_hardware, refused, samples, stalls

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.buffers import buffered
from bitwright.hw.deadlock import Deadlock, least
from bitwright.hw.design import Design, with_depths
from bitwright.hw.unit import Fold
from bitwright.models.fixed import TERNARY, signed
from bitwright.models.ops import Add, Concatenate, Dot, Requantise, Window
from bitwright.models.program import Edge, Node, Program
from bitwright.sim import rtl
from bitwright.sim.amaranth import simulate


def unequal(depth: int) -> Design:
    """input -> a sum of the whole input (it needs all eight beats) -> + input."""
    nodes = (
        Node("mix", Dot(np.ones((8, 8), int), signed(2)), ("input",)),
        Node("sum", Add(), ("mix", "input")),
    )
    program = Program("unequal", Edge.of((8,), signed(4)), nodes)
    return Design(program, {}, {"source__1__fifo": depth})


def image(**depths: int) -> Design:
    """A convolution beside its own input, and that beside both."""
    rng = np.random.default_rng(1)
    nodes = (
        Node("window", Window((3, 3), padding=(1, 1, 1, 1)), ("input",)),
        Node("dot", Dot(rng.integers(-1, 2, (3, 27)), TERNARY), ("window",)),
        Node("scale", Requantise(np.full(3, 5), np.zeros(3, int), 5, -8, 7), ("dot",)),
        Node("sum", Add(), ("scale", "input")),
        Node("both", Concatenate(), ("sum", "input")),
    )
    program = Program("image", Edge.of((4, 5, 3), signed(4)), nodes)
    return Design(program, {"dot": Fold(3, 9)}, depths)


def stop(design: Design, frames: int = 2) -> Deadlock:
    found = design.deadlock(frames)
    assert found is not None
    return found


def test_a_deadlock_is_predicted_in_a_sentence():
    """The dot needs all eight beats before the sum takes any; the short branch holds but two."""
    with refused(
        "the design deadlocks after cycle 4: buffer 'source__1__fifo' is full with 2 entries, and "
        "source__0__fifo, mix, mix__fifo, sum, source__1__fifo, source__fork wait for one another; "
        "give 'source__1__fifo' 7 entries or more"
    ):
        unequal(2).schedule(2)


@pytest.mark.parametrize("depth", range(2, 9))
def test_the_remedy_is_the_least_that_helps(depth: int):
    """Eight beats wait beside the dot: one in the fork, the others in the FIFO."""
    design = unequal(depth)
    if depth >= 7:
        assert design.deadlock() is None
        check_hardware(design, samples(design.program.input, 3), stalls(0.3, depth))
    else:
        found = stop(design)
        assert found.full == {"source__1__fifo": depth}
        assert found.remedy == {"source__1__fifo": 7}
        assert found.cycle == depth + 2


def test_two_buffers_may_have_to_be_deepened_together():
    found = stop(image())
    assert found.remedy.keys() == {"source__1__fifo", "source__2__fifo"}
    assert image(**found.remedy).deadlock() is None
    for name, depth in found.remedy.items():
        assert image(**{**found.remedy, name: depth - 1}).deadlock() is not None


def test_stalls_neither_make_a_deadlock_nor_mend_one():
    for seed in range(20):
        gates = stalls(0.5, seed, 200)
        assert unequal(7).deadlock(3, gates) is None
        assert stop(unequal(6)).full == unequal(6).deadlock(3, gates).full  # type: ignore[union-attr]


def stopped() -> list[Design]:
    return [unequal(2), unequal(6), image(), image(source__1__fifo=20, source__2__fifo=9)]


@pytest.mark.parametrize("k", range(4))
def test_amaranth_stops_as_predicted(k: int):
    """All transfers that are predicted happen when they are, and no other."""
    design = stopped()[k]
    found = stop(design)
    traces = simulate(design, samples(design.program.input, 2), limit=found.cycle + 100)
    for name, cycles in found.transfers.items():
        assert traces[name].cycles == cycles.tolist()
    assert max(trace.cycles[-1] for trace in traces.values() if trace.cycles) == found.cycle


@pytest.mark.cosim
@pytest.mark.parametrize("engine", rtl.ENGINES)
def test_the_verilog_stops_as_predicted(engine: str):
    """The bench waits for what the same designs would do with buffers that are deep enough."""
    trials = []
    for k, design in enumerate(stopped()):
        name = f"stopped{k}"
        program = Program(name, design.program.input, design.program.nodes)
        small = Design(program, design.folds, design.depths)
        enough = buffered(with_depths(small, {}))
        inputs = samples(program.input, 2)
        trials.append(Trial(f"d{k}", enough, write_rtl(small), inputs, {}))
    run = rtl.simulate(trials, engine)
    for design, outcome in zip(stopped(), run.outcomes, strict=True):
        assert outcome.wrong["missing"]
        found = stop(design)
        assert outcome.streams.keys() == found.transfers.keys()
        for name, cycles in found.transfers.items():
            assert outcome.streams[name].tolist() == cycles.tolist()


def test_least():
    for bound in range(4, 12):
        assert least(lambda n, bound=bound: n >= bound, 4, 11) == bound
