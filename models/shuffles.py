"""Reordered channels without hardware: a permutation moves on until a layer with weights reads it.

Layers that treat each channel by itself give the same values in another order when their channels
are permuted before them instead of behind: shuffles (ShuffleNet, arXiv 1707.01083) sink through
them, weights in the order of what they read.  `lower.py` makes a convolution or a product read the
channels where they stand.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from . import layers
from .activations import PRelu
from .layers import Conv, Dense, Layer, Select
from .network import Network, Node


def channel_shuffle(channels: int, groups: int) -> Select:
    """ShuffleNet's shuffle: channel k of each of `groups` equal runs comes before all k + 1."""
    return Select(tuple(np.arange(channels).reshape(groups, -1).T.ravel().tolist()))


def sink_shuffles(network: Network) -> Network:
    """Move each permutation of channels that a convolution or product reads in the end next to it.

    What it passes treats channels alone.  Nodes keep their names; a layer that a permutation passed
    gives its channels in the old order.
    """
    while (found := _next(network)) is not None:
        network = found
    return network


def _next(network: Network) -> Network | None:
    """The network after one permutation has passed one layer; None where none is to."""
    for node in network.nodes:
        if not _permutes(network, node):
            continue
        (reader, *others), pixels = network.consumers[node.name], network.shapes[node.name][:-1]
        passed = passing(reader.layer, node.layer, pixels)
        if passed is not None and not others and _ends(network, reader):
            return _swapped(network, node, reader, *passed)
    return None


def _permutes(network: Network, node: Node) -> bool:
    """Whether a node does nothing but reorder channels for others to read."""
    if not isinstance(node.layer, Select) or node.name == network.output:
        return False
    return sorted(node.layer.channels) == list(range(network.shapes[node.inputs[0]][-1]))


def _ends(network: Network, node: Node) -> bool:
    """Whether a convolution or product is what reads a node, behind layers of single channels."""
    while len(readers := network.consumers[node.name]) == 1:
        (node,) = readers
        if isinstance(node.layer, Conv | Dense):
            return True
        if passing.dispatch(type(node.layer)) is passing.dispatch(Layer):
            return False
    return False


def _swapped(network: Network, node: Node, reader: Node, first: Layer, then: Select) -> Network:
    """A node and its reader exchanged: those that read the reader read the node instead."""
    made: list[Node] = []
    for one in network.nodes:
        if one.name == node.name:
            continue
        if one.name == reader.name:
            made += [
                Node(reader.name, first, node.inputs),
                Node(node.name, then, (reader.name,)),
            ]
            continue
        names = tuple(node.name if name == reader.name else name for name in one.inputs)
        made.append(replace(one, inputs=names))
    return replace(network, nodes=tuple(made))


@singledispatch
def passing(layer: Layer, shuffle: Select, pixels: tuple[int, ...]) -> tuple[Layer, Select] | None:
    """What stands before a permutation, and the permutation, instead of one before the layer.

    None where the layer does more than treat each channel by itself.
    """
    return None


@passing.register
def _(
    layer: layers.MaxPool | layers.AveragePool | layers.GlobalAveragePool | layers.Pad,
    shuffle: Select,
    pixels: tuple[int, ...],
) -> tuple[Layer, Select]:
    return layer, shuffle


@passing.register
def _(
    layer: layers.Activation, shuffle: Select, pixels: tuple[int, ...]
) -> tuple[Layer, Select] | None:
    # One with arrays may treat channels unequally.
    return None if type(layer).ranks else (layer, shuffle)


@passing.register
def _(layer: layers.BatchNorm, shuffle: Select, pixels: tuple[int, ...]) -> tuple[Layer, Select]:
    back = np.argsort(shuffle.channels)
    return replace(layer, **{name: getattr(layer, name)[back] for name in layer.ranks}), shuffle


@passing.register
def _(layer: PRelu, shuffle: Select, pixels: tuple[int, ...]) -> tuple[Layer, Select]:
    return PRelu(layer.slopes[np.argsort(shuffle.channels)]), shuffle


@passing.register
def _(
    layer: layers.DepthwiseConv, shuffle: Select, pixels: tuple[int, ...]
) -> tuple[Layer, Select]:
    back = np.argsort(shuffle.channels)
    return replace(layer, weights=layer.weights[back], bias=layer.bias[back]), shuffle


@passing.register
def _(layer: layers.Flatten, shuffle: Select, pixels: tuple[int, ...]) -> tuple[Layer, Select]:
    size = len(shuffle.channels)
    places = np.arange(int(np.prod(pixels)))[:, None] * size + np.array(shuffle.channels)
    return layer, Select(tuple(places.ravel().tolist()))
