"""Random accelerators before five witnesses, which must agree bit for bit and cycle for cycle.

The witnesses: the definition (and the ranges and cycles that were promised), the Numba kernels,
Amaranth's simulator, and the written Verilog under Verilator and Icarus.  A failing seed is shrunk
to a small case that still fails.

    python -m bitwright.sim.fuzz --count 1000
    python -m bitwright.sim.fuzz --replay SEED
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from ..codegen.bench import Trial
from ..codegen.verilog import write_rtl
from ..hw.beats import to_beats
from ..hw.design import Design, folding_choices
from ..hw.unit import Fold
from ..hw.window import Buffered, walk_of
from ..models.fixed import Ints, ProgramError
from ..models.ops import (
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    Lookup,
    Requantise,
    Reshape,
    Scale,
    Select,
    Table,
    Tables,
    TableSum,
    TapTransform,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from ..models.program import INPUT, Edge, Node, Op, Program
from . import amaranth, rtl
from .features import features
from .kernels import execute
from .random_program import Case, draw

ENGINES = ("numba", "amaranth", "icarus", "verilator")
"""The witnesses beside the definition, the quickest first."""
BATCH = 16
"""Designs in one simulator build."""
REPORTED = 4

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """A seed whose case one engine computes otherwise; `report` describes the first differences."""

    seed: int
    engine: str
    report: tuple[str, ...]

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.engine}: " + "\n    ".join(self.report)


@dataclass(frozen=True)
class Campaign:
    """What came out of many cases; campaigns add up."""

    cases: int = 0
    failures: tuple[Failure, ...] = ()
    coverage: Counter[str] = field(default_factory=Counter[str])
    """For each feature the number of cases that have it."""
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])

    def __add__(self, other: Campaign) -> Campaign:
        seconds = {
            name: self.seconds.get(name, 0.0) + other.seconds.get(name, 0.0)
            for name in {**self.seconds, **other.seconds}
        }
        return Campaign(
            self.cases + other.cases,
            self.failures + other.failures,
            self.coverage + other.coverage,
            seconds,
        )


# The witnesses.


def check(cases: Sequence[Case], engines: Sequence[str] = ENGINES) -> list[Failure]:
    """Return every disagreement of `engines` with the definitions and with the schedule.

    A witness that raises is a failure too.  Designs share one simulator build per engine.
    """
    return list(examine(cases, engines).failures)


def examine(cases: Sequence[Case], engines: Sequence[str]) -> Campaign:
    """`check`, with the coverage of the cases and the seconds that each witness took."""
    failures: list[Failure] = []
    seconds: dict[str, float] = {}
    trials: list[tuple[Case, Trial]] = []

    def timed(what: str, work: Callable[[], list[Failure]]) -> None:
        start = time.perf_counter()
        failures.extend(work())
        seconds[what] = time.perf_counter() - start

    timed("definition", lambda: _each("definition", _definition, cases))
    if "numba" in engines:
        timed("numba", lambda: _each("numba", _numba, cases))
    if "amaranth" in engines:
        timed("amaranth", lambda: _each("amaranth", _amaranth, cases))
    simulators = [engine for engine in ENGINES if engine in engines and engine in rtl.ENGINES]
    if simulators:
        timed("verilog", lambda: _each("verilog", lambda case: _write(case, trials), cases))
    for engine in simulators:
        timed(engine, lambda engine=engine: _simulated(engine, trials))
    coverage = Counter(feature for case in cases for feature in features(case))
    return Campaign(len(cases), tuple(failures), coverage, seconds)


def _each(
    engine: str, judge: Callable[[Case], Iterator[str]], cases: Sequence[Case]
) -> list[Failure]:
    found = ((case.seed, _told(judge, case)) for case in cases)
    return [Failure(seed, engine, report) for seed, report in found if report]


def _told(judge: Callable[[Case], Iterator[str]], case: Case) -> tuple[str, ...]:
    """The first differences that a judge finds."""
    report: list[str] = []
    try:
        for line in judge(case):
            report.append(line)
            if len(report) == REPORTED:
                break
    except Exception as error:  # noqa: BLE001  # whatever a witness raises is a finding
        report.append(f"{type(error).__name__}: {error}")
    return tuple(report)


def _definition(case: Case) -> Iterator[str]:
    """The definitions stay within the promised ranges, and the schedule comes to an end."""
    for name, edge in case.program.edges.items():
        values = case.values[name]
        if values.shape != (len(case.inputs), *edge.shape):
            yield f"edge {name!r} has shape {values.shape[1:]}, not {edge.shape}"
        elif bool(((values < edge.lo) | (values > edge.hi)).any()) or not edge.grid.holds(values):
            yield f"edge {name!r} leaves {edge}"
    _ = case.promise


def _numba(case: Case) -> Iterator[str]:
    got = case.program.run(case.inputs, execute)
    for name, expected in case.values.items():
        yield from _difference(f"edge {name!r}", "value", got[name].ravel(), expected.ravel())


def _amaranth(case: Case) -> Iterator[str]:
    traces = amaranth.simulate(case.design, case.inputs, case.gates)
    for stream in case.design.streams:
        trace, where = traces[stream.name], f"stream {stream.name}"
        words = to_beats(case.values[stream.edge], stream.port)
        yield from _difference(where, "word", trace.words, words)
        yield from _difference(where, "cycle", trace.cycles, case.promise[stream.name].tolist())


def _difference(
    where: str, what: str, got: Sequence[int] | Ints, expected: Sequence[int] | Ints
) -> Iterator[str]:
    if len(got) != len(expected):
        yield f"{where}: {len(expected)} of {what} expected, got {len(got)}"
    for k, (a, b) in enumerate(zip(got, expected, strict=False)):
        if a != b:
            yield f"{where}: {what} {k} is {a}, expected {b}"
            return


def _write(case: Case, trials: list[tuple[Case, Trial]]) -> Iterator[str]:
    """Write a case's Verilog and put it among the trials; yields nothing, and may raise."""
    written = write_rtl(case.design)
    trial = Trial(f"d{len(trials)}", case.design, written, case.inputs, case.gates)
    trials.append((case, trial))
    yield from ()


def _simulated(engine: str, trials: Sequence[tuple[Case, Trial]]) -> list[Failure]:
    """Run trials in one build; where that fails as a whole, halves tell whose fault it is."""
    if not trials:
        return []
    try:
        run = rtl.simulate([trial for _, trial in trials], engine)
    except ProgramError as error:
        if len(trials) == 1:
            return [Failure(trials[0][0].seed, engine, (str(error),))]
        half = len(trials) // 2
        return _simulated(engine, trials[:half]) + _simulated(engine, trials[half:])
    return [
        Failure(case.seed, engine, tuple(outcome.report[:REPORTED]) or (str(outcome.wrong),))
        for (case, _), outcome in zip(trials, run.outcomes, strict=True)
        if not (outcome.right and np.array_equal(outcome.outputs, case.values[_last(case)]))
    ]


def _last(case: Case) -> str:
    return case.program.nodes[-1].name


# Shrinking.


def shrink(case: Case, fails: Callable[[Case], bool], attempts: int = 300) -> Case:
    """Return a case that still fails and is as small as greedy steps find it."""
    while True:
        for candidate in smaller(case):
            if not attempts:
                return case
            attempts -= 1
            if fails(candidate):
                case = candidate
                break
        else:
            return case


def smaller(case: Case) -> Iterator[Case]:
    """Cases one step smaller, those that promise most first."""
    program = case.program
    for changes in (
        _cuts(case),
        _calmer(case),
        _bypasses(program),
        _crops(case),
        _reduced(program),
    ):
        for change in changes:
            made = _rebuilt(case, change)
            if made is not None:
                yield made


@dataclass(frozen=True, eq=False)
class _Change:
    """What changes; None: as before."""

    nodes: Sequence[Node] | None = None
    edge: Edge | None = None
    inputs: Ints | None = None
    folds: Mapping[str, Fold] | None = None
    depths: Mapping[str, int] | None = None
    gates: Mapping[str, np.ndarray] | None = None


def _rebuilt(case: Case, change: _Change) -> Case | None:
    """The changed case, its operators fitted to their inputs; None where that breaks a rule."""
    before = case.design
    edge = change.edge or case.program.input
    inputs = case.inputs if change.inputs is None else change.inputs
    gates = case.gates if change.gates is None else change.gates
    folds = before.folds if change.folds is None else change.folds
    depths = before.depths if change.depths is None else change.depths
    try:
        program = _fitted(case.program.name, edge, change.nodes or case.program.nodes)
        folds = _valid_folds(program, folds)
        design = Design(program, folds, _valid_depths(Design(program, folds, {}), depths))
        made = Case(case.seed, design, inputs, gates)
        # A case whose schedule deadlocks, or whose inputs are out of range, is another failure.
        _ = made.promise, made.values
    except ProgramError:
        return None
    return made


def _valid_folds(program: Program, folds: Mapping[str, Fold]) -> dict[str, Fold]:
    """Foldings as before where they still divide, else the least parallel."""
    choices = folding_choices(program)
    return {
        name: folds[name] if folds.get(name) in fit else fit[0] for name, fit in choices.items()
    }


def _valid_depths(design: Design, depths: Mapping[str, int]) -> dict[str, int]:
    kept: dict[str, int] = {}
    for instance in design.instances:
        if instance.name in depths:
            least = 0
            if isinstance(instance.op, Buffered):
                least = walk_of(instance.op, instance.place)[0].least_depth
            kept[instance.name] = max(least, depths[instance.name])
    return kept


def _fitted(name: str, edge: Edge, nodes: Sequence[Node]) -> Program:
    """A program of `nodes`, their constants cut to the sizes of the edges that reach them."""
    edges, made = {INPUT: edge}, list[Node]()
    for node in nodes:
        inputs = tuple(edges[source] for source in node.inputs)
        op = _fit(node.op, inputs[0])
        edges[node.name] = op.infer(*inputs)
        made.append(Node(node.name, op, node.inputs))
    return Program(name, edge, tuple(made))


def _fit(op: Op, edge: Edge) -> Op:
    channels = edge.channels
    if isinstance(op, Dot):
        return Dot(op.weights[:, :channels], op.grid)
    if isinstance(op, DepthwiseDot):
        return DepthwiseDot(op.weights[: max(1, channels // op.weights.shape[1])], op.grid)
    if isinstance(op, Thresholds):
        return Thresholds(op.thresholds[:channels], op.offset[:channels], op.step[:channels])
    if isinstance(op, Table) and len(op.values) > 1:
        return replace(op, values=op.values[:channels])
    if isinstance(op, Requantise | Scale):
        return replace(op, multiplier=op.multiplier[:channels], bias=op.bias[:channels])
    if isinstance(op, Tables):
        return replace(op, codebooks=op.codebooks[: max(1, channels // op.codebooks.shape[2])])
    if isinstance(op, Lookup):
        tables = max(1, channels // op.words)
        flat = op.indices.reshape(len(op.indices), 1, -1)
        return op if tables >= flat.shape[2] else replace(op, indices=flat[:, :, :tables])
    if isinstance(op, Tree):
        most = min(len(op.order), channels // (int(op.order.max()) + 1))
        trees = max((n for n in range(1, most + 1) if channels % n == 0), default=1)
        return Tree(op.order[:trees], op.thresholds[:trees])
    if isinstance(op, TableSum):
        return replace(op, tables=op.tables[:, :channels])
    if isinstance(op, TapTransform):
        taps = max(n for n in range(1, op.matrix.shape[1] + 1) if channels % n == 0)
        return TapTransform(op.matrix[:, :taps])
    if isinstance(op, DepthToSpace) and len(edge.shape) == 3:
        height, width = (
            min(max(size, (blocks - 1) * block + 1), blocks * block)
            for size, block, blocks in zip(op.size, op.block, edge.shape[:2], strict=True)
        )
        return replace(op, size=(height, width))
    if isinstance(op, Select):
        return Select(op.channels[op.channels < channels])
    if isinstance(op, TopK):
        return TopK(min(op.k, channels))
    if isinstance(op, Reshape) and prod(op.shape) != edge.elements:
        rows = prod(op.shape[:-1])
        return Reshape((*op.shape[:-1], max(1, edge.elements // rows)))
    return op


def _cuts(case: Case) -> Iterator[_Change]:
    """Programs that end earlier, and programs that begin later."""
    nodes = case.program.nodes
    for k in range(len(nodes) - 1):
        yield _Change(_needed(nodes, nodes[k].name))
    for k in reversed(range(len(nodes) - 1)):
        name = nodes[k].name
        rest = [_rewired(node, name, INPUT) for node in nodes[k + 1 :]]
        known = {INPUT, *(node.name for node in rest)}
        if all(set(node.inputs) <= known for node in rest) and not _reads(nodes[k + 1 :], INPUT):
            yield _Change(rest, case.program.edges[name], case.values[name])


def _reads(nodes: Sequence[Node], name: str) -> bool:
    return any(name in node.inputs for node in nodes)


def _needed(nodes: Sequence[Node], output: str) -> list[Node]:
    """The nodes that `output` depends on, itself the last."""
    wanted, kept = {output}, list[Node]()
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _rewired(node: Node, old: str, new: str) -> Node:
    return replace(node, inputs=tuple(new if name == old else name for name in node.inputs))


def _bypasses(program: Program) -> Iterator[_Change]:
    """Programs without one of their nodes, whose readers read its input instead."""
    nodes = program.nodes
    for gone in nodes[:-1]:
        for source in dict.fromkeys(gone.inputs):
            rest = [_rewired(node, gone.name, source) for node in nodes if node is not gone]
            yield _Change(_needed(rest, nodes[-1].name))


def _calmer(case: Case) -> Iterator[_Change]:
    """Fewer frames, fewer stalls, least buffers, least parallel units."""
    frames = len(case.inputs)
    if frames > 1:
        yield _Change(inputs=case.inputs[:1])
        yield _Change(inputs=case.inputs[1:])
    if frames > 2:
        yield _Change(inputs=case.inputs[:-1])
    for end in case.gates:
        yield _Change(gates={name: gate for name, gate in case.gates.items() if name != end})
    if case.design.depths:
        yield _Change(depths={})
    for name, choices in folding_choices(case.program).items():
        if case.design.folds.get(name) not in (None, choices[0]):
            yield _Change(folds={**case.design.folds, name: choices[0]})


def _crops(case: Case) -> Iterator[_Change]:
    """Inputs cut to half, or by one, along each axis."""
    edge = case.program.input
    for axis, size in enumerate(edge.shape):
        for kept in sorted({(size + 1) // 2, size - 1} - {0, size}):
            shape = (*edge.shape[:axis], kept, *edge.shape[axis + 1 :])
            channels = shape[-1]
            cropped = Edge(shape, edge.lo[:channels], edge.hi[:channels], edge.step)
            inputs = np.take(case.inputs, np.arange(kept), axis + 1)
            yield _Change(edge=cropped, inputs=inputs)


def _reduced(program: Program) -> Iterator[_Change]:
    """Programs with one operator smaller."""
    for k, node in enumerate(program.nodes):
        for op in _lesser(node.op):
            changed = replace(node, op=op)
            yield _Change([*program.nodes[:k], changed, *program.nodes[k + 1 :]])
        if isinstance(node.op, Concatenate) and len(node.inputs) > 2:
            changed = replace(node, inputs=node.inputs[:-1])
            rest = [*program.nodes[:k], changed, *program.nodes[k + 1 :]]
            yield _Change(_needed(rest, rest[-1].name))


def _lesser(op: Op) -> Iterator[Op]:
    if isinstance(op, Window):
        for name, plain in _PLAIN_WINDOW.items():
            if getattr(op, name) != plain:
                yield replace(op, **{name: plain})
        for axis in (0, 1):
            if op.kernel[axis] > 1:
                yield replace(op, kernel=(1, op.kernel[1]) if axis == 0 else (op.kernel[0], 1))
    elif isinstance(op, Dot) and len(op.weights) > 1:
        yield replace(op, weights=op.weights[: (len(op.weights) + 1) // 2])
    elif isinstance(op, Lookup) and len(op.indices) > 1:
        yield replace(op, indices=op.indices[: (len(op.indices) + 1) // 2])
    elif isinstance(op, TableSum) and len(op.tables) > 1:
        yield replace(op, tables=op.tables[: (len(op.tables) + 1) // 2])
    elif isinstance(op, TapTransform) and len(op.matrix) > 1:
        yield TapTransform(op.matrix[: (len(op.matrix) + 1) // 2])
    elif isinstance(op, Tables) and op.codebooks.shape[1] > 1:
        yield replace(op, codebooks=op.codebooks[:, : (op.codebooks.shape[1] + 1) // 2])
    elif isinstance(op, Thresholds) and op.thresholds.shape[1] > 1:
        yield replace(op, thresholds=op.thresholds[:, : op.thresholds.shape[1] // 2])
    elif isinstance(op, Select) and len(op.channels) > 1:
        half = len(op.channels) // 2
        yield from (Select(op.channels[:half]), Select(op.channels[half:]))
    elif isinstance(op, TopK) and op.k > 1:
        yield TopK(op.k - 1)
    elif isinstance(op, Scale) and op.bias.any():
        yield replace(op, bias=np.zeros_like(op.bias))
    elif isinstance(op, Table) and len(op.values) > 1:
        yield replace(op, values=op.values[:1])


_PLAIN_WINDOW: dict[str, Any] = {
    "stride": (1, 1),
    "padding": (0, 0, 0, 0),
    "dilation": (1, 1),
    "pad": 0,
    "repeat": (1, 1),
}


# The command.


def describe(case: Case) -> str:
    """A case in full: every operator with its constants and folding, buffers, frames, stalls."""
    edge = case.program.input
    lines = [f"input: {edge}, {len(case.inputs)} frames"]
    with np.printoptions(threshold=1000, linewidth=90):
        lines += [f"lo: {edge.lo}", f"hi: {edge.hi}", f"values: {case.inputs.tolist()}"]
        for node in case.program.nodes:
            fold = case.design.folds.get(node.name)
            folded = f" folded to pe {fold.pe}, simd {fold.simd}" if fold else ""
            lines.append(f"{node.name!r} of {', '.join(map(repr, node.inputs))}{folded}: {node.op}")
    lines.append(f"depths: {dict(case.design.depths)}")
    lines.append(f"stalls: {', '.join(case.gates) or 'none'}; {case.cycles} cycles")
    return "\n".join(lines)


def shrunk(failure: Failure, case: Case) -> Case:
    """The case of a failure, shrunk under the engine that failed."""
    # Writing Verilog is tried wherever a simulator of it runs; the definition always.
    engines = {"definition": (), "verilog": ("icarus",)}.get(failure.engine, (failure.engine,))
    slow = failure.engine in rtl.ENGINES

    def fails(candidate: Case) -> bool:
        return any(found.engine == failure.engine for found in check([candidate], engines))

    return shrink(case, fails, 60 if slow else 300)


def run(seeds: Sequence[int], engines: Sequence[str], jobs: int, tell: Tell) -> Campaign:
    """Put the cases of all seeds before the witnesses, in batches, `jobs` of them at a time."""
    size = max(1, min(BATCH, -(-len(seeds) // jobs)))
    batches = [seeds[k : k + size] for k in range(0, len(seeds), size)]
    total, start = Campaign(), time.perf_counter()
    for done, part in enumerate(_examined_all(batches, engines, jobs), 1):
        total += part
        tell(
            f"batch {done} of {len(batches)}: {total.cases} cases, {len(total.failures)} failures, "
            f"{time.perf_counter() - start:.0f} s"
        )
        for failure in part.failures:
            tell(str(failure))
    return total


def _examined_all(
    batches: Sequence[Sequence[int]], engines: Sequence[str], jobs: int
) -> Iterator[Campaign]:
    if jobs == 1 or len(batches) == 1:
        yield from (_examined(batch, engines) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        for future in as_completed(pool.submit(_examined, batch, engines) for batch in batches):
            yield future.result()


def _examined(seeds: Sequence[int], engines: Sequence[str]) -> Campaign:
    return examine([draw(seed) for seed in seeds], engines)


def _table(total: Campaign) -> str:
    lines = [f"{count:6d}  {name}" for name, count in sorted(total.coverage.items())]
    each = ", ".join(
        f"{name} {1000 * seconds / max(1, total.cases):.0f}"
        for name, seconds in total.seconds.items()
    )
    return "\n".join([*lines, f"milliseconds a case: {each}"])


def _verdict(total: Campaign, engines: Sequence[str]) -> str:
    failed = len({failure.seed for failure in total.failures})
    agree = f"{total.cases} programs, {', '.join(('definition', *engines))}: "
    return agree + (f"{failed} FAILED" if failed else "every value and every cycle is right")


def _document(total: Campaign, first: int, engines: Sequence[str], small: str | None) -> str:
    return json.dumps(
        {
            "count": total.cases,
            "seed": first,
            "engines": list(engines),
            "failures": [
                {"seed": f.seed, "engine": f.engine, "report": list(f.report)}
                for f in total.failures
            ],
            "shrunk": small,
            "coverage": dict(sorted(total.coverage.items())),
            "seconds": {name: round(value, 3) for name, value in total.seconds.items()},
        }
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bitwright.sim.fuzz", description="Random accelerators, five witnesses."
    )
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="how many programs")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--replay", type=int, metavar="SEED", help="this seed alone")
    parser.add_argument(
        "--engine", action="append", choices=ENGINES, help="a witness (several times; default all)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.jobs < 1 or min(options.seed, options.replay or 0) < 0:
        parser.error("--count and --jobs are 1 or more, seeds 0 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz as the command line says: 0 if all agree, 1 if not, 2 for what cannot be run."""
    options = _options(arguments)
    engines = tuple(options.engine or ENGINES)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        for engine in engines:
            if engine in rtl.ENGINES:
                rtl.check_engine(engine)
    except ProgramError as error:
        tell(f"error: {error}")
        return 2
    first, count = (options.seed, options.count) if options.replay is None else (options.replay, 1)
    total = run(range(first, first + count), engines, options.jobs, tell)
    small = _shrunk_text(total.failures, tell) if total.failures else None
    if options.json:
        print(_document(total, first, engines, small))
    else:
        print("\n".join(filter(None, (_table(total), small, _verdict(total, engines)))))
    return 1 if total.failures else 0


def _shrunk_text(failures: Sequence[Failure], tell: Tell) -> str:
    """The smallest form of one failure, of those that are quick to shrink, and how to replay it."""
    order = ("definition", "numba", "amaranth", "verilog", "icarus", "verilator")
    failure = min(failures, key=lambda failure: order.index(failure.engine))
    tell(f"shrinking seed {failure.seed} under {failure.engine}")
    small = shrunk(failure, draw(failure.seed))
    engine = f" --engine {failure.engine}" if failure.engine in ENGINES else ""
    return (
        f"seed {failure.seed} fails under {failure.engine}; shrunk:\n{describe(small)}\n"
        f"replay: python -m bitwright.sim.fuzz --replay {failure.seed}{engine}"
    )


if __name__ == "__main__":
    sys.exit(main())
