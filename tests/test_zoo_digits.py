"""The digits: a split that never moves, and trained networks that do what their files say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from bitwright.models import zoo
from bitwright.models.fixed import BINARY, ProgramError
from bitwright.models.layers import BatchNorm
from bitwright.models.lower import quantise
from bitwright.models.network import Network
from bitwright.models.ops import Dot
from bitwright.models.program import Program
from bitwright.models.saved import load
from bitwright.models.zoo import digits
from bitwright.models.zoo.binary import sign_of_batch_norm
from bitwright.models.zoo.shapes import SHAPES

SEEDS = range(3)
FOLDER = Path(zoo.__file__).parent


@pytest.fixture(scope="module")
def split() -> digits.Split:
    pytest.importorskip("sklearn")
    return digits.load()


def cnn(seed: int) -> Network:
    return Network.load(FOLDER / f"digits_cnn_seed{seed}.npz")


def binary(seed: int) -> Program:
    return load(FOLDER / f"digits_binary_seed{seed}.npz")


def accuracy(scores, split: digits.Split) -> float:
    return float((scores(split.test_x).argmax(-1) == split.test_y).mean())


def test_the_split_is_the_one_that_all_figures_were_measured_on(split):
    h = hashlib.sha256()
    for array in (split.train_x, split.train_y, split.calibration_x, split.test_x, split.test_y):
        h.update(array.astype(np.uint8).tobytes())
    assert h.hexdigest() == "0a8c8526099a306647612fc3a1598cf1b34420e3e20996a18dbb835c9daeadfb"


def test_no_test_image_trains_or_calibrates(split):
    assert split.train_x.shape == (1347, 8, 8, 1)
    assert split.calibration_x.shape == (300, 8, 8, 1)
    assert split.test_x.shape == (450, 8, 8, 1)
    train, calibration, test = (
        {image.tobytes() for image in images}
        for images in (split.train_x, split.calibration_x, split.test_x)
    )
    assert not train & test
    assert calibration <= train
    assert split.train_x.min() == 0
    assert split.train_x.max() == digits.PIXELS_MAX


def test_without_scikit_learn_it_says_so(monkeypatch):
    monkeypatch.setattr(digits, "load_digits", None)
    with pytest.raises(ProgramError) as caught:
        digits.load()
    assert str(caught.value) == (
        "the digits come with scikit-learn, which is not installed; run "
        "pip install 'bitwright[demo]'"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_files_state_their_accuracy(seed, split):
    assert accuracy(cnn(seed), split) == cnn(seed).metadata["accuracy"]


@pytest.mark.parametrize("name", [name for name in zoo.programs() if name not in SHAPES])
def test_every_program_of_the_zoo_states_its_accuracy(name, split):
    entry = zoo.programs()[name]
    assert accuracy(entry.load(), split) == entry.describe()["accuracy"]


def test_the_binary_network_is_binary_all_through(split):
    program = binary(0)
    weights = [node.op for node in program.nodes if isinstance(node.op, Dot)]
    assert len(weights) == 5
    assert all(op.grid == BINARY for op in weights)
    signs = [name for name in program.edges if name.endswith("_sign")]
    assert len(signs) == 4
    assert all(program.edges[name].grid == BINARY for name in signs)


def test_mean_accuracy_of_the_binary_network():
    assert np.mean([binary(seed).metadata["accuracy"] for seed in SEEDS]) >= 0.985


def test_bwnh_is_within_2_5_points_of_float_and_sign_alone_is_not(split):
    programs = [quantise(cnn(seed), split.calibration_x, "bwnh") for seed in SEEDS]
    wanted = np.mean([cnn(seed).metadata["accuracy"] for seed in SEEDS])
    assert np.mean([accuracy(program, split) for program in programs]) >= wanted - 0.025
    assert accuracy(quantise(cnn(0), split.calibration_x, "sign"), split) < 0.8
    # The first and the last layer are binary too.
    weights = [node.op for node in programs[0].nodes if isinstance(node.op, Dot)]
    assert len(weights) == 4
    assert all(op.grid == BINARY for op in weights)


def test_sign_of_batch_norm_is_exact():
    rng = np.random.default_rng(0)
    count, size, largest = 40, 9, 16
    gamma = rng.normal(size=count)
    gamma[:3] = 0, -0.0, -1e-12
    norm = BatchNorm(
        gamma, rng.normal(size=count), 30 * rng.normal(size=count), rng.uniform(0, 900, count)
    )
    signs = rng.choice([-1, 1], (count, 3, 3, 1))
    layer = sign_of_batch_norm(signs, norm, largest)
    sums = np.arange(-size * largest, size * largest + 1)[:, None]
    wanted = norm(sums.astype(float)) >= 0
    assert np.array_equal((sums >= layer.thresholds) == layer.rising, wanted)


def test_a_tie_is_plus_one():
    one = np.ones(1)
    for sign in 1, -1:
        norm = BatchNorm(sign * one, 0 * one, 5 * one, one, 0.0)
        layer = sign_of_batch_norm(np.ones((1, 1, 9, 1), int), norm, 1)
        at_five = (layer.thresholds <= 5) == layer.rising
        above = (layer.thresholds <= 6) == layer.rising
        assert at_five.all()
        assert above.all() == (sign > 0)
