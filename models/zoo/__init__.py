"""Networks that come with bitwright: trained ones with their scripts, and published shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import saved
from ..network import Network
from ..program import Program
from .shapes import SHAPES

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class FloatEntry:
    """A float network of the zoo."""

    name: str
    file: str

    def load(self) -> Network:
        """Read the network."""
        return Network.load(_HERE / self.file)

    def describe(self) -> dict[str, Any]:
        """Name, shapes, range and accuracy."""
        network = self.load()
        return {
            "name": self.name,
            "kind": "float network",
            "input_shape": list(network.input_shape),
            "input_range": list(network.input_range or ()) or None,
            "output_shape": list(network.shapes[network.output]),
            "accuracy": network.metadata["accuracy"],
        }


@dataclass(frozen=True)
class ProgramEntry:
    """An integer program of the zoo."""

    name: str
    file: str

    def load(self) -> Program:
        """Read the program."""
        return saved.load(_HERE / self.file)

    def describe(self) -> dict[str, Any]:
        """Name, shapes, range and accuracy."""
        program = self.load()
        accuracy = program.metadata["accuracy"]
        return _described(self.name, "integer program", program, accuracy)


@dataclass(frozen=True)
class ShapeEntry:
    """A published shape with random weights (`shapes.py`)."""

    name: str

    def load(self) -> Program:
        """Make the program."""
        return SHAPES[self.name]()

    def describe(self) -> dict[str, Any]:
        """Name, shapes and range; random weights have no accuracy."""
        return _described(self.name, "shape, random weights", self.load(), None)


def _described(name: str, kind: str, program: Program, accuracy: float | None) -> dict[str, Any]:
    grid = program.input.grid
    return {
        "name": name,
        "kind": kind,
        "input_shape": list(program.input.shape),
        "input_range": [grid.lo, grid.hi],
        "output_shape": list(program.output.shape),
        "accuracy": accuracy,
    }


SEEDS = (0, 1, 2)


def networks() -> dict[str, FloatEntry]:
    """The float networks, by name; without a number: seed 0."""
    return {
        name: FloatEntry(name, f"digits_cnn_seed{seed}.npz")
        for seed in SEEDS
        for name in [_numbered("digits-cnn", seed)]
    }


def programs() -> dict[str, ProgramEntry | ShapeEntry]:
    """The integer programs, by name; without a number: seed 0."""
    found: list[ProgramEntry | ShapeEntry] = [
        ProgramEntry("digits-bwnh", "digits_bwnh_a8.npz"),
        ProgramEntry("digits-bwnh-a4", "digits_bwnh_a4.npz"),
        ProgramEntry("digits-int8", "digits_int8_a8.npz"),
        *(
            ProgramEntry(_numbered("digits-binary", seed), f"digits_binary_seed{seed}.npz")
            for seed in SEEDS
        ),
        *(ShapeEntry(name) for name in SHAPES),
    ]
    return {entry.name: entry for entry in found}


def entries() -> list[FloatEntry | ProgramEntry | ShapeEntry]:
    """Everything in the zoo."""
    return [*networks().values(), *programs().values()]


def _numbered(name: str, seed: int) -> str:
    return f"{name}-{seed}" if seed else name
