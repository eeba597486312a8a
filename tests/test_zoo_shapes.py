"""The published shapes: their sizes, weights and folded cycles are those of their sources."""

from __future__ import annotations

import numpy as np
import pytest

from bitwright.codegen.folding import read_folds
from bitwright.codegen.project import sample_frames
from bitwright.hw.design import Design
from bitwright.models import zoo
from bitwright.models.memory import weights
from bitwright.models.ops import DepthwiseDot, Dot
from bitwright.models.zoo.shapes import SHAPES, cnv, tfc

WEIGHTS = {"tfc": 59_008, "cnv": 1_542_848, "resnet8": 77_360, "dscnn": 22_016}
"""Without biases: 784*64 + 2*64*64 + 64*10 and so on."""
FINN_TFC = [(16, 49), (8, 8), (8, 8), (10, 8)]
FINN_CNV = [(16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1)]


def dots(program):
    return [node for node in program.nodes if isinstance(node.op, Dot)]


@pytest.mark.parametrize("name", SHAPES)
def test_number_of_weights(name: str):
    program = SHAPES[name]()
    layers = [node for node in program.nodes if isinstance(node.op, Dot | DepthwiseDot)]
    assert sum(weights(node.op) for node in layers) == WEIGHTS[name]


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_program_each_time_under_its_name_in_the_zoo(name: str):
    assert SHAPES[name]().digest == zoo.programs()[name].load().digest


@pytest.mark.parametrize("name", SHAPES)
def test_no_edge_is_constant(name: str):
    program = SHAPES[name]()
    values = program.run(sample_frames(program.input, 1))
    assert [name for name, value in values.items() if np.ptp(value) == 0] == []


@pytest.mark.parametrize(
    ("make", "folding", "cycles"),
    [
        (tfc, FINN_TFC, [64, 64, 64, 8]),
        (cnv, FINN_CNV, [32400, 28224, 20736, 28800, 20736, 18432, 32768, 32768, 1024]),
    ],
)
def test_cycles_at_the_foldings_that_finn_publishes(make, folding, cycles):
    program = make()
    layers = [node.name for node in dots(program)]
    pairs = zip(layers, folding, strict=True)
    folds = read_folds({name: {"pe": pe, "simd": simd} for name, (pe, simd) in pairs})
    design = Design(program, folds, {})
    assert [design.by_name[name].cycles for name in layers] == cycles
