"""Low-rank factors: their fits, their integers, and the chain of layers that they become."""

from __future__ import annotations

import numpy as np
import pytest
from test_compress_methods import FILTERS, KERNEL, SIZE, SLIDES, Convolution, layer

from bitwright.models.compress.lowrank import (
    Factors,
    _fitted,
    _nearest,
    alternate,
    contract,
    reaching,
)
from bitwright.models.compress.method import method
from bitwright.models.compress.problem import Gatherer, LayerProblem
from bitwright.models.compress.uniform import Uniform
from bitwright.models.fixed import ProgramError, signed
from bitwright.models.layers import Slide
from bitwright.models.ops import DepthwiseDot, Dot, Requantise

NAMES = ("svd", "spatial", "tucker", "cp")
TAPS, CHANNELS = KERNEL[0] * KERNEL[1], SIZE // (KERNEL[0] * KERNEL[1])
FORM = "ryc,nxr->nyxc"


def compressed(name: str, seed: int = 0) -> Factors:
    found = method(name).compress(*layer(seed))
    assert isinstance(found, Factors)
    return found


def factors(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = (4, KERNEL[0], CHANNELS), (FILTERS, KERNEL[1], 4)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("svd:rank=0.5", [(4, SIZE), (FILTERS, 4)]),
        ("spatial:rank=0.5", [(4, *(2, CHANNELS)), (FILTERS, 3, 4)]),
        ("tucker:rank=0.5", [(2, CHANNELS), (4, *KERNEL, 2), (FILTERS, 4)]),
        ("cp:rank=0.5", [(4, CHANNELS), (4, 2), (4, 3), (FILTERS, 4)]),
    ],
)
def test_ranks_and_bits(name, shapes):
    found = compressed(name)
    assert [one.shape for one in found.integers] == shapes
    assert all(found.grid.holds(one) for one in found.integers)
    assert found.bits == 8 * sum(int(np.prod(shape)) for shape in shapes)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_low_rank_are_found(name):
    wanted = compressed(f"{name}:rank=0.3").dense()
    problem = LayerProblem.data_free(wanted, KERNEL)
    found = method(f"{name}:rank=0.3").compress(problem, wanted)
    share = problem.error(found.dense()).sum() / problem.energy.sum()
    assert share < (0.3 if name == "cp" else 1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_more_ranks_are_better_and_data_helps(name):
    problem, weights = layer(1)
    errors = [
        problem.error(method(f"{name}:rank={rank}").compress(problem, weights).dense()).sum()
        for rank in (0.2, 0.5, 1.0)
    ]
    assert errors == sorted(errors, reverse=True)
    start = method(f"{name}:rank=0.5").start(problem, weights)
    assert errors[1] < 0.8 * problem.error(start.dense()).sum()


def test_singular_values_are_the_best_of_their_rank():
    problem, weights = layer(2)
    first, second = method("svd:rank=0.3").factors(problem, weights)  # type: ignore[attr-defined]
    best = [first, second]
    error = problem.error(contract("rs,nr->ns", best)).sum()
    rng = np.random.default_rng(3)
    for _ in range(5):
        others = [first + 0.1 * rng.normal(size=first.shape), second.copy()]
        alternate(problem, "rs,nr->ns", others, (1, 0))
        assert problem.error(contract("rs,nr->ns", others)).sum() >= error * (1 - 1e-9)


@pytest.mark.parametrize("number", [0, 1])
def test_no_fit_raises_the_error_and_the_last_is_the_best(number):
    problem, _ = layer(4)
    found = factors(5)

    def error() -> float:
        return float(problem.error(contract(FORM, found).reshape(FILTERS, -1)).sum())

    before = error()
    found[number] = _fitted(problem, FORM, found, number)
    after = error()
    assert after < 0.5 * before
    if number == 1:
        for place in ((0, 0, 0), (4, 2, 3), (6, 1, 1)):
            for change in (-1e-2, 1e-2):
                found[1][place] += change
                assert error() > after
                found[1][place] -= change


def test_what_reaches_the_last_factor_has_the_same_error():
    problem, _ = layer(6)
    found = factors(7)
    own = reaching(problem, FORM, found)
    whole = problem.error(contract(FORM, found).reshape(FILTERS, -1))
    assert np.allclose(own.error(found[1].reshape(FILTERS, -1)), whole)


def test_a_round_that_raises_the_error_is_caught(monkeypatch):
    problem, _ = layer(4)
    monkeypatch.setattr(
        "bitwright.models.compress.lowrank._fitted", lambda p, form, found, k: 10 * found[k]
    )
    with pytest.raises(AssertionError, match="a round raised the error"):
        alternate(problem, FORM, factors(5), (0,))


def test_the_nearest_integers_reach_the_ends():
    factor = np.array([[[1.0, -2.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    whole, scale = _nearest(factor, signed(8))
    assert np.array_equal(whole, [[[64, -127], [32, 0]], [[0, 0], [0, 0]]])
    assert np.allclose(scale, [2 / 127, 1 / 127])


@pytest.mark.parametrize("slide", SLIDES, ids=["product", "strided", "dilated"])
@pytest.mark.parametrize(
    ("name", "dots", "depthwise"),
    [("svd", 2, 0), ("spatial", 2, 0), ("tucker", 3, 0), ("cp", 2, 2)],
)
def test_the_program_is_a_chain_of_integer_layers(name, dots, depthwise, slide):
    site = Convolution(8, slide)
    weights = np.random.default_rng(9).normal(size=(FILTERS, SIZE))
    found = method(name).compress(LayerProblem.data_free(weights, slide.kernel), weights)
    assert isinstance(found, Factors)
    _ = found.lower(site.place)
    ops = [node.op for node in site.lowering.calibration.nodes.values()]
    # Kernels of one tap are left out.
    depthwise = depthwise if slide.kernel != (1, 1) else 0
    assert sum(isinstance(op, Dot) for op in ops) == dots
    assert sum(isinstance(op, DepthwiseDot) for op in ops) == depthwise
    middles = [op for op in ops if isinstance(op, Requantise)]
    assert len(middles) == dots + depthwise - 1
    ends = signed(found.middle_bits)
    assert all((op.lo, op.hi) == (ends.lo, ends.hi) for op in middles)


def test_bad_fields():
    for text, wanted in (
        ("weight_bits=1", "low rank has weight_bits from 2 to 16, not 1"),
        ("middle_bits=17", "low rank has middle_bits from 2 to 16, not 17"),
        ("rank=5", "low rank has a rank above 0 and up to 4, not 5.0"),
    ):
        with pytest.raises(ProgramError) as caught:
            method(f"svd:{text}")
        assert str(caught.value) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_depthwise_layers_become_integers(name):
    assert method(name).depthwise == Uniform(8)


def convolved(x: np.ndarray, kernels: np.ndarray, slide: Slide) -> np.ndarray:
    """Images (N, H, W, C) under kernels (O, kh, kw, C), zeros outside, in plain integers."""
    top, left, bottom, right = slide.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    _, height, width, _ = kernels.shape
    (sy, sx), (dy, dx) = slide.stride, slide.dilation
    rows = (x.shape[1] - (height - 1) * dy - 1) // sy + 1
    columns = (x.shape[2] - (width - 1) * dx - 1) // sx + 1
    y = np.zeros((len(x), rows, columns, len(kernels)), np.int64)
    for ky in range(height):
        for kx in range(width):
            seen = x[:, ky * dy :: sy, kx * dx :: sx][:, :rows, :columns]
            y += seen @ kernels[:, ky, kx].T
    return y


def stages(name: str, found: Factors, slide: Slide) -> list[tuple[np.ndarray, Slide]]:
    """The factors as dense kernels, and how each slides."""
    (height, width), (sy, sx), (dy, dx) = slide.kernel, slide.stride, slide.dilation
    top, left, bottom, right = slide.padding
    point = Slide((1, 1))
    down = Slide((height, 1), (sy, 1), (top, 0, bottom, 0), (dy, 1))
    across = Slide((1, width), (1, sx), (0, left, 0, right), (1, dx))
    first, *_, last = found.integers
    ends = last.reshape(len(last), 1, 1, -1), point
    if name == "svd":
        return [(first.reshape(len(first), height, width, -1), slide), ends]
    if name == "spatial":
        return [(first[:, :, None], down), (last[:, None], across)]
    begins = first[:, None, None], point
    if name == "tucker":
        return [begins, (found.integers[1], slide), ends]
    each = np.eye(len(first), dtype=np.int64)
    y, x = (one[:, :, None] * each[:, None] for one in found.integers[1:3])
    return [begins, (y[:, :, None], down), (x[:, None], across), ends]


@pytest.mark.parametrize("slide", SLIDES, ids=["product", "strided", "dilated"])
@pytest.mark.parametrize("name", NAMES)
def test_the_program_is_its_factors_and_their_roundings_bit_for_bit(name: str, slide: Slide):
    site = Convolution(12, slide)
    weights = np.random.default_rng(13).normal(size=(FILTERS, SIZE))
    rows = 0.25 * site.values(site.place.windows).reshape(-1, SIZE)
    gatherer = Gatherer(weights, slide.kernel)
    gatherer.add(rows, rows)
    found = method(name).compress(gatherer.problem(), weights)
    assert isinstance(found, Factors)
    sums = found.lower(site.place)
    nodes = site.lowering.calibration.nodes
    x = site.frames
    for number, (kernels, walk) in enumerate(stages(name, found, slide)):
        middle = nodes.get(f"layer_middle{number}")
        if name == "cp" and number in (1, 2) and walk.kernel == (1, 1):
            # Ones of a single tap are not computed, only walked.
            x = x[:, :: walk.stride[0], :: walk.stride[1]]
            assert middle is None
            continue
        x = convolved(x, kernels, walk)
        if middle is not None:
            op = middle.op
            assert isinstance(op, Requantise)
            half = 1 << (op.shift - 1)
            x = np.clip((x * op.multiplier + op.bias + half) >> op.shift, op.lo, op.hi)
    assert sum(one.startswith("layer_middle") for one in nodes) >= 1
    np.testing.assert_array_equal(site.values(sums.edge), x)
