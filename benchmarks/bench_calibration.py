"""Memory and seconds of compressing a network, and how they grow with the images of calibration.

    python benchmarks/bench_calibration.py [--images 500,2000,8000] [--weights int8] [--json]

A CNV-like float network (3x3 convolutions of 32-32-64-64 channels over 32x32x3 images, two pools,
ten scores) of random weights and images.  Each number of images runs in a process of its own; its
peak is the resident memory at its highest, less that after the images were made: what compression
adds to what its user holds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np

from bitwright.models.layers import Conv, Dense, Flatten, MaxPool, Relu
from bitwright.models.lower import quantise
from bitwright.models.network import INPUT, Network, Node
from bitwright.sim import kernels

IMAGES = "500,2000,8000"
SHAPE = (32, 32, 3)
CHANNELS = (32, 32, 64, 64)
MEGA = 1 << 20


def network() -> Network:
    """The network: convolutions of 3x3 without padding, a pool behind each pair, ten scores."""
    rng = np.random.default_rng(0)
    nodes: list[Node] = []

    def add(name, layer):
        nodes.append(Node(name, layer, (nodes[-1].name if nodes else INPUT,)))

    channels = SHAPE[-1]
    for number, filters in enumerate(CHANNELS):
        weights = rng.normal(size=(filters, 3, 3, channels)) / np.sqrt(9 * channels)
        add(f"conv{number}", Conv(weights.astype(np.float32), np.zeros(filters, np.float32)))
        add(f"relu{number}", Relu())
        if number % 2:
            add(f"pool{number}", MaxPool((2, 2), (2, 2)))
        channels = filters
    add("flat", Flatten())
    scores = rng.normal(size=(10, 25 * channels)) / 40
    add("scores", Dense(scores.astype(np.float32), np.zeros(10, np.float32)))
    return Network("cnv_like", SHAPE, tuple(nodes), (0, 255))


def measure(images: int, weights: str) -> dict[str, float]:
    """Peak megabytes beyond the images, and seconds."""
    net = network()
    x = np.random.default_rng(1).integers(0, 256, (images, *SHAPE), np.uint8)
    before = resident()
    start = time.perf_counter()
    quantise(net, x, weights, execute=kernels.execute)
    return {
        "images": images,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) / MEGA - before,
        "seconds": time.perf_counter() - start,
    }


def resident() -> float:
    """Megabytes of this process that lie in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize() / MEGA


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", default=IMAGES, help=f"numbers of them (default: {IMAGES})")
    parser.add_argument("--weights", default="int8", help="the method (default: int8)")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure(given.one, given.weights)))
        return
    rows = []
    for images in map(int, given.images.split(",")):
        command = [sys.executable, __file__, "--one", str(images), "--weights", given.weights]
        rows.append(json.loads(subprocess.check_output(command, text=True)))
        if not given.json:
            row = rows[-1]
            print(f"{images:8,} images {row['megabytes']:8,.0f} MB {row['seconds']:8.1f} s")
    if given.json:
        print(json.dumps({"date": date.today().isoformat(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
