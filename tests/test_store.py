"""Calibration data in bounded memory: what is kept comes back, and frames cost no memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bitwright.models import store
from bitwright.models.activations import Clip
from bitwright.models.calibration import Calibration
from bitwright.models.fixed import Grid
from bitwright.models.layers import Conv, Flatten, Relu
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.program import Edge, define
from bitwright.models.store import Store, chunks
from bitwright.sim import kernels


@pytest.mark.parametrize("memory", [1 << 20, 64], ids=["in memory", "in a file"])
def test_arrays_come_back_whatever_the_order_of_their_parts(memory, monkeypatch):
    monkeypatch.setattr(store, "MEMORY", memory)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-9, 9, (7, 3, 2)).astype(np.int8), rng.normal(size=(7, 5))]
    shared = Store()
    kept = [shared.reserve(array.shape, array.dtype) for array in arrays]
    for part in (slice(4, 7), slice(0, 1), slice(1, 4)):
        for stored, array in zip(kept, arrays, strict=True):
            stored.write(part, array[part])
    for stored, array in zip(kept, arrays, strict=True):
        assert np.array_equal(stored[:], array)
        assert np.array_equal(stored[2:5], array[2:5])
        assert np.allclose(stored.mean(), array.reshape(-1, array.shape[-1]).mean(0))


def test_chunks_cover_all_frames_once(monkeypatch):
    monkeypatch.setattr(store, "CHUNK_ELEMENTS", 10)
    for frames, elements in [(1, 3), (9, 3), (10, 3), (4, 11)]:
        parts = list(chunks(frames, elements))
        assert [i for part in parts for i in range(frames)[part]] == list(range(frames))
        assert all((part.stop - part.start) * elements <= max(10, elements) for part in parts)


def small_network() -> Network:
    rng = np.random.default_rng(1)
    conv = [
        Conv(rng.normal(size=(8, 3, 3, c)), rng.normal(size=8), padding=(1,) * 4) for c in (2, 8)
    ]
    layers = {"conv1": conv[0], "relu": Relu(), "conv2": conv[1], "flat": Flatten()}
    names = ["input", *layers]
    nodes = [Node(n, layers[n], (before,)) for before, n in zip(names, layers, strict=False)]
    return Network("small", (6, 6, 2), tuple(nodes))


def test_memory_of_calibration_is_independent_of_the_number_of_images(monkeypatch):
    monkeypatch.setattr(store, "MEMORY", 1 << 12)
    monkeypatch.setattr(store, "CHUNK_ELEMENTS", 1 << 11)
    monkeypatch.setattr("bitwright.models.calibration.SAMPLES_MAX", 1 << 10)
    network = small_network()
    quantise(network, np.ones((2, *network.input_shape)), "int8")  # compiles
    peaks: list[int] = []
    for frames in (100, 1000):
        x = np.random.default_rng(2).integers(0, 99, (frames, *network.input_shape))
        tracemalloc.start()
        try:
            quantise(network, x, "int8")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # Ten times the frames; the garbage collector's turns move a peak by some per cent.
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_room_takes_no_memory_before_it_is_written(monkeypatch):
    """Neither that of large arrays, nor what lies between two writes."""
    monkeypatch.setattr(store, "MEMORY", 1 << 16)
    ones = np.ones((1, 1000))
    tracemalloc.start()
    try:
        shared = Store()
        first, last = (shared.reserve((8000, 1000), ones.dtype) for _ in range(2))
        first.write(slice(0, 1), ones)
        last.write(slice(7999, 8000), ones)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(last[7998:8000], [0 * ones[0], ones[0]])
    assert peak < 1 << 20


def test_a_file_changes_nothing(monkeypatch):
    network = small_network()
    x = np.random.default_rng(3).normal(size=(30, *network.input_shape))
    whole = quantise(network, x, "bwnh").digest
    monkeypatch.setattr(store, "MEMORY", 1)
    assert quantise(network, x, "bwnh").digest == whole


def test_every_channel_has_a_say_in_the_step_of_activations():
    """As many images as make the stride of the samples a multiple of the channels."""
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(16, 1, 1, 1))
    weights[0] /= 100
    layers = {
        "conv": Conv(weights, np.zeros(16)),
        "clip": Clip(-100.0, 100.0),
        "sum": Conv(rng.normal(size=(1, 1, 1, 16)), np.zeros(1)),
    }
    names = ["input", *layers]
    nodes = [Node(n, layers[n], (before,)) for before, n in zip(names, layers, strict=False)]
    network = Network("quiet", (64, 64, 1), tuple(nodes))
    x = rng.normal(size=(64, *network.input_shape))
    program = quantise(network, x, "int8", execute=kernels.execute)
    found = program.output_border.real(kernels.run(program, x[:4]))
    assert np.abs(found - network(x[:4])).mean() < 0.1 * network(x[:4]).std()


def test_accumulators_beyond_32_bits_are_kept_as_integers():
    edge = Edge.of((2, 1), Grid(-1, 1 << 60))
    calibration = Calibration(define, 1)
    value = np.array([[[(1 << 53) + 1], [-1]]])
    calibration.keep("wide", edge, lambda part: value[part])
    assert np.array_equal(calibration.values("wide", slice(None)), value)
    assert calibration.kept["wide"].dtype == np.int64


@pytest.mark.parametrize("shape", [(1, 20, 64), (8, 8, 16), (4, 5, 7), (32,)])
def test_samples_come_from_every_position_of_images(shape: tuple[int, ...]):
    """A step that shares a factor with the width would meet some columns alone, such as borders."""
    frames, positions = 2000, int(np.prod(shape[:-1]))
    calibration = Calibration(define, frames)
    place = np.broadcast_to(np.arange(positions).reshape(*shape[:-1], 1), (frames, *shape))
    calibration.keep("image", Edge.of(shape, Grid(0, 63)), lambda part: place[part])
    rows = calibration.samples("image", lambda values: values.astype(np.float64))
    counts = np.bincount(rows[:, 0].astype(int), minlength=positions)
    assert counts.min() >= 0.9 * counts.mean() > 0
    assert rows.size <= 1 << 18
