"""MADDNESS: trees that split best, tables that fit best, and programs without a multiplication."""

from __future__ import annotations

import numpy as np
import pytest
from test_compress_methods import FILTERS, SIZE, SLIDES, Convolution, layer
from test_shuffles import images, shufflenet

from bitwright.codegen.folding import build
from bitwright.hw.work import work
from bitwright.models.compress.maddness import Hashed, grow, leaves, regressed
from bitwright.models.compress.method import method
from bitwright.models.compress.problem import Gatherer, Reservoir
from bitwright.models.compress.uniform import Uniform
from bitwright.models.layers import Conv, Dense, Flatten, MaxPool, Relu
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.ops import DepthwiseDot, Dot, TableSum, Tree


def compressed(seed: int = 0, name: str = "maddness") -> Hashed:
    found = method(name).compress(*layer(seed))
    assert isinstance(found, Hashed)
    return found


def squares(measured: np.ndarray, path: np.ndarray) -> float:
    """The sum of squares around the means of the leaves."""
    return sum(
        ((measured[path == leaf] - measured[path == leaf].mean(0)) ** 2).sum()
        for leaf in np.unique(path)
    )


def test_the_first_split_is_the_best_of_all():
    rng = np.random.default_rng(0)
    x, weights = rng.integers(0, 5, (40, 3)).astype(float), rng.normal(size=(6, 3))
    order, thresholds, path = grow(x, weights, 1)
    measured = x @ weights.T
    every = [squares(measured, (x[:, k] >= cut).astype(int)) for k in range(3) for cut in range(5)]
    assert squares(measured, path) == pytest.approx(min(every))
    assert np.array_equal(path, x[:, order[0]] >= thresholds[0])


def test_each_level_is_the_best_split_of_every_node():
    rng = np.random.default_rng(1)
    x, weights = rng.integers(0, 9, (90, 2)).astype(float), rng.normal(size=(4, 2))
    above = grow(x, weights, 2)[2]
    order, thresholds, path = grow(x, weights, 3)
    measured = x @ weights.T
    least = [
        sum(
            min(squares(measured[above == node], x[above == node, k] >= cut) for cut in range(9))
            for node in range(4)
        )
        for k in range(2)
    ]
    assert squares(measured, path) == pytest.approx(min(least))
    assert np.array_equal(leaves(order, thresholds, x), path)


def test_inputs_that_never_change_end_in_one_leaf():
    order, thresholds, path = grow(np.ones((9, 2)), np.ones((3, 2)), 3)
    assert not path.any()
    assert np.isinf(thresholds).all()
    assert not leaves(order, thresholds, 1e9 * np.ones((2, 2))).any()


def test_tables_are_the_ridge_regression_on_all_leaves():
    """Against least squares on the 0/1 matrix with the pull as rows of its own, for one lambda."""
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 3, (60, 4)) + 3 * np.arange(4)
    targets, prior = rng.normal(size=(60, 2)), rng.normal(size=(12, 2))
    found = regressed(codes, targets, prior)
    hot = np.zeros((60, 12))
    hot[np.arange(60)[:, None], codes] = 1
    wanted = [
        np.linalg.lstsq(
            np.vstack([hot, np.sqrt(pull) * np.eye(12)]),
            np.vstack([targets, np.sqrt(pull) * prior]),
            rcond=None,
        )[0]
        for pull in (1.0, 10.0, 100.0, 1000.0)
    ]
    assert min(np.abs(found - one).max() for one in wanted) < 1e-9


@pytest.mark.parametrize(("noise", "pull"), [(0.0, 1.0), (50.0, 1000.0)])
def test_the_pull_is_the_one_that_predicts_best(noise, pull):
    """Exact targets want the least, targets of noise alone the most."""
    rng = np.random.default_rng(12)
    codes = rng.integers(0, 3, (400, 4)) + 3 * np.arange(4)
    prior, entries = rng.normal(size=(12, 2)), 9 * rng.normal(size=(12, 2))
    targets = entries[codes].sum(1) if not noise else prior[codes].sum(1)
    targets = targets + noise * rng.normal(size=targets.shape)
    hot = np.zeros((400, 12))
    hot[np.arange(400)[:, None], codes] = 1
    rest = hot.T @ (targets - hot @ prior)
    wanted = prior + np.linalg.solve(hot.T @ hot + pull * np.eye(12), rest)
    assert np.allclose(regressed(codes, targets, prior), wanted)


def test_finer_runs_more_leaves_and_more_bits_are_better():
    problem, _ = layer(3)
    for names in (
        ("maddness:space=8", "maddness:space=4", "maddness:space=2", "maddness:space=1"),
        ("maddness:levels=1", "maddness:levels=2", "maddness:levels=4"),
        ("maddness:table_bits=2", "maddness:table_bits=4", "maddness:table_bits=8"),
    ):
        errors = [compressed(3, name).error(problem).sum() for name in names]
        assert errors == sorted(errors, reverse=True)


def test_it_beats_its_start_by_far_and_stores_what_it_says():
    problem, weights = layer(4)
    found, start = compressed(4), method("maddness").start(problem, weights)
    assert found.error(problem).sum() < 0.2 * start.error(problem).sum()
    # 6 runs of 4 inputs: 16 entries of 8 bits a result, 15 thresholds of 8 bits, 4 inputs of 2.
    assert found.bits == 6 * (FILTERS * 16 * 8 + 15 * 8 + 4 * 2)


def test_an_altered_threshold_or_entry_is_seen():
    site, weights = Convolution(9, SLIDES[1]), np.random.default_rng(10).normal(size=(7, SIZE))
    rows = site.place.scale * site.values(site.place.windows).reshape(-1, SIZE)
    gatherer = Gatherer(weights, SLIDES[1].kernel, 1 << 14)
    gatherer.add(rows, rows)
    found = method("maddness").compress(gatherer.problem(), weights)
    assert isinstance(found, Hashed)
    nodes = site.lowering.calibration.nodes
    found.lower(site.place)
    tree, sums = nodes["layer_tree"].op, nodes["layer_table_sum"].op
    assert isinstance(tree, Tree)
    assert isinstance(sums, TableSum)
    x = site.values(site.place.windows)
    assert np.allclose(found.scale * sums(tree(x)).reshape(-1, 7), found.response(rows))
    cuts, entries = tree.thresholds.copy(), sums.tables.copy()
    cuts[0, 0] += 2
    entries[3, 2, tree(x)[0, 0, 0, 2]] += 1
    assert not np.array_equal(Tree(tree.order, cuts)(x), tree(x))
    assert not np.array_equal(TableSum(entries, sums.grid)(tree(x)), sums(tree(x)))


def test_the_same_rows_are_kept_in_any_chunks():
    rows = np.arange(1000.0)[:, None]
    kept: list[np.ndarray] = []
    for cuts in ([], [10, 11, 500], list(range(7, 1000, 7))):
        reservoir = Reservoir(100)
        for part in np.split(rows, cuts):
            reservoir.add(part, 2 * part)
            assert len(reservoir.rows[0]) <= 100
        assert reservoir.seen == 1000
        assert np.array_equal(reservoir.rows[1], 2 * reservoir.rows[0])
        kept.append(reservoir.rows[0])
    assert np.array_equal(kept[0], kept[1])
    assert np.array_equal(kept[0], kept[2])
    # In the order of the stream, and from all of it.
    assert (np.diff(kept[0][:, 0]) > 0).all()
    counts = np.histogram(kept[0], 4, (0, 1000))[0]
    assert counts.min() > 10


def hashed_network() -> Network:
    rng = np.random.default_rng(21)
    nodes = (
        Node("conv", Conv(rng.normal(size=(4, 3, 3, 2)), rng.normal(size=4), padding=(1,) * 4),
             ("input",)),
        Node("relu", Relu(), ("conv",)),
        Node("pool", MaxPool((2, 2), (2, 2)), ("relu",)),
        Node("flat", Flatten(), ("pool",)),
        Node("scores", Dense(rng.normal(size=(3, 16)), rng.normal(size=3)), ("flat",)),
    )  # fmt: skip
    return Network("hashed_net", (4, 4, 2), nodes)


def test_no_multiplication_is_left():
    network = hashed_network()
    x = np.abs(images(network))
    design = build(quantise(network, x, "maddness"), fold={})
    hashed = [i for i in design.instances if isinstance(i.op, Tree | TableSum)]
    counts = [done.counts for i in hashed if (done := work(i.op, i.place)) is not None]
    assert len(counts) == 4
    assert not any(count.get("multiply") for count in counts)
    # Four comparisons a tree: 16 positions of 6 runs of 3 inputs, and 4 runs of 4.
    assert sum(count.get("compare", 0) for count in counts) == 4 * (16 * 6 + 4)
    assert sum(count.get("lookup", 0) for count in counts) == 16 * 6 * 4 + 4 * 3


def test_depthwise_layers_take_integers():
    network = shufflenet()
    program = quantise(network, images(network), "maddness")
    assert method("maddness").depthwise == Uniform(8)
    kinds = [type(node.op) for node in program.nodes]
    assert (kinds.count(Tree), kinds.count(TableSum), kinds.count(Dot)) == (5, 5, 0)
    assert kinds.count(DepthwiseDot) == 1
