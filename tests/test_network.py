"""Float networks: each layer against a naive loop, saving, folding, and refusals."""

from __future__ import annotations

import json
import zipfile
from itertools import product

import numpy as np
import pytest

from bitwright.models import container
from bitwright.models.fixed import ProgramError
from bitwright.models.layers import (
    Add,
    AveragePool,
    BatchNorm,
    Concatenate,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Relu,
    layer_classes,
    patches,
)
from bitwright.models.network import KIND, Network, Node, fold_batch_norm

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def batch_norm(channels: int) -> BatchNorm:
    return BatchNorm(
        normal(channels), normal(channels), normal(channels), np.abs(normal(channels)), 1e-3
    )


def branched() -> Network:
    """Every layer once or more, two branches, a batch norm of each sign of gamma."""
    return Network(
        "branched",
        (8, 7, 2),
        (
            Node("stem", Conv(normal(6, 3, 2, 2), normal(6), (1, 2), (1, 0, 2, 1)), ("input",)),
            Node("norm", batch_norm(6), ("stem",)),
            Node("relu", Relu(), ("norm",)),
            Node(
                "left", DepthwiseConv(normal(6, 3, 3), normal(6), (1, 1), (1, 1, 1, 1)), ("relu",)
            ),
            Node("left_norm", batch_norm(6), ("left",)),
            Node("sum", Add(), ("left_norm", "relu")),
            Node("both", Concatenate(), ("sum", "relu", "left_norm")),
            Node("most", MaxPool((2, 2), (2, 1)), ("both",)),
            Node("mean", AveragePool((2, 1), (1, 1)), ("most",)),
            Node("late_norm", batch_norm(18), ("mean",)),
            Node("global", GlobalAveragePool(), ("late_norm",)),
            Node("flat", Flatten(), ("global",)),
            Node("scores", Dense(normal(5, 18), normal(5)), ("flat",)),
            Node("scores_norm", batch_norm(5), ("scores",)),
        ),
    )


def windows(x, kernel, stride, padding):
    """The naive walk: (i, j, taps (N, kh, kw, C)) of every output position."""
    top, left, bottom, right = padding
    frames, height, width, channels = x.shape
    padded = np.zeros((frames, height + top + bottom, width + left + right, channels))
    padded[:, top : top + height, left : left + width] = x
    rows = (padded.shape[1] - kernel[0]) // stride[0] + 1
    columns = (padded.shape[2] - kernel[1]) // stride[1] + 1
    for i, j in product(range(rows), range(columns)):
        y, x0 = i * stride[0], j * stride[1]
        yield i, j, padded[:, y : y + kernel[0], x0 : x0 + kernel[1]]


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 0, 1, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_sliding_layers_equal_a_naive_walk(stride, padding):
    x, kernel = normal(2, 7, 8, 3), (3, 2)
    conv = Conv(normal(4, *kernel, 3), normal(4), stride, padding)
    depthwise = DepthwiseConv(normal(3, *kernel), normal(3), stride, padding)
    y, z, p = conv(x), depthwise(x), patches(x, kernel, stride, padding)
    assert y.shape[1:] == conv.shape((7, 8, 3))
    assert z.shape[1:] == depthwise.shape((7, 8, 3))
    for i, j, taps in windows(x, kernel, stride, padding):
        assert np.array_equal(p[:, i, j], taps.reshape(2, -1))
        assert np.allclose(y[:, i, j], np.einsum("bhwc,nhwc->bn", taps, conv.weights) + conv.bias)
        assert np.allclose(
            z[:, i, j], np.einsum("bhwc,chw->bc", taps, depthwise.weights) + depthwise.bias
        )


def test_pools_equal_a_naive_walk():
    x, kernel, stride = normal(2, 7, 8, 3), (3, 2), (2, 3)
    most, mean = MaxPool(kernel, stride)(x), AveragePool(kernel, stride)(x)
    for i, j, taps in windows(x, kernel, stride, (0, 0, 0, 0)):
        assert np.array_equal(most[:, i, j], taps.max((1, 2)))
        assert np.allclose(mean[:, i, j], taps.mean((1, 2)))
    assert most.shape[1:] == MaxPool(kernel, stride).shape((7, 8, 3))


def test_batch_norm_is_its_formula():
    layer, x = batch_norm(3), normal(4, 2, 2, 3)
    wanted = layer.gamma * (x - layer.mean) / np.sqrt(layer.variance + layer.epsilon) + layer.beta
    assert np.allclose(layer(x), wanted)


def test_shapes_are_those_of_the_values():
    network = branched()
    values = network.trace(normal(3, 8, 7, 2), network.output)
    assert {name: value.shape[1:] for name, value in values.items()} == network.shapes
    ours = {cls for cls in layer_classes().values() if cls.__module__ == Add.__module__}
    assert {type(node.layer) for node in network.nodes} == ours


def test_run_stops_where_asked():
    network, x = branched(), normal(3, 8, 7, 2)
    assert np.array_equal(network.run(x, "input"), x)
    assert list(network.trace(x, "relu")) == ["input", "stem", "norm", "relu"]
    assert np.array_equal(network(x), network.run(x, "scores_norm"))


def test_integers_are_computed_in_float64():
    network = branched()
    x = RNG.integers(0, 17, (2, 8, 7, 2))
    assert network(x).dtype == np.float64
    assert np.array_equal(network(x), network(x.astype(float)))


def test_float32_stays_float32():
    network = Network(
        "small",
        (2,),
        (
            Node(
                "dense",
                Dense(normal(2, 2).astype(np.float32), np.zeros(2, np.float32)),
                ("input",),
            ),
        ),
    )
    assert network(normal(1, 2).astype(np.float32)).dtype == np.float32


def test_folding_leaves_the_function_and_no_foldable_batch_norm():
    network, x = branched(), normal(3, 8, 7, 2)
    folded = fold_batch_norm(network)
    assert np.allclose(folded(x), network(x))
    left = [node.name for node in folded.nodes if isinstance(node.layer, BatchNorm)]
    assert left == ["late_norm"]
    assert folded.output == "scores"


def test_a_layer_with_two_readers_is_not_folded():
    network = Network(
        "two",
        (3,),
        (
            Node("dense", Dense(normal(3, 3), normal(3)), ("input",)),
            Node("norm", batch_norm(3), ("dense",)),
            Node("sum", Add(), ("dense", "norm")),
        ),
    )
    folded, x = fold_batch_norm(network), normal(4, 3)
    assert [node.name for node in folded.nodes] == ["dense", "norm", "sum"]
    assert np.array_equal(folded(x), network(x))


def test_a_chain_of_batch_norms_folds_into_one_layer():
    network = Network(
        "chain",
        (3,),
        (
            Node("dense", Dense(normal(3, 3), normal(3)), ("input",)),
            Node("one", batch_norm(3), ("dense",)),
            Node("two", batch_norm(3), ("one",)),
        ),
    )
    folded, x = fold_batch_norm(network), normal(4, 3)
    assert [node.name for node in folded.nodes] == ["dense"]
    assert np.allclose(folded(x), network(x))


def test_save_and_load(tmp_path):
    network, x = branched(), normal(3, 8, 7, 2)
    network.save(tmp_path / "a.npz")
    loaded = Network.load(tmp_path / "a.npz")
    assert np.array_equal(loaded(x), network(x))
    loaded.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_weights_are_copied_and_read_only():
    weights = normal(2, 2)
    layer = Dense(weights, np.zeros(2))
    weights[:] = 0
    assert layer.weights.all()
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0] = 1


def sentence(build) -> str:
    with pytest.raises(ProgramError) as caught:
        build()
    return str(caught.value)


def chain(*layers, shape=(4, 4, 2)) -> Network:
    names = [f"n{i}" for i in range(len(layers))]
    inputs = ["input", *names]
    return Network("net", shape, tuple(map(Node, names, layers, ((i,) for i in inputs))))


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (
            lambda: Dense(np.zeros((2, 2), int), np.zeros(2)),
            "weights is an array of float32 or float64, not int64; convert it",
        ),
        (
            lambda: Dense([[1.0]], np.zeros(2)),
            "weights is an array of float32 or float64, not list; convert it",
        ),
        (
            lambda: Dense(np.zeros((2, 2, 1)), np.zeros(2)),
            "weights has 2 axes and no empty one, not shape (2, 2, 1)",
        ),
        (
            lambda: Dense(np.full((2, 2), np.nan), np.zeros(2)),
            "weights holds NaN or infinity; every weight is a finite number",
        ),
        (
            lambda: Dense(np.zeros((2, 2)), np.zeros(3)),
            "bias has one value per channel, (2,), not (3,)",
        ),
        (
            lambda: MaxPool((2, 0), (1, 1)),
            "kernel is a tuple of 2 integers from 1 to 65536, not (2, 0)",
        ),
        (
            lambda: MaxPool((2, 2.0), (1, 1)),
            "kernel is a tuple of 2 integers from 1 to 65536, not (2, 2.0)",
        ),
        (
            lambda: BatchNorm(*[np.zeros(1)] * 4, epsilon=0.0),
            (
                "variance + epsilon is above 0 in every channel, and the least is 0.0; "
                "correct the variance"
            ),
        ),
        (
            lambda: chain(MaxPool((5, 2), (1, 1))),
            (
                "node 'n0': MaxPool has a kernel of 5x2, beyond the padded input of 4x4; "
                "pad more or use a smaller kernel"
            ),
        ),
        (
            lambda: chain(Conv(normal(1, 1, 1, 3), normal(1))),
            (
                "node 'n0': Conv has weights for 3 input channels, and the last axis of (4, 4, 2) "
                "is 2; make them equal"
            ),
        ),
        (
            lambda: chain(Dense(normal(1, 32), normal(1))),
            "node 'n0': Dense takes (S,), not (4, 4, 2); put a Flatten before it",
        ),
        (
            lambda: chain(Flatten(), GlobalAveragePool()),
            "node 'n1': GlobalAveragePool takes (H, W, C), not (32,); reshape it",
        ),
        (
            lambda: chain(Add()),
            "node 'n0': Add takes 2 inputs, not 1",
        ),
        (
            lambda: chain(Relu(), shape=(0, 4, 4)),
            "network 'net': input_shape holds integers from 1 to 65536, not (0, 4, 4)",
        ),
        (
            lambda: chain(Relu(), shape=(65536, 65536, 1)),
            (
                "node 'n0': shape (65536, 65536, 1) has 4294967296 elements, above the limit of "
                "268435456; split the network"
            ),
        ),
        (
            lambda: Network("net", (2,), (Node("a", Relu(), ("b",)),)),
            (
                "node 'a' reads 'b', which no earlier node gives; list nodes in the order of "
                "computation"
            ),
        ),
        (
            lambda: Network("net", (2,), (Node("a b", Relu(), ("input",)),)),
            (
                "node 'a b': a name is a letter or '_', then at most 99 letters, digits and '_'; "
                "rename it"
            ),
        ),
        (
            lambda: Network("net", (2,), (Node("input", Relu(), ("input",)),)),
            "two nodes are called 'input'; names must differ",
        ),
        (
            lambda: Network("net", (2,), (Node("a", Relu(), ("input",)),) * 2),
            "two nodes are called 'a'; names must differ",
        ),
        (
            lambda: Network(
                "net", (2,), (Node("a", Relu(), ("input",)), Node("b", Relu(), ("input",)))
            ),
            (
                "network 'net': nothing reads 'a', and only the last node is an output; connect or "
                "drop the others"
            ),
        ),
        (lambda: Network("net", (2,), ()), "network 'net' has no nodes; give at least one"),
        (
            lambda: chain(Relu())(np.zeros((1, 4, 4))),
            (
                "network 'net' takes inputs of shape (N, 4, 4, 2), not (1, 4, 4); reshape them "
                "(channels last)"
            ),
        ),
        (
            lambda: chain(Relu())(np.full((1, 4, 4, 2), "a")),
            "network 'net' takes integers or floats, not <U1; convert them",
        ),
        (
            lambda: chain(Relu()).run(np.zeros((1, 4, 4, 2)), "n7"),
            "network 'net' has no node 'n7'; choose one of input, n0",
        ),
    ],
)
def test_refusals(build, wanted):
    assert sentence(build) == wanted


def damage(path, change) -> str:
    """Apply `change` to the saved document and arrays, and return the refusal to load them."""
    chain(Flatten(), Dense(normal(3, 32), normal(3))).save(path)
    document, arrays = container.load(path, KIND, [1])
    change(document, arrays)
    container.save(path, KIND, 1, document, arrays)
    return sentence(lambda: Network.load(path)).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            lambda d, a: d.pop("name"),
            (
                "an object with name, input_shape, input_range, metadata, nodes is expected; "
                "save it again"
            ),
        ),
        (lambda d, a: d.update(name=3), "name is a str, not '3'"),
        (
            lambda d, a: d["nodes"].append(7),
            "an object with name, layer, inputs, parameters is expected; save it again",
        ),
        (
            lambda d, a: d["nodes"][1].update(layer="Layer"),
            "node 'n1' is a 'Layer', which is no layer; choose one of "
            + ", ".join(sorted(layer_classes())),
        ),
        (
            lambda d, a: d["nodes"][1]["parameters"].update(weights=a.pop("n1.weights").tolist()),
            "node 'n1': weights is an array of float32 or float64, not tuple; convert it",
        ),
        (
            lambda d, a: d["nodes"][0]["parameters"].update(x=1),
            "node 'n0': a Flatten has no fields, not x",
        ),
        (lambda d, a: d["nodes"][0].update(inputs=[[]]), "node 'n0': inputs are names, not [[]]"),
        (lambda d, a: a.pop("n1.bias"), "node 'n1': a Dense has weights, bias, not weights"),
        (lambda d, a: a.update(x=np.zeros(2)), "array 'x' belongs to no node; drop it"),
        (
            lambda d, a: a.update({"n1.bias": np.zeros(3, int)}),
            "node 'n1': bias is an array of float32 or float64, not int64; convert it",
        ),
        (
            lambda d, a: d.update(input_range=[3, 3]),
            "network 'net': input_range is two integers, the smaller first, not (3, 3)",
        ),
        (
            lambda d, a: d.update(input_shape=[4, "4", 2]),
            "network 'net': input_shape holds integers from 1 to 65536, not (4, '4', 2)",
        ),
    ],
)
def test_files_of_the_right_kind_with_wrong_contents(tmp_path, change, wanted):
    assert damage(tmp_path / "net.npz", change) == wanted


def test_the_saved_document_is_as_documented(tmp_path):
    chain(MaxPool((2, 2), (2, 2))).save(tmp_path / "net.npz")
    with zipfile.ZipFile(tmp_path / "net.npz") as archive:
        document = json.loads(archive.read("document.json"))
    assert document == {
        "kind": "bitwright.network",
        "version": 1,
        "arrays": [],
        "document": {
            "name": "net",
            "input_shape": [4, 4, 2],
            "input_range": [],
            "metadata": {},
            "nodes": [
                {
                    "name": "n0",
                    "layer": "MaxPool",
                    "inputs": ["input"],
                    "parameters": {"kernel": [2, 2], "stride": [2, 2]},
                }
            ],
        },
    }
