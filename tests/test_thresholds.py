"""Thresholds: definition, kernel and hardware against counting one threshold at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from agree import chain, check_unit, check_values, one_node, refused, samples
from hypothesis import given
from hypothesis import strategies as st

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import Rtl, write_rtl
from bitwright.hw.design import Design
from bitwright.hw.thresholds import Plan, plan_of
from bitwright.hw.unit import Fold, Place
from bitwright.models.fixed import BINARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import Thresholds
from bitwright.models.program import Edge
from bitwright.sim.rtl import simulate

RNG = np.random.default_rng(5)


def naive(op: Thresholds, x: Ints) -> Ints:
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        c = at[-1]
        reached = [t for t in op.thresholds[c].tolist() if x[at] >= t]
        y[at] = int(op.offset[c]) + int(op.step[c]) * len(reached)
    return y


def steps(thresholds: list[list[int]], offset: list[int], step: list[int]) -> Thresholds:
    return Thresholds(np.array(thresholds), np.array(offset), np.array(step))


CASES = {
    "rising": (signed(5), steps([[-9, 0, 5], [1, 2, 3], [-16, 0, 15]], [0, 0, 0], [1, 1, 1])),
    "falling": (signed(5), steps([[-9, 0, 5], [1, 2, 3], [-16, 0, 15]], [3, 3, 3], [-1, -1, -1])),
    "mixed": (signed(5), steps([[-9, 0], [1, 1], [-3, 15]], [0, -7, 9], [1, -3, 5])),
    "unsigned": (unsigned(4), steps([[0, 15], [1, 14], [7, 8]], [-1, 0, 1], [1, 1, 1])),
    "signs": (signed(5), steps([[-2], [0], [9]], [-1, 1, -1], [2, -2, 2])),
    "signs of signs": (BINARY, steps([[0], [1], [2]], [-1, 1, -1], [2, -2, 2])),
    "always and never": (signed(3), steps([[-99, 99], [-4, 4], [-5, 3]], [0] * 3, [1] * 3)),
    "never a sign": (unsigned(3), steps([[99], [-99], [8]], [-1] * 3, [2] * 3)),
    "always one sign": (unsigned(3), steps([[99], [9], [8]], [-1] * 3, [2] * 3)),
    "not sorted": (signed(4), steps([[5, -5, 0], [0, 0, 0], [7, 7, -8]], [1] * 3, [1] * 3)),
    "step of zero": (signed(4), steps([[1], [2], [3]], [4, 5, 6], [0, 0, 0])),
    "one value": (Grid(6, 6), steps([[5, 6], [7, 8], [6, 7]], [0] * 3, [1] * 3)),
    "negative input": (Grid(-9, -3), steps([[-9, -3], [-5, 0], [-4, -2]], [0] * 3, [2] * 3)),
    "extreme thresholds": (signed(4), steps([[2**63 - 1], [-(2**63)], [0]], [0] * 3, [1] * 3)),
    "wide input": (signed(40), steps([[2**38], [-(2**38)], [0]], [0] * 3, [1] * 3)),
}


@pytest.mark.parametrize(("grid", "op"), CASES.values(), ids=CASES)
def test_any_thresholds(grid: Grid, op: Thresholds):
    check_unit(op, Edge.of((6, 3), grid), lambda x: naive(op, x), Fold(3))


@pytest.mark.parametrize("pe", [1, 2, 3, 6])
@pytest.mark.parametrize("count", [1, 3, 5, 15, 20])
def test_every_folding(count: int, pe: int):
    op = Thresholds(RNG.integers(-9, 9, (6, count)), RNG.integers(-3, 3, 6), RNG.integers(-3, 3, 6))
    check_unit(op, Edge.of((3, 6), signed(4)), lambda x: naive(op, x), Fold(pe), seed=pe)


def test_one_channel():
    op = steps([[-3, 0, 3]], [-1], [1])
    check_unit(op, Edge.of((9, 1), signed(4)), lambda x: naive(op, x))


def test_ranges_of_channels_differ():
    """A threshold that one channel always reaches may be beyond another's range."""
    op = steps([[50, 55], [-8, 0], [7, 8]], [0] * 3, [1, -1, 1])
    edge = Edge((3,), np.array([49, -8, 7]), np.array([60, -2, 7]))
    check_unit(op, edge, lambda x: naive(op, x), Fold(3), frames=8)


@given(
    t=st.lists(st.integers(-20, 20), min_size=1, max_size=6),
    offset=st.integers(-9, 9), step=st.integers(-3, 3), bits=st.integers(1, 5),
)  # fmt: skip
def test_the_range_is_attained(t: list[int], offset: int, step: int, bits: int):
    op = steps([t], [offset], [step])
    program = one_node(op, Edge.of((1,), signed(bits)))
    every = np.arange(-(1 << bits - 1), 1 << bits - 1)[:, None]
    check_values(program, every, lambda x: naive(op, x))
    y = program.output
    assert (int(y.lo[0]), int(y.hi[0])) == (int(op(every).min()), int(op(every).max()))


@pytest.mark.parametrize(
    ("offset", "step", "bits"), [(-1, 2, 1), (1, -2, 1), (-1, 1, 1), (-1, 3, 3), (0, 2, 2)]
)
def test_a_sign_takes_one_bit(offset: int, step: int, bits: int):
    y = steps([[0]], [offset], [step]).infer(Edge.of((1,), signed(4)))
    assert y.grid.bits == bits
    assert (y.step == 2) == (step == -2 * offset)


def test_batch_normalisation_of_either_sign_is_thresholds():
    """sign(gamma * (x - mean) + beta), with gamma of both signs, is one threshold a channel."""
    gamma, mean, beta = np.array([0.5, -0.7]), np.array([3.3, -1.2]), np.array([0.25, 1.0])
    x = np.arange(-16, 16)[:, None] * np.ones(2, int)
    edge = mean - beta / gamma
    op = steps([[int(np.ceil(edge[0]))], [int(np.floor(edge[1])) + 1]], [-1, 1], [2, -2])
    want = np.where(gamma * (x - mean) + beta >= 0, 1, -1)
    np.testing.assert_array_equal(op(x), want)


def test_shapes_are_per_channel():
    with refused("thresholds have shape (C, T), not (3,)"):
        Thresholds(np.zeros(3, int), np.zeros(3, int), np.zeros(3, int))
    with refused("thresholds have shape (C, T), not (3, 0)"):
        Thresholds(np.zeros((3, 0), int), np.zeros(3, int), np.zeros(3, int))
    with refused("Thresholds step has shape (3,), not (2,)"):
        Thresholds(np.zeros((3, 1), int), np.zeros(3, int), np.zeros(2, int))
    with refused(
        "Thresholds has 3 channels, and the last axis of (2, 4) is 4; "
        "give one row of thresholds per channel"
    ):
        Thresholds(np.zeros((3, 1), int), np.zeros(3, int), np.zeros(3, int)).infer(
            Edge.of((2, 4), BINARY)
        )


def test_outputs_beyond_64_bits_are_refused():
    with refused(
        f"a threshold output reaches {2**63}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        steps([[0, 1]], [0], [2**62]).infer(Edge.of((1,), signed(4)))
    with refused(
        f"a threshold output reaches {-(2**63) - 1}, beyond signed 64 bits; "
        "use narrower weights or inputs"
    ):
        steps([[0]], [-1], [-(2**63)]).infer(Edge.of((1,), signed(4)))


def test_an_input_without_room_for_a_greater_threshold_is_refused():
    with refused(
        f"a threshold reaches {2**63}, beyond signed 64 bits; use narrower weights or inputs"
    ):
        steps([[0]], [0], [1]).infer(Edge.of((1,), Grid(0, 2**63 - 1)))


def plan(count: int, bits: int, channels: int = 4, pe: int = 2) -> Plan:
    op = Thresholds(
        np.zeros((channels, count), int), np.zeros(channels, int), np.ones(channels, int)
    )
    edge = Edge.of((channels,), signed(bits))
    return plan_of(op, Place((edge,), op.infer(edge), Fold(pe)))


@pytest.mark.parametrize(
    ("count", "steps", "stages"), [(1, 0, 2), (3, 0, 2), (7, 3, 4), (15, 4, 5), (40, 6, 7)]
)
def test_many_thresholds_are_searched(count: int, steps: int, stages: int):
    made = plan(count, 8)
    assert (made.steps, made.stages) == (steps, stages)


def test_many_comparators_are_counted_in_a_stage_of_their_own():
    """Of many channels narrow limits are more memory for a search, whose levels are padded."""
    op = Thresholds(RNG.integers(-2, 3, (32, 16)), np.zeros(32, int), np.ones(32, int))
    assert (plan(16, 1, 32, 1).steps, plan(16, 1, 32, 1).stages) == (0, 3)
    check_unit(op, Edge.of((2, 32), signed(1)), lambda x: naive(op, x), Fold(1))


def test_the_levels_of_a_search_halve_what_is_left():
    op = steps([[3, 1, 2, 7, 5]], [0], [1])
    edge = Edge.of((1,), signed(16))
    made = plan_of(op, Place((edge,), op.infer(edge), Fold(1)))
    never = 1 << 15
    assert [made.level(k).tolist() for k in range(made.steps)] == [
        [[5]], [[2, never]], [[1, 3, 7, never]],
    ]  # fmt: skip


FORMS = {
    "search": (signed(10), 15, [1, 1, 1, 1]),
    "search of one lane": (unsigned(9), 9, [1, 1, 1, 1]),
    "search, either sign": (signed(10), 31, [1, -1, -1, 1]),
    "search, powers of two": (signed(10), 7, [4, -2, 0, 1]),
    "search, any step": (signed(10), 7, [3, -5, 7, 1]),
    "comparators, either sign": (signed(6), 3, [-2, 2, 2, -2]),
    "search of bits": (Grid(0, 1), 20, [1, 1, 1, -1]),
}


def form(name: str) -> tuple[Grid, Thresholds]:
    grid, count, slopes = FORMS[name]
    rng = np.random.default_rng(count)
    values = rng.integers(grid.lo - 2, grid.hi + 3, (4, count))
    return grid, Thresholds(values, rng.integers(-9, 9, 4), np.array(slopes))


@pytest.mark.parametrize("pe", [1, 2, 4])
@pytest.mark.parametrize("name", FORMS)
def test_every_form(name: str, pe: int):
    grid, op = form(name)
    check_unit(op, Edge.of((5, 4), grid), lambda x: naive(op, x), Fold(pe), seed=pe)


def trial(name: str, number: int) -> Trial:
    grid, op = form(name)
    program = chain(f"form{number}", Edge.of((5, 4), grid), op)
    design = Design(program, {"n0": Fold(2)}, {})
    rng = np.random.default_rng(number)
    gates = {end: rng.random(300) >= 0.3 for end in ("source", "sink")}
    return Trial(f"f{number}", design, write_rtl(design), samples(program.input, 40), gates)


def with_memory(made: Trial, part: str, line: int) -> Trial:
    """The same design with the lowest bit of one memory word flipped."""
    (file,) = (file for file in made.rtl.memories if part in file)
    lines = made.rtl.memories[file].splitlines()
    lines[line] = f"{int(lines[line], 16) ^ 1:0{len(lines[line])}x}"
    text = "\n".join([*lines, ""])
    rtl = Rtl(made.rtl.top, made.rtl.verilog, {**made.rtl.memories, file: text})
    return Trial(made.name, made.design, rtl, made.inputs, made.gates)


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_every_form_in_both_simulators(engine: str):
    trials = [trial(name, number) for number, name in enumerate(FORMS)]
    outcomes = simulate(trials, engine).outcomes
    assert all(outcome.right for outcome in outcomes), [o.report for o in outcomes]


@pytest.mark.cosim
def test_a_wrong_word_of_a_search_is_caught():
    """Of every level: the bit decides for inputs that are the threshold or one less."""
    grid, op = form("search of one lane")
    near = np.clip(np.sort(op.thresholds, 1), grid.lo + 1, grid.hi)
    x = np.stack([np.tile(near[:, k] - low, (5, 1)) for k in range(9) for low in (0, 1)])
    made = [trial("search of one lane", 90 + number) for number in range(5)]
    made = [replace(one, inputs=x, gates={}) for one in made]
    made[1:] = [with_memory(one, f"limits{k}_0", 0) for k, one in enumerate(made[1:])]
    outcomes = simulate(made, "icarus").outcomes
    assert [one.right for one in outcomes] == [True, False, False, False, False]
