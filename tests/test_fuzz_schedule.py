"""The schedule's campaign: it counts what it says, and a promise that is wrong is caught."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bitwright.hw.buffers import least
from bitwright.hw.design import SINK, SOURCE, Design
from bitwright.hw.schedule import Graph
from bitwright.sim import fuzz_schedule
from bitwright.sim.features import features
from bitwright.sim.fuzz_schedule import Tally, compare, summary
from bitwright.sim.random_program import MOST_STALLED, draw_stalled

SEEDS = range(40)


def test_every_case_stalls_at_both_ends_and_half_have_branches():
    cases = [draw_stalled(seed) for seed in SEEDS]
    assert all(case.gates.keys() == {SOURCE, SINK} for case in cases)
    assert not any(gate.all() for case in cases for gate in case.gates.values())
    assert max(case.cycles for case in cases) <= MOST_STALLED
    assert sum("branch" in features(case) for case in cases) >= len(SEEDS) // 2
    for case in cases:
        if case.seed // 2 % 2:
            assert case.design.depths == least(replace(case.design, depths={})).depths


def test_a_seed_means_the_same():
    first, again = draw_stalled(7), draw_stalled(7)
    assert first.program.digest == again.program.digest
    assert first.design.depths == again.design.depths
    assert all(np.array_equal(first.gates[end], again.gates[end]) for end in first.gates)


@pytest.mark.cosim
def test_a_few_designs_agree(capsys: pytest.CaptureFixture[str]):
    assert fuzz_schedule.main(["--count", "6", "--jobs", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["designs"] == document["counts"]["stalls at the sink"] == 6
    assert document["differences"] == {"icarus": 0, "verilator": 0}
    assert document["transfers"]["icarus"] == document["transfers"]["verilator"] > 100


@pytest.mark.cosim
def test_a_promise_that_is_a_cycle_off_is_caught(monkeypatch: pytest.MonkeyPatch):
    graph = Design.graph

    def late(design: Design, gates: dict[str, np.ndarray] | None = None) -> Graph:
        right = graph(design, gates)
        return replace(right, arcs=[replace(arc, delay=arc.delay + 1) for arc in right.arcs])

    case = draw_stalled(3)
    assert not compare([case], ["icarus"]).failures
    monkeypatch.setattr(Design, "graph", late)
    found = compare([case], ["icarus"])
    assert found.differences["icarus"] > 0
    assert found.failures[0].startswith("seed 3, icarus: ")


def test_the_summary():
    counts = Counter({"designs": 4, "branch": 2, "stalls at the source": 4, "least buffers": 1})
    total = Tally(
        counts, Counter({"icarus": 90}), Counter({"icarus": 3}), Counter({"icarus": 2.0}),
        ("seed 3, icarus: a", "seed 3, icarus: b"),
    )  # fmt: skip
    assert summary(total + Tally(Counter(), Counter(), Counter(), Counter())).splitlines() == [
        (
            "4 designs: 2 with branches, 4 with stalls at the source, 0 at the sink, "
            "1 with least buffers, 0 with a deep one"
        ),
        "icarus: 90 transfers compared with the schedule and the definition, 3 differences",
        "milliseconds a design: icarus 500",
        "schedule = RTL in 3 of 4 designs (75 %)",
    ]


def test_nonsense_is_refused():
    with pytest.raises(SystemExit) as caught:
        fuzz_schedule.main(["--count", "0"])
    assert caught.value.code == 2
