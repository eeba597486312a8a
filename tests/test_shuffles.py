"""Channel shuffles: they sink to the layers that read them, and cost no hardware."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bitwright.models.activations import PRelu
from bitwright.models.compress.method import Compressed, method
from bitwright.models.compress.problem import LayerProblem
from bitwright.models.fixed import ProgramError, signed
from bitwright.models.layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAveragePool,
    Pad,
    Relu,
    Select,
)
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.ops import Concatenate, DepthwiseDot, Dot
from bitwright.models.ops import Select as SelectOp
from bitwright.models.shuffles import channel_shuffle, sink_shuffles

RNG = np.random.default_rng(31)


def normal(*shape: int):
    return RNG.normal(size=shape)


def shufflenet(groups: int = 2, channels: int = 4, middle: int = 6) -> Network:
    """A unit of ShuffleNet (arXiv 1707.01083, figure 2b), one more shuffle, and a product."""
    inner, outer = middle // groups, channels // groups
    return Network(
        "shufflenet",
        (4, 3, channels),
        (
            Node("reduce", Conv(normal(middle, 1, 1, outer), normal(middle), groups=groups),
                 ("input",)),
            Node("relu", Relu(), ("reduce",)),
            Node("shuffle", channel_shuffle(middle, groups), ("relu",)),
            Node("deep", DepthwiseConv(normal(middle, 3, 3), normal(middle), padding=(1,) * 4),
                 ("shuffle",)),
            Node("slopes", PRelu(normal(middle)), ("deep",)),
            Node("expand", Conv(normal(channels, 1, 1, inner), normal(channels), groups=groups),
                 ("slopes",)),
            Node("sum", Add(), ("expand", "input")),
            Node("sum_relu", Relu(), ("sum",)),
            Node("again", channel_shuffle(channels, groups), ("sum_relu",)),
            Node("mean", AveragePool((2, 1), (2, 1)), ("again",)),
            Node("flat", Flatten(), ("mean",)),
            Node("scores", Dense(normal(3, 6 * channels), normal(3)), ("flat",)),
        ),
    )  # fmt: skip


def reorders(node) -> bool:
    """Whether a node is a product that does nothing but pick channels."""
    if not isinstance(node.op, Dot):
        return False
    return bool(
        (np.sort(node.op.weights, 1)[:, -1] == 1).all() and (node.op.weights != 0).sum(1).max() == 1
    )


@pytest.mark.parametrize(
    "between",
    [
        [BatchNorm(*(np.arange(1.0, 7) * k for k in (1, -2, 3, 4))), Relu()],
        [Pad((1, 0, 0, 1))],
        [PRelu(np.arange(6.0)), AveragePool((2, 2), (1, 1))],
    ],
    ids=["normalised", "padded", "averaged"],
)
def test_what_treats_channels_alone_is_passed(between):
    layers = [
        Conv(normal(6, 1, 1, 4), normal(6)), channel_shuffle(6, 3), *between,
        Conv(normal(3, 2, 2, 6), normal(3)),
    ]  # fmt: skip
    nodes = [Node(f"n{k}", one, (f"n{k - 1}" if k else "input",)) for k, one in enumerate(layers)]
    network = Network("passed", (4, 3, 4), tuple(nodes))
    x = images(network)
    assert np.allclose(sink_shuffles(network)(x), network(x))
    program = quantise(network, x, "int8")
    assert not any(map(reorders, program.nodes))
    found = program.output_border.real(program(x))
    assert np.abs(found - network(x)).max() < 0.1 * network(x).std()


def test_a_product_that_picks_channels_is_seen_where_nothing_takes_the_shuffle():
    nodes = (
        Node("conv", Conv(normal(6, 1, 1, 4), normal(6)), ("input",)),
        Node("end", channel_shuffle(6, 3), ("conv",)),
    )
    network = Network("open", (4, 3, 4), nodes)
    assert any(map(reorders, quantise(network, images(network), "int8").nodes))


def test_an_activation_of_ones_own_with_channels_is_not_passed():
    @dataclass(frozen=True, eq=False)
    class Lifted(Activation):
        lift: np.ndarray
        ranks = {"lift": 1}  # noqa: RUF012

        def __call__(self, *xs):
            return xs[0] + self.lift

    layers = [channel_shuffle(4, 2), Lifted(np.arange(4.0)), Conv(normal(3, 1, 1, 4), normal(3))]
    nodes = [Node(f"n{k}", one, (f"n{k - 1}" if k else "input",)) for k, one in enumerate(layers)]
    network = Network("own", (2, 2, 4), tuple(nodes))
    x = images(network)
    assert np.allclose(sink_shuffles(network)(x), network(x))


def images(network: Network, frames: int = 40):
    return np.random.default_rng(32).normal(size=(frames, *network.input_shape))


def test_the_shuffle_is_that_of_the_paper():
    """Reshape to (groups, n), transpose, flatten."""
    assert channel_shuffle(6, 2).channels == (0, 3, 1, 4, 2, 5)
    assert channel_shuffle(6, 3).channels == (0, 2, 4, 1, 3, 5)


@pytest.mark.parametrize("groups", [2, 1])
def test_shuffles_sink_to_their_readers_and_change_nothing(groups: int):
    network = shufflenet(groups)
    sunk, x = sink_shuffles(network), images(network)
    assert np.array_equal(sunk(x), network(x))
    assert [node.name for node in sunk.nodes] == [
        "reduce", "relu", "deep", "slopes", "shuffle", "expand",
        "sum", "sum_relu", "mean", "flat", "again", "scores",
    ]  # fmt: skip


def test_a_shuffle_that_no_product_reads_stays():
    nodes = (
        Node("shuffle", channel_shuffle(4, 2), ("input",)),
        Node("relu", Relu(), ("shuffle",)),
        Node("mean", GlobalAveragePool(), ("relu",)),
    )
    network = Network("end", (2, 2, 4), nodes)
    assert sink_shuffles(network) is network


@pytest.mark.parametrize("weights", ["int16", "bwnh2"])
def test_a_unit_costs_no_more_than_without_its_shuffles(weights: str):
    network = shufflenet()
    x = images(network)
    program = quantise(network, x, weights)
    kinds = [type(node.op) for node in program.nodes]
    parts = 2 if weights == "bwnh2" else 1
    assert kinds.count(Dot) == parts * (2 * 2 + 1)
    assert kinds.count(DepthwiseDot) == 1
    assert kinds.count(Concatenate) == 2
    # Each group picks its own channels, as it does without a shuffle.
    assert kinds.count(SelectOp) == 4
    if weights == "int16":
        wanted, found = network(x), program.output_border.real(program(x))
        assert np.sqrt(((found - wanted) ** 2).mean() / wanted.var()) < 0.03


@pytest.mark.parametrize("weights", ["int8", "bwnh2"])
def test_many_groups_share_a_product_in_any_order(weights: str):
    """More than 16 groups: some share their windows, whose channels are out of order."""
    network = Network(
        "many",
        (2, 2, 40),
        (
            Node("shuffle", channel_shuffle(40, 20), ("input",)),
            Node("conv", Conv(normal(40, 1, 1, 2), normal(40), groups=20), ("shuffle",)),
        ),
    )
    straight = Network("straight", (2, 2, 40), (Node("conv", network.nodes[1].layer, ("input",)),))
    x = images(network)
    program = quantise(network, x, weights)
    order = channel_shuffle(40, 20).channels
    other = quantise(straight, x[..., order], weights)
    a, b = (one.output_border.real(one(y)) for one, y in ((program, x), (other, x[..., order])))
    # The same problems: each group sees the same channels, but its sums round at the same scale.
    assert np.allclose(a, b, atol=0.02 * np.abs(b).max())
    assert not any(map(reorders, program.nodes))


def test_a_selection_is_read_in_any_order():
    network = Network(
        "chosen",
        (2, 2, 5),
        (
            Node("chosen", Select((4, 0, 3)), ("input",)),
            Node("left", Conv(normal(3, 1, 1, 3), normal(3)), ("chosen",)),
            Node("right", Conv(normal(3, 2, 2, 3), normal(3), padding=(0, 0, 1, 1)), ("chosen",)),
            Node("sum", Add(), ("left", "right")),
        ),
    )
    x = images(network)
    program = quantise(network, x, "int16")
    assert sum(isinstance(node.op, Dot) for node in program.nodes) == 2
    wanted, found = network(x), program.output_border.real(program(x))
    assert np.sqrt(((found - wanted) ** 2).mean() / wanted.var()) < 0.03


@pytest.mark.parametrize("between", [[], [Relu()], [DepthwiseConv(np.ones((4, 1, 1)), np.ones(4))]])
def test_given_weights_keep_their_order_and_so_refuse_shuffles(between):
    layers = [channel_shuffle(4, 2), *between, Conv(normal(3, 1, 1, 4), normal(3))]
    names = [f"n{number}" for number in range(len(layers))]
    before = ["input", *names[:-1]]
    nodes = tuple(Node(*one) for one in zip(names, layers, [(b,) for b in before], strict=True))
    network = Network("shuffled", (3, 3, 4), nodes)
    given = {names[-1]: Compressed(np.ones((3, 4), np.int64), signed(2), np.ones(3))}
    with pytest.raises(ProgramError, match="shuffle"):
        quantise(network, images(network), given=given)


def test_trees_are_no_weights_to_be_given():
    network = Network(
        "one", (4, 3, 4), (Node("conv", Conv(normal(3, 1, 1, 4), normal(3)), ("input",)),)
    )
    hashed = method("maddness").start(
        LayerProblem.data_free(network.nodes[0].layer.weights.reshape(3, 4)),  # type: ignore[attr-defined]
        network.nodes[0].layer.weights.reshape(3, 4),  # type: ignore[attr-defined]
    )
    with pytest.raises(ProgramError, match="'conv': Hashed weights are found by calibration alone"):
        quantise(network, images(network), given={"conv": hashed})
