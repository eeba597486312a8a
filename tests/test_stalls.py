"""What units do in each cycle, against what streams carry and buffers hold."""

import re

import numpy as np
import pytest
from programs import binary_convolution, every_operator

from bitwright.codegen.folding import build
from bitwright.hw.design import Design
from bitwright.hw.fifo import Fifo
from bitwright.hw.unit import Fold
from bitwright.models import zoo
from bitwright.models.fixed import Grid
from bitwright.models.ops import Requantise
from bitwright.models.program import Edge, Node, Program
from bitwright.sim.gantt import SLICES, track
from bitwright.sim.stalls import activities, shares

FRAMES = 2


def starved_and_blocked() -> Design:
    """A slow unit between fast ones, so that one waits for room and one for input."""
    shift = Requantise(np.full(6, 3), np.zeros(6, int), 1, -8, 7)
    names = ("fast", "slow", "behind")
    nodes = [
        Node(name, shift, (before,)) for before, name in zip(("input", *names), names, strict=False)
    ]
    program = Program("chain", Edge.of((8, 6), Grid(-8, 7)), tuple(nodes))
    return Design(program, {"fast": Fold(6), "slow": Fold(1), "behind": Fold(6)}, {})


DESIGNS = {
    "blocked": starved_and_blocked,
    "convolution": lambda: build(binary_convolution()),
    "every operator": lambda: build(every_operator()),
    "tfc": lambda: build(zoo.programs()["tfc"].load(), 700),
    "tfc with the least buffers": lambda: Design(
        zoo.programs()["tfc"].load(), {"fc0": Fold(16, 49), "fc1": Fold(1, 4)}, {}
    ),
}


@pytest.fixture(params=DESIGNS)
def design(request) -> Design:
    return DESIGNS[request.param]()


def cycles_of(spans) -> set[int]:
    return {cycle for begin, end in spans.tolist() for cycle in range(begin, end)}


def test_every_cycle_between_first_and_last_step_is_one_of_them(design):
    for does in activities(design, FRAMES).values():
        parts = [cycles_of(spans) for spans in (*does.work, does.input, does.room)]
        together = set().union(*parts)
        assert len(together) == sum(map(len, parts))
        assert together == set(range(min(together), max(together) + 1))
        shown = sum(does.share(spans) for spans in (*does.work, does.input, does.room))
        assert shown == pytest.approx(1)


def test_a_unit_works_where_it_takes_a_beat(design):
    does, cycles = activities(design, FRAMES), design.schedule(FRAMES)
    for stream in design.streams[:-1]:
        work = set().union(*map(cycles_of, does[stream.consumer[0]].work))
        assert set(cycles[stream.name].tolist()) <= work


def held(cycles: dict, design: Design, fifo: str, at: list[int], lag: int = 0) -> np.ndarray:
    """How many words that came `lag` cycles before are in a buffer when each cycle begins."""
    into = next(s for s in design.streams if s.consumer[0] == fifo)
    out = next(s for s in design.streams if s.producer[0] == fifo)
    return np.searchsorted(cycles[into.name] + lag, at) - np.searchsorted(cycles[out.name], at)


def test_who_waits_for_input_has_an_empty_buffer_and_who_waits_for_room_a_full_one(design):
    does, cycles = activities(design, FRAMES), design.schedule(FRAMES)
    waits = 0
    for unit in design.instances:
        before = [s.producer[0] for s in design.streams if s.consumer[0] == unit.name]
        behind = [s.consumer[0] for s in design.streams if s.producer[0] == unit.name]
        buffers = {name: design.by_name.get(name) for name in (*before, *behind)}
        if unit.layer is None or not all(b and isinstance(b.op, Fifo) for b in buffers.values()):
            continue
        fifos = {name: buffer.op for name, buffer in buffers.items() if buffer}
        waiting = sorted(cycles_of(does[unit.name].input))
        blocked = sorted(cycles_of(does[unit.name].room))
        # A word of a deep buffer can be read a cycle later, from the register behind its memory.
        empty = [held(cycles, design, f, waiting, int(fifos[f].deep)) <= 0 for f in before]
        full = [held(cycles, design, f, blocked) >= fifos[f].depth - fifos[f].deep for f in behind]
        assert np.any(empty, axis=0).all()
        assert np.any(full, axis=0).all()
        waits += len(waiting) + len(blocked)
    assert waits


def test_the_slow_unit_blocks_and_starves_its_neighbours():
    does = activities(starved_and_blocked(), FRAMES)
    assert does["slow"].share(does["slow"].input) < 0.05
    assert not len(does["slow"].room)
    assert not len(does["fast"].input)
    assert does["fast"].share(does["fast"].room) > 0.5
    assert not len(does["behind"].room)
    # Of 6 cycles it works in as many as it has stages: a beat goes through each of them.
    stages = starved_and_blocked().by_name["behind"].fill
    assert stages == 4
    assert does["behind"].share(does["behind"].input) == pytest.approx(1 - stages / 6, abs=0.02)


def test_shares_of_slices_add_up():
    spans = np.array([[0, 3], [5, 6], [9, 12]])
    np.testing.assert_allclose(shares(spans, 12, 4), [1, 1 / 3, 0, 1])
    np.testing.assert_allclose(shares(spans, 12, 5).sum() * 12 / 5, 7)
    assert not shares(np.zeros((0, 2), int), 12, 4).any()


def test_a_track_covers_the_time_of_each_activity():
    does = activities(starved_and_blocked())["fast"]
    end = 480
    drawn = track("fast", does, end)
    assert set(drawn.paths) == {"f0", "f1", "input", "room"}
    for kind, spans in (("f0", does.work[0]), ("f1", does.work[1]), ("room", does.room)):
        bars = re.findall(r"M(\d+) (\d+)H(\d+)V(\d+)H\1z", drawn.paths[kind])
        area = sum((int(x1) - int(x0)) * (int(y1) - int(y0)) for x0, y0, x1, y1 in bars)
        cycles = area / 100 * end / SLICES
        assert cycles == pytest.approx((spans[:, 1] - spans[:, 0]).sum(), abs=1)
    assert not drawn.paths["input"]
    assert drawn.title.startswith("fast waits for input 0.0% of its time, for room ")
