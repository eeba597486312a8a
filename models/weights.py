"""The weights that layers get: those given, or what a method makes of the calibration data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import layers
from .calibration import Floats
from .compress.method import Compressed, Method, Product, Sums, Weight, method
from .compress.problem import Gatherer
from .fixed import Ints, ProgramError
from .lowering import Lowering, Pending, Place
from .network import Linear, Network, Node

Inputs = Callable[[slice], Floats]
"""What a layer of the float network reads on some of the frames."""

Problems = Sequence[tuple[Gatherer, Any]]
"""Gatherers, and the columns of the windows that each of them sees."""


def compressed(
    lowering: Lowering, how: Method, place: Place, inputs: Inputs, rows: Problems
) -> list[Weight]:
    """Compress the weights of problems whose float inputs (N, H, W, C) the same kernel walks."""
    if place.name in lowering.given:
        lowering.found[place.name] = [lowering.given[place.name]]
        return [lowering.given[place.name]]
    calibration = lowering.calibration
    for part in calibration.chunks(place.windows):
        whole = place.windows == place.source
        floats = rows_of(inputs(part) if whole else place.slide.patches(inputs(part)))
        seen = floats
        if not how.symmetric:
            seen = place.scale * rows_of(calibration.values(place.windows, part))
        for gatherer, columns in rows:
            gatherer.add(floats[:, columns], seen[:, columns])
    found = [how.compress(gatherer.problem(), gatherer.weights) for gatherer, _ in rows]
    lowering.found[place.name] = found
    return found


def response(lowering: Lowering, node: Node, sums: Sums) -> Pending:
    """The response of a compressed layer, with the bias that gives it the float network's mean.

    The float bias would leave the mean error of the compressed weights in every output (bias
    correction: Nagel et al., arXiv 1906.04721, section 4.2).  Weights that are given have theirs.
    """
    if node.name in lowering.given:
        assert isinstance(node.layer, Linear)
        return Pending(sums.edge, sums.scale, node.layer.bias.astype(np.float64), node.name)
    found = sums.scale * lowering.calibration.kept[sums.edge].mean()
    return Pending(sums.edge, sums.scale, lowering.floats[node.name].mean() - found, node.name)


def linear_layers(network: Network) -> list[str]:
    """The layers with weights to compress, by name."""
    return [node.name for node in network.nodes if isinstance(node.layer, Linear)]


def methods_of(network: Network, weights: str, mixed: Mapping[str, str]) -> Callable[[str], Method]:
    """The method of each layer by name."""
    usual, special = method(weights), {name: method(how) for name, how in mixed.items()}
    known = linear_layers(network)
    for name in special:
        if name not in known:
            raise ProgramError(
                f"network {network.name!r} has no layer {name!r} with weights to compress; choose "
                f"{', '.join(known) or 'another network'}"
            )
    ends = dict.fromkeys(known[-1:], usual.answers)
    return lambda name: special.get(name) or ends.get(name, usual)


def check_given(network: Network, given: Mapping[str, Weight], shuffled: bool) -> None:
    """Raise unless each layer is there, is not grouped, and has as many weights as given.

    shuffled: whether channels of the network were put in another order than its files'.
    """
    if given and shuffled:
        raise ProgramError(
            f"network {network.name!r} shuffles channels, and given weights keep their order; let "
            "methods compress it"
        )
    known = {node.name: node.layer for node in network.nodes if isinstance(node.layer, Linear)}
    for name, weight in given.items():
        layer = known.get(name)
        if layer is None:
            raise ProgramError(
                f"network {network.name!r} has no layer {name!r} for the weights given; choose "
                f"{', '.join(known) or 'another network'}"
            )
        if isinstance(layer, layers.Conv) and layer.groups > 1:
            raise ProgramError(
                f"layer {name!r} has {layer.groups} groups, and weights are given to layers of "
                "one; let a method compress it"
            )
        if not isinstance(weight, Product):
            raise ProgramError(
                f"layer {name!r}: {type(weight).__name__} weights are found by calibration alone; "
                "let their method compress it"
            )
        wanted, found = layer.weights.reshape(len(layer.weights), -1).shape, weight.dense().shape
        if found != wanted:
            raise ProgramError(
                f"layer {name!r} has weights (N, S) of shape {wanted}, and those given are "
                f"{found}; give them for this layer"
            )
        if isinstance(layer, layers.DepthwiseConv) and not isinstance(weight, Compressed):
            raise ProgramError(
                f"layer {name!r} is depthwise, and {type(weight).__name__} weights have no "
                "operator there; give Compressed ones"
            )


def check_order(lowering: Lowering, node: Node, ranks: Ints) -> None:
    """Raise where weights are given to a layer that reads channels in another order than stored."""
    if node.name in lowering.given and not np.array_equal(ranks, np.sort(ranks)):
        raise ProgramError(
            f"layer {node.name!r} reads shuffled channels, and given weights have no other order; "
            "let a method compress it"
        )


def rows_of(x: NDArray[Any]) -> NDArray[Any]:
    """All positions of all frames: (R, C)."""
    return x.reshape(-1, x.shape[-1])
