"""Factorised weights: the decomposition, response recovery, and the rounding in the program."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from test_compress_methods import FILTERS, SIZE, SLIDES, Convolution, layer

from bitwright.models.compress.ffn import Factorised, Ffn, Terms, decompose, recover, solve
from bitwright.models.compress.method import method
from bitwright.models.compress.problem import LayerProblem
from bitwright.models.compress.uniform import Uniform
from bitwright.models.fixed import TERNARY, ProgramError
from bitwright.models.ops import Requantise, Scale


def compressed(name: str, seed: int = 0) -> Factorised:
    found = method(name).compress(*layer(seed))
    assert isinstance(found, Factorised)
    return found


def test_solve_is_the_best_of_all_ternary_vectors():
    rng = np.random.default_rng(0)
    codes = np.array(list(product((-1.0, 0.0, 1.0), repeat=6)))
    for _ in range(20):
        s, weights = rng.normal(size=6), rng.uniform(0.2, 3, 6)
        values = (codes * weights @ s) ** 2 / np.maximum(((codes * weights) ** 2).sum(1), 1e-12)
        found = solve(s, weights)
        value = ((found * weights) @ s) ** 2 / ((found * weights) ** 2).sum()
        assert np.isclose(value, values.max())


def test_enough_ranks_decompose_a_matrix_of_three_levels():
    rng = np.random.default_rng(1)
    weights = 0.3 * rng.integers(-1, 2, (6, 9))
    left, d, right = decompose(weights, 24, 20)
    assert np.allclose((left.T * d) @ right, weights, atol=0.02)


def test_more_ranks_are_better():
    problem, weights = layer(2)
    errors = [
        problem.error(method(f"ffn:rank={rank}").compress(problem, weights).dense()).sum()
        for rank in (0.3, 0.6, 1.0, 2.0)
    ]
    assert errors == sorted(errors, reverse=True)


def test_response_recovery_is_better_than_the_decomposition():
    for seed in range(3):
        problem, _ = layer(seed)
        alone, recovered = (
            problem.error(compressed(name, seed).dense()).sum() for name in ("ffn-sdd", "ffn")
        )
        assert recovered < 0.6 * alone


@pytest.mark.parametrize("levels", [None, np.arange(9.0) / 4], ids=["free", "levels"])
def test_descent_keeps_its_residual_and_never_raises_the_error(levels):
    problem, weights = layer(3)
    terms = Terms(problem, *decompose(weights, 5, 2), np.ones(FILTERS))
    if levels is not None:
        terms.round(levels)
    errors = [terms.error()]
    for k in [0, 1, 2, 3, 4] * 3:
        terms._improve(k, levels)
        errors.append(terms.error())
        assert np.allclose(terms.rest, problem.cross - terms.dense() @ problem.gram)
        assert np.allclose(terms.products, terms.right @ problem.gram)
    terms.fit_scale()
    errors.append(terms.error())
    assert (np.diff(errors) <= 1e-9 * problem.energy.sum()).all()
    assert errors[-1] < 0.9 * errors[0]


def test_a_sweep_that_raises_the_error_is_caught(monkeypatch):
    problem, weights = layer(3)
    terms = Terms(problem, *decompose(weights, 5, 2), np.ones(FILTERS))
    terms.descend(None, 20)
    monkeypatch.setattr(terms, "_improve", lambda k, levels: terms.left.fill(1))
    monkeypatch.setattr(terms, "fit_scale", lambda: None)
    with pytest.raises(AssertionError, match="a sweep raised it"):
        terms.descend(None, 1)


@pytest.mark.parametrize(
    "name", ["ffn:factor_bits=3", "ffn:factor_bits=16", "ffn:factor_bits=5,powers=True"]
)
def test_the_factors_have_their_bits(name):
    found, wanted = compressed(name), method(name)
    assert isinstance(wanted, Ffn)
    assert TERNARY.holds(found.left)
    assert TERNARY.holds(found.right)
    assert found.factors.min() >= 0
    assert set(found.factors.tolist()) <= set(wanted.levels.tolist())
    assert found.bits == 2 * (FILTERS + SIZE) * FILTERS + wanted.factor_bits * FILTERS


@pytest.mark.parametrize("slide", SLIDES, ids=["product", "strided", "dilated"])
@pytest.mark.parametrize("name", ["ffn", "ffn:middle_bits=8", "ffn:middle_bits=24,factor_bits=3"])
def test_the_program_is_the_plain_formula_with_its_rounding(name, slide):
    site = Convolution(4, slide)
    found = compressed(name)
    sums = found.lower(site.place)
    x = site.values(site.place.windows)
    middle = x @ found.right.T * found.factors
    (op,) = (
        node.op
        for node in site.lowering.calibration.nodes.values()
        if isinstance(node.op, Requantise | Scale)
    )
    assert isinstance(op, Scale) == (found.middle_bits == 24)
    shift = 0
    if isinstance(op, Requantise):
        shift = op.shift
        middle = (middle + (1 << (shift - 1))) >> shift
    assert np.abs(middle).max() < 1 << (found.middle_bits - 1)
    assert np.array_equal(site.values(sums.edge), middle @ found.left.T)
    assert np.allclose(sums.scale, site.place.scale * found.scale * 2.0**shift)


def test_the_shift_is_the_least_that_fits():
    found = compressed("ffn:middle_bits=4")
    assert [found.shift(largest) for largest in (7, 8, 14, 15, 29, 30)] == [0, 1, 1, 2, 2, 3]


def test_full_precision_factors_are_nearer_and_round_to_the_ternary_ones():
    _, weights = layer(5)
    found = compressed("ffn:rank=0.5", 5)
    latent = recover(found, weights)
    assert np.array_equal(np.rint(latent.left / latent.left_step), found.left)
    assert np.array_equal(np.rint(latent.right / latent.right_step), found.right)
    assert np.abs(latent.left / latent.left_step - found.left).max() < 0.5
    distances = [
        ((one.dense() - weights) ** 2).sum() for one in (recover(found, weights, 0), found)
    ]
    assert np.isclose(*distances)
    assert ((latent.dense() - weights) ** 2).sum() < 0.7 * distances[1]
    lengths = [np.sqrt((one**2).mean()) for one in (latent.left, latent.d, latent.right)]
    assert np.allclose(lengths, lengths[0])


def test_bad_fields():
    for text, wanted in (
        ("factor_bits=17", "ffn has factor_bits from 1 to 16, not 17"),
        ("middle_bits=1", "ffn has middle_bits from 2 to 24, not 1"),
        ("rank=0", "ffn has a rank above 0 and up to 4 times min(S, N), not 0.0"),
    ):
        with pytest.raises(ProgramError) as caught:
            method(f"ffn:{text}")
        assert str(caught.value) == wanted


def test_depthwise_layers_become_integers():
    assert method("ffn").depthwise == Uniform(8)


def test_a_layer_without_weights():
    problem = LayerProblem.data_free(np.zeros((3, 4)))
    found = method("ffn").compress(problem, np.zeros((3, 4)))
    assert not found.dense().any()
