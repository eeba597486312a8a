"""Float ONNX models compressed: their programs are exact, and come close to the model."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from float_models import (
    IMAGE,
    LAYOUTS,
    Recipe,
    agrees,
    computed,
    conv,
    example,
    model,
    then_dense,
)
from onnx_build import Builder

from bitwright.models.layers import ArgMax
from bitwright.models.lower import quantise
from bitwright.models.network import Network
from bitwright.models.onnx.floats.network import network_of
from bitwright.models.onnx.read import parse
from bitwright.models.ops import Dot, Table, Thresholds, TopK
from bitwright.sim.kernels import execute, run


def vgg(b: Builder) -> str:
    x = "x"
    for inputs, outputs in ((3, 8), (8, 12)):
        x = b.convolution(x, b.constant(b.weights(outputs, inputs, 3, 3)), 3, b.bias(outputs))
        x = b.node("MaxPool", b.node("Clip", x, b.constant(0), b.constant(6)),
                   kernel_shape=[2, 2], strides=[2, 2])  # fmt: skip
    x = b.node("Relu", then_dense(b, b.node("Flatten", x), 12 * 9, 24))
    return b.node("Softmax", then_dense(b, x, 24, 10))


def residual(b: Builder) -> str:
    def normed(x: str, inputs: int, outputs: int, kernel: int, **more) -> str:
        weights = b.constant(b.weights(outputs, inputs, kernel, kernel))
        return b.normalised(b.convolution(x, weights, kernel, **more), outputs)

    x = b.node("LeakyRelu", normed("x", 3, 8, 3), alpha=0.1)
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = normed(b.node("HardSwish", normed(x, 8, 8, 3)), 8, 8, 3)
    x = b.node("Relu", b.node("Add", x, y))
    y = b.node("PRelu", normed(x, 8, 12, 3, strides=[2, 2]), b.constant(b.weights(12, 1, 1)))
    x = b.node("Add", normed(x, 8, 12, 1, strides=[2, 2]), normed(y, 12, 12, 3))
    x = b.node("Flatten", b.node("GlobalAveragePool", b.node("Relu", x)))
    return then_dense(b, x, 12, 10)


def mobile(b: Builder) -> str:
    """Groups, many groups, depthwise with a multiplier, dilation, and every smooth function."""
    x = b.node("Tanh", conv(6, 1, 3, 3, group=3, pads=[1] * 4)(b))
    x = b.node("Elu", conv(36, 6, 1, 1, inputs=x)(b))
    x = b.node("Relu", conv(36, 2, 3, 3, inputs=x, group=18, dilations=[2, 2], pads=[2] * 4)(b))
    x = b.node("Concat", x, b.node("Sigmoid", conv(4, 36, 1, 1, inputs=x)(b)), axis=1)
    x = b.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Softplus", conv(10, 40, 3, 3, inputs=x)(b))
    return b.node("ReduceMean", x, axes=[2, 3], keepdims=0)


def signal(b: Builder) -> str:
    x = b.node("Relu", conv(8, 2, 5, strides=[2], pads=[2, 2])(b))
    x = b.node("HardSigmoid", conv(8, 8, 3, inputs=x, dilations=[2], pads=[2, 2])(b), alpha=0.5)
    x = b.node("MaxPool", x, kernel_shape=[2], strides=[2])
    return then_dense(b, b.node("Flatten", x), 8 * 8, 10)


WHOLE = {"vgg": vgg, "residual": residual, "mobile": mobile, "signal": signal}
SHAPES = {"signal": (2, 32)}


def whole(name: str, frames: int = 200) -> tuple[Network, np.ndarray]:
    x = example(SHAPES.get(name, (3, 12, 12)), frames)
    return agrees(model(WHOLE[name], SHAPES.get(name, (3, 12, 12))), x), x


@pytest.mark.parametrize("name", WHOLE)
def test_programs_of_eight_bits_come_close(name):
    network, x = whole(name)
    program = quantise(network, x, "int8", 8, execute)
    integers = run(program, program.accept(x))
    wanted = network(network.accept(x))
    found = program.output_border.real(integers)
    assert np.sqrt(((found - wanted) ** 2).mean() / wanted.var(0).mean()) < 0.1
    assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.95
    answer, own = program.answer(integers), network.answer(x)
    assert answer.shape == own.shape
    assert np.abs(answer - own).max() < 0.1 * np.abs(own).max()


@pytest.mark.parametrize(
    ("name", "method", "bits"),
    [*product(WHOLE, ["bwnh"], [8, 3]), *product(WHOLE, ["ternary", "int4"], [4])],
)
def test_kernels_equal_the_definition(name, method, bits):
    network, x = whole(name, 40)
    program = quantise(network, x, method, bits, execute)
    integers = program.accept(x[:6])
    values, fast = program.run(integers), program.run(integers, execute)
    for node in program.nodes:
        edge = program.edges[node.name]
        assert np.array_equal(values[node.name], fast[node.name]), node.name
        assert bool((values[node.name] >= edge.lo).all())
        assert bool((values[node.name] <= edge.hi).all())


def operators(recipe: Recipe, bits: int, shape=(3, 12, 12), method: str = "int8") -> list:
    network = network_of(parse(model(recipe, shape)))
    program = quantise(network, example(shape, 20), method, bits, execute)
    return [node.op for node in program.nodes]


def count(ops: list, kind: type) -> int:
    return sum(isinstance(op, kind) for op in ops)


def test_functions_become_thresholds_where_bits_are_few_and_tables_elsewhere():
    def recipe(b: Builder) -> str:
        x = b.node("Tanh", conv(4, 3, 3, 3)(b))
        return conv(2, 4, 1, 1, inputs=b.node("HardSwish", conv(4, 4, 1, 1, inputs=x)(b)))(b)

    few, many = operators(recipe, 4), operators(recipe, 8)
    # HardSwish falls before it rises, which thresholds cannot.
    assert (count(few, Thresholds), count(few, Table)) == (1, 1)
    assert (count(many, Thresholds), count(many, Table)) == (0, 2)
    assert all(op.values.shape[0] == 1 for op in many if isinstance(op, Table))


def test_groups_share_products_only_when_they_are_many():
    def grouped(groups: int) -> Recipe:
        return conv(2 * groups, 2, 1, 1, group=groups)

    few = operators(grouped(16), 8, (32, 3, 3), "bwnh")
    many = operators(grouped(18), 8, (36, 3, 3), "bwnh")
    assert [op.weights.shape for op in few if isinstance(op, Dot)] == [(2, 2)] * 16
    shapes = [op.weights.shape for op in many if isinstance(op, Dot)]
    assert shapes == [(4, 4)] * 2 + [(2, 2)] * 14
    assert all(op.grid.bits == 1 for op in few if isinstance(op, Dot))
    assert {op.grid.bits for op in many if isinstance(op, Dot)} == {1, 2}


def test_the_best_class_is_found_in_the_program():
    data, x = model(LAYOUTS["ends in best"][0]), example(IMAGE, 200)
    network = network_of(parse(data))
    assert isinstance(network.nodes[-1].layer, ArgMax)
    program = quantise(network, x, "int8", 8, execute)
    assert isinstance(program.nodes[-1].op, TopK)
    found = program.answer(run(program, program.accept(x)))
    assert found.shape == (200,)
    assert (found == computed(data, x)).mean() >= 0.95
