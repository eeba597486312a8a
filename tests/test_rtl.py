"""Written Verilog under both simulators: every value and every cycle of every stream."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from agree import Gates, chain, refused, run_bench, samples, sign, stalls
from test_compress_maddness import hashed_network
from test_shuffles import images, shufflenet

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import Rtl, write_rtl
from bitwright.hw.buffers import buffered
from bitwright.hw.convert import Narrow, Widen
from bitwright.hw.design import Design, figures
from bitwright.hw.fifo import Fifo
from bitwright.hw.fork import Fork
from bitwright.hw.unit import Fold
from bitwright.hw.window import Buffered
from bitwright.models import ops
from bitwright.models.fixed import BINARY, TERNARY, Ints, signed, unsigned
from bitwright.models.lower import quantise
from bitwright.models.network import Network
from bitwright.models.ops import (
    Add,
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    Lookup,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SparseDot,
    SumPool,
    Table,
    Tables,
    TableSum,
    TapTransform,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from bitwright.models.program import Edge, Node, Program
from bitwright.sim import rtl
from bitwright.sim.rtl import measured, simulate

pytestmark = pytest.mark.cosim

ENGINES = pytest.mark.parametrize("engine", ["icarus", "verilator"])
RNG = np.random.default_rng(7)


def signs(*shape: int) -> Ints:
    return RNG.choice([-1, 1], shape)


def between(low: int, high: int, *shape: int) -> Ints:
    return RNG.integers(low, high, shape, endpoint=True)


def edge(grid: object, *shape: int) -> Edge:
    return Edge.of(shape, grid)  # type: ignore[arg-type]


def residual() -> Program:
    nodes = (
        Node("scale", Requantise(between(-9, 9, 6), between(-9, 9, 6), 2, -8, 7), ("input",)),
        Node("sum", Add(), ("scale", "input")),
        Node("both", Concatenate(), ("sum", "scale", "input")),
        Node("order", TopK(2), ("both",)),
    )
    return Program("residual", edge(signed(4), 4, 6), nodes)


def hostile() -> Program:
    """Names that are Verilog words, ports of the top level, streams, or no words at all."""
    names = ["always", "a\n cell", "error", "source_valid", "aclk", "output_data", "\\x ", "日本"]
    before = ["fork", *names]
    nodes = [Node("fork", Add(), ("input", "input"))]
    nodes += [Node(n, MaxPool(1), (before[k],)) for k, n in enumerate(names)]
    return Program("module", edge(signed(3), 2), tuple(nodes))


def network(weights: str, floats: Network) -> Program:
    """A program with layers compressed by a method."""
    return quantise(floats, np.abs(images(floats)), weights)


@cache
def designs() -> tuple[Design, ...]:
    """Every unit in one design or another, each at a folding that leaves work for its counters."""
    made = [
        (
            chain(
                "binary",
                edge(BINARY, 5, 5, 4),
                Window((3, 3), padding=(1, 1, 1, 1)),
                Dot(signs(6, 36), BINARY),
                sign(6),
                Reshape((150,)),
                Dot(signs(4, 150), BINARY),
                TopK(1),
            ),
            {"n0": Fold(1, 2), "n1": Fold(3, 4), "n4": Fold(2, 10), "n5": Fold(1, 2)},
        ),
        (chain("multiply", edge(signed(8), 2, 6), Dot(between(-99, 99, 4, 6), signed(8))),
         {"n0": Fold(2, 3)}),
        (chain("wide", edge(unsigned(16), 2, 4), Dot(between(-32768, 32767, 3, 4), signed(16))),
         {"n0": Fold(3, 1)}),
        (chain("add_subtract", edge(unsigned(5), 3, 8), Dot(signs(4, 8), BINARY)),
         {"n0": Fold(1, 4)}),
        (chain("ternary", edge(signed(5), 3, 8), Dot(between(-1, 1, 4, 8), TERNARY)),
         {"n0": Fold(4, 2)}),
        (
            chain(
                "depthwise",
                edge(signed(4), 4, 5, 6),
                Window((2, 2), (1, 2), (1, 0, 0, 1)),
                DepthwiseDot(between(-8, 7, 6, 4), signed(4)),
                Thresholds(between(-50, 50, 6, 3), between(-3, 3, 6), between(-2, 2, 6)),
            ),
            {"n0": Fold(1, 3), "n1": Fold(2), "n2": Fold(3)},
        ),
        (chain("pools", edge(signed(5), 4, 4, 4), Window((2, 2), (2, 2)), MaxPool(4),
               Reshape((1, 1, 16)), SumPool(4), Requantise(np.full(4, 3), np.arange(4), 3, -8, 7)),
         {"n0": Fold(1, 4), "n1": Fold(2), "n3": Fold(4), "n4": Fold(1)}),
        (chain("dilated", edge(BINARY, 6, 6, 2), Window((2, 2), (1, 1), (0, 1, 2, 0), (2, 3)),
               MaxPool(4)), {"n1": Fold(2)}),
        (residual(), {"scale": Fold(3), "sum": Fold(4), "both": Fold(2), "order": Fold(2, 9)}),
        (chain("lanes", edge(signed(3), 2, 12), MaxPool(1), MaxPool(1), MaxPool(1)),
         {"n0": Fold(4), "n1": Fold(6), "n2": Fold(1)}),
        (Program("twice", edge(signed(40), 2, 4), (Node("n0", Add(), ("input", "input")),)),
         {"n0": Fold(8)}),
        (hostile(), {}),
        (chain("scaled", edge(signed(5), 2, 6), Scale(between(-9, 9, 6), between(-9, 9, 6)),
               Scale(np.full(6, -1), np.zeros(6, int)),
               Scale(RNG.choice([-4, -1, 0, 2], 6), between(-99, 99, 6)), sign(6),
               Scale(np.array([1, -1] * 3), np.zeros(6, int))),
         {"n0": Fold(2), "n1": Fold(3), "n2": Fold(3), "n3": Fold(6), "n4": Fold(3)}),
        (chain("looked_up", edge(signed(4), 3, 6), Table(between(-9, 9, 6, 16), -8),
               Table(between(50, 57, 1, 19), -9), Table(RNG.choice([-1, 1], (6, 8)), 50)),
         {"n0": Fold(2), "n1": Fold(3), "n2": Fold(1)}),
        (chain("sliced", edge(signed(4), 5, 4, 6), Window((2, 2), padding=(-2, 1, 0, -1)),
               Select(np.array([2, 3, 6, 7, 12, 13, 18, 19])), Window((1, 1), repeat=(2, 2)),
               Select(np.array([0, 2, 3, 7]))),
         {"n0": Fold(1, 3), "n1": Fold(2, 2), "n2": Fold(1, 4), "n3": Fold(1)}),
        (chain("quantised", edge(unsigned(4), 4, 4, 6), Tables(between(-8, 7, 2, 4, 3), signed(4)),
               Window((2, 2), (1, 2), (1, 0, 0, 1)), Lookup(between(0, 3, 6, 4, 2), 4)),
         {"n0": Fold(2, 3), "n1": Fold(1, 8), "n2": Fold(3, 16)}),
        (chain("quantised_wide", edge(BINARY, 3, 6), Tables(signs(3, 5, 2), BINARY),
               Lookup(between(0, 4, 4, 1, 3), 5)),
         {"n0": Fold(15, 6), "n1": Fold(1, 5)}),
        (chain("hashed", edge(signed(5), 4, 12), Tree(between(0, 2, 4, 3), between(-16, 16, 4, 7)),
               TableSum(between(-128, 127, 6, 4, 8), signed(8))),
         {"n0": Fold(2), "n1": Fold(3, 2)}),
        (chain("sparse", edge(signed(5), 5, 12),
               SparseDot(between(-9, 9, 6, 12) * np.eye(3, dtype=int).repeat(2, 0).repeat(4, 1),
                         signed(5)),
               SparseDot(between(-1, 1, 4, 6), TERNARY)),
         {"n0": Fold(2, 2), "n1": Fold(1, 3)}),
        (chain("hashed_wide", edge(unsigned(3), 4, 6),
               Tree(np.array([[1, 0]] * 3), between(0, 8, 3, 3)),
               TableSum(between(-3, 3, 4, 3, 5), signed(3))),
         {"n0": Fold(3), "n1": Fold(4, 3)}),
        (chain("tiled", edge(signed(4), 3, 5, 4), TapTransform(between(-2, 2, 8, 2)),
               TapTransform(between(-1, 1, 3, 4)), DepthToSpace((1, 3), (3, 14)),
               DepthToSpace((2, 2), (5, 27))),
         {"n0": Fold(1), "n1": Fold(4), "n2": Fold(1, 2), "n3": Fold(1)}),
        (network("maddness", hashed_network()), {}),
        (network("int8", shufflenet()), {}),
    ]  # fmt: skip
    plain = [Design(program, folds, {}) for program, folds in made]
    deep = replace(made[9][0], name="deep")
    return (
        *(buffered(design) for design in plain),
        Design(deep, made[9][1], {"source__fifo": 33, "n1__fifo": 40, "n0__fifo": 5}),
    )


def trials(gates: Callable[[int], Gates] = lambda k: {}) -> list[Trial]:
    return [
        Trial(f"d{k}", design, written(k), samples(design.program.input, 4, k), gates(k))
        for k, design in enumerate(designs())
    ]


@cache
def written(k: int) -> Rtl:
    return write_rtl(designs()[k])


def test_every_unit_is_among_the_designs():
    ops_used = {type(i.op) for design in designs() for i in design.instances}
    operators = {op for op in vars(ops).values() if isinstance(op, type)} - {Reshape, Window}
    assert ops_used == operators | {Buffered, Fifo, Fork, Narrow, Widen}
    assert {i.op.deep for d in designs() for i in d.instances if isinstance(i.op, Fifo)} == {
        True, False,
    }  # fmt: skip


def judge(run: rtl.Run, made: Sequence[Trial]) -> None:
    """All streams were compared in full, and nothing was wrong."""
    for outcome, trial in zip(run.outcomes, made, strict=True):
        design, frames = trial.design, len(trial.inputs)
        assert outcome.report == []
        assert outcome.right
        promised = design.schedule(frames, trial.gates)
        assert outcome.streams.keys() == promised.keys()
        for name, cycles in outcome.streams.items():
            np.testing.assert_array_equal(cycles, promised[name])
        assert outcome.transfers == frames * sum(s.port.beats for s in design.streams)
        np.testing.assert_array_equal(outcome.outputs, design.program(trial.inputs))


@ENGINES
def test_all_streams_are_exact(engine: str):
    made = trials()
    run = simulate(made, engine)
    judge(run, made)
    for outcome, trial in zip(run.outcomes, made, strict=True):
        promised = trial.design.schedule(4)["output"]
        assert measured(outcome, trial.design) == figures(promised, trial.design.output.beats)
        if trial.design.program.name != "deep":
            assert measured(outcome, trial.design)["interval"] == trial.design.interval  # type: ignore[index]


@pytest.mark.parametrize(
    ("engine", "chance"), [("verilator", 0.2), ("verilator", 0.6), ("icarus", 0.4)]
)
def test_all_streams_are_exact_with_stalls(engine: str, chance: float):
    made = trials(lambda k: stalls(chance, k))
    judge(simulate(made, engine), made)


@pytest.mark.parametrize(("engine", "every"), [("verilator", 1), ("icarus", 3)])
def test_the_bench_passes_as_a_whole(engine: str, every: int, tmp_path: Path):
    """Frames, a reset in mid-frame, and frames of a wrong length; Icarus takes minutes for all."""
    made = trials(lambda k: stalls(0.2, k) if k % 2 else {})[::every]
    assert run_bench(made, engine, tmp_path) is None
    results = (tmp_path / "results.xml").read_text()
    for test in ("frames", "reset_in_mid_frame", "wrong_frame_length"):
        assert f'name="{test}"' in results


def tiny(seed: int = 0, name: str = "tiny") -> Trial:
    """A dot of random weights on the range of their type, so that no width depends on them."""
    weights = np.random.default_rng(seed).choice([-1, 1], (2, 4))
    weights[:, 0] = [1, -1]
    design = Design(chain(name, edge(BINARY, 4), Dot(weights, BINARY)), {"n0": Fold(1, 2)}, {})
    return Trial("t", design, write_rtl(design), samples(design.program.input, 3), {})


def builds(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "builds").iterdir() if path.is_dir())


def test_builds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path))
    said: list[str] = []
    first = simulate([tiny()], "icarus", tell=said.append)
    assert [line for line in said if "building" in line] == [
        "building the simulator with icarus (kept for the next time)"
    ]
    said.clear()
    again = simulate([tiny()], "icarus", tell=said.append)
    assert not [line for line in said if "building" in line]
    assert len(builds(tmp_path)) == 1
    np.testing.assert_array_equal(first.outcomes[0].outputs, again.outcomes[0].outputs)

    # Other weights are another memory file for the same build, and give other outputs.
    changed = tiny(1)
    assert changed.rtl.verilog == tiny().rtl.verilog
    assert changed.rtl.memories != tiny().rtl.memories
    other = simulate([changed], "icarus", tell=said.append)
    assert not [line for line in said if "building" in line]
    assert other.outcomes[0].right
    assert (other.outcomes[0].outputs != first.outcomes[0].outputs).any()

    # More frames and stalls are other vectors for the same build.
    more = replace(tiny(), inputs=samples(tiny().design.program.input, 9), gates=stalls(0.5, 3))
    stalled = simulate([more], "icarus", tell=said.append)
    assert not [line for line in said if "building" in line]
    judge(stalled, [more])
    assert len(builds(tmp_path)) == 1

    # Another design is another build.
    simulate([tiny(name="other")], "icarus")
    assert len(builds(tmp_path)) == 2


def concurrently(barrier: object, said: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    run = simulate([tiny(name="shared")], "icarus", tell=said.put)  # type: ignore[attr-defined]
    said.put("right" if run.outcomes[0].right else "wrong")  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_eight_processes_share_one_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path))
    context = multiprocessing.get_context("fork")
    said, barrier = context.Queue(), context.Barrier(8)
    workers = [context.Process(target=concurrently, args=(barrier, said)) for _ in range(8)]
    for worker in workers:
        worker.start()
    lines = []
    while sum(line in ("right", "wrong") for line in lines) < 8:
        lines.append(said.get(timeout=60))
    for worker in workers:
        worker.join(10)
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert (lines.count("right"), lines.count("wrong")) == (8, 0)
    assert sum("building" in line for line in lines) == 1
    assert len(builds(tmp_path)) == 1


def test_a_build_that_fails_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path))
    trial = tiny()
    broken = replace(trial, rtl=replace(trial.rtl, verilog=trial.rtl.verilog.replace(");", ")", 1)))
    with pytest.raises(ValueError, match=r"^icarus could not build the bench: .*syntax error") as e:
        simulate([broken], "icarus")
    assert "\n" not in str(e.value)
    assert builds(tmp_path) == []


def test_a_simulation_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(rtl.PATIENCE, "test", 3)
    trial = tiny(name="hangs")
    # Time does not go on from the moment in which the reset ends.
    stuck = "always @(posedge aresetn) forever begin end\nendmodule"
    text = trial.rtl.verilog.replace("endmodule", stuck, 1)
    with refused(
        "icarus made no progress for 3 seconds (simulating), and was ended; the design may loop "
        "within a cycle, or be too large for it"
    ):
        simulate([replace(trial, rtl=replace(trial.rtl, verilog=text))], "icarus")


def test_a_long_run_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rtl, "POLL", 0.01)
    monkeypatch.setattr(rtl, "TELL", 0)
    trial = tiny()
    frames = samples(trial.design.program.input, 20_000)
    said: list[str] = []
    (outcome,) = simulate([replace(trial, inputs=frames)], "icarus", tell=said.append).outcomes
    assert outcome.right
    lines = [line for line in said if line.startswith("simulating under icarus: cycle ")]
    assert lines
    total = int(outcome.cycles[-1]) + 20
    assert re.fullmatch(rf"simulating under icarus: cycle [\d,]+ of {total:,}", lines[0])


def test_what_the_bench_finds_right_leaves_no_trace(tmp_path: Path):
    """The log grows with differences, not with frames or weights."""
    assert run_bench([tiny()], "icarus", tmp_path, "frames") is None
    log = (tmp_path / "vectors" / "t.log").read_text().splitlines()
    design = tiny().design
    assert sorted(log) == sorted(
        f"{k} {3 * stream.port.beats}" for k, stream in enumerate(design.streams)
    )


def test_a_waveform_on_request(tmp_path: Path):
    wave = tmp_path / "wave.fst"
    assert simulate([tiny()], "icarus", wave=wave).outcomes[0].right
    assert wave.stat().st_size > 100


def test_tools_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with refused(
        "Icarus Verilog (iverilog) is not installed; install the package iverilog, or use "
        "--engine verilator"
    ):
        simulate([tiny()], "icarus")
    for tool in ("g++", "make", "perl"):
        with refused(
            f"{tool} is not installed, and Verilator needs it; install it, or use --engine icarus"
        ):
            simulate([tiny()], "verilator")
        (tmp_path / tool).write_text("")
        (tmp_path / tool).chmod(0o755)


def test_an_engine_that_is_unknown():
    with refused("engine 'vcs' is none of verilator, icarus"):
        simulate([tiny()], "vcs")


def test_designs_that_share_a_name_keep_apart():
    """Two designs of one program name in one bench: refused, or both right."""
    one, other = tiny(), tiny(5)
    design = Design(chain("tiny", edge(signed(3), 6), MaxPool(2)), {}, {})
    third = Trial("u", design, write_rtl(design), samples(design.program.input, 3), {})
    for pair in ([one, replace(other, name="u")], [one, third]):
        try:
            run = simulate(pair, "icarus")
        except ValueError as error:
            assert str(error).count("'tiny'") == 1  # noqa: PT017
        else:
            judge(run, pair)


def test_a_program_called_bench():
    trial = tiny(name="bench")
    judge(simulate([trial], "icarus"), [trial])
