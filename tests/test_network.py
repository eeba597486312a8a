"""Float networks: each layer against a naive loop, saving, folding, and refusals."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from bitwright.models import activations, container
from bitwright.models.activations import Clip, Elu, HardSigmoid, LeakyRelu, PRelu
from bitwright.models.border import Border
from bitwright.models.fixed import ProgramError
from bitwright.models.layer import layer_classes
from bitwright.models.layers import (
    Activation,
    Add,
    ArgMax,
    AveragePool,
    BatchNorm,
    Concatenate,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Pad,
    Relu,
    Reshape,
    Select,
    Slide,
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
            Node("padded", Pad((1, 0, 0, 2)), ("late_norm",)),
            Node("global", GlobalAveragePool(), ("padded",)),
            Node("flat", Flatten(), ("global",)),
            Node("turned", Select((3, 1, *range(2, 18), 0)), ("flat",)),
            Node("scores", Dense(normal(5, 19), normal(5)), ("turned",)),
            Node("scores_norm", batch_norm(5), ("scores",)),
        ),
    )


def windows(x, slide, fill=0.0):
    """The naive walk: (i, j, taps (N, kh, kw, C)) of every output position."""
    top, left, bottom, right = slide.padding
    frames, height, width, channels = x.shape
    padded = np.full((frames, height + top + bottom, width + left + right, channels), fill)
    padded[:, top : top + height, left : left + width] = x
    (dy, dx), (kh, kw) = slide.dilation, slide.kernel
    rows = (padded.shape[1] - (kh - 1) * dy - 1) // slide.stride[0] + 1
    columns = (padded.shape[2] - (kw - 1) * dx - 1) // slide.stride[1] + 1
    for i, j in product(range(rows), range(columns)):
        y, x0 = i * slide.stride[0], j * slide.stride[1]
        yield i, j, padded[:, y : y + kh * dy : dy, x0 : x0 + kw * dx : dx][:, :kh, :kw]


SLIDES = [
    Slide((3, 2), stride, padding, dilation)
    for stride, padding, dilation in product(
        [(1, 1), (2, 3)], [(0, 0, 0, 0), (2, 0, 1, 1)], [(1, 1), (2, 3)]
    )
]


@pytest.mark.parametrize("slide", SLIDES, ids=str)
def test_sliding_layers_equal_a_naive_walk(slide):
    x, walk = normal(2, 7, 8, 3), (slide.stride, slide.padding, slide.dilation)
    conv = Conv(normal(4, *slide.kernel, 3), normal(4), *walk)
    depthwise = DepthwiseConv(normal(3, *slide.kernel), normal(3), *walk)
    y, z, p = conv(x), depthwise(x), slide.patches(x)
    assert y.shape[1:] == conv.shape((7, 8, 3))
    assert z.shape[1:] == depthwise.shape((7, 8, 3))
    for i, j, taps in windows(x, slide):
        assert np.array_equal(p[:, i, j], taps.reshape(2, -1))
        assert np.allclose(y[:, i, j], np.einsum("bhwc,nhwc->bn", taps, conv.weights) + conv.bias)
        assert np.allclose(
            z[:, i, j], np.einsum("bhwc,chw->bc", taps, depthwise.weights) + depthwise.bias
        )


@pytest.mark.parametrize("slide", SLIDES, ids=str)
def test_pools_equal_a_naive_walk(slide):
    x, walk = normal(2, 7, 8, 3) - 5, (slide.stride, slide.padding, slide.dilation)
    most, mean = MaxPool(slide.kernel, *walk), AveragePool(slide.kernel, *walk)
    y, z = most(x), mean(x)
    for i, j, taps in windows(x, slide, -np.inf):
        assert np.array_equal(y[:, i, j], taps.max((1, 2)))
    for i, j, taps in windows(x, slide):
        assert np.allclose(z[:, i, j], taps.mean((1, 2)))
    assert y.shape[1:] == most.shape((7, 8, 3)) == mean.shape((7, 8, 3))


def test_groups_are_convolutions_side_by_side():
    x, weights, bias = normal(2, 5, 4, 6), normal(9, 2, 2, 2), normal(9)
    parts = [
        Conv(weights[3 * g : 3 * g + 3], bias[3 * g : 3 * g + 3])(x[..., 2 * g : 2 * g + 2])
        for g in range(3)
    ]
    assert np.allclose(Conv(weights, bias, groups=3)(x), np.concatenate(parts, -1))


def test_layers_that_only_move():
    x = normal(2, 3, 4, 5)
    padded = Pad((1, 2, 0, 3))(x)
    assert np.array_equal(padded, np.pad(x, ((0, 0), (1, 0), (2, 3), (0, 0))))
    assert padded.shape[1:] == Pad((1, 2, 0, 3)).shape((3, 4, 5))
    assert np.array_equal(Select((4, 0, 0))(x), x[..., [4, 0, 0]])
    assert np.array_equal(Reshape((2, 30))(x), x.reshape(2, 2, 30))
    best = ArgMax()(x)
    assert best.shape == (2, 3, 4, 1)
    assert np.array_equal(best[..., 0], x.argmax(-1))


def functions() -> list[Activation]:
    classes = [cls for cls in layer_classes().values() if issubclass(cls, Activation)]
    made = [PRelu(np.array([0.5, 0, 2], np.float32)) if cls is PRelu else cls() for cls in classes]
    return [
        *made,
        Elu(-0.5),
        HardSigmoid(-0.2),
        LeakyRelu(-0.5),
        PRelu(np.array([0.5, -0.1, 2], np.float32)),
        Clip(-1.0, 0.5),
    ]


@pytest.mark.parametrize("function", functions(), ids=lambda f: type(f).__name__)
def test_functions_are_monotone_as_they_say(function):
    x = np.linspace(-9, 9, 999)[:, None] + np.zeros(3)
    y = function(x)
    assert y.shape == x.shape == function.shape(x.shape)
    assert bool((np.diff(y, axis=0) >= 0).all()) == function.monotone
    assert function(x.astype(np.float32)).dtype == np.float32
    assert np.allclose(function(x.astype(np.float32)), y, atol=1e-5)


def test_functions_are_their_formulas():
    x = np.array([-30.0, -1.0, 0.0, 2.0, 30.0])
    sigmoid = 1 / (1 + np.exp(-x))
    wanted = {
        "Elu": np.where(x >= 0, x, np.exp(x) - 1),
        "HardSigmoid": [0, 0.3, 0.5, 0.9, 1],
        "HardSwish": [0, -1 / 3, 0, 5 / 3, 30],
        "LeakyRelu": [-0.3, -0.01, 0, 2, 30],
        "Sigmoid": sigmoid,
        "Silu": x * sigmoid,
        "Softplus": np.log1p(np.exp(x)),
        "Tanh": (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    }
    for name, values in wanted.items():
        assert np.allclose(getattr(activations, name)()(x), values, rtol=1e-9), name
    assert np.array_equal(Clip(-1.5, 2.5)(x), [-1.5, -1, 0, 2, 2.5])


def test_batch_norm_is_its_formula():
    layer, x = batch_norm(3), normal(4, 2, 2, 3)
    wanted = layer.gamma * (x - layer.mean) / np.sqrt(layer.variance + layer.epsilon) + layer.beta
    assert np.allclose(layer(x), wanted)


def test_shapes_are_those_of_the_values():
    network = branched()
    values = network.trace(normal(3, 8, 7, 2), network.output)
    assert {name: value.shape[1:] for name, value in values.items()} == network.shapes
    ours = {cls for cls in layer_classes().values() if cls.__module__ == Add.__module__}
    assert {type(node.layer) for node in network.nodes} == ours - {ArgMax, Reshape}


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


def in_another_layout() -> Network:
    """A network whose model takes (2, 4, 3) channels first and gives (5, 4, 3) finished."""
    return Network(
        "turned",
        (4, 3, 2),
        (Node("point", Conv(normal(5, 1, 1, 2), normal(5)), ("input",)),),
        None,
        {},
        Border(shape=(2, 4, 3), axes=(2, 0, 1)),
        Border(shape=(5, 4, 3), axes=(2, 0, 1), finish="tanh"),
    )


def test_frames_arrive_and_leave_in_the_models_own_layout(tmp_path):
    network, x = in_another_layout(), normal(6, 2, 4, 3)
    network.save(tmp_path / "a.npz")
    for one in (network, Network.load(tmp_path / "a.npz")):
        last = np.moveaxis(x, 1, -1)
        assert np.array_equal(one.accept(x), last)
        assert np.array_equal(one.accept(last), last)
        wanted = np.tanh(np.moveaxis(one(last), -1, 1))
        assert np.allclose(one.answer(x), wanted, rtol=1e-12)


def test_files_of_version_1_load(tmp_path):
    network, path = chain(Conv(normal(3, 1, 1, 2), normal(3)), MaxPool((2, 2), (2, 2))), tmp_path
    network.save(path / "new.npz")
    document, arrays = container.load(path / "new.npz", KIND, [2])
    del document["borders"]
    for node, fields in zip(document["nodes"], (["dilation", "groups"], ["padding"]), strict=True):
        for name in fields:
            del node["parameters"][name]
    container.save(path / "old.npz", KIND, 1, document, arrays)
    x = normal(2, 4, 4, 2)
    assert np.array_equal(Network.load(path / "old.npz")(x), network(x))


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
            lambda: Conv(normal(4, 1, 1, 1), normal(4), groups=3),
            "groups is an integer that divides the 4 output channels, not 3",
        ),
        (lambda: Clip(2.0, 1.0), "Clip needs lo <= hi, not 2.0 and 1.0"),
        (lambda: LeakyRelu(np.inf), "slope is a finite float, not inf"),
        (lambda: LeakyRelu(1), "slope is a finite float, not 1"),
        (lambda: Select(()), "channels is a tuple of integers from 0 to 65536, not ()"),
        (lambda: Reshape((2, 0)), "size is a tuple of integers from 1 to 65536, not (2, 0)"),
        (
            lambda: chain(Select((2,))),
            (
                "node 'n0': Select takes channel 2, and the last axis of (4, 4, 2) is 2; name "
                "existing channels"
            ),
        ),
        (
            lambda: chain(Reshape((31,))),
            (
                "node 'n0': Reshape keeps the number of values, and (4, 4, 2) has 32 while (31,) "
                "has 31; correct the size"
            ),
        ),
        (
            lambda: chain(PRelu(normal(3))),
            (
                "node 'n0': PRelu has 3 slopes, and the last axis of (4, 4, 2) is 2; give one per "
                "channel"
            ),
        ),
        (
            lambda: chain(MaxPool((2, 2), (1, 1), (2, 0, 0, 0))),
            (
                "node 'n0': MaxPool pads (4, 4, 2) by (2, 0, 0, 0), and some output reads padding "
                "alone; pad less"
            ),
        ),
        (
            lambda: chain(Conv(normal(1, 2, 2, 2), normal(1), dilation=(1, 4))),
            (
                "node 'n0': Conv has a kernel of 2x5, beyond the padded input of 4x4; pad more or "
                "use a smaller kernel"
            ),
        ),
        (
            lambda: in_another_layout().accept(normal(1, 3, 4, 2)),
            ("network 'turned' takes inputs of shape (N, 2, 4, 3), not (1, 3, 4, 2); reshape them"),
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
    document, arrays = container.load(path, KIND, [2])
    change(document, arrays)
    container.save(path, KIND, 2, document, arrays)
    return sentence(lambda: Network.load(path)).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            lambda d, a: d.pop("name"),
            (
                "an object with name, input_shape, input_range, metadata, nodes, borders is "
                "expected; save it again"
            ),
        ),
        (lambda d, a: d.update(name=3), "name is a str, not '3'"),
        (
            lambda d, a: d["nodes"].append(7),
            "an object with name, layer, inputs, parameters is expected; save it again",
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
            lambda d, a: d["borders"]["input"].update(shape=[4, "4", 2]),
            "the shape of a border holds integers from 0 to 65536, not [4, '4', 2]",
        ),
        (
            lambda d, a: d["borders"]["input"].update(shape=[4, 4, 3]),
            "the border's layout (4, 4, 3) by () is none of (4, 4, 2)",
        ),
        (
            lambda d, a: d["borders"]["output"].update(finish="cosine"),
            "an answer is finished by one of softmax, log_softmax, sigmoid, tanh",
        ),
        (lambda d, a: d["borders"].update(input=3), "input is a dict, not '3'"),
        (
            lambda d, a: d["nodes"][1]["parameters"].update(y=1),
            "node 'n1': a Dense has weights, bias, not bias, weights, y",
        ),
        (
            lambda d, a: d.update(input_shape=[4, "4", 2]),
            "network 'net': input_shape holds integers from 1 to 65536, not (4, '4', 2)",
        ),
    ],
)
def test_files_of_the_right_kind_with_wrong_contents(tmp_path, change, wanted):
    assert damage(tmp_path / "net.npz", change) == wanted


def test_a_layer_that_nobody_knows(tmp_path):
    # Not among the others: tests define layers too, and the list is of all that are known.
    wanted = damage(tmp_path / "net.npz", lambda d, a: d["nodes"][1].update(layer="Layer"))
    known = ", ".join(sorted(layer_classes()))
    assert wanted == f"node 'n1' is a 'Layer', which is no layer; choose one of {known}"


def test_the_saved_document_is_as_documented(tmp_path):
    border = Border(shape=(8,), axes=(2, 0, 1))
    network = replace(chain(MaxPool((2, 2), (2, 2))), output_border=border)
    network.save(tmp_path / "net.npz")
    with zipfile.ZipFile(tmp_path / "net.npz") as archive:
        document = json.loads(archive.read("document.json"))
    assert document == {
        "kind": "bitwright.network",
        "version": 2,
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
                    "parameters": {
                        "kernel": [2, 2],
                        "stride": [2, 2],
                        "padding": [0, 0, 0, 0],
                        "dilation": [1, 1],
                    },
                }
            ],
            "borders": {"input": {}, "output": {"shape": [8], "axes": [2, 0, 1]}},
        },
    }
