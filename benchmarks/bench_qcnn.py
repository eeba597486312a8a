"""Compare AlexNet's convolutions by lookup (Q-CNN, arXiv 1512.06473) with float32 products.

    python benchmarks/bench_qcnn.py [--word-bits B] [--input-bits B] [--rounds R] [--json]

The layers are conv2 to conv5 with 128 words of 8 channels, the paper's; words and indices are
random. One contestant takes a float image, quantises it, builds the tables and adds up lookups; the
others copy windows (im2col) and multiply them with the dense weights, one of floats by NumPy's
BLAS, one of the quantised image by our int8 kernel (which has instructions of its own on processors
with VNNI or AMX, and none on others). All run on one thread and take turns in each round, so a
change of clock or load meets them alike; ratios are taken within a round. Processor time does not
count the other load on the machine, though its use of caches shows; time on the clock stands beside
it. The authors state a speed-up of 4.15 in operations and of 3.03 on the clock for their whole
network. Figures of another machine are reported, not promised.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

import numba
import numpy as np
from bench_matmul import HANDICAPS, REMOVED, processor, restart_without_handicaps, summary
from numba import njit

from bitwright.models.fixed import Grid
from bitwright.sim.kernels.lookup_conv import LookupConv, Places
from bitwright.sim.kernels.lookup_loops import AVX2, add_lookups, convolver, turn
from bitwright.sim.kernels.matmul_int8 import int8_matmul, pack_int8

ROUNDS = 41
WORDS, WORD = 128, 8
CLOCKS = {"processor": time.thread_time, "wall": time.perf_counter}


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
    """A layer by lookup, from float images (1, H, W, C) of values 0..1."""

    def __init__(self, layer, word_bits, input_bits, rng):
        self.layer, self.top = layer, 2**input_bits - 1
        spaces, taps = layer.channels // WORD, layer.kernel**2
        words = rng.standard_normal((spaces, WORDS, WORD))
        self.words = np.rint(words * ((2 ** (word_bits - 1) - 1) / np.abs(words).max()))
        self.indices = rng.integers(
            0, WORDS, (layer.outputs, taps, spaces // layer.groups), np.uint8
        )
        places = Places((layer.size,) * 2, (layer.kernel,) * 2, padding=(layer.kernel // 2,) * 2)
        grid = Grid(0, self.top)
        self.conv = LookupConv.pack(
            places, grid, self.words.astype(np.int8), self.indices, layer.groups
        )
        self.space = self.conv.workspace()

    def quantised(self, x):
        out = np.empty(x.shape, np.uint8)
        quantise(x.reshape(-1), np.float32(self.top), np.float32(self.top), out.reshape(-1))
        return out

    def __call__(self, x):
        return self.conv(self.quantised(x), self.space)

    def stages(self, x):
        """Return name: call of the stages, each by itself; the layers here are one part each."""
        conv, space = self.conv, self.space
        groups, passes, outputs, _ = conv.offsets.shape
        octets = self.quantised(x)
        out = np.empty((*conv.places.output, groups * outputs), np.int32)
        no_outputs = np.ascontiguousarray(conv.offsets[:, :, :0])
        no_sums = np.ascontiguousarray(space.sums[:, :0])
        convolve = convolver(conv.form, conv.words.shape[2])

        def build():
            convolve(
                space.pixels, conv.words, conv.starts, no_outputs, conv.stretch,
                conv.plan.length, space.table, no_sums, out, conv.places.pitch,
            )  # fmt: skip

        def accumulate():
            for group in range(groups):
                space.sums[...] = 0
                for p in range(passes):
                    add_lookups(space.table, conv.offsets[group, p], conv.stretch, space.sums)
                turn(space.sums, 0, conv.places.pitch, group * outputs, out)

        return {
            "quantise": lambda: self.quantised(x),
            "arrange": lambda: conv.arrange(octets[0], space.pixels),
            "build": build,
            "accumulate": accumulate,
        }


class Dense:
    """The same layer by windows and float32 products."""

    kind = np.float32

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
        self.padded = np.zeros((padded, padded, layer.channels), self.kind)
        self.windows = np.empty(
            (layer.groups, layer.size, layer.size, layer.kernel, layer.kernel, depth), self.kind
        )

    def __call__(self, x):
        self.copy_windows(x)
        size = self.layer.size
        out = np.empty((1, size, size, self.layer.outputs), np.float32)
        n = self.weights.shape[2]
        for g, (windows, weights) in enumerate(zip(self.windows, self.weights, strict=True)):
            target = out.reshape(size * size, -1)[:, g * n : (g + 1) * n]
            np.matmul(windows.reshape(size * size, -1), weights, out=target)
        return out

    def copy_windows(self, x):
        layer, pad = self.layer, self.pad
        size, depth = layer.size, self.windows.shape[-1]
        self.padded[pad : pad + size, pad : pad + size] = x[0]
        for g, windows in enumerate(self.windows):
            part = self.padded[..., g * depth : (g + 1) * depth]
            for y in range(layer.kernel):
                for z in range(layer.kernel):
                    windows[:, :, y, z] = part[y : y + size, z : z + size]


class Integer(Dense):
    """The same layer by quantising, windows of bytes and 8-bit products."""

    kind = np.uint8

    def __init__(self, lookup):
        super().__init__(lookup)
        self.quantised = lookup.quantised
        self.packed = [pack_int8(weights.T.astype(np.int8)) for weights in self.weights]

    def __call__(self, x):
        self.copy_windows(self.quantised(x))
        rows = self.windows.reshape(len(self.packed), self.layer.size**2, -1)
        parts = [int8_matmul(x, packed) for x, packed in zip(rows, self.packed, strict=True)]
        return np.concatenate(parts, axis=1).reshape(1, *(self.layer.size,) * 2, -1)


def contestants(word_bits, input_bits):
    """Return name of layer: the stages of it by lookup, all of it, and the dense ones."""
    rng = np.random.default_rng(0)
    found, about = {}, {}
    for layer in LAYERS:
        x = rng.random((1, layer.size, layer.size, layer.channels), np.float32)
        lookup = Lookup(layer, word_bits, input_bits, rng)
        dense, integer = Dense(lookup), Integer(lookup)
        octets = lookup.quantised(x)
        expected = dense(octets.astype(np.float32)).astype(np.int64)
        bound = np.abs(dense.weights).sum(axis=1).max() * lookup.top
        if bound <= 2**24:  # Float32 is exact.
            assert np.array_equal(lookup(x), expected)
        else:
            assert np.allclose(lookup(x), expected, rtol=1e-4, atol=bound * 2**-20)
        assert np.array_equal(lookup(x), integer(x))
        found[layer.name] = {
            **lookup.stages(x),
            "lookup": partial(lookup, x),
            "im2col": partial(dense.copy_windows, x),
            "dense": partial(dense, x),
            "int8": partial(integer, x),
        }
        about[layer.name] = lookup.conv
    return found, about


def seconds(call):
    """Return the time of a call by each clock, after one that brings its data to the caches."""
    call()
    starts = [clock() for clock in CLOCKS.values()]
    call()
    return [clock() - start for clock, start in zip(CLOCKS.values(), starts, strict=True)]


def measure(found, rounds):
    """Return layer: {name: milliseconds (clocks, rounds)}, with the sums of layers as "total"."""
    taken = [
        {
            layer: {name: seconds(call) for name, call in calls.items()}
            for layer, calls in found.items()
        }
        for _ in range(rounds)
    ]
    times = {
        layer: {name: 1e3 * np.array([each[layer][name] for each in taken]).T for name in calls}
        for layer, calls in found.items()
    }
    names = next(iter(found.values()))
    return times | {"total": {name: sum(each[name] for each in times.values()) for name in names}}


def figures(times, clock):
    """Return name: a summary of its milliseconds by this clock, and of the ratio."""
    of_clock = {name: each[clock] for name, each in times.items()}
    rows = {name: summary(each) for name, each in of_clock.items()}
    rows["dense / lookup"] = summary(of_clock["dense"] / of_clock["lookup"])
    rows["int8 / lookup"] = summary(of_clock["int8"] / of_clock["lookup"])
    rows["dense / lookup of the minima"] = rows["dense"]["min"] / rows["lookup"]["min"]
    return rows


def report(arguments):
    found, about = contestants(arguments.word_bits, arguments.input_bits)
    times = measure(found, arguments.rounds)
    dense, lookup = (
        sum(each) for each in zip(*(layer.operations for layer in LAYERS), strict=True)
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "rounds": arguments.rounds,
        "threads": 1,
        "word bits": arguments.word_bits,
        "input bits": arguments.input_bits,
        "unset": {"names": HANDICAPS, "removed for this run": os.environ.get(REMOVED)},
        "plans": {
            name: {
                "AVX2 products": conv.form == AVX2,
                "stretch": conv.stretch,
                "sub-spaces": len(conv.words),
                **asdict(conv.plan),
            }
            for name, conv in about.items()
        },
        "operations": {"dense": dense, "lookup": lookup, "ratio": dense / lookup},
        "milliseconds": {
            clock: {layer: figures(each, i) for layer, each in times.items()}
            for i, clock in enumerate(CLOCKS)
        },
    }


def show(result):
    print(f"{result['date']}, {result['processor']}")
    print(
        f"numba {result['numba']}, numpy {result['numpy']}, {result['rounds']} rounds, one thread"
    )
    print(f"words of {result['word bits']} bits, inputs of {result['input bits']} bits")
    print(f"operations dense / lookup: {result['operations']['ratio']:.2f}")
    for clock, layers in result["milliseconds"].items():
        print(f"\n{clock + ' time, ms':34}{'min':>8}{'median':>8}{'max':>8}{'spread':>8}")
        for layer, rows in layers.items():
            for name, row in rows.items():
                values = row.values() if isinstance(row, dict) else [row]
                print(f"{layer:6}{name:28}" + "".join(f"{value:8.3f}" for value in values))


def main():
    parser = argparse.ArgumentParser(description="Compare lookups with float32 products.")
    parser.add_argument("--word-bits", type=int, default=6, choices=range(2, 9), help="of a weight")
    parser.add_argument("--input-bits", type=int, default=7, choices=range(1, 9), help="unsigned")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    restart_without_handicaps()
    result = report(arguments)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
