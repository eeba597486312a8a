"""Roundings that a network states and weights that are given reach the program as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bitwright.models.activations import Quantize, Sign, Silu
from bitwright.models.compress.method import Compressed
from bitwright.models.fixed import BINARY, ProgramError, signed
from bitwright.models.layers import (
    Add,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    MaxPool,
    Pad,
    Relu,
)
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.ops import Dot, Requantise, Thresholds

SHAPE = (6, 5, 3)
INPUTS = np.random.default_rng(0).integers(0, 17, (20, *SHAPE))


def chain(*layers, names=()) -> Network:
    names = names or [f"n{number}" for number in range(len(layers))]
    nodes = map(Node, names, layers, ((name,) for name in ("input", *names)))
    return Network("net", SHAPE, tuple(nodes), (0, 16))


def integers(rng, grid, *shape) -> np.ndarray:
    if grid == BINARY:
        return rng.choice([-1, 1], shape)
    return rng.integers(grid.lo, grid.hi + 1, shape)


def trained(grid, *roundings) -> tuple[Network, dict[str, Compressed]]:
    """Two convolutions and scores, with weights, batch norms and roundings as training leaves them.

    Scales, biases and steps are sums of a few powers of two: float64 holds every value exactly.
    """
    rng = np.random.default_rng(len(roundings))
    given = {
        "conv1": Compressed(integers(rng, grid, 8, 27), grid, rng.integers(1, 9, 8) / 64),
        "conv2": Compressed(integers(rng, grid, 6, 72), grid, rng.integers(1, 9, 6) / 64),
        "scores": Compressed(integers(rng, grid, 5, 180), grid, rng.integers(1, 9, 5) / 64),
    }
    bias = {name: rng.integers(-9, 9, len(one.scale)) / 8 for name, one in given.items()}
    norm = [BatchNorm(rng.choice([-0.5, 0.25, 0.5], n), *rng.integers(-2, 3, (2, n)) / 4,
                      np.ones(n), 0.0) for n in (8, 6)]  # fmt: skip

    def conv(name: str, channels: int) -> Conv:
        dense = given[name].dense().reshape(-1, 3, 3, channels)
        return Conv(dense, bias[name], padding=(1, 1, 1, 1))

    network = chain(
        conv("conv1", 3), norm[0], *roundings,
        conv("conv2", 8), norm[1], *roundings,
        Flatten(), Dense(given["scores"].dense(), bias["scores"]),
        names=["conv1", "norm1", *(f"round1_{n}" for n in range(len(roundings))),
               "conv2", "norm2", *(f"round2_{n}" for n in range(len(roundings))), "flat", "scores"],
    )  # fmt: skip
    return network, given


ROUNDINGS = {
    "unsigned": (Relu(), Quantize(0.37, 0, 255)),
    "signed": (Quantize(0.5, -128, 127),),
    "few": (Relu(), Quantize(0.75, 0, 7)),
    "uneven": (Quantize(0.75, -3, 7),),
    "sign": (Sign(0.5),),
}


@pytest.mark.parametrize("grid", [BINARY, signed(4)], ids=["binary", "int4"])
@pytest.mark.parametrize("kind", ROUNDINGS)
def test_the_program_computes_the_network(kind, grid):
    network, given = trained(grid, *ROUNDINGS[kind])
    program = quantise(network, INPUTS, given=given)
    first, last = (f"round{number}_{len(ROUNDINGS[kind]) - 1}" for number in (1, 2))
    step = ROUNDINGS[kind][-1].step
    values, wanted = program.run(INPUTS), network.trace(INPUTS, network.output)
    rounded = {n.name: n.op for n in program.nodes}[first]
    assert isinstance(rounded, Requantise if kind in ("unsigned", "signed") else Thresholds)
    off = np.abs(values[first] - np.rint(wanted[first] / step))
    assert off.max() <= (1 if isinstance(rounded, Requantise) else 0)
    assert (off > 0).mean() < 0.01
    if isinstance(rounded, Thresholds):
        assert np.array_equal(values[last], np.rint(wanted[last] / step))
        scores = program.output_border.real(program(INPUTS))
        assert np.abs(scores - wanted["scores"]).max() <= float(program.output_border.scale[0])


def test_given_weights_and_their_biases_are_not_touched():
    network, given = trained(signed(4), *ROUNDINGS["few"])
    program = quantise(network, INPUTS, given=given)
    dots = [node.op for node in program.nodes if isinstance(node.op, Dot)]
    for dot, weight in zip(dots, given.values(), strict=True):
        assert np.array_equal(dot.weights, weight.weights)
    spoilt = given["conv2"].weights.copy()
    spoilt[3, 40] += 1 if spoilt[3, 40] < 7 else -1
    other = quantise(
        network, INPUTS, given={**given, "conv2": replace(given["conv2"], weights=spoilt)}
    )
    assert (other(INPUTS) != program(INPUTS)).any()
    assert program.metadata["weight_bits"] == 4 * (8 * 27 + 6 * 72 + 5 * 180)


def test_depthwise_weights_are_given_as_well():
    rng = np.random.default_rng(5)
    given = Compressed(integers(rng, signed(3), 3, 4), signed(3), np.full(3, 0.25))
    layer = DepthwiseConv(given.dense().reshape(3, 2, 2), np.array([1.0, 0.5, -2.0]))
    network = chain(layer, Quantize(0.25, -8, 7), MaxPool((2, 2), (2, 2)))
    program = quantise(network, INPUTS, given={"n0": given})
    assert np.array_equal(program.answer(program(INPUTS)), network(INPUTS.astype(float)))


def test_a_value_on_its_grid_is_not_rounded_again():
    network = chain(Quantize(1.0, 0, 16), Quantize(1.0, -16, 16), Quantize(2.0, 0, 7), Flatten())
    program = quantise(network, INPUTS)
    assert [type(node.op).__name__ for node in program.nodes] == ["Thresholds", "Reshape"]
    assert np.array_equal(program.answer(program(INPUTS)), network(INPUTS.astype(float)))


def test_the_sign_of_a_function_is_that_of_what_it_gives():
    for function, wanted in ((Relu(), {1}), (Silu(), {-1, 1})):
        layer = Conv(np.full((2, 2, 2, 3), 0.02), np.full(2, -1.9))
        network = chain(layer, function, Sign(), Flatten())
        program = quantise(network, INPUTS, "int8")
        assert set(np.unique(program(INPUTS)).tolist()) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            {"n9": Compressed(np.ones((2, 12), int), BINARY, np.ones(2))},
            "network 'net' has no layer 'n9' for the weights given; choose n0, n1, n2",
        ),
        (
            {"n0": Compressed(np.ones((2, 11), int), BINARY, np.ones(2))},
            (
                "layer 'n0' has weights (N, S) of shape (2, 12), and those given are (2, 11); give "
                "them for this layer"
            ),
        ),
        (
            {"n1": Compressed(np.ones((2, 1), int), BINARY, np.ones(2))},
            (
                "layer 'n1' has 2 groups, and weights are given to layers of one; let a method "
                "compress it"
            ),
        ),
    ],
)
def test_refusals(given, wanted):
    network = chain(
        Conv(np.ones((2, 2, 2, 3)), np.ones(2)),
        Conv(np.ones((2, 1, 1, 1)), np.ones(2), groups=2),
        DepthwiseConv(np.ones((2, 1, 1)), np.ones(2)),
    )
    with pytest.raises(ProgramError) as caught:
        quantise(network, INPUTS, given=given)
    assert str(caught.value) == wanted


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: Quantize(0.0, 0, 1), "Quantize has a step above 0, not 0.0"),
        (lambda: Quantize(1.0, 2, 1), "Quantize needs lo <= hi, not 2 and 1"),
        (
            lambda: Quantize(1.0, 0, 1.5),
            "hi of Quantize is an integer from -32768 to 32768, not 1.5",
        ),
        (lambda: Sign(-1.0), "Sign has a step above 0, not -1.0"),
    ],
)
def test_bad_roundings_are_refused(make, wanted):
    with pytest.raises(ProgramError) as caught:
        make()
    assert str(caught.value) == wanted


def test_signs_of_unequal_steps_do_not_join():
    conv = Conv(np.full((2, 1, 1, 3), 0.1), np.full(2, -2.0))
    nodes = (
        Node("a", conv, ("input",)),
        Node("left", Sign(0.5), ("a",)),
        Node("right", Sign(1.0), ("a",)),
        Node("sum", Add(), ("left", "right")),
    )
    network = Network("joined", INPUTS.shape[1:], nodes, (0, 16))
    with pytest.raises(ProgramError, match=r"'sum' joins signs of 0\.5 with values in steps of 1,"):
        quantise(network, INPUTS, "int8")


def test_a_network_may_end_in_what_is_never_kept():
    conv = Conv(np.full((2, 1, 1, 3), 0.1), np.full(2, -2.0))
    norm = BatchNorm(*(np.ones(2) for _ in range(4)))
    network = chain(conv, Relu(), Pad((1, 1, 1, 1)), norm)
    program = quantise(network, INPUTS, "int8")
    found = program.output_border.real(program(INPUTS))
    assert np.abs(found - network(INPUTS.astype(float))).max() < 0.1
