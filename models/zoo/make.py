"""Makes the integer programs of the zoo: python -m bitwright.models.zoo.make.

Calibration reads the 300 calibration images (of the training part); the accuracy in each program's
metadata is that of the saved program on the 450 test images, measured after nothing is left to
choose.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .. import saved
from ..lower import quantise
from ..program import Program
from . import digits, networks

PROGRAMS = (
    ("digits-bwnh", "bwnh", 8, "digits_bwnh_a8.npz"),
    ("digits-bwnh-a4", "bwnh", 4, "digits_bwnh_a4.npz"),
    ("digits-int8", "int8", 8, "digits_int8_a8.npz"),
)


def accuracy(program: Program, split: digits.Split) -> float:
    """Top-1 on the test images, by the definitions."""
    scores = program(split.test_x).reshape(len(split.test_x), -1)
    return float((scores.argmax(1) == split.test_y).mean())


def main() -> None:
    """Compress the first float network by each method and save the programs beside this file."""
    split = digits.load()
    network = networks()["digits-cnn"].load()
    for name, method, bits, file in PROGRAMS:
        program = quantise(network, split.calibration_x, method, bits)
        made = {
            "accuracy": accuracy(program, split),
            "float_accuracy": network.metadata["accuracy"],
            "made_by": "python -m bitwright.models.zoo.make",
        }
        metadata = {**program.metadata, **made}
        saved.save(replace(program, name=name, metadata=metadata), Path(__file__).with_name(file))
        print(f"{name}: {made['accuracy']:.4f} on the test images")


if __name__ == "__main__":
    main()
