"""Float ONNX models as networks: they compute what onnxruntime does."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from float_models import (
    IMAGE,
    LAYERS,
    LAYOUTS,
    Recipe,
    agrees,
    computed,
    conv,
    example,
    imported,
    ints,
    ints_node,
    model,
)
from onnx_build import Builder

from bitwright.models.layers import Conv, DepthwiseConv, Pad, Select
from bitwright.models.network import Network
from bitwright.models.onnx.floats.network import network_of
from bitwright.models.onnx.read import parse


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_onnxruntime(name):
    recipe, options = LAYERS[name]
    agrees(model(recipe, **options), example(options.get("shape", IMAGE)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_equal_onnxruntime(name):
    recipe, options = LAYOUTS[name]
    x = example(options.get("shape", IMAGE), 1 if options.get("frames") else 6)
    built = {key: value for key, value in options.items() if key != "frames"}
    network = agrees(model(recipe, **built), x)
    again = np.concatenate([network.answer(frame[None]) for frame in x])
    assert np.allclose(again, network.answer(x), rtol=1e-5, atol=1e-5)


def layers_of(recipe: Recipe, kind: type, **options) -> list:
    return [
        node.layer for node in imported(recipe, **options).nodes if isinstance(node.layer, kind)
    ]


def test_padding_becomes_part_of_the_convolution_behind_it():
    def recipe(b: Builder) -> str:
        return conv(5, 4, 3, 3, inputs=ints("Pad", [0, 0, 1, 2, 0, 0, 0, 3])(b), pads=[1] * 4)(b)

    agrees(model(recipe), example(IMAGE))
    assert not layers_of(recipe, Pad)
    assert [layer.padding for layer in layers_of(recipe, Conv)] == [(2, 3, 1, 4)]


def test_padding_before_a_maximum_is_zero():
    def recipe(b: Builder) -> str:
        x = ints_node(b, "Pad", b.node("Neg", b.node("Relu", "x")), [0, 0, 1, 1, 0, 0, 1, 1])
        return b.node("MaxPool", x, kernel_shape=[3, 3])

    agrees(model(recipe), example(IMAGE))
    assert len(layers_of(recipe, Pad)) == 1


def test_padding_before_a_mean_counts():
    def recipe(b: Builder) -> str:
        return b.node("AveragePool", ints("Pad", [0, 0, 1, 1, 0, 0, 1, 1])(b), kernel_shape=[3, 3])

    agrees(model(recipe), example(IMAGE))
    assert not layers_of(recipe, Pad)


def test_depthwise_layers_and_shuffles_reorder_nothing_at_run_time():
    def recipe(b: Builder) -> str:
        x = ints_node(b, "Reshape", conv(4, 1, 3, 3, group=4)(b), [-1, 2, 2, 7, 6])
        x = b.node("Transpose", x, perm=[0, 2, 1, 3, 4])
        x = ints_node(b, "Reshape", x, [-1, 4, 7, 6])
        return conv(5, 4, 1, 1, inputs=conv(4, 1, 3, 3, inputs=x, group=4)(b))(b)

    agrees(model(recipe), example(IMAGE))
    assert len(layers_of(recipe, DepthwiseConv)) == 2
    assert not layers_of(recipe, Select)


def test_integer_inputs_keep_their_range():
    data = model(lambda b: conv(3, 4, 3, 3, inputs=b.node("Cast", "x", to=1))(b), kind="uint8")
    network = network_of(parse(data))
    assert network.input_range == (0, 255)
    x = example(IMAGE, kind="uint8")
    assert np.allclose(network.answer(x), computed(data, x), rtol=1e-4, atol=1e-3)


def test_the_networks_file_keeps_its_layout(tmp_path):
    data, x = model(LAYOUTS["flatten"][0]), example(IMAGE)
    network = network_of(parse(data), "named")
    network.save(tmp_path / "a.npz")
    loaded = Network.load(tmp_path / "a.npz")
    assert loaded.name == "named"
    assert (loaded.input_border, loaded.output_border) == (
        network.input_border,
        network.output_border,
    )
    assert np.array_equal(loaded.answer(x), network.answer(x))


# Models that torch exports


def exported(module, shape) -> bytes:
    torch = pytest.importorskip("torch", reason="torch exports these models")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(1, *shape),),
            file,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
            dynamo=False,
        )
    return file.getvalue()


def test_models_that_torch_exports():
    torch = pytest.importorskip("torch", reason="torch exports these models")
    nn = torch.nn
    torch.manual_seed(0)
    image = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 16, 3, groups=4, padding="same"), nn.PReLU(16), nn.AdaptiveAvgPool2d(1),
        nn.Dropout(), nn.Flatten(), nn.Linear(16, 5), nn.LogSoftmax(1),
    )  # fmt: skip
    agrees(exported(image, (3, 24, 20)), example((3, 24, 20)))
    features = nn.Sequential(nn.Flatten(), nn.Linear(20, 9), nn.BatchNorm1d(9), nn.Hardtanh(),
                             nn.Linear(9, 1), nn.Sigmoid())  # fmt: skip
    agrees(exported(features, (1, 4, 5)), example((1, 4, 5)))
