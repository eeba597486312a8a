"""Binary weights of several bases: descent, integer factors, and the program that they become."""

from __future__ import annotations

import numpy as np
import pytest
from test_compress_methods import FILTERS, SIZE, SLIDES, Convolution, layer

from bitwright.models.compress.bwnh import Bases, Codes
from bitwright.models.compress.method import method
from bitwright.models.compress.uniform import Uniform
from bitwright.models.fixed import BINARY
from bitwright.models.ops import Add, Dot, Scale


def error(name: str, seed: int) -> float:
    problem, weights = layer(seed)
    return float(problem.error(method(name).compress(problem, weights).dense()).sum())


@pytest.mark.parametrize("seed", range(3))
def test_each_base_halves_the_error(seed):
    errors = [error(name, seed) for name in ("bwnh", "bwnh2", "bwnh3")]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("name", ["bwnh2", "bwnh3:factor_bits=3", "bwnh3:shift_add=True"])
def test_factors_are_small_integers(name):
    found = method(name).compress(*layer(0))
    assert isinstance(found, Bases)
    bits = method(name).factor_bits  # type: ignore[attr-defined]
    assert set(np.unique(found.signs)) == {-1, 1}
    assert found.factors.min() >= 0
    assert found.factors.max() < 1 << bits
    if "shift_add" in name:
        assert set(np.unique(found.factors)) <= {1 << k for k in range(bits)}
    assert found.bits == found.signs.size + bits * found.factors.size


@pytest.mark.parametrize("bases", [1, 3])
def test_products_stay_those_of_the_signs_while_sweeps_and_fits_change_them(bases):
    problem, _ = layer(1)
    signs = np.random.default_rng(2).choice([-1.0, 1.0], (FILTERS, bases, SIZE))
    codes = Codes(problem, signs)
    errors = [codes.error()]
    for _ in range(4):
        codes.fit()
        errors.append(codes.error())
        codes.sweep()
        errors.append(codes.error())
        assert np.allclose(codes.products, codes.signs @ problem.gram)
        dense = (codes.scale[:, :, None] * codes.signs).sum(1)
        assert np.allclose(codes.error(), problem.error(dense))
    assert (np.diff(errors, axis=0) <= 1e-9 * problem.energy).all()
    assert (errors[-1] < errors[1]).any()


def test_a_step_that_raised_the_error_is_caught():
    problem, _ = layer(1)
    codes = Codes(problem, np.ones((FILTERS, 1, SIZE)))
    codes.fit()
    before = codes.error()
    codes.scale *= 2
    with pytest.raises(AssertionError, match="a new scale raised the error of a filter"):
        codes._fell(before, "a new scale")


@pytest.mark.parametrize("slide", SLIDES, ids=["product", "strided", "dilated"])
@pytest.mark.parametrize("name", ["bwnh2", "bwnh3:shift_add=True"])
def test_the_program_is_a_product_with_the_integers(name, slide):
    site = Convolution(3, slide)
    _, weights = layer(4)
    found = method(name).start(layer(4)[0], weights)
    assert isinstance(found, Bases)
    sums = found.lower(site.place)
    whole = (found.factors[:, :, None] * found.signs).sum(1)
    rows = site.values(site.place.windows)
    assert np.array_equal(site.values(sums.edge), rows @ whole.T)
    nodes = [node.op for node in site.lowering.calibration.nodes.values()]
    dots = [op for op in nodes if isinstance(op, Dot)]
    bases = found.signs.shape[1]
    assert [op.grid for op in dots] == [BINARY] * bases
    assert sum(isinstance(op, Scale) for op in nodes) == bases
    assert sum(isinstance(op, Add) for op in nodes) == bases - 1


def test_symmetric_calibrates_on_the_float_inputs():
    assert method("bwnh-symmetric").symmetric
    assert not method("bwnh").symmetric


def test_several_bases_leave_depthwise_layers_to_integers():
    assert method("bwnh2").depthwise == Uniform(8)
    assert method("bwnh").depthwise == method("bwnh")
