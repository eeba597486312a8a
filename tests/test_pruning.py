"""Pruning: patterns, scores against brute force, the order of removal, and what it lowers to."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from test_compress_methods import SIZE, SLIDES, Convolution, layer

from bitwright.models.compress.method import method
from bitwright.models.compress.problem import Gatherer, LayerProblem
from bitwright.models.compress.pruning import By, Fine, Group, Vector
from bitwright.models.compress.surgeon import removals
from bitwright.models.fixed import ProgramError
from bitwright.models.layers import Dense
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.ops import Dot, Select, SparseDot

PATTERNS = ("fine", "vector", "kernel", "group", "filter")


@pytest.mark.parametrize("by", By)
@pytest.mark.parametrize("density", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_zeros_form_the_pattern(pattern: str, density: float, by: By):
    """2 x 3 taps of 4 channels, 7 filters."""
    problem, weights = layer(0)
    found = method(f"prune-{pattern}:density={density},by={by.value}").compress(problem, weights)
    taps = found.mask.reshape(7, 6, 4)
    alike = {"fine": (), "vector": (2,), "kernel": (1,), "group": (0,), "filter": (1, 2)}
    groups = taps.any(alike[pattern], keepdims=True)
    assert (groups == taps).all()
    assert groups.sum() == max(1, round(density * groups.size))
    assert not found.weights[~found.mask].any()


def test_tiles_of_several_filters_lose_the_same_columns():
    problem, weights = layer(1)
    mask = Vector(0.5, tile=2, rows=3).mask(problem, weights)
    for band in mask[:3], mask[3:6], mask[6:]:
        assert (band == band[0]).all()
    assert (mask[:, ::2] == mask[:, 1::2]).all()


@pytest.mark.parametrize("labels", [np.arange(6), np.arange(6) // 2, np.zeros(6, int)], ids=str)
@pytest.mark.parametrize("filters", [1, 3])
def test_each_removal_costs_what_the_error_rises(labels: np.ndarray, filters: int):
    """And is the cheapest of those that could have gone."""
    problem, _ = layer(2, 6)
    gram, cross = problem.gram, problem.cross[:filters]

    def error(gone: list[int]) -> float:
        kept = np.flatnonzero(~np.isin(labels, gone))
        best = np.linalg.solve(gram[np.ix_(kept, kept)], cross[:, kept].T).T
        return float(problem.energy[:filters].sum() - (cross[:, kept] * best).sum())

    order, costs = removals(gram, cross, labels)
    groups = int(labels.max()) + 1
    assert sorted(order) == list(range(groups))
    gone: list[int] = []
    for group, cost in zip(order.tolist(), costs, strict=True):
        before = error(gone)
        rises = [error([*gone, k]) - before for k in range(groups) if k not in gone]
        gone.append(group)
        assert error(gone) - before == pytest.approx(cost, rel=1e-6, abs=1e-6)
        assert cost == pytest.approx(min(rises), rel=1e-6, abs=1e-6)


def test_response_is_near_the_best_of_all_masks():
    """One filter of 8 weights, 4 of which stay: greedy removal against all 70 choices."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        weights, x = rng.normal(size=(1, 8)), np.maximum(rng.normal(size=(200, 8)), 0)
        x[:, 4:] += x[:, :4]
        gatherer = Gatherer(weights)
        gatherer.add(x, x)
        problem = gatherer.problem()

        def fit(kept: list[int], problem: LayerProblem = problem) -> float:
            gram, cross = problem.gram[np.ix_(kept, kept)], problem.cross[0, kept]
            return float(problem.energy[0] - cross @ np.linalg.solve(gram, cross))

        best = min(fit(list(kept)) for kept in combinations(range(8), 4))
        found = fit(np.flatnonzero(Fine(0.5).mask(problem, weights)[0]).tolist())
        assert best - 1e-9 <= found <= 1.25 * best


@pytest.mark.parametrize("pattern", PATTERNS)
def test_response_beats_magnitude(pattern: str):
    errors = dict.fromkeys(By, 0.0)
    for seed in range(4):
        problem, weights = layer(seed)
        for by in By:
            found = method(f"prune-{pattern}:by={by.value}").compress(problem, weights)
            errors[by] += problem.error(found.dense()).sum()
    assert errors[By.RESPONSE] < errors[By.MAGNITUDE]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_it_lowers_to(pattern: str):
    """Columns that nothing reads are dropped before the product; other zeros are skipped in it."""
    site = Convolution(0, SLIDES[0])
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(7, SIZE))
    problem = LayerProblem.data_free(weights)
    method(f"prune-{pattern}").compress(problem, weights).lower(site.place)
    kinds = [type(node.op) for node in site.lowering.calibration.nodes.values()]
    assert kinds == ([Select, Dot] if pattern == "group" else [SparseDot])


def test_all_columns_need_no_choice():
    problem, weights = layer(3)
    site = Convolution(0, SLIDES[0])
    Group(1.0).compress(problem, weights).lower(site.place)
    assert [type(node.op) for node in site.lowering.calibration.nodes.values()] == [Dot]


def test_bits_are_those_of_the_weights_that_stay_and_of_the_groups():
    problem, weights = layer(4)
    found = Vector(0.5, bits=4).compress(problem, weights)
    assert found.bits == 21 * 4 * 4 + 42


def test_depthwise_layers_are_not_pruned():
    assert method("prune-kernel:bits=6").depthwise == method("int6")


def test_filters_that_are_answers_stay():
    rng = np.random.default_rng(0)
    inner, scores = (Dense(rng.normal(size=size), np.ones(size[0])) for size in ((8, 6), (4, 8)))
    nodes = (Node("inner", inner, ("input",)), Node("scores", scores, ("inner",)))
    network = Network("net", (6,), nodes, (0, 9))
    x = rng.integers(0, 9, (50, 6))

    def dead(**mixed: str) -> list[int]:
        program = quantise(network, x, "prune-filter:density=0.5", 8, mixed=mixed)
        dots = [node.op for node in program.nodes if isinstance(node.op, Dot | SparseDot)]
        return [int((~op.weights.any(1)).sum()) for op in dots]

    assert dead() == [4, 0]
    # Asked for by name, they go.
    assert dead(scores="prune-filter:density=0.5") == [4, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "prune-fine:by=size",
            (
                "method 'prune-fine': weights are pruned by magnitude or response, not 'size'; "
                "name one of them"
            ),
        ),
        (
            "prune-fine:density=0",
            "pruning keeps a density above 0 and up to 1, not 0.0; choose one",
        ),
    ],
)
def test_fields_have_limits(name: str, message: str):
    with pytest.raises(ProgramError) as caught:
        method(name)
    assert str(caught.value) == message
