"""TapTransform: definition, kernel and hardware against sums over taps, channel by channel."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from agree import chain, check_hardware, check_unit, one_node, refused, samples, stalls
from hypothesis import given
from hypothesis import strategies as st

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.buffers import buffered
from bitwright.hw.design import Design
from bitwright.hw.tap_transform import banks
from bitwright.hw.unit import Fold, Place, cycles, fill, ports, tail
from bitwright.hw.work import work
from bitwright.models.compress.winograd import FACTORS, INPUTS, OUTPUTS
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, signed, unsigned
from bitwright.models.ops import TapTransform
from bitwright.models.program import Edge
from bitwright.models.saved import load, save
from bitwright.sim.kernels import execute
from bitwright.sim.rtl import simulate

RNG = np.random.default_rng(33)
INWARD = TapTransform(np.kron(INPUTS, INPUTS))
OUTWARD = TapTransform(np.kron(OUTPUTS, OUTPUTS) * np.kron(FACTORS, FACTORS))


def matrix(results: int, taps: int, most: int = 3) -> TapTransform:
    return TapTransform(RNG.integers(-most, most, (results, taps), endpoint=True))


def naive(op: TapTransform, x: Ints) -> Ints:
    results, taps = op.matrix.shape
    channels = x.shape[-1] // taps
    y = np.zeros((*x.shape[:-1], results * channels), np.int64)
    for j, t, c in product(range(results), range(taps), range(channels)):
        y[..., j * channels + c] += op.matrix[j, t] * x[..., t * channels + c]
    return y


def check(op: TapTransform, channels: int, pe: int, vectors: int = 3, grid: Grid | None = None):
    edge = Edge.of((vectors, op.matrix.shape[1] * channels), grid or signed(4))
    check_unit(op, edge, lambda x: naive(op, x), Fold(pe), seed=pe)
    check_ends(op, edge, Fold(pe))


def check_ends(op: TapTransform, edge: Edge, fold: Fold) -> None:
    """The closed formulas of a unit alone are those of its schedule."""
    design = Design(one_node(op, edge), {"unit": fold}, {})
    place, moves = design.by_name["unit"].place, design.schedule(1)
    into = next(s.name for s in design.streams if s.consumer[0] == "unit")
    out = next(s.name for s in design.streams if s.producer[0] == "unit")
    assert moves[out][0] - moves[into][0] == fill(op, place)
    assert moves[out][-1] - moves[into][-1] == tail(op, place)


@pytest.mark.parametrize("pe", [1, 2, 4])
@pytest.mark.parametrize(
    ("results", "taps"), [(1, 1), (4, 1), (1, 4), (4, 4), (2, 6), (6, 2), (5, 4), (9, 7)]
)
def test_any_taps_and_folding(results: int, taps: int, pe: int):
    check(matrix(results, taps), 4, pe)


@pytest.mark.parametrize("vectors", [1, 2, 8])
@pytest.mark.parametrize(("results", "taps"), [(3, 2), (2, 3), (4, 3)])
def test_one_channel_has_registers(results: int, taps: int, vectors: int):
    check(matrix(results, taps), 1, 1, vectors)


@pytest.mark.parametrize("grid", [BINARY, TERNARY, unsigned(8), Grid(-7, -7)], ids=str)
def test_any_inputs(grid: Grid):
    check(matrix(3, 4), 2, 2, grid=grid)


@pytest.mark.parametrize("most", [0, 1, 100, 1 << 15])
def test_any_constants(most: int):
    check(matrix(3, 3, most), 2, 1)


@pytest.mark.parametrize("op", [INWARD, OUTWARD], ids=["inputs", "outputs"])
@pytest.mark.parametrize("pe", [1, 3])
def test_the_transforms_of_winograd(op: TapTransform, pe: int):
    check(op, 3, pe, vectors=2)


@pytest.mark.parametrize("levels", [1, 3, 6, 20])
def test_a_clock_cuts_it_into_stages(levels: int):
    op, edge = TapTransform(np.arange(15).reshape(3, 5) * 7 - 50), Edge.of((3, 10), signed(5))
    design = buffered(Design(one_node(op, edge), {"unit": Fold(1)}, {}, levels))
    place = design.by_name["unit"].place
    assert place.levels == levels
    # An adder takes three levels, and these stand four deep behind the stage that reads.
    assert banks(op, place).stages == {1: 5, 3: 5, 6: 3, 20: 2}[levels]
    x = samples(edge, 4)
    check_hardware(design, x)
    check_hardware(design, x, stalls(0.4))


def test_ranges_of_channels_differ():
    op = TapTransform(np.array([[1, -2], [0, 3]]))
    edge = Edge((2, 4), np.array([0, -1, 5, -9]), np.array([3, 1, 6, 9]))
    y = op.infer(edge)
    assert y.lo.tolist() == [-12, -19, 15, -27]
    assert y.hi.tolist() == [-7, 19, 18, 27]
    check_unit(op, edge, lambda x: naive(op, x), Fold(1))


@given(seed=st.integers(0, 1000), cut=st.lists(st.integers(-2, 2), min_size=8, max_size=8))
def test_the_range_is_attained(seed: int, cut: list[int]):
    op = TapTransform(np.random.default_rng(seed).integers(-3, 4, (3, 2)))
    lo, hi = np.sort(np.array(cut).reshape(2, 4), 0)
    every = op(np.array(list(product(*(range(a, b + 1) for a, b in zip(lo, hi, strict=True))))))
    y = op.infer(Edge((4,), lo, hi))
    assert (y.lo.tolist(), y.hi.tolist()) == (every.min(0).tolist(), every.max(0).tolist())


@pytest.mark.parametrize("bits", [8, 16, 40])
def test_the_kernel_at_every_width(bits: int):
    op, edge = OUTWARD, Edge.of((2, 3, 16 * 5), signed(bits))
    x = samples(edge, 5)
    np.testing.assert_array_equal(execute(op, (edge,), op.infer(edge), x), op(x))


def test_cycles_are_those_of_the_longer_side():
    for op, beats in ((INWARD, 16), (OUTWARD, 16), (matrix(9, 2), 9)):
        edge = Edge.of((7, op.matrix.shape[1] * 6), signed(4))
        for pe in (1, 2, 6):
            assert cycles(op, Place((edge,), op.infer(edge), Fold(pe))) == 7 * beats * 6 // pe


def test_its_work_is_the_adders_of_its_graph():
    edge = Edge.of((7, 16 * 6), unsigned(8))
    done = work(INWARD, Place((edge,), INWARD.infer(edge), Fold(2)))
    assert done
    # Lavin and Gray count 32 additions for a tile of the inputs; one that is found is negative.
    assert done.counts == {"add": 7 * 6 * 33}
    assert (done.multiply_adds, done.constant_reads) == (0, 0)
    assert done.value_writes == done.value_reads == 7 * 6 * (16 * 8 + 16 * 11)


def test_its_errors_are_sentences():
    with refused("TapTransform has a matrix (J, T), not (3,)"):
        TapTransform(np.ones(3, int))
    with refused("TapTransform has a matrix (J, T), not (0, 3)"):
        TapTransform(np.ones((0, 3), int))
    with refused("TapTransform has a matrix of at most 256 entries, not 289; use smaller tiles"):
        TapTransform(np.ones((17, 17), int))
    with refused(
        "TapTransform has entries of -32768..32768, and these span 1..32769; scale them down"
    ):
        TapTransform(np.array([[1, (1 << 15) + 1]]))
    with refused(
        f"TapTransform has entries of -32768..32768, and these span {-(1 << 63)}..5; scale them "
        "down"
    ):
        TapTransform(np.array([[-(1 << 63), 5]]))
    with refused("TapTransform gives at most 1048576 channels, not 1048832; split them before it"):
        TapTransform(np.ones((256, 1), int)).infer(Edge.of((4097,), BINARY))
    with refused(
        "TapTransform takes 2 taps of some channels each, and the last axis of (4, 3) is 3, no "
        "multiple; put a Window before it"
    ):
        TapTransform(np.ones((1, 2), int)).infer(Edge.of((4, 3), BINARY))
    with refused(f"a tap transform reaches {1 << 61}, beyond {1 << 61}; use narrower inputs"):
        TapTransform(np.ones((1, 2), int)).infer(Edge.of((2,), signed(61)))
    with refused(
        "layer 'unit': TapTransform cannot be folded with pe 4 and simd 1; pe is one of 1, 2, 3, 6 "
        "and simd one of 1"
    ):
        edge = Edge.of((12,), BINARY)
        _ = Design(
            one_node(TapTransform(np.ones((2, 2), int)), edge), {"unit": Fold(4)}, {}
        ).streams


def test_a_saved_one_stays_one(tmp_path: Path):
    save(one_node(INWARD, Edge.of((32,), signed(4))), tmp_path / "one.npz")
    again = load(tmp_path / "one.npz").nodes[0].op
    assert type(again) is TapTransform
    assert again.digest == INWARD.digest


def test_beats_are_words_of_its_fold():
    edge = Edge.of((5, 12), signed(4))
    op = matrix(2, 3)
    found = ports(op, Place((edge,), op.infer(edge), Fold(2)))
    assert (found.inputs[0].beats, found.outputs[0].beats) == (30, 20)


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_in_both_simulators(engine: str):
    """Pairs of transforms at several foldings, with stalls, and two whose adders were altered."""
    trials: list[Trial] = []
    rng = np.random.default_rng(5)
    shapes = ((4, 4, 6, 2, 3), (5, 3, 2, 1, 2), (2, 7, 4, 4, 1), (3, 3, 1, 1, 1))
    for k, (results, taps, channels, pe, more) in enumerate(shapes):
        edge = Edge.of((4, taps * channels), (signed(4), BINARY, unsigned(3))[k % 3])
        second = TapTransform(rng.integers(-2, 3, (2, results)))
        program = chain(f"taps{k}", edge, matrix(results, taps, more), second)
        design = buffered(Design(program, {"n0": Fold(pe), "n1": Fold(channels)}, {}, 1 + 2 * k))
        gates = {end: rng.random(400) >= 0.3 for end in ("source", "sink")} if k % 2 else {}
        trials.append(Trial(f"t{k}", design, write_rtl(design), samples(edge, 6), gates))
    outcomes = simulate(trials, engine).outcomes
    assert all(outcome.right for outcome in outcomes), [o.report for o in outcomes]


@pytest.mark.cosim
def test_an_adder_that_subtracts_is_caught():
    op, edge = TapTransform(np.array([[1, 1], [1, -1]])), Edge.of((4, 4), signed(4))
    design = Design(chain("sums", edge, op), {"n0": Fold(2)}, {})
    right = write_rtl(design)
    trial = Trial("right", design, right, samples(edge, 6), {})
    assert simulate([trial], "icarus").outcomes[0].right
    text = right.verilog
    line = text.index("+", text.index("result0 <= {{"))
    wrong = replace(right, verilog=text[:line] + "-" + text[line + 1 :])
    assert not simulate([replace(trial, name="wrong", rtl=wrong)], "icarus").outcomes[0].right
