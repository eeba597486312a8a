"""The fuzzer: five witnesses agree on many programs, and a witness that lies is caught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bitwright.codegen.verilog import Rtl, write_rtl
from bitwright.hw.design import SINK, SOURCE, Design
from bitwright.hw.unit import Fold
from bitwright.models import ops
from bitwright.models.fixed import signed
from bitwright.models.ops import Dot, Requantise, Thresholds, TopK, Window
from bitwright.models.program import INPUT, Edge, Node, Op, Program
from bitwright.sim import fuzz
from bitwright.sim.fuzz import check, shrink, shrunk, smaller
from bitwright.sim.random_program import MOST_CYCLES, Case, draw

PROGRAMS = 120
OPERATORS = [kind.__name__ for kind in vars(ops).values() if isinstance(kind, type)]
DIGESTS = """
import hashlib
from bitwright.sim.random_program import draw
for seed in range(20):
    case = draw(seed)
    text = repr((case.program.digest, sorted(case.gates), case.design.folds, case.design.depths))
    arrays = [case.inputs, *(case.gates[end] for end in sorted(case.gates))]
    print(hashlib.sha256(text.encode() + b"".join(a.tobytes() for a in arrays)).hexdigest())
"""


def convolution(seed: int = 0, name: str = "convolution") -> Case:
    """Two frames through a window, a dot product and signs, folded both ways, with stalls."""
    rng = np.random.default_rng(seed)
    nodes = (
        Node("window", Window((2, 2), padding=(1, 0, 0, 1)), (INPUT,)),
        Node("dot", Dot(rng.integers(-8, 8, (4, 8)), signed(4)), ("window",)),
        Node(
            "signs",
            Thresholds(rng.integers(-9, 9, (4, 1)), np.full(4, -1), np.full(4, 2)),
            ("dot",),
        ),
    )
    edge = Edge.of((3, 4, 2), signed(4))
    program = Program(name, edge, nodes)
    folds = {"window": Fold(1, 2), "dot": Fold(2, 4), "signs": Fold(4)}
    inputs = rng.integers(-8, 8, (2, *edge.shape))
    gates = {SOURCE: rng.random(60) < 0.6, SINK: rng.random(60) < 0.6}
    return Case(seed, Design(program, folds, {}), inputs, gates)


def broken(kind: type[Op]) -> Callable[..., np.ndarray]:
    """Kernels of which one operator's is off by one."""
    right = fuzz.execute

    def execute(op: Op, *arguments: object) -> np.ndarray:
        y = right(op, *arguments)  # type: ignore[arg-type]
        return y + 1 if isinstance(op, kind) else y

    return execute


@pytest.mark.cosim
def test_five_witnesses_agree_on_random_programs():
    lines: list[str] = []
    total = fuzz.run(range(PROGRAMS), fuzz.ENGINES, min(2, os.cpu_count() or 1), lines.append)
    assert not total.failures, "\n".join(lines)
    assert total.cases == PROGRAMS >= 100
    wanted = [*OPERATORS, "branch", "padding", "folding with both factors above 1"]
    wanted += ["dilation", "cropping", "repetition"]
    wanted += ["stalls at the source", "stalls at the sink", "no stalls"]
    seldom = {name: total.coverage[name] for name in wanted if total.coverage[name] < 10}
    assert not seldom
    assert {*fuzz.ENGINES, "definition", "verilog"} == set(total.seconds)


def test_the_operators_are_all_of_models():
    assert len(OPERATORS) >= 11
    assert {"Window", "Dot", "Add", "TopK"} <= set(OPERATORS)


@pytest.mark.cosim
def test_a_case_made_by_hand_agrees():
    assert check([convolution()]) == []


def test_a_wrong_kernel_is_caught(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz, "execute", broken(Window))
    case = convolution(1)
    failures = check([case], ["numba"])
    assert [(f.seed, f.engine) for f in failures] == [(1, "numba")]
    assert failures[0].report[0].startswith("edge 'window': value 0 is ")


def test_a_witness_that_raises_is_caught(monkeypatch: pytest.MonkeyPatch):
    def execute(op: Op, *arguments: object) -> np.ndarray:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(fuzz, "execute", execute)
    (failure,) = check([convolution()], ["numba"])
    assert failure.report == ("ZeroDivisionError: by nothing",)


def test_a_range_too_small_is_caught(monkeypatch: pytest.MonkeyPatch):
    infer = Dot.infer

    def narrow(op: Dot, *edges: Edge) -> Edge:
        edge = infer(op, *edges)
        return Edge(edge.shape, edge.lo // 8, edge.hi // 8)

    monkeypatch.setattr(Dot, "infer", narrow)
    (failure,) = check([convolution()], [])
    assert failure.engine == "definition"
    assert failure.report[0].startswith("edge 'dot' leaves 3x4x4 in ")


def test_a_wrong_delay_in_the_schedule_is_caught(monkeypatch: pytest.MonkeyPatch):
    graph = Design.graph

    def late(design: Design, gates: dict[str, np.ndarray] | None = None):
        right = graph(design, gates)
        first, *rest = right.arcs
        return replace(right, arcs=[replace(first, delay=first.delay + 1), *rest])

    assert check([convolution()], ["amaranth"]) == []
    monkeypatch.setattr(Design, "graph", late)
    (failure,) = check([convolution()], ["amaranth"])
    assert ": cycle " in failure.report[0]


def test_a_wrong_word_in_amaranth_is_caught(monkeypatch: pytest.MonkeyPatch):
    honest = fuzz.amaranth.simulate

    def lying(*arguments: object):
        traces = honest(*arguments)  # type: ignore[arg-type]
        traces["output"].words[-1] ^= 1
        return traces

    monkeypatch.setattr(fuzz.amaranth, "simulate", lying)
    (failure,) = check([convolution()], ["amaranth"])
    assert failure.report[0].startswith("stream output: word ")


def with_memory_changed(design: Design) -> Rtl:
    """The Verilog as it should be, and the lowest bit of each word of one memory turned over."""
    rtl = write_rtl(design)
    name = next(name for name in rtl.memories if "dot" in name)
    words = [f"{int(word, 16) ^ 1:x}" for word in rtl.memories[name].split()]
    return replace(rtl, memories={**rtl.memories, name: "\n".join(words) + "\n"})


@pytest.mark.cosim
def test_a_wrong_memory_word_is_caught(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz, "write_rtl", with_memory_changed)
    failures = check([convolution()], ["icarus", "verilator"])
    assert [f.engine for f in failures] == ["icarus", "verilator"]
    assert "expected" in failures[0].report[0]


@pytest.mark.cosim
def test_one_design_that_does_not_build_spoils_no_other(monkeypatch: pytest.MonkeyPatch):
    def sometimes(design: Design) -> Rtl:
        rtl = write_rtl(design)
        bad = design.program.name == "c1"
        return replace(rtl, verilog=rtl.verilog + "module\n") if bad else rtl

    monkeypatch.setattr(fuzz, "write_rtl", sometimes)
    failures = check([convolution(k, f"c{k}") for k in range(3)], ["icarus"])
    assert [f.seed for f in failures] == [1]
    assert failures[0].report[0].startswith("icarus could not build the bench: ")


def test_a_design_that_cannot_be_written_is_caught(monkeypatch: pytest.MonkeyPatch):
    def refuse(design: Design) -> Rtl:
        raise NotImplementedError("no such unit")

    monkeypatch.setattr(fuzz, "write_rtl", refuse)
    (failure,) = check([convolution()], ["icarus"])
    assert failure.engine == "verilog"
    assert failure.report == ("NotImplementedError: no such unit",)


def failing_seed(kind: type[Op]) -> int:
    """The first seed of several layers in whose middle the broken kernel shows."""
    return next(
        seed
        for seed in range(100)
        if len(draw(seed).program.nodes) >= 4
        and any(type(node.op) is kind for node in draw(seed).program.nodes[1:-1])
        and check([draw(seed)], ["numba"])
    )


@pytest.mark.parametrize("kind", [Dot, Requantise, TopK])
def test_shrinking_leaves_the_operator_that_fails(monkeypatch: pytest.MonkeyPatch, kind: type[Op]):
    monkeypatch.setattr(fuzz, "execute", broken(kind))
    case = draw(failing_seed(kind))
    (failure,) = check([case], ["numba"])
    small = shrunk(failure, case)
    assert [type(node.op) for node in small.program.nodes] == [kind]
    assert small.program.input.elements <= 2
    assert len(small.inputs) == 1
    assert not small.gates
    assert check([small], ["numba"])


def test_shrinking_follows_the_schedule_too(monkeypatch: pytest.MonkeyPatch):
    def slow(case: Case) -> bool:
        return any(isinstance(node.op, Window) for node in case.program.nodes) and case.cycles > 30

    small = shrink(convolution(), slow)
    assert [type(node.op) for node in small.program.nodes] == [Window]
    assert 30 < small.cycles < convolution().cycles


@pytest.mark.parametrize("seed", range(12))
def test_every_smaller_case_is_sound(seed: int):
    case = draw(seed)
    for candidate in smaller(case):
        assert candidate.cycles >= 1
        assert candidate.values.keys() == candidate.program.edges.keys()
        assert len(candidate.program.nodes) <= len(case.program.nodes)


def test_draws_keep_their_limits():
    for seed in range(40):
        case = draw(seed)
        assert case.cycles <= MOST_CYCLES
        assert 2 <= len(case.inputs) <= 4
        assert case.program.name == f"fuzz{seed}"


def test_a_seed_means_the_same_under_any_hash_seed():
    texts = [
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0].split())) == 20


def test_the_command_says_that_all_is_right(capsys: pytest.CaptureFixture[str]):
    assert fuzz.main(["--count", "3", "--seed", "5", "--engine", "numba", "--jobs", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("3 programs, definition, numba: every value and every cycle is right\n")
    assert err.startswith("batch 1 of 1: 3 cases, 0 failures, ")


def test_replay_reproduces_and_shrinks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(fuzz, "execute", broken(Dot))
    seed = failing_seed(Dot)
    documents = []
    for _ in range(2):
        assert fuzz.main(["--replay", str(seed), "--engine", "numba", "--json"]) == 1
        documents.append(json.loads(capsys.readouterr().out))
        del documents[-1]["seconds"]
    assert documents[0] == documents[1]
    assert [f["seed"] for f in documents[0]["failures"]] == [seed]
    assert documents[0]["coverage"]["Dot"] == 1
    lines = documents[0]["shrunk"].splitlines()
    assert lines[0] == f"seed {seed} fails under numba; shrunk:"
    assert lines[-1] == f"replay: python -m bitwright.sim.fuzz --replay {seed} --engine numba"


def test_a_missing_tool_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PATH", "/nowhere")
    assert fuzz.main(["--count", "1", "--engine", "icarus"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: Icarus Verilog (iverilog) is not installed; ")


def test_nonsense_is_refused():
    with pytest.raises(SystemExit) as caught:
        fuzz.main(["--count", "0"])
    assert caught.value.code == 2
