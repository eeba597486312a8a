"""Given an operator and an input, all witnesses agree: what the operators' tests have in common."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from bitwright.codegen import runner
from bitwright.codegen.bench import TESTBENCH, Trial, write_vectors
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.beats import to_beats
from bitwright.hw.buffers import buffered
from bitwright.hw.design import Design, figures
from bitwright.hw.unit import DEFAULT_LEVELS, Fold, cycles
from bitwright.models.fixed import TERNARY, Ints, ProgramError
from bitwright.models.ops import Dot, Reshape, Thresholds
from bitwright.models.program import Edge, Node, Op, Program
from bitwright.sim import rtl
from bitwright.sim.amaranth import simulate
from bitwright.sim.kernels import execute

settings.register_profile("bitwright", deadline=None, derandomize=True)
settings.load_profile("bitwright")

Naive = Callable[..., Ints]
Gates = Mapping[str, np.ndarray]

UNIT = "unit"


def refused(message: str) -> AbstractContextManager[object]:
    """Expect a ProgramError that says exactly `message`."""
    return pytest.raises(ProgramError, match=f"^{re.escape(message)}$")


def samples(edge: Edge, frames: int, seed: int = 0) -> Ints:
    """Frames of an edge's values: all lowest, all highest, each at an end, then anything between.

    With fewer frames than four the last ones are left out, with one it is anything between.
    """
    rng = np.random.default_rng(seed)
    shape = (frames, *edge.shape)
    x = rng.integers(edge.lo, edge.hi, shape, endpoint=True)
    ends = np.where(rng.random(shape) < 0.5, edge.lo, edge.hi)
    if edge.step == 2:
        x = ends
    if frames > 1:
        for frame, values in enumerate((edge.lo, edge.hi, ends[0])[:frames]):
            x[frame] = values
    return x


def stalls(chance: float, seed: int = 0, span: int = 3000) -> Gates:
    """Patterns that close source and sink, each in a cycle with this chance."""
    rng = np.random.default_rng(seed)
    return {end: rng.random(span) >= chance for end in ("source", "sink")} if chance else {}


def one_node(op: Op, *edges: Edge) -> Program:
    """A program in which the node `UNIT` reads these edges.

    Several edges come from one input that holds their channels side by side: each branch selects
    its own by a dot product with rows of a unit matrix, which keeps the ranges as they are.
    """
    if len(edges) == 1:
        return Program("one", edges[0], (Node(UNIT, op, ("input",)),))
    channels = sum(edge.channels for edge in edges)
    both = Edge(
        (*edges[0].shape[:-1], channels),
        np.concatenate([edge.lo for edge in edges]),
        np.concatenate([edge.hi for edge in edges]),
        2 if all(edge.step == 2 for edge in edges) else 1,
    )
    nodes: list[Node] = []
    begin = 0
    for k, edge in enumerate(edges):
        rows = np.eye(edge.channels, channels, begin, dtype=np.int64)
        nodes.append(Node(f"branch{k}", Dot(rows, TERNARY), ("input",)))
        if edge.step == 2:
            nodes.append(Node(f"sign{k}", sign(edge.channels), (nodes[-1].name,)))
        begin += edge.channels
    ends = [node.name for k, node in enumerate(nodes) if k + 1 == len(nodes) or
            nodes[k + 1].name.startswith("branch")]  # fmt: skip
    return Program("joined", both, (*nodes, Node(UNIT, op, tuple(ends))))


def sign(channels: int) -> Thresholds:
    """The function that is 1 from 0 on and -1 below."""
    return Thresholds(np.zeros((channels, 1), int), np.full(channels, -1), np.full(channels, 2))


def check_unit(
    op: Op,
    edges: Edge | Sequence[Edge],
    naive: Naive,
    fold: Fold | None = None,
    *,
    frames: int = 4,
    stall: float = 0.35,
    seed: int = 0,
    levels: int = DEFAULT_LEVELS,
) -> None:
    """Definition, `naive` loop, kernel and hardware agree, and hardware keeps its promises.

    The hardware runs unstalled with ample buffers, and with stalls and the least ones.
    """
    program = one_node(op, *([edges] if isinstance(edges, Edge) else edges))
    x = samples(program.input, frames, seed)
    check_values(program, x, naive)
    folds = {UNIT: fold or Fold()}
    for name, (rows, columns) in {n.name: n.op.weights.shape for n in program.nodes
                                  if n.name.startswith("branch")}.items():  # fmt: skip
        folds[name] = Fold(rows, columns)
    least = Design(program, {} if isinstance(op, Reshape) else folds, {}, levels)
    ample = buffered(least)
    check_interval(ample)
    check_hardware(ample, x)
    check_hardware(least, x, stalls(stall, seed))


def check_values(program: Program, x: Ints, naive: Naive) -> None:
    """The last node's definition, its kernel and `naive` agree, inside the range promised."""
    values = program.run(x)
    node, edge = program.nodes[-1], program.output
    xs = [values[name] for name in node.inputs]
    y = values[node.name]
    assert y.shape == (len(x), *edge.shape)
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, naive(*xs))
    edges = tuple(program.edges[name] for name in node.inputs)
    np.testing.assert_array_equal(y, execute(node.op, edges, edge, *xs))
    assert bool(((y >= edge.lo) & (y <= edge.hi)).all())
    assert edge.grid.holds(y)
    none = [value[:0] for value in xs]
    assert node.op(*none).shape == execute(node.op, edges, edge, *none).shape == (0, *edge.shape)


def check_interval(design: Design) -> None:
    """With ample buffers a frame leaves every `design.interval` cycles, as the formula says."""
    unit = design.by_name.get(UNIT)
    alone = len(design.program.nodes) == 1
    if unit is not None and alone:
        assert design.interval == cycles(unit.op, unit.place)
    output = design.schedule(6)["output"]
    assert figures(output, design.output.beats)["interval"] == design.interval


def check_hardware(design: Design, x: Ints, gates: Gates | None = None) -> None:
    """Every transfer of every stream in Amaranth's simulator: value and cycle as promised."""
    values = design.program.run(x)
    promised = design.transfers(design.graph(gates).evaluate(len(x)), len(x))
    traces = simulate(design, x, gates)
    for stream in design.streams:
        trace = traces[stream.name]
        assert trace.words == to_beats(values[stream.edge], stream.port), stream.name
        assert trace.cycles == promised[stream.name].tolist(), stream.name


def check_simulators(
    units: Sequence[tuple[Op, Edge, Fold]], levels: Sequence[int], engine: str
) -> None:
    """Units, each in the next number of levels, with stalls: every value and cycle of the RTL."""
    trials = []
    for number, ((op, edge, fold), most) in enumerate(zip(units, cycle(levels), strict=False)):
        program = chain(f"unit{number}", edge, op)
        design = Design(program, {"n0": fold}, {}, most)
        x, gates = samples(edge, 8, number), stalls(0.3, number, 400)
        trials.append(Trial(f"t{number}", design, write_rtl(design), x, gates))
    outcomes = rtl.simulate(trials, engine).outcomes
    assert all(outcome.right for outcome in outcomes), [o.report for o in outcomes]


def chain(name: str, edge: Edge, *ops: Op) -> Program:
    """A program of operators in a row, called n0, n1, ..."""
    names = ["input", *(f"n{k}" for k in range(len(ops)))]
    return Program(
        name, edge, tuple(Node(names[k + 1], op, (names[k],)) for k, op in enumerate(ops))
    )


def run_bench(made: Sequence[Trial], engine: str, folder: Path, *tests: str) -> str | None:
    """Run tests of the generated bench by its own runner: None, or the log where one failed."""
    build = rtl._built(made, engine, False, lambda _: None)
    for trial in made:
        for file, text in trial.rtl.memories.items():
            (folder / file).write_text(text)
    write_vectors(made, folder)
    shutil.copy(TESTBENCH, folder / "testbench.py")
    command = [sys.executable, runner.__file__, "--engine", engine, "--steps", "test"]
    command += ["--build-dir", str(build), *(f"--test={test}" for test in tests)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return (folder / "run.log").read_text() if done.returncode else None
