"""Winograd's tiles against plain convolutions of the same integers, bit for bit, times four."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from agree import chain, check_hardware, refused, samples, stalls
from test_shuffles import images, shufflenet

from bitwright.codegen.bench import Trial
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.buffers import buffered
from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.calibration import Calibration
from bitwright.models.compress.method import Compressed, Site, method
from bitwright.models.compress.problem import LayerProblem
from bitwright.models.compress.uniform import Uniform
from bitwright.models.compress.winograd import (
    FACTORS,
    INPUTS,
    OUTPUTS,
    WEIGHTS,
    Tiled,
    Winograd,
    pays,
    tiles,
    transformed,
)
from bitwright.models.fixed import BINARY, Grid, Ints, signed, unsigned
from bitwright.models.layers import Conv, Dense, DepthwiseConv, Flatten, MaxPool, Relu, Slide
from bitwright.models.lower import quantise
from bitwright.models.lowering import Lowering, Place
from bitwright.models.network import Network, Node
from bitwright.models.ops import DepthToSpace, DepthwiseDot, Dot, SparseDot, TapTransform, Window
from bitwright.models.program import INPUT, Edge, Program, define
from bitwright.models.program import Node as ProgramNode
from bitwright.sim import kernels
from bitwright.sim.kernels import execute
from bitwright.sim.rtl import simulate

Sides = tuple[int, int, int, int]
ONES: Sides = (1, 1, 1, 1)
BITS = unsigned(4)


class Image:
    """A site that has nothing but its input: all lowest, all highest, and random images."""

    def __init__(self, edge: Edge, padding: Sides):
        self.edge, self.x = edge, samples(edge, 6, sum(edge.shape))
        calibration = Calibration(define, len(self.x))
        calibration.keep(INPUT, edge, lambda part: self.x[part])
        network = Network("none", edge.shape, (Node("flat", Flatten(), (INPUT,)),))
        self.lowering = Lowering(network, {}, {}, calibration, method, 8)
        slide = Slide((3, 3), padding=padding)
        windows = self.lowering.windows("layer_window", INPUT, slide)
        self.site: Site = Place(self.lowering, "layer", INPUT, 0.5, slide, windows)

    def program(self, output: str) -> Program:
        """The program up to an edge."""
        nodes = self.lowering.calibration.nodes
        wanted, kept = {output}, list[ProgramNode]()
        for node in reversed(nodes.values()):
            if node.name in wanted:
                wanted.update(node.inputs)
                kept.append(node)
        return Program("image", self.edge, tuple(reversed(kept)))


def weights(results: int, channels: int, grid: Grid, seed: int = 0) -> Ints:
    """Random weights (N, 9*C), some of them at the ends."""
    rng = np.random.default_rng(seed)
    shape = (results, 9 * channels)
    values = rng.integers(grid.lo, grid.hi, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.3, rng.choice([grid.lo, grid.hi], shape), values)


def test_the_matrices_are_those_of_the_paper():
    """A^T [(G g) * (B^T d)] is the convolution of four inputs with three weights."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        d, g = rng.integers(-99, 100, 4), rng.integers(-99, 100, 3)
        found = OUTPUTS @ ((WEIGHTS @ g) * (INPUTS @ d))
        assert found.tolist() == [2 * int(d[k : k + 3] @ g) for k in (0, 1)]
    assert not (WEIGHTS @ rng.integers(-99, 100, (3, 50)) % FACTORS[:, None]).any()


def compare(image: Image, w: Ints) -> None:
    output = tiles(image.site, w)
    found, whole = image.program(output), image.program(image.site.windows)
    wanted = 4 * (whole(image.x) @ w.T)
    np.testing.assert_array_equal(found(image.x), wanted)
    np.testing.assert_array_equal(found.run(image.x, execute)[output], wanted)
    np.testing.assert_array_equal(kernels.run(found, image.x), wanted)
    edge = found.output
    assert bool(((wanted >= edge.lo) & (wanted <= edge.hi)).all())


SIZES = [
    pytest.param(height, padding, id=f"{height}-{padding}")
    for padding in [(0, 0, 0, 0), ONES, (0, 2, 1, 0), (2, 2, 2, 2)]
    for height in range(max(1, 3 - padding[0] - padding[2]), 10)
]
"""Heights and paddings in which a kernel fits."""


@pytest.mark.parametrize(("height", "padding"), SIZES)
def test_every_size_equals_the_plain_convolution_times_four(height: int, padding: Sides):
    for width in range(max(1, 3 - padding[1] - padding[3]), 10):
        channels, results = 1 + (height + width) % 3, 1 + width % 4
        image = Image(Edge.of((height, width, channels), signed(8)), padding)
        compare(image, weights(results, channels, signed(8), height))


@pytest.mark.parametrize("channels", [1, 5, 16])
@pytest.mark.parametrize("results", [1, 8])
@pytest.mark.parametrize("bits", [2, 8, 12])
@pytest.mark.parametrize("grid", [unsigned(8), signed(3), BINARY], ids=str)
def test_any_channels_widths_and_signs(grid: Grid, bits: int, results: int, channels: int):
    image = Image(Edge.of((5, 6, channels), grid), ONES)
    compare(image, weights(results, channels, signed(bits), bits))


@pytest.mark.parametrize("bits", [2, 8, 12])
def test_transformed_weights_take_four_bits_more_and_none_off_their_blocks(bits: int):
    grid = signed(bits)
    for value in grid.lo, grid.hi:
        op = transformed(np.full((2, 27), value))
        assert op.grid.bits <= bits + 4
    op = transformed(weights(2, 3, grid))
    assert not (op.weights * (1 - np.kron(np.eye(16, dtype=int), np.ones((2, 3), int)))).any()
    # All the same: a tap sees the sum of a row of 2G, of both axes, less the common factor.
    sums = (WEIGHTS.sum(1) // FACTORS).tolist()
    found = transformed(np.ones((1, 9), int)).weights.diagonal().reshape(4, 4)
    assert found.tolist() == [[a * b for b in sums] for a in sums]


def test_a_wrong_constant_is_seen():
    """Each constant that is altered by one changes some result."""
    image = Image(Edge.of((4, 4, 2), signed(8)), ONES)
    w = weights(3, 2, signed(8))
    program = image.program(tiles(image.site, w))
    wanted = program(image.x)
    for at, node in enumerate(program.nodes):
        for name in {"matrix", "weights"} & vars(node.op).keys():
            values = getattr(node.op, name)
            places = np.argwhere(np.ones_like(values) if name == "matrix" else values)
            for place in places.tolist():
                wrong = values.copy()
                wrong[tuple(place)] -= np.sign(wrong[tuple(place)]) or 1
                nodes = [*program.nodes]
                nodes[at] = replace(node, op=replace(node.op, **{name: wrong}))  # type: ignore[type-var]
                other = Program("wrong", program.input, tuple(nodes))
                assert not np.array_equal(other(image.x), wanted), (node.name, place)


def test_it_is_taken_where_it_takes_fewer_products():
    three = Slide((3, 3), padding=ONES)
    assert pays(three, (2, 2, 9))
    assert pays(three, (3, 3, 9))
    assert not pays(three, (1, 1, 9))
    assert not pays(three, (1, 3, 9))
    for other in (
        Slide((3, 3), (2, 2), ONES), Slide((3, 3), padding=ONES, dilation=(2, 2)), Slide((1, 1)),
        Slide((5, 5)), Slide((3, 1)),
    ):  # fmt: skip
        assert not pays(other, (8, 8, 9))


def network(seed: int = 3) -> Network:
    """Convolutions that become tiles, of an odd and an even size, and layers that do not."""
    rng = np.random.default_rng(seed)

    def conv(results: int, channels: int, **more: tuple[int, ...]) -> Conv:
        return Conv(rng.normal(size=(results, 3, 3, channels)), rng.normal(size=results), **more)  # type: ignore[arg-type]

    nodes = (
        Node("conv1", conv(4, 2, padding=ONES), (INPUT,)),
        Node("relu1", Relu(), ("conv1",)),
        Node("pool", MaxPool((2, 2), (2, 2)), ("relu1",)),
        Node("conv2", conv(3, 4), ("pool",)),
        Node("relu2", Relu(), ("conv2",)),
        Node("each", DepthwiseConv(rng.normal(size=(3, 3, 3)), np.zeros(3), padding=ONES),
             ("relu2",)),
        Node("strided", conv(4, 3, stride=(2, 2), padding=ONES), ("each",)),
        Node("flat", Flatten(), ("strided",)),
        Node("scores", Dense(rng.normal(size=(3, 16)), rng.normal(size=3)), ("flat",)),
    )  # fmt: skip
    return Network("tiled_net", (10, 10, 2), nodes)


def test_a_network_computes_what_plain_integers_do():
    floats = network()
    x = np.abs(images(floats))
    found, plain = (quantise(floats, x, name) for name in ("winograd", "int8"))
    kinds = [type(node.op) for node in found.nodes]
    assert kinds.count(SparseDot) == kinds.count(DepthToSpace) == 2
    assert kinds.count(TapTransform) == 4
    assert (kinds.count(Dot), kinds.count(DepthwiseDot)) == (2, 1)
    assert found.metadata["weight_bits"] == plain.metadata["weight_bits"]
    frames = samples(found.input, 20)
    values, wanted = found.run(frames), plain.run(frames)
    np.testing.assert_array_equal(values["conv1_image"], 4 * wanted["conv1_dot"])
    np.testing.assert_array_equal(found(frames), plain(frames))
    np.testing.assert_array_equal(kernels.run(found, frames), plain(frames))


def test_groups_become_tiles_of_their_own():
    floats = shufflenet()
    x = images(floats)
    found, plain = (quantise(floats, x, name) for name in ("winograd", "int8"))
    assert any(isinstance(node.op, DepthwiseDot) for node in found.nodes)
    np.testing.assert_array_equal(found(plain.accept(x)), plain(plain.accept(x)))


def test_its_weights_are_those_of_uniform():
    rng = np.random.default_rng(2)
    real = rng.normal(size=(3, 18))
    how = method("winograd:bits=5")
    assert how == Winograd(5)
    assert how.depthwise == Uniform(5)
    found = how.start(LayerProblem.data_free(real, (3, 3)), real)
    plain = Uniform(5).start(LayerProblem.data_free(real, (3, 3)), real)
    assert isinstance(found, Tiled)
    assert isinstance(plain, Compressed)
    np.testing.assert_array_equal(found.plain.weights, plain.weights)
    assert found.bits == plain.bits == 3 * 18 * 5
    with refused("winograd has bits from 2 to 12, not 13"):
        Winograd(13)
    with refused("winograd has bits from 2 to 12, not 1"):
        method("winograd:bits=1")


def convolution(size: tuple[int, int], channels: int, results: int, grid: Grid = BITS) -> Program:
    """A padded convolution by tiles."""
    image = Image(Edge.of((*size, channels), grid), ONES)
    output = tiles(image.site, weights(results, channels, signed(6)))
    program = image.program(output)
    return chain("tiled", program.input, *(node.op for node in program.nodes))


FOLDS = (
    {},
    {"n0": Fold(1, 2), "n1": Fold(2), "n2": Fold(3, 2), "n3": Fold(3), "n4": Fold(1, 3)},
    {"n0": Fold(1, 1), "n1": Fold(1), "n2": Fold(1, 4), "n3": Fold(1), "n4": Fold(1, 1)},
)


@pytest.mark.parametrize("folds", FOLDS, ids=range(len(FOLDS)))
def test_a_convolution_in_hardware(folds: dict[str, Fold]):
    program = convolution((3, 4), 2, 3)
    x = samples(program.input, 2)
    least = Design(program, folds, {})
    check_hardware(buffered(least), x)
    check_hardware(least, x, stalls(0.3))


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
def test_in_both_simulators(engine: str):
    trials: list[Trial] = []
    rng = np.random.default_rng(5)
    for k, folds in enumerate(FOLDS):
        program = convolution((3 + k % 2, 4), 2, 3, (unsigned(4), signed(5), BINARY)[k % 3])
        program = replace(program, name=f"tiled{k}")
        design = buffered(Design(program, folds, {}, 1 + k))
        gates = {end: rng.random(900) >= 0.3 for end in ("source", "sink")} if k % 2 else {}
        trials.append(Trial(f"t{k}", design, write_rtl(design), samples(program.input, 3), gates))
    outcomes = simulate(trials, engine).outcomes
    assert all(outcome.right for outcome in outcomes), [o.report for o in outcomes]


def test_windows_step_by_two():
    program = convolution((5, 7), 2, 2)
    window = program.nodes[0].op
    assert isinstance(window, Window)
    assert (window.kernel, window.stride, window.padding) == ((4, 4), (2, 2), (1, 1, 2, 2))
