"""The timed event graph: recurrences by hand, stalls, deadlocks, and figures."""

from __future__ import annotations

import numpy as np
import pytest
from agree import chain, refused, stalls

from bitwright.hw.design import Design, figures
from bitwright.hw.schedule import Graph
from bitwright.hw.timing import NONE, Arc, after
from bitwright.hw.unit import Fold
from bitwright.models.fixed import Ints, signed
from bitwright.models.ops import Dot, MaxPool, Reshape
from bitwright.models.program import Edge

BEATS, FRAMES = 5, 3


def plain(depth: int) -> Design:
    """A source, a FIFO and a sink, and nothing else."""
    program = chain("plain", Edge.of((BEATS,), signed(4)), Reshape((BEATS, 1)))
    return Design(program, {}, {"source__fifo": depth})


def by_hand(depth: int, source: list[bool], sink: list[bool]) -> tuple[list[int], list[int]]:
    """A FIFO simulated cycle by cycle with a plain counter of its entries."""
    put: list[int] = []
    got: list[int] = []
    held, offering = 0, False
    total = BEATS * FRAMES
    for cycle in range(10_000):
        if len(got) == total:
            break
        offering = len(put) < total and (offering or cycle >= len(source) or source[cycle])
        takes, gives = offering and held < depth, held > 0
        gives = gives and (cycle >= len(sink) or sink[cycle])
        if takes:
            put.append(cycle)
            offering = False
        if gives:
            got.append(cycle)
        held += takes - gives
    return put, got


@pytest.mark.parametrize("depth", [2, 3, 7, 32])
@pytest.mark.parametrize("chance", [0.0, 0.3, 0.7])
def test_a_fifo_is_a_counter_of_entries(depth: int, chance: float):
    gates = stalls(chance, depth, 60)
    ends = [gates[end].tolist() if gates else [] for end in ("source", "sink")]
    design = plain(depth)
    times = design.transfers(design.graph(gates).evaluate(FRAMES), FRAMES)
    put, got = by_hand(depth, *ends)
    assert times["source__to_fifo"].tolist() == put
    assert times["output"].tolist() == got


def test_a_fifo_without_stalls_moves_a_beat_a_cycle_one_later():
    times = plain(2).schedule(FRAMES)
    assert times["source__to_fifo"].tolist() == list(range(15))
    assert times["output"].tolist() == list(range(1, 16))


def test_a_stalled_sink_by_hand():
    """Depth 2: a beat leaves in cycle 5, its place is taken again in cycle 6, not 5."""
    gate = np.array([False] * 5 + [True] * 40)
    design = plain(2)
    times = design.transfers(design.graph({"sink": gate}).evaluate(1), 1)
    assert times["source__to_fifo"].tolist() == [0, 1, 6, 7, 8]
    assert times["output"].tolist() == [5, 6, 7, 8, 9]


def test_cycle_0_is_the_first_input_transfer():
    gate = np.array([False] * 4 + [True])
    assert plain(2).schedule(1, {"source": gate})["source__to_fifo"].tolist() == [0, 1, 2, 3, 4]


def test_a_folded_dot_by_hand():
    """Two rows in turn: input on every other step, and each result four cycles behind its step.

    Those are the read, the mux behind the buffer, the product and the accumulator.
    """
    program = chain("dot", Edge.of((1,), signed(3)), Dot(np.array([[1], [2]]), signed(3)))
    times = Design(program, {}, {}).schedule(3)
    issue = np.arange(6) + 1
    assert times["n0__i"].tolist() == issue[::2].tolist()
    assert times["source__to_fifo"].tolist() == [0, 1, 2]
    assert times["n0__to_fifo"].tolist() == (issue + 4).tolist()
    assert times["output"].tolist() == (issue + 5).tolist()


def test_gates_hold_stages_back_and_open_beyond_their_end():
    graph = Graph({"a": 4, "b": 4}, [Arc("a", "b", 1, after(4))], {
        "a": np.array([False, True, False, False, True]), "b": np.array([True] * 3 + [False] * 4),
    })  # fmt: skip
    times = graph.evaluate(1)
    assert times["a"].tolist() == [1, 4, 5, 6]
    assert times["b"].tolist() == [2, 7, 8, 9]


def test_arcs_reach_into_other_frames():
    """Step 0 of b waits for the previous frame's last step of a; step 1 for nothing."""
    index = np.array([-1, NONE])
    times = Graph({"a": 3, "b": 2}, [Arc("a", "b", 2, index)], {}).evaluate(3)
    assert times["a"].tolist() == list(range(9))
    assert times["b"].tolist() == [0, 1, 4, 5, 7, 8]


def test_a_graph_that_deadlocks_comes_as_far_as_it_can():
    """b waits for the second step of a, which waits for b's first; c only for a's first."""
    a = Arc("b", "a", 0, np.array([NONE, 0]))
    b = Arc("a", "b", 1, np.array([1]))
    c = Arc("a", "c", 3, np.array([0]))
    graph = Graph({"c": 1, "b": 1, "a": 2}, [a, b, c], {})
    progress = graph.run(2)
    assert {name: times.tolist() for name, times in progress.times.items()} == {
        "a": [0], "b": [], "c": [3],
    }  # fmt: skip
    assert progress.last == 3
    assert progress.circle == (b, a)
    with refused("the graph deadlocks after cycle 3: b, a wait for one another"):
        graph.evaluate(2)


def test_figures():
    arrivals: Ints = np.array([3, 9, 14, 20, 25, 33])
    assert figures(arrivals, 2) == {"first": 9, "interval": 13, "total": 34}
    assert figures(arrivals[:2], 2) == {"first": 9, "interval": None, "total": 10}
    assert figures(arrivals[:3], 1) == {"first": 3, "interval": 5, "total": 15}


def test_later_frames_do_not_change_earlier_ones():
    design = Design(
        chain("p", Edge.of((6,), signed(4)), Dot(np.ones((4, 6), int), signed(2)), MaxPool(2)),
        {"n0": Fold(2, 3)}, {},
    )  # fmt: skip
    few, many = design.schedule(2), design.schedule(5)
    for name, cycles in few.items():
        assert many[name][: len(cycles)].tolist() == cycles.tolist()
