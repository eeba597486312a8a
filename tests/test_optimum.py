"""The best folding: as good as trying every one, the same by both searches, priced as built."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from programs import chain, every_operator

from bitwright.codegen import folding, milp, pareto
from bitwright.codegen.choices import Choices, Total
from bitwright.codegen.devices import DEVICES as PLACED_ON
from bitwright.codegen.folding import build, complete, fastest, fold_for, quickest
from bitwright.codegen.optimum import area_of, least
from bitwright.codegen.price import AREA, DEVICES, price_of
from bitwright.hw import cost
from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, ProgramError, signed, unsigned
from bitwright.models.ops import (
    Add,
    Concatenate,
    Dot,
    MaxPool,
    Requantise,
    Reshape,
    Thresholds,
    Window,
)
from bitwright.models.program import INPUT, Edge, Node, Program

RNG = np.random.default_rng(7)
PRICE = price_of(AREA, "ecp5")


def dense():
    signs = Thresholds(RNG.integers(-3, 3, (6, 1)), np.full(6, -1), np.full(6, 2))
    return chain(
        "dense",
        Edge.of((10,), BINARY),
        Dot(RNG.choice([-1, 1], (6, 10)), BINARY),
        signs,
        Dot(RNG.integers(-3, 4, (4, 6)), signed(3)),
    )


def residual():
    """A fork whose branches of 1 and 2 layers meet in a sum."""
    ones = np.ones(6, int)
    return Program(
        "residual",
        Edge.of((2, 2, 4), unsigned(2)),
        (
            Node("entry", Dot(RNG.integers(-2, 2, (6, 4)), signed(2)), (INPUT,)),
            Node("mix", Dot(RNG.choice([-1, 1], (6, 6)), BINARY), ("entry",)),
            Node("act", Requantise(ones, 0 * ones, 1, -8, 7), ("mix",)),
            Node("sum", Add(), ("act", "entry")),
        ),
    )


def shared_input():
    """Three layers read the input, which comes in the lanes of the widest."""
    return Program(
        "shared",
        Edge.of((6,), unsigned(3)),
        (
            Node("a", Dot(RNG.integers(-2, 2, (4, 6)), signed(2)), (INPUT,)),
            Node("b", Dot(RNG.integers(-2, 2, (6, 6)), signed(2)), (INPUT,)),
            Node("both", Concatenate(), ("a", "b", INPUT)),
        ),
    )


def pooled():
    return chain(
        "pooled",
        Edge.of((4, 4, 6), unsigned(2)),
        Window((2, 2), (2, 2)),
        MaxPool(4),
        Dot(RNG.integers(-2, 2, (4, 6)), signed(2)),
    )


def reshaped():
    """No layer at all: what comes in goes out, a value a cycle."""
    return chain("reshaped", Edge.of((2, 3), unsigned(2)), Reshape((6,)))


PROGRAMS = [dense(), residual(), shared_input(), pooled()]
by_name = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)


def every_folding(choices):
    """(cycles, area) of every combination, worked out from pairs in one pass."""
    layers = list(choices.layers)
    for combination in product(*choices.layers.values()):
        chosen = dict(zip(layers, combination, strict=True))
        yield max((c.cycles for c in combination), default=1), area_of(choices, chosen)


def built(choices, folds):
    """The area of the design itself, unit by unit, links included."""
    design = Design(choices.program, folds, {})
    parts = [cost.area(i.op, i.place)[0] for i in design.instances]
    return {name: sum(getattr(part, name) for part in parts) for name in cost.RESOURCES}


@pytest.mark.parametrize("program", [*PROGRAMS, reshaped(), every_operator()], ids=lambda p: p.name)
def test_the_area_of_choices_is_that_of_the_design(program):
    choices = Choices(program)
    for _ in range(12):
        chosen = {layer: every[RNG.integers(len(every))] for layer, every in choices.layers.items()}
        folds = {layer: choice.fold for layer, choice in chosen.items()}
        area = area_of(choices, chosen)
        assert dict(zip(cost.RESOURCES, area.tolist(), strict=True)) == built(choices, folds)
        interval = max((choice.cycles for choice in chosen.values()), default=choices.border)
        assert Design(program, folds, {}).interval == interval


@pytest.mark.parametrize(
    ("family", "name"), [("ecp5", "85k"), ("ice40", "up5k"), ("gowin", "gw2a-18")]
)
def test_a_resource_weighs_what_a_device_has_of_it(family, name):
    """In the units in which areas are counted: a Gowin multiplier is a 9 x 9 one."""
    room = PLACED_ON[name].room
    lut, ff, bram, dsp = price_of(AREA, family).tolist()
    assert (lut, ff) == (16, 1)
    assert (bram, dsp) == tuple(16 * room["lut"] // room[each] for each in ("bram", "dsp"))


@by_name
def test_no_folding_beats_the_optimum_at_any_target(program):
    choices = Choices(program)
    cycles, areas = map(np.array, zip(*every_folding(choices), strict=True))
    for price in (PRICE, price_of("lut", "ecp5"), price_of("ff", "ecp5")):
        for target in sorted(set(cycles.tolist())):
            best = int((areas @ price)[cycles <= target].min())
            fast = {
                layer: [c for c in every if c.cycles <= target]
                for layer, every in choices.layers.items()
            }
            by_integers = milp.solve(choices, fast, price, {})
            assert by_integers is not None
            assert int(area_of(choices, by_integers.chosen) @ price) == best
            assert by_integers.objective == pytest.approx(best)
            found = least(choices, target, price)
            assert found is not None
            assert (found.price, found.cycles <= target) == (best, True)


@by_name
def test_no_folding_within_a_budget_is_faster(program):
    choices = Choices(program)
    cycles, areas = map(np.array, zip(*every_folding(choices), strict=True))
    lut, ff = areas[:, 0], areas[:, 1]
    for share in (0.0, 0.1, 0.4, 1.0):
        most_lut = int(lut.min() + share * (lut.max() - lut.min()))
        for most_ff in np.quantile(ff[lut <= most_lut], (0.0, 0.3)).astype(int).tolist():
            within = (lut <= most_lut) & (ff <= most_ff)
            fewest = cycles[within].min()
            found = quickest(choices, {"lut": most_lut, "ff": most_ff})
            assert found.cycles == fewest
            assert found.area["lut"] <= most_lut
            assert found.area["ff"] <= most_ff
            assert found.price == (areas @ PRICE)[within & (cycles == fewest)].min()


@by_name
def test_the_front_holds_what_nothing_beats_and_all_of_it(program):
    choices = Choices(program)
    cycles, areas = map(np.array, zip(*every_folding(choices), strict=True))
    for measure in ("area", "lut"):
        price = areas @ price_of(measure, "ecp5")
        front, least_yet = [], price.max() + 1
        for count in sorted(set(cycles.tolist())):
            best = price[cycles == count].min()
            if best < least_yet:
                front.append((count, best))
                least_yet = best
        found = pareto.front(choices, None, measure)
        each = price_of(measure, "ecp5")
        known = [(p.cycles, sum(np.array(list(p.area.values())) * each)) for p in found]
        assert known == front
        few = pareto.front(choices, 3, measure)
        assert 1 <= len(few) <= 3
        assert {p.cycles for p in few} <= {count for count, _ in front}


def test_more_of_a_resource_is_minimised_first_and_area_second():
    choices = Choices(dense())
    folds = fold_for(dense(), 30, minimise="ff")
    found = built(choices, folds)
    every = [(c, a) for c, a in every_folding(choices) if c <= 30]
    fewest = min(a[1] for _, a in every)
    assert found["ff"] == fewest
    price = sum(value * each for value, each in zip(found.values(), PRICE.tolist(), strict=True))
    assert price == min(int(a @ PRICE) for _, a in every if a[1] == fewest)


def test_layers_that_are_left_out_do_not_limit_those_given():
    program = pooled()
    window, pool, dot = (node.name for node in program.nodes)
    folds = complete(program, {dot: Fold(1, 6)})
    design = Design(program, folds, {})
    assert folds[dot] == Fold(1, 6)
    assert (design.interval, design.by_name[dot].cycles) == (16, 16)
    assert design.by_name[window].cycles <= 16
    # No folding of the window is as fast as this dense layer: it comes as near as it can.
    fast = Design(program, complete(program, {dot: Fold(4, 6)}), {})
    assert (fast.by_name[dot].cycles, fast.interval) == (4, 16)
    assert fold_for(program) == complete(program, {})
    assert list(complete(program, {dot: Fold(1, 6)})) == [window, pool, dot]


def refusal(call):
    with pytest.raises(ProgramError) as caught:
        call()
    return str(caught.value)


def test_what_cannot_be_had():
    program = dense()
    choices = Choices(program)
    layer, cycles = fastest(choices)
    assert (layer, cycles) == (program.nodes[0].name, 1)
    floor = min(area[0] for _, area in every_folding(choices))
    assert refusal(lambda: build(program, budget={"lut": 7})).startswith(
        f"program 'dense' takes at least {floor} LUT of ecp5, above the 7 of the budget, "
    )
    joint = refusal(lambda: build(program, budget={"lut": floor, "ff": 1}))
    assert f" FF of ecp5, with at most {floor} LUT, above the 1 of the budget" in joint
    assert refusal(lambda: build(program, budget={"luts": 7})) == (
        "a budget limits some of lut, ff, bram, dsp, not 'luts'; name one of them"
    )
    assert refusal(lambda: build(pooled(), target_fps=1e6, clock=10)) == (
        "layer 'window0' takes 16 cycles a frame at its most parallel, which at 10 MHz is 625000 "
        "frames per second, below the 1e+06 asked for; ask for fewer, or for a faster clock"
    )
    assert refusal(lambda: build(program, target_fps=5)) == (
        "a target of frames per second needs the clock in MHz; give one"
    )
    assert refusal(lambda: build(program, 100, target_fps=5, clock=10)) == (
        "give one of cycles per frame, frames per second, a budget and a folding, not 2 of them"
    )
    assert refusal(lambda: build(program, 100, minimise="power")) == (
        "what is minimised is one of area, lut, ff, bram, dsp, not 'power'; choose one"
    )
    assert refusal(lambda: build(program, 100, family="ice50")).endswith("'ice50'; it is one of "
        + ", ".join(DEVICES))  # fmt: skip


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 1e-320, "5", True], ids=str)
def test_numbers_that_mean_nothing(value):
    program = pooled()
    assert refusal(lambda: build(program, target_fps=value, clock=10)) == (
        f"target_fps is a number of frames per second above 0, not {value!r}; give one"
    )
    assert refusal(lambda: build(program, clock=value)) == (
        f"clock is a number of MHz above 0, not {value!r}; give one"
    )


@pytest.mark.parametrize("most", [-1, 1.5, float("nan"), "7", None, True], ids=str)
def test_budgets_that_are_no_counts(most):
    assert refusal(lambda: build(pooled(), budget={"lut": 100_000, "ff": most})) == (
        f"the budget of ff is an integer that is not negative, not {most!r}; give one"
    )


@pytest.mark.parametrize(
    ("clock", "fps", "cycles"),
    [(100, 1e8 / 11, 11), (64.1, 100, 641_000), (10, 500_000, 20), (10, 500_001, 19)],
)
def test_no_cycle_is_lost_to_rounding(clock, fps, cycles, monkeypatch):
    asked = []

    def cheapest(choices, limit, minimise):
        asked.append(limit)
        return found

    program = pooled()
    found = folding.cheapest(Choices(program), None)
    monkeypatch.setattr(folding, "fastest", lambda _: ("a", 1))
    monkeypatch.setattr(folding, "cheapest", cheapest)
    build(program, target_fps=fps, clock=clock)
    assert asked == [cycles]


def test_a_program_without_layers():
    program = reshaped()
    ((_, area),) = every_folding(Choices(program))
    need = int(area[0])
    assert build(program, budget={"lut": need}).interval == 6
    assert build(program, 6).interval == 6
    assert refusal(lambda: build(program, budget={"lut": need - 1})) == (
        f"program 'reshaped' takes at least {need} LUT of ecp5, above the {need - 1} of the "
        f"budget; allow {need} or more"
    )
    assert refusal(lambda: build(program, 5)) == (
        "the input takes 6 cycles a frame at its most parallel, above the 5 asked for; ask for 6 "
        "or more"
    )
    assert refusal(lambda: build(program, target_fps=1e6, clock=5)).startswith(
        "the input takes 6 cycles a frame at its most parallel, which at 5 MHz is 833333 frames "
    )
    assert [found.cycles for found in pareto.front(Choices(program))] == [6]


def test_what_the_solver_says_is_added_up_again(monkeypatch):
    """Once more with tighter tolerances, and then it is an error of the solver."""
    choices, solve, tried = Choices(dense()), milp.solve, []

    def off(*asked):
        tried.append(asked[-1])
        found = solve(*asked)
        return replace(found, objective=found.objective + (asked[-1] > wrong_below))

    monkeypatch.setattr(milp, "solve", off)
    most = {"lut": 100_000}
    wrong_below = 1e-8
    found = least(choices, 1024, PRICE, most)
    assert found is not None
    assert tried == list(milp.TOLERANCES)
    wrong_below = 0.0
    with pytest.raises(RuntimeError, match="a folding of 'dense' that breaks its limits or has"):
        least(choices, 1024, PRICE, most)


def test_frames_per_second_by_the_interval_that_is_built():
    design = build(pooled(), target_fps=500_000, clock=10)
    assert design.interval <= 20
    assert design.folds == build(pooled(), 20).folds


def test_what_lies_beyond_the_calibration_is_named():
    weights = RNG.integers(-8, 8, (1024, 8))
    program = chain("wide", Edge.of((8,), unsigned(4)), Dot(weights, signed(4)))
    total = Total.of(Design(program, {"dot0": Fold(1024, 8)}, {}))
    assert "dot0" in total.beyond
    assert total.area.lut > 0
    assert Total.of(Design(program, {"dot0": Fold(1, 1)}, {})).beyond == ()
