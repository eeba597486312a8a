"""Product quantisation: error correction, the look-ups it becomes, and the published costs."""

from __future__ import annotations

import numpy as np
import pytest
from test_compress_methods import FILTERS, KERNEL, SIZE, SLIDES, Convolution, layer

from bitwright.models.compress.method import method
from bitwright.models.compress.problem import LayerProblem
from bitwright.models.compress.qcnn import (
    Books,
    Qcnn,
    Quantised,
    Shape,
    _round_entries,
    cost,
    dense_cost,
    kmeans,
)
from bitwright.models.compress.uniform import Uniform
from bitwright.models.fixed import ProgramError, signed
from bitwright.models.ops import Dot, Lookup, Tables, Window

ALEXNET = (
    (Shape((227**2, 55**2), 11**2, (3, 96)), 8, 128),
    (Shape((27**2, 27**2), 5**2, (96, 256), 2), 8, 128),
    (Shape((13**2, 13**2), 3**2, (256, 384)), 8, 128),
    (Shape((13**2, 13**2), 3**2, (384, 384), 2), 8, 128),
    (Shape((13**2, 13**2), 3**2, (384, 256), 2), 8, 128),
    (Shape((1, 1), 1, (9216, 4096)), 4, 32),
    (Shape((1, 1), 1, (4096, 4096)), 4, 32),
    (Shape((1, 1), 1, (4096, 1000)), 1, 16),
)
"""The released network: a shape, channels of a sub-space, words (arXiv 1512.06473, section 4)."""


def compressed(name: str, seed: int = 0) -> Quantised:
    found = method(name).compress(*layer(seed))
    assert isinstance(found, Quantised)
    return found


def books(seed: int, words: int = 4) -> Books:
    problem, weights = layer(seed)
    return Books(problem, *Qcnn(words=words, space=2)._start(problem, weights))


def test_kmeans_finds_clusters_and_gives_every_word_a_vector():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 3)) * 10
    vectors = centres[np.arange(200) % 5] + 0.1 * rng.normal(size=(200, 3))
    words, chosen = kmeans(vectors, 5)
    assert np.abs(words[chosen] - vectors).max() < 1
    assert np.array_equal(np.unique(chosen), np.arange(5))
    again = kmeans(vectors, 5)
    assert np.array_equal(words, again[0])
    assert np.array_equal(chosen, again[1])


def test_kmeans_of_equal_vectors():
    words, chosen = kmeans(np.ones((6, 2)), 3)
    assert np.allclose(words[chosen], 1)


@pytest.mark.parametrize("integers", [None, (0.1, signed(6))], ids=["free", "integers"])
def test_descent_keeps_its_residual_and_never_raises_the_error(integers):
    one = books(1)
    if integers is not None:
        one.round(*integers)
    errors = [one.error()]
    for _ in range(3):
        for m in range(len(one.words)):
            for step in (lambda m=m: one._choose(m), lambda m=m: one._refit(m, integers)):
                step()
                errors.append(one.error())
                assert np.allclose(one.rest, one.problem.cross - one.dense() @ one.problem.gram)
    assert (np.diff(errors) <= 1e-9 * one.problem.energy.sum()).all()
    assert errors[-1] < 0.6 * errors[0]


def test_a_choice_is_the_best_of_all_words():
    one = books(2)
    one._choose(1)
    n, t = 4, one.problem.taps - 1  # the last tap: no later choice changed its residual
    dense = one.dense()
    columns = one._columns(1)[t]
    errors = []
    for word in one.words[1]:
        dense[n, columns] = word
        errors.append(one.problem.error(dense)[n])
    assert one.indices[n, t, 1] == np.argmin(errors)


def test_a_free_codebook_is_the_least_squares_solution():
    one = books(3)
    one._refit(0, None)
    error, step = one.error(), 1e-3
    for place in np.ndindex(one.words[0].shape):
        for change in (-step, step):
            other = one.copy()
            other.words[0][place] += change
            assert other.error() >= error - 1e-6


def test_each_rounded_entry_is_the_best_integer_for_the_others():
    rng = np.random.default_rng(4)
    root = rng.normal(size=(9, 5))
    quadratic, wish = root.T @ root, rng.normal(size=5)
    whole = np.zeros(5)
    left = quadratic @ wish
    for _ in range(30):
        _round_entries(quadratic, left, whole, 0.25, -8, 7)
    assert np.allclose(left, quadratic @ (wish - 0.25 * whole))

    def error(q: np.ndarray) -> float:
        return float((0.25 * q - wish) @ quadratic @ (0.25 * q - wish))

    for j in range(5):
        others = [np.where(np.arange(5) == j, value, whole) for value in range(-8, 8)]
        assert np.isclose(error(whole), min(map(error, others)))


def test_error_correction_is_better_than_kmeans():
    for seed in range(3):
        problem, _ = layer(seed)
        alone, corrected = (
            problem.error(compressed(name, seed).dense()).sum()
            for name in ("qcnn-kmeans:words=8", "qcnn:words=8")
        )
        assert corrected < 0.6 * alone


def test_more_words_and_more_bits_are_better():
    problem, weights = layer(5, 48)
    for names in (
        [f"qcnn:words={words}" for words in (2, 4, 8, 16)],
        [f"qcnn:word_bits={bits}" for bits in (2, 4, 8)],
    ):
        errors = [
            problem.error(method(name).compress(problem, weights).dense()).sum() for name in names
        ]
        assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("channels", "space", "wanted"), [(16, 4, 4), (3, 4, 3), (6, 4, 3), (7, 4, 1), (10, 16, 10)]
)
def test_sub_spaces_are_as_large_as_they_may_be(channels, space, wanted):
    assert Qcnn(space=space).space_of(channels) == wanted


def test_the_bits_are_those_of_codebooks_and_indices():
    found = compressed("qcnn:words=8,space=2,word_bits=6")
    taps = KERNEL[0] * KERNEL[1]
    assert found.codebooks.shape == (SIZE // taps // 2, 8, 2)
    assert found.indices.shape == (FILTERS, taps, SIZE // taps // 2)
    assert found.bits == 6 * found.codebooks.size + 3 * found.indices.size


def test_the_step_may_be_a_power_of_two():
    found = compressed("qcnn:power=True")
    assert np.log2(found.scale) % 1 == 0
    assert np.log2(compressed("qcnn").scale) % 1 != 0


@pytest.mark.parametrize("slide", SLIDES, ids=["product", "strided", "dilated"])
@pytest.mark.parametrize("name", ["qcnn", "qcnn:space=3,words=5,word_bits=4", "qcnn:power=True"])
def test_the_lookups_are_a_plain_integer_convolution(name, slide):
    site = Convolution(6, slide)
    weights = np.random.default_rng(7).normal(size=(FILTERS, SIZE))
    problem = LayerProblem.data_free(weights, slide.kernel)
    found = method(name).compress(problem, weights)
    assert isinstance(found, Quantised)
    sums = found.lower(site.place)
    size = found.codebooks.shape[2]
    plain = np.zeros((FILTERS, SIZE), np.int64)
    for (n, t, m), k in np.ndenumerate(found.indices):
        first = t * problem.channels + m * size
        plain[n, first : first + size] = found.codebooks[m, k]
    rows = site.values(site.place.windows)
    assert np.array_equal(site.values(sums.edge), rows @ plain.T)
    assert np.allclose(sums.scale, found.scale * site.place.scale)
    nodes = site.lowering.calibration.nodes
    order = [nodes[f"layer_{part}"].op for part in ("tables", "lookup")]
    assert [type(op) for op in order] == [Tables, Lookup]
    assert nodes["layer_tables"].inputs == ("input",)
    assert not any(isinstance(node.op, Dot) for node in nodes.values())
    assert sum(isinstance(node.op, Window) for node in nodes.values()) == (
        0 if slide.kernel == (1, 1) else 2
    )


def test_alexnet_costs_what_its_authors_state():
    dense = [dense_cost(shape) for shape, _, _ in ALEXNET]
    small = [cost(shape, space, words) for shape, space, words in ALEXNET]
    before, after = (sum(one.operations for one in costs) for costs in (dense, small))
    assert round(before / 1e6, 1) == 724.4
    assert round(after / 1e6, 1) == 174.3
    assert round(before / after, 3) == 4.156
    before, after = (sum(one.bytes for one in costs) / 2**20 for costs in (dense, small))
    assert round(before, 1) == 232.5
    assert round(after, 2) == 12.54
    assert round(before / after, 1) == 18.5


def test_the_cost_of_a_layer_is_that_of_its_arrays():
    found = compressed("qcnn:words=8,space=2,word_bits=8")
    channels = SIZE // (KERNEL[0] * KERNEL[1])
    whole = cost(Shape((10, 6), KERNEL[0] * KERNEL[1], (channels, FILTERS)), 2, 8)
    assert whole.multiply_adds == 10 * found.codebooks.size
    assert whole.lookups == 6 * found.indices.size
    assert whole.bytes == 4 * found.codebooks.size + 3 * found.indices.size / 8


def test_bad_fields():
    for text, wanted in (
        ("words=0", "qcnn has words from 1 to 65536, not 0"),
        ("space=257", "qcnn has space from 1 to 256, not 257"),
        ("word_bits=1", "qcnn has word_bits from 2 to 16, not 1"),
    ):
        with pytest.raises(ProgramError) as caught:
            method(f"qcnn:{text}")
        assert str(caught.value) == wanted


def test_depthwise_layers_become_integers():
    assert method("qcnn").depthwise == Uniform(8)
