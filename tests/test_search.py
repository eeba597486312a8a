"""The search of a method for each layer: its front is exact, and what it chooses was measured."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any
from weakref import ref

import numpy as np
import pytest

from bitwright import api, searching
from bitwright.arguments import parser
from bitwright.codegen.search import Mixture, Option, Search, undominated
from bitwright.models.classes import top_1
from bitwright.models.fixed import ProgramError
from bitwright.models.layers import Conv, Dense, Flatten, Relu
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.program import Program

LAYERS, METHODS = ("a", "b", "c"), ("int8", "int4", "bwnh")
FRAMES = 40


@dataclass(eq=False)
class Made:
    """What stands for a program: the methods by which it was compressed."""

    methods: dict[str, str]


def stub(seed: int, spoilt: tuple[str, ...] = ()) -> Search:
    """A search whose programs are their methods: cost and error of each layer add up.

    Layers with a `spoilt` method have no folding.
    """
    rng = np.random.default_rng(seed)
    cost = {(layer, m): int(rng.integers(10, 99)) for layer in LAYERS for m in METHODS}
    shift = {key: rng.random() / 2 for key in cost}
    wanted = rng.normal(size=(FRAMES, 4))
    noise = {layer: rng.normal(size=wanted.shape) for layer in LAYERS}

    def total(program: Any) -> int | None:
        chosen = program.methods.items()
        return None if set(spoilt) & {m for _, m in chosen} else sum(cost[c] for c in chosen)

    def scores(program: Any) -> np.ndarray:
        return wanted + sum(shift[layer, m] * noise[layer] for layer, m in program.methods.items())

    return Search(
        LAYERS, METHODS,
        compress=lambda methods: Made(dict(methods)),  # type: ignore[arg-type,return-value]
        cost=total, scores=scores, wanted=wanted,
        right=lambda found: top_1(found, wanted.argmax(1)),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_the_front_is_that_of_all_mixtures(seed: int):
    search = stub(seed)
    every = [Mixture((), search.base.cost, search.base.loss)]
    every = [
        Mixture(
            tuple((one.layer, one.method) for one in options),
            search.base.cost + sum(one.cost for one in options),
            search.base.loss + sum(one.loss for one in options),
        )
        for options in product(*search.options)
    ]
    wanted = [
        one for one in every
        if not any(
            other.cost <= one.cost and other.loss <= one.loss
            and (other.cost, other.loss) != (one.cost, one.loss)
            for other in every
        )
    ]  # fmt: skip
    found = [(one.cost, one.loss) for one in search.front]
    assert np.allclose(found, sorted((one.cost, one.loss) for one in wanted))
    assert prod(map(len, search.options)) == len(every) == 27


def test_of_equal_costs_the_better_stays():
    mixtures = [Mixture((), 3, loss) for loss in (2.0, 1.0)] + [Mixture((), 4, 1.0)]
    assert undominated(mixtures) == [Mixture((), 3, 1.0)]
    assert Mixture((), 1, 0.5).with_(Option("a", "int8", 2, 0.25)) == Mixture(
        (("a", "int8"),), 3, 0.75
    )


@pytest.mark.parametrize("seed", range(4))
def test_what_is_chosen_was_measured_and_keeps_to_the_goal(seed: int):
    every = stub(seed)
    for methods in product(METHODS, repeat=len(LAYERS)):
        every.measure(dict(zip(LAYERS, methods, strict=True)))
    assert len(every.measured) == 27
    goal = float(np.median([one.accuracy for one in every.measured]))
    least = min(one.cost for one in every.measured if one.accuracy >= goal)
    search = stub(seed)
    found = search.least(goal)
    assert found.accuracy >= goal
    assert len(search.measured) < 27
    # Costs add up here, and errors do not quite: one of the cheaper half is found.
    enough = [one.cost for one in every.measured if one.accuracy >= goal]
    assert least <= found.cost <= np.median(enough)
    assert found.cost == min(one.cost for one in search.measured if one.accuracy >= goal)
    best = stub(seed).best(least)
    assert best.cost <= least
    assert best.accuracy >= goal - 0.1


def test_goals_beyond_reach_are_refused_with_what_is_possible():
    search = stub(0)
    with pytest.raises(ProgramError, match=r"no mixture of int8, .* costs at most 1, the cheapest"):
        search.best(1)
    search = stub(1)
    with pytest.raises(ProgramError, match=r"reached an accuracy of 200\.00%, the best"):
        search.least(2.0)


def test_methods_without_a_folding_are_left_out_and_a_first_one_refused():
    search = stub(2, ("bwnh",))
    assert {one.method for own in search.options for one in own} == {"int8", "int4"}
    with pytest.raises(ProgramError, match="'int8' on all layers has no folding of so few cycles"):
        _ = stub(2, ("int8",)).base


def test_too_many_tries_are_given_up():
    search = stub(3)
    dear = [one for one in search.front if one.cost > 0]
    object.__setattr__(search, "cost", lambda program: 10**6)
    search._known.clear()
    with pytest.raises(ProgramError, match="costs at most 999, the cheapest found"):
        search.best(999)
    assert len(search.measured) <= len(dear)


def test_settings_of_a_method_stay_with_it():
    known = parser().parse_args(
        [
            "search",
            "net",
            "--data",
            "x",
            "-o",
            "m",
            "--accuracy",
            "1",
            "--among",
            "int8,qcnn:words=32,space=4,bwnh",
        ]
    )
    assert known.among == ["int8", "qcnn:words=32,space=4", "bwnh"]
    assert known.accuracy == 1.0


def test_networks_that_give_no_classes_and_no_data_are_refused():
    net = network()
    one = Network(
        "one",
        net.input_shape,
        (*net.nodes, Node("sum", Dense(np.ones((1, 3)), np.zeros(1)), ("scores",))),
    )
    x = np.random.default_rng(6).integers(0, 16, (10, *net.input_shape))
    with pytest.raises(ProgramError, match=r"'one' gives no classes .* its output is \(1,\)"):
        api.search(one, x, ["int8", "int4"], most=9)
    with pytest.raises(ProgramError, match="'one' gives no classes"):
        api.compress(one, x, labels=np.zeros(10, int))
    with pytest.raises(ProgramError, match="there is no input; give some"):
        api.search(net, x[:0], ["int8", "int4"], most=9)


def network() -> Network:
    rng = np.random.default_rng(5)
    layers = {
        "conv": Conv(rng.normal(size=(6, 3, 3, 2)), rng.normal(size=6)),
        "relu": Relu(),
        "flat": Flatten(),
        "scores": Dense(rng.normal(size=(3, 96)), rng.normal(size=3)),
    }
    names = ["input", *layers]
    nodes = [Node(n, layers[n], (before,)) for before, n in zip(names, layers, strict=False)]
    return Network("small", (6, 6, 2), tuple(nodes), (0, 15))


def test_figures_are_kept_and_no_programs():
    made: list[ref[Any]] = []

    def compress(methods: Mapping[str, str]) -> Any:
        assert not any(program() for program in made)
        program = Made(dict(methods))
        made.append(ref(program))
        return program

    search = replace(stub(0), compress=compress)
    found = search.best(search.base.cost)
    assert len(made) == len(search.measured) > 7
    assert not any(program() for program in made)
    assert found in search.measured


@pytest.mark.parametrize("minimise", ["bits", "lut"])
def test_a_search_holds_one_program_at_a_time(minimise: str, monkeypatch: pytest.MonkeyPatch):
    made: list[ref[Program]] = []

    def compress(*given: Any) -> Program:
        gc.collect()
        assert not any(program() for program in made)
        program = quantise(*given)
        made.append(ref(program))
        return program

    monkeypatch.setattr(searching, "quantise", compress)
    net = network()
    x = np.random.default_rng(6).integers(0, 16, (30, *net.input_shape))
    program, report = api.search(
        net, x, ["int8", "int4"], accuracy=0.9, minimise=minimise, cycles_per_frame=400
    )
    assert len(made) == len(report["measured"]) + 1 > 3
    assert [one() for one in made if one()] == [program]


@pytest.mark.parametrize("minimise", ["bits", "lut"])
def test_a_network_is_compressed_as_the_report_says(minimise: str):
    net = network()
    x = np.random.default_rng(6).integers(0, 16, (60, *net.input_shape))
    among = ["int8", "int3", "sign"]
    program, report = api.search(
        net, x, among, accuracy=0.97, minimise=minimise, cycles_per_frame=400
    )
    chosen = report["chosen"]
    assert chosen["methods"].keys() == {"conv", "scores"}
    agreeing = program.answer(program(x)).reshape(60, -1).argmax(1) == net(x).argmax(1)
    assert chosen["accuracy"] == agreeing.mean() >= 0.97
    assert api.compress(net, x, "int8", mixed=chosen["methods"]).digest == program.digest
    if minimise == "bits":
        assert chosen["cost"] == program.metadata["weight_bits"] < 8 * (6 * 18 + 3 * 96)
    cheaper = [one for one in report["measured"] if one["cost"] < chosen["cost"]]
    assert cheaper
    assert all(one["accuracy"] < 0.97 for one in cheaper)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"among": ["int8", "int8"], "most": 9}, "needs two methods or more"),
        ({"among": ["int8", "magic"], "most": 9}, "no compression method is called 'magic'"),
        ({"among": ["int8", "int4"]}, "for an accuracy or for a cost; give one of them"),
        ({"among": ["int8", "int4"], "most": 9, "labels": np.zeros(3, int)}, "one class per input"),
        ({"among": ["int8", "int4"], "most": 9, "minimise": "gold"}, "minimises is one of bits, "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requests_that_mean_nothing_are_refused(given: dict[str, Any], sentence: str):
    net = network()
    x = np.random.default_rng(6).integers(0, 16, (10, *net.input_shape))
    with pytest.raises(ProgramError, match=sentence):
        api.search(net, x, **given)
