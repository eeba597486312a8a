"""Compare AlexNet's convolutions by lookup (Q-CNN, arXiv 1512.06473) with float32 products.

    python benchmarks/bench_qcnn.py [--word-bits B] [--input-bits B] [--rounds R] [--json]

The layers are conv2 to conv5 with 128 words of 8 channels, the paper's. One contestant takes float
images, quantises them, builds the tables and adds up lookups; the other copies windows (im2col) and
multiplies them with the dense weights by NumPy's BLAS. Both run on one thread and take turns in
each round, so a change of clock or load meets them alike; ratios are taken within a round, of
processor time, which does not count other load, though its use of caches shows. The authors state
a speed-up of 4.15 in operations and of 3.03 on the clock for their whole network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numba
import numpy as np
from bench_matmul import HANDICAPS, REMOVED, processor, summary
from numba import njit

from bitwright.models.fixed import Grid
from bitwright.sim.kernels.lookup_conv import LookupConv, Places
from bitwright.sim.kernels.lookup_loops import has_avx2

ROUNDS = 41
WORDS, WORD = 128, 8
THREADS = "OPENBLAS_NUM_THREADS"
STAGES = ("quantise", "arrange", "build", "accumulate", "turn")


@dataclass(frozen=True)
class Layer:
    """A convolution of square images with padding that keeps their size."""

    name: str
    size: int
    channels: int
    outputs: int
    kernel: int
    groups: int

    @property
    def operations(self) -> tuple[int, int]:
        """Multiply-additions of the dense layer; those of the tables and additions of lookups."""
        pixels, taps = self.size**2, self.kernel**2
        dense = pixels * self.outputs * taps * self.channels // self.groups
        return dense, pixels * self.channels * WORDS + dense // WORD


LAYERS = (
    Layer("conv2", 27, 96, 256, 5, 2),
    Layer("conv3", 13, 256, 384, 3, 1),
    Layer("conv4", 13, 384, 384, 3, 2),
    Layer("conv5", 13, 384, 256, 3, 2),
)


@njit(cache=True, nogil=True)
def quantise(x, scale, top, out):
    """Round floats x >= 0 to the integers 0..top of out."""
    for i in range(len(x)):
        out[i] = np.uint8(min(x[i] * scale + np.float32(0.5), top))


class Lookup:
    """A layer by lookup, from float images, with the seconds of its stages."""

    def __init__(self, layer, word_bits, input_bits, rng):
        self.layer, self.top = layer, 2**input_bits - 1
        spaces, taps = layer.channels // WORD, layer.kernel**2
        words = rng.standard_normal((spaces, WORDS, WORD))
        self.words = np.rint(words * ((2 ** (word_bits - 1) - 1) / np.abs(words).max()))
        self.indices = rng.integers(
            0, WORDS, (layer.outputs, taps, spaces // layer.groups), np.uint8
        )
        places = Places(
            (layer.size,) * 2, (layer.kernel,) * 2, padding=(layer.kernel // 2,) * 2
        )
        grid = Grid(0, self.top)
        self.conv = LookupConv.pack(
            places, grid, self.words.astype(np.int8), self.indices, layer.groups
        )

    def quantised(self, x):
        out = np.empty(x.shape, np.uint8)
        quantise(x.reshape(-1), np.float32(self.top), np.float32(self.top), out.reshape(-1))
        return out

    def __call__(self, x):
        return self.conv(self.quantised(x))


class Dense:
    """The same layer by windows and float32 products."""

    def __init__(self, lookup):
        layer = lookup.layer
        self.layer, self.pad = layer, layer.kernel // 2
        depth, outputs = layer.channels // layer.groups, layer.outputs // layer.groups
        spaces = depth // WORD
        space = np.arange(layer.groups)[:, None, None, None] * spaces + np.arange(spaces)
        found = lookup.indices.reshape(layer.groups, outputs, -1, spaces)
        weights = lookup.words[space, found].reshape(layer.groups, outputs, -1)
        self.weights = np.ascontiguousarray(weights.transpose(0, 2, 1), np.float32)
        padded = layer.size + 2 * self.pad
        self.padded = np.zeros((padded, padded, layer.channels), np.float32)
        self.windows = np.empty(
            (layer.groups, layer.size, layer.size, layer.kernel, layer.kernel, depth), np.float32
        )

    def __call__(self, x):
        layer, pad = self.layer, self.pad
        size, depth = layer.size, self.windows.shape[-1]
        self.padded[pad : pad + size, pad : pad + size] = x[0]
        out = np.empty((1, size, size, layer.outputs), np.float32)
        for g, (windows, weights) in enumerate(zip(self.windows, self.weights, strict=True)):
            part = self.padded[..., g * depth : (g + 1) * depth]
            for y in range(layer.kernel):
                for z in range(layer.kernel):
                    windows[:, :, y, z] = part[y : y + size, z : z + size]
            n = weights.shape[1]
            target = out.reshape(size * size, -1)[:, g * n : (g + 1) * n]
            np.matmul(windows.reshape(size * size, -1), weights, out=target)
        return out
