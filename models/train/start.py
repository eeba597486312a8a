"""Where fine-tuning starts: the result of a method after training, with nothing left to choose.

A draft is a float network in which every rounding is a layer, the compressed weights that belong to
its layers, and the integers at its input.  Its program computes what the post-training program of
the same method does; behind each layer with weights, the last one left out, stands a batch
normalisation that changes nothing yet, with the statistics of the compressed network.

With activations of one bit, clamps give way to signs of the normalised responses, whose thresholds
are the shifts of the batch normalisation: learned ones, as in ReActNet (arXiv 2003.03488).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..activations import Quantize, Sign
from ..compress.method import Compressed, Weight
from ..fixed import ProgramError
from ..layers import Activation, ArgMax, BatchNorm
from ..lower import NONE, lowered, quantise
from ..lowering import Lowering, Pending, Ready, limits
from ..network import INPUT, Linear, Network, Node
from ..program import Border, Edge, Execute, Program

EPSILON = 1e-5
BITS_LEAST = 2
"""The fewest bits of activations that need no training."""


@dataclass(frozen=True, eq=False)
class Draft:
    """`weights` are those of the layers of `network`, whose own are the float ones, or the same.

    edge, border: the integers at the input and what they stand for; bits: those of activations.
    """

    network: Network
    weights: Mapping[str, Weight]
    edge: Edge
    border: Border
    bits: int

    def program(
        self, data: NDArray[Any], weights: str, execute: Execute | None, mixed: Mapping[str, str]
    ) -> Program:
        """The exact integer program; calibration data decides the scale of the scores alone."""
        found = quantise(
            self.network, data, weights, max(self.bits, BITS_LEAST), execute, mixed, self.weights
        )
        return replace(found, metadata={**found.metadata, "activation_bits": self.bits})


def scores_of(network: Network) -> str:
    """The node whose largest channel is the answer."""
    last = network.nodes[-1]
    return last.inputs[0] if isinstance(last.layer, ArgMax) else last.name


def draft(
    network: Network,
    data: NDArray[Any],
    weights: str = "bwnh",
    bits: int = 8,
    execute: Execute | None = None,
    mixed: Mapping[str, str] = NONE,
) -> Draft:
    """The post-training result as a draft; arguments as for `quantise`, but bits from 1."""
    if not 1 <= bits <= 8:
        raise ProgramError(f"activations take 1 to 8 bits, not {bits}")
    lowering = lowered(network, data, weights, max(bits, BITS_LEAST), execute, mixed)
    # What stands for a value: rounded, and before that for the functions that are folded into it.
    nodes, ends, raw = list[Node](), {INPUT: INPUT}, {INPUT: INPUT}
    for node in lowering.network.nodes:
        sources = tuple((raw if _folds(lowering, node) else ends)[name] for name in node.inputs)
        ends[node.name] = raw[node.name] = sources[0]
        for one in _stated(lowering, node, bits):
            inputs = sources if one.name == node.name else (ends[node.name],)
            nodes.append(replace(one, inputs=inputs))
            ends[node.name] = one.name
            if one.name != f"{node.name}_rounded":
                raw[node.name] = one.name
    names = {node.name for node in nodes if isinstance(node.layer, Linear)}
    return Draft(
        replace(lowering.network, nodes=tuple(nodes)),
        {name: _weight(lowering, name) for name in sorted(names)},
        lowering.calibration.edges[INPUT],
        lowering.border,
        bits,
    )


def _folds(lowering: Lowering, node: Node) -> bool:
    """Whether a layer is folded with what it reads into one rounding (see `lower.py`)."""
    read = lowering.values[node.inputs[0]]
    if not isinstance(read, Pending) or not isinstance(node.layer, Activation | BatchNorm | ArgMax):
        return False
    return read.function is None or (_clamps(node) and limits(read.function) is not None)


def _stated(lowering: Lowering, node: Node, bits: int) -> list[Node]:
    """The node, and what stands behind it: a batch normalisation, a rounding."""
    value = lowering.values[node.name]
    label = value.label if isinstance(value, Pending) else ""
    rounded = label in lowering.rounded
    inner = node.name != scores_of(lowering.network)
    found = [] if bits == 1 and inner and _clamps(node) else [node]
    if isinstance(node.layer, Linear):
        _check_order(lowering, node)
        assert isinstance(value, Pending)
        found = [replace(node, layer=_with_bias(node, value))]
        if inner:
            found.append(Node(f"{node.name}_norm", _norm(lowering, value, bits), ()))
    if rounded and label == node.name:
        assert isinstance(value, Pending)
        found.append(Node(f"{node.name}_rounded", _rounding(lowering, value, bits), ()))
    return found


def _clamps(node: Node) -> bool:
    return isinstance(node.layer, Activation) and limits(node.layer) is not None


def _check_order(lowering: Lowering, node: Node) -> None:
    read = lowering.values[node.inputs[0]]
    if isinstance(read, Ready) and list(read.channels or ()) != sorted(read.channels or ()):
        raise ProgramError(
            f"layer {node.name!r} reads shuffled channels, and fine-tuning takes them in order; "
            "compress this network without fine-tuning"
        )


def _with_bias(node: Node, value: Pending) -> Linear:
    layer = node.layer
    assert isinstance(layer, Linear)
    return replace(layer, weights=layer.weights.astype(np.float64), bias=value.offset)


def _norm(lowering: Lowering, value: Pending, bits: int) -> BatchNorm:
    """The identity, with the statistics of the responses on the calibration data.

    In front of signs it is a positive multiple, of root mean square 1 over the channels: their
    gradients live within -1..1.
    """
    rows = lowering.calibration.samples(value.node, value.real)
    mean, variance = rows.mean(0), rows.var(0)
    deviation = np.sqrt(variance + EPSILON)
    unit = float(np.sqrt((deviation**2).mean())) if bits == 1 else 1.0
    return BatchNorm(deviation / unit, mean / unit, mean, variance, EPSILON)


def _rounding(lowering: Lowering, value: Pending, bits: int) -> Quantize | Sign:
    if bits == 1:
        return Sign()
    grid = lowering.activation_grid(value)
    return Quantize(lowering.rounded[value.label].scale, grid.lo, grid.hi)


def _weight(lowering: Lowering, name: str) -> Weight:
    """The weights of a layer, depthwise ones as one."""
    found = lowering.found[name]
    if len(found) == 1:
        return found[0]
    parts = cast(list[Compressed], found)
    return Compressed(
        np.concatenate([one.weights for one in parts]),
        parts[0].grid,
        np.concatenate([one.scale for one in parts]),
    )
