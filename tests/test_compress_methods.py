"""The contract of `Method`, checked for every method found through its base class."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest

from bitwright.models import compress, layers  # noqa: F401 - compress makes the methods known
from bitwright.models.calibration import Calibration
from bitwright.models.compress.bwnh import Bwnh
from bitwright.models.compress.method import Compressed, Method, better, method, methods
from bitwright.models.compress.problem import Gatherer, LayerProblem
from bitwright.models.fixed import ProgramError, unsigned
from bitwright.models.layers import Slide
from bitwright.models.lowering import Lowering, Place
from bitwright.models.network import Network, Node
from bitwright.models.program import Edge, define

NAMES = list(methods())
FILTERS, SIZE, KERNEL = 7, 24, (2, 3)


def layer(seed: int, size: int = SIZE):
    """Weights, and a problem with correlated inputs, a dead input and a noisy prefix."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(FILTERS, size))
    weights[3] = 0
    x = np.maximum(rng.normal(size=(300, 8)) @ rng.normal(size=(8, size)) + 0.3, 0)
    x[:, size // 2] = 0
    gatherer = Gatherer(weights, KERNEL, samples=250)
    gatherer.add(x, np.round(x * 4) / 4)
    return gatherer.problem(), weights


PROBES = np.concatenate([np.eye(SIZE), np.random.default_rng(12).normal(size=(20, SIZE))])
"""Inputs that show whether two weights respond alike."""


def test_the_usual_methods_are_found():
    assert {"bwnh", "sign", "ternary", *(f"int{n}" for n in range(2, 17))} <= set(NAMES)


def test_unknown_method():
    with pytest.raises(ProgramError) as caught:
        method("int1")
    assert str(caught.value) == (
        f"no compression method is called 'int1'; choose {', '.join(methods())}"
    )


def test_a_method_in_another_file_is_found_and_must_have_its_own_name():
    class Again(Method):
        @classmethod
        def variants(cls):
            return {"bwnh": cls()}

        def start(self, problem, weights): ...

        def compress(self, problem, weights): ...

    wanted = "two methods are called 'bwnh'; names must differ"
    try:
        with pytest.raises(ProgramError) as caught:
            methods()
        assert str(caught.value) == wanted
    finally:
        Again.variants = classmethod(lambda cls: {})


@pytest.mark.parametrize("name", NAMES)
def test_shapes_grid_and_scales(name):
    problem, weights = layer(0)
    for result in method(name).compress(problem, weights), method(name).start(problem, weights):
        assert result.response(PROBES).shape == (len(PROBES), FILTERS)
        assert np.isfinite(result.response(PROBES)).all()
        assert result.error(problem).shape == (FILTERS,)
        assert type(result.bits) is int
        assert result.bits > 0
        if isinstance(result, Compressed):
            assert result.weights.dtype == np.int64
            assert result.grid.holds(result.weights)
            assert result.scale.shape == (FILTERS,)
            assert (result.scale >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_no_worse_than_its_data_free_start(name):
    for seed in range(3):
        problem, weights = layer(seed)
        one = method(name)
        start, result = one.start(problem, weights), one.compress(problem, weights)
        slack = 1e-9 * problem.energy.sum()
        errors = [found.error(problem).sum() for found in (result, start)]
        assert errors[0] <= errors[1] + slack


@pytest.mark.parametrize("name", NAMES)
def test_the_same_problem_gives_the_same_result(name):
    problem, weights = layer(1)
    one, two = (method(name).compress(problem, weights) for _ in range(2))
    assert np.array_equal(one.response(PROBES), two.response(PROBES))


@pytest.mark.parametrize("name", NAMES)
def test_without_data_it_is_its_ancestor(name):
    _, weights = layer(2)
    problem = LayerProblem.data_free(weights, KERNEL)
    start = method(name).start(problem, weights)
    result = method(name).compress(problem, weights)
    responses = [found.response(PROBES) for found in (result, start)]
    assert np.allclose(*responses, rtol=1e-12, atol=1e-12)


class Convolution:
    """A site of a program that has nothing but its input: images of integers, calibrated."""

    def __init__(self, seed: int, slide: Slide):
        rng = np.random.default_rng(seed)
        edge = Edge.of((6, 5, SIZE // prod(slide.kernel)), unsigned(4))
        self.frames = rng.integers(0, 16, (9, *edge.shape))
        calibration = Calibration(define, len(self.frames))
        calibration.keep("input", edge, lambda part: self.frames[part])
        network = Network("none", edge.shape, (Node("flat", layers.Flatten(), ("input",)),))
        self.lowering = Lowering(network, {}, {}, calibration, method, 8)
        windows = self.lowering.windows("layer_window", "input", slide)
        self.place = Place(self.lowering, "layer", "input", 0.25, slide, windows)

    def values(self, name: str):
        return self.lowering.calibration.values(name, slice(None))


SLIDES = (Slide((1, 1)), Slide((2, 3), (1, 2), (1, 0, 0, 1)), Slide((3, 2), dilation=(2, 1)))


@pytest.mark.parametrize("slide", SLIDES, ids=["product", "strided", "dilated"])
@pytest.mark.parametrize("name", NAMES)
def test_what_it_lowers_to_computes_its_response(name, slide):
    site = Convolution(9, slide)
    weights = np.random.default_rng(10).normal(size=(FILTERS, SIZE))
    rows = site.values(site.place.windows).reshape(-1, SIZE)
    how, inputs = method(name), site.place.scale * rows
    gatherer = Gatherer(weights, slide.kernel, how.samples)
    gatherer.add(inputs, inputs)
    found = how.compress(gatherer.problem(), weights)
    sums = found.lower(site.place)
    real = sums.scale * site.values(sums.edge).reshape(-1, FILTERS)
    wanted = found.response(inputs)
    if found.exact:
        assert np.allclose(real, wanted, rtol=1e-9, atol=1e-9)
    else:
        assert np.sqrt(((real - wanted) ** 2).mean()) < 0.05 * wanted.std()


def test_fields_of_a_method_can_be_named():
    assert method("bwnh:sweeps=5") == Bwnh(5)
    assert method("bwnh:sweeps=0") == Bwnh(0)
    assert method("int4:bits=16") == method("int16")
    for name, wanted in (
        ("int4:bit=5", "method 'int4' has bits, and 'bit=5' sets none; write FIELD=VALUE"),
        ("sign:x", "method 'sign' has no fields, and 'x' sets none; write FIELD=VALUE"),
        ("bwnh:sweeps=few", "method 'bwnh': sweeps is a int, not 'few'"),
        ("bwnh:sweeps=5,sweeps=5", "method 'bwnh' is given sweeps twice; give it once"),
        ("bwnh:sweeps=-1", "passes over the bits are counted from 0, not -1"),
        ("int4:bits=0", "integer weights take 2 to 16 bits, not 0"),
        ("int4:bits=1", "integer weights take 2 to 16 bits, not 1"),
        ("int4:bits=17", "integer weights take 2 to 16 bits, not 17"),
        ("int4:bits=70", "integer weights take 2 to 16 bits, not 70"),
    ):
        with pytest.raises(ProgramError) as caught:
            method(name)
        assert str(caught.value) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_one_input_one_filter(name):
    gatherer = Gatherer(np.array([[-2.0]]), samples=5)
    gatherer.add(np.ones((5, 1)), np.ones((5, 1)))
    result = method(name).compress(gatherer.problem(), gatherer.weights)
    assert np.allclose(result.response(np.ones((1, 1))), -2)


def test_bwnh_without_data_is_sign_and_mean():
    _, weights = layer(3)
    result = method("bwnh").compress(LayerProblem.data_free(weights), weights)
    assert np.array_equal(result.weights, np.where(weights >= 0, 1, -1))
    assert np.allclose(result.scale, np.abs(weights).mean(1))


def test_bwnh_is_near_the_best_of_all_codes():
    """Ten bits: every code with its best scale; descent ends within a tenth of the spread."""
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(FILTERS, 10))
    x = np.maximum(rng.normal(size=(200, 10)), 0)
    gatherer = Gatherer(weights)
    gatherer.add(x, x)
    problem = gatherer.problem()
    codes = np.array(list(product([-1.0, 1.0], repeat=10)))
    quadratic = (codes @ problem.gram * codes).sum(1)
    errors = problem.energy - (codes @ problem.cross.T) ** 2 / quadratic[:, None]
    found = problem.error(method("bwnh").compress(problem, weights).dense())
    start = problem.error(method("bwnh").start(problem, weights).dense())
    least = errors.min(0)
    assert (found >= least - 1e-9 * problem.energy).all()
    assert ((found - least) <= 0.25 * (start - least) + 0.05 * problem.energy).all()


def test_more_bits_are_better():
    problem, weights = layer(5)
    errors = [
        problem.error(method(f"int{bits}").compress(problem, weights).dense()).sum()
        for bits in (2, 3, 4, 6, 8, 12, 16)
    ]
    assert errors == sorted(errors, reverse=True)


def test_second_order_beats_nearest_by_far():
    problem, weights = layer(6)
    for name in "int3", "int4", "ternary":
        start, result = (
            method(name).start(problem, weights),
            method(name).compress(problem, weights),
        )
        ratio = problem.error(result.dense()).sum() / problem.error(start.dense()).sum()
        assert ratio < 0.5


def test_the_error_is_the_response_error():
    rng = np.random.default_rng(7)
    weights, x = rng.normal(size=(3, 5)), rng.normal(size=(50, 5))
    xq, approximation = x + 0.1 * rng.normal(size=x.shape), rng.normal(size=(3, 5))
    gatherer = Gatherer(weights)
    for part in np.split(np.arange(50), [7, 30]):
        gatherer.add(x[part], xq[part])
    responses = ((x @ weights.T - xq @ approximation.T) ** 2).sum(0)
    assert np.allclose(gatherer.problem(damping=0).error(approximation), responses)
    damped = gatherer.problem(damping=0.5).error(approximation) - responses
    pull = 0.5 * np.mean((xq**2).sum(0))
    assert np.allclose(damped, pull * ((weights - approximation) ** 2).sum(1))


def test_inputs_that_are_always_0_leave_the_data_free_problem():
    gatherer = Gatherer(np.ones((1, 2)))
    gatherer.add(np.ones((3, 2)), np.zeros((3, 2)))
    assert np.array_equal(gatherer.problem().gram, np.eye(2))
    assert np.array_equal(gatherer.problem().cross, gatherer.weights)


def test_better_takes_each_filter_by_itself():
    problem, weights = layer(8)
    ternary, four = (method(name).compress(problem, weights) for name in ("ternary", "int4"))
    mixed = better(problem, four, ternary)
    least = np.minimum(problem.error(four.dense()), problem.error(ternary.dense()))
    assert np.allclose(problem.error(mixed.dense()), least)


BAD_SETTINGS = (
    "prune-vector:tile=0", "prune-group:tile=0", "prune-vector:rows=0", "prune-filter:rows=0",
    "prune-kernel:tile=-1", "prune-fine:bits=0", "prune-fine:bits=70", "prune-fine:bits=1",
    "prune-fine:density=nan", "ffn:sweeps=-1", "ffn:rank=nan", "qcnn:sweeps=-1", "qcnn:words=0",
    "svd:rank=nan", "svd:rank=0", "bwnh:bases=0", "bwnh2:factor_bits=0",
    "maddness:space=0", "maddness:levels=9", "maddness:levels=0", "maddness:table_bits=1",
)  # fmt: skip


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(ProgramError):
        method(name)


@pytest.mark.parametrize("name", ["svd", "spatial", "tucker", "cp", "ffn"])
def test_the_least_rank_is_one(name):
    problem, weights = layer(11)
    found = method(f"{name}:rank=1e-9").compress(problem, weights)
    assert np.isfinite(found.dense()).all()
    assert np.linalg.matrix_rank(found.dense()) >= 1
