"""From a float network to an exact integer program: compress each layer, then fold its scales.

Layers are taken in the order of computation.  Each is compressed for the inputs that it sees behind
the integer prefix built so far (run on the calibration data), so that errors are repaired and do
not pile up; what its scales and functions become is told in `lowering.py`.

`lower` says for each layer what it becomes; register a function for a layer of your own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import singledispatch
from math import prod
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import compress as compress  # makes the methods known
from . import folding, layers, ops
from .activations import Clip, Quantize, Sign
from .calibration import Calibration
from .compress.method import Compressed, Sums, Weight
from .compress.problem import Gatherer
from .fixed import Grid, Ints, ProgramError, signed, unsigned
from .groups import block_diagonal, channels_of, joined, places, rising
from .layers import Slide
from .lowering import AS_FOUND, Lowering, Pending, Place, Ready, Value, limits
from .network import INPUT, Network, Node, fold_batch_norm
from .program import Border, Edge, Execute, Program, define
from .program import Node as ProgramNode
from .shuffles import sink_shuffles
from .store import Store, Stored, chunks
from .weights import check_given, check_order, compressed, methods_of, response

INPUT_BITS = 8
NONE: Mapping[str, str] = MappingProxyType({})
BRANCHES_MAX = ops.Concatenate.inputs[1]


def quantise(
    network: Network,
    data: NDArray[Any],
    weights: str = "bwnh",
    activation_bits: int = 8,
    execute: Execute | None = None,
    mixed: Mapping[str, str] = NONE,
    given: Mapping[str, Weight] = AS_FOUND,
) -> Program:
    """Compress `network` by the method called `weights`; return its exact integer program.

    `mixed` names another method for some layers, e.g. {"conv1": "int8"} for a first layer.  `data`
    are calibration inputs, without labels, in the model's own layout or channels last, (N,
    *input_shape); activations take `activation_bits` (2 to 8).  `execute` may replace the
    definitions (fast kernels).  Integer inputs are taken as they are, others are rounded to 8 bits
    at the border.

    `given` are compressed weights of some layers, taken as they are (trained ones).  Such a layer
    keeps its own bias, and a batch normalisation behind it, whatever calibration would correct.
    """
    lowering = lowered(network, data, weights, activation_bits, execute, mixed, given)
    calibration, scale = lowering.calibration, lowering.scores(lowering.network.output).scale
    parts = lowering.found.values()
    return Program(
        network.name,
        calibration.edges[INPUT],
        _read(calibration.nodes),
        lowering.border,
        replace(network.output_border, scale=(Fraction(scale),)),
        {
            "weights": weights,
            "activation_bits": activation_bits,
            "weight_bits": sum(one.bits for part in parts for one in part),
        }
        | ({"mixed": dict(mixed)} if mixed else {}),
    )


def lowered(
    network: Network,
    data: NDArray[Any],
    weights: str,
    activation_bits: int,
    execute: Execute | None,
    mixed: Mapping[str, str] = NONE,
    given: Mapping[str, Weight] = AS_FOUND,
) -> Lowering:
    """Everything that `quantise` finds, the rounding of the scores left out."""
    if not 2 <= activation_bits <= 8:
        raise ProgramError(f"activations take 2 to 8 bits, not {activation_bits}")
    sunk, data = sink_shuffles(network), network.accept(data)
    folded = fold_batch_norm(sunk, given)
    check_given(folded, given, sunk is not network)
    _ = folded.run(data[:1], INPUT)  # refuses a wrong shape or type
    if not _usable(folded, data):
        raise ProgramError("calibration takes finite inputs that are not all 0; give it real ones")
    edge, border = input_border(folded, data)
    calibration = Calibration(execute or define, len(data))
    calibration.keep(INPUT, edge, lambda part: border.quantise(data[part], edge))
    floats = _traced(folded, data, calibration.store)
    values: dict[str, Value] = {INPUT: Ready(INPUT, float(border.scale[0]))}
    choose = methods_of(folded, weights, mixed)
    lowering = Lowering(folded, floats, values, calibration, choose, activation_bits, border, given)
    for node in folded.nodes:
        values[node.name] = lower(node.layer, lowering, node)
    return lowering


def _usable(network: Network, data: NDArray[Any]) -> bool:
    """Whether all calibration inputs are finite, and some are not 0."""
    parts = [data[part] for part in chunks(len(data), prod(network.input_shape))]
    return any(map(np.any, parts)) and all(np.isfinite(part).all() for part in parts)


def _traced(network: Network, data: NDArray[Any], store: Store) -> dict[str, Stored]:
    """Every value of the float network on all frames, computed a few frames at a time."""
    floats: dict[str, Stored] = {}
    for part in chunks(len(data), sum(map(prod, network.shapes.values()))):
        for name, values in network.trace(data[part], network.output).items():
            if name not in floats:
                floats[name] = store.reserve((len(data), *values.shape[1:]), values.dtype)
            floats[name].write(part, values)
    return floats


def _read(nodes: Mapping[str, ProgramNode]) -> tuple[ProgramNode, ...]:
    """The nodes that the last one reads, itself included: not the windows only calibrated on."""
    backwards = list(nodes.values())[::-1]
    wanted, kept = {backwards[0].name}, list[ProgramNode]()
    for node in backwards:
        if node.name in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


def input_border(network: Network, data: NDArray[Any]) -> tuple[Edge, Border]:
    """The input's integers, and what they stand for: themselves, or 8 bits of the largest float."""
    layout = network.input_border
    if network.input_range is not None:
        lo, hi = network.input_range
        if data.min() < lo or data.max() > hi:
            raise ProgramError(
                f"calibration inputs span {data.min()}..{data.max()}, and network "
                f"{network.name!r} takes {lo}..{hi}; clamp or rescale them"
            )
        return Edge.of(network.input_shape, Grid(*network.input_range)), layout
    if data.dtype.kind != "f":
        ends = min(0, int(data.min())), max(0, int(data.max()))
        return Edge.of(network.input_shape, Grid(*ends)), layout
    grid = unsigned(INPUT_BITS) if float(data.min()) >= 0 else signed(INPUT_BITS)
    largest = max(float(data.max()), -float(data.min()))
    scale = Fraction(largest or 1.0) / grid.hi
    return Edge.of(network.input_shape, grid), replace(layout, scale=(scale,))


@singledispatch
def lower(layer: layers.Layer, lowering: Lowering, node: Node) -> Value:
    """Emit the operators of one layer and say what its value became."""
    raise ProgramError(
        f"node {node.name!r}: {type(layer).__name__} has no lowering; register one with "
        "bitwright.models.lower.lower"
    )


@lower.register
def _(layer: layers.Conv, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    # One `Dot` per group does nothing in vain, but a `Concatenate` joins 16: of more groups some
    # share a `Dot`, whose weights are 0 between them.
    shares = np.array_split(np.arange(layer.groups), min(layer.groups, BRANCHES_MAX))
    names = [f"{node.name}_part{number}" for number in range(len(shares))]
    if len(shares) == 1:
        names = [node.name]
    parts = [
        _convolve(lowering, node, x, share.tolist(), name)
        for share, name in zip(shares, names, strict=True)
    ]
    return response(lowering, node, joined(lowering, f"{node.name}_dot", parts))


def _convolve(lowering: Lowering, node: Node, x: Ready, groups: Sequence[int], name: str) -> Sums:
    """Emit the sums of neighbouring groups."""
    layer = node.layer
    assert isinstance(layer, layers.Conv)
    split = [layer.split()[group] for group in groups]
    run = slice(split[0][0].start, split[-1][0].stop)
    stored, ranks = rising(x, run)
    source = channels_of(lowering, x.node, stored, f"{name}_input")
    windows = lowering.windows(f"{name}_window", source, layer.slide)
    place = Place(lowering, name, source, x.scale, layer.slide, windows)
    shares = np.split(ranks, len(groups))
    columns = [places(np.sort(share), len(ranks), layer) for share in shares]
    how = lowering.method(node.name)
    problems: list[tuple[Gatherer, Ints]] = []
    for (_, weights), share, column in zip(split, shares, columns, strict=True):
        own = weights[..., np.argsort(share)].reshape(len(weights), -1)
        problems.append((Gatherer(own, layer.window, how.samples), column))
    floats, order = lowering.floats[node.inputs[0]], np.argsort(ranks)
    check_order(lowering, node, ranks)
    found = compressed(
        lowering, how, place, lambda part: floats[part][..., run][..., order], problems
    )
    if len(found) == 1:
        return found[0].lower(place)
    if all(isinstance(one, Compressed) for one in found):
        return block_diagonal(cast(list[Compressed], found), columns).lower(place)
    return _each(lowering, place, found, shares)


def _each(
    lowering: Lowering, place: Place, found: Sequence[Weight], shares: Sequence[Ints]
) -> Sums:
    """Emit each group by itself, over its share of the channels."""
    parts: list[Sums] = []
    for number, (one, share) in enumerate(zip(found, shares, strict=True)):
        name, channels = f"{place.name}_{number}", np.sort(share).tolist()
        source = channels_of(lowering, place.source, channels, f"{name}_input")
        windows = lowering.windows(f"{name}_window", source, place.slide)
        parts.append(one.lower(replace(place, name=name, source=source, windows=windows)))
    level = 0
    while len(parts) > 1:
        level += 1
        runs = [parts[low : low + BRANCHES_MAX] for low in range(0, len(parts), BRANCHES_MAX)]
        parts = [
            joined(lowering, f"{place.name}_join{level}_{number}", run)
            for number, run in enumerate(runs)
        ]
    return parts[0]


@lower.register
def _(layer: layers.Select, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    readers = lowering.network.consumers[node.name]
    if readers and all(isinstance(one.layer, layers.Conv | layers.Dense) for one in readers):
        # They read channels in any order: their weights are put in that of the channels.
        return replace(x, channels=layer.channels)
    return replace(x, node=channels_of(lowering, x.node, layer.channels, node.name))


@lower.register
def _(layer: layers.Dense, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    stored, ranks = rising(x, slice(0, layer.weights.shape[1]))
    order = np.argsort(ranks)
    source = channels_of(lowering, x.node, stored, f"{node.name}_input")
    place = Place(lowering, node.name, source, x.scale, Slide((1, 1)), source)
    how, floats = lowering.method(node.name), lowering.floats[node.inputs[0]]
    problems = [(Gatherer(layer.weights[:, order], samples=how.samples), slice(None))]
    check_order(lowering, node, ranks)
    (found,) = compressed(lowering, how, place, lambda part: floats[part][..., order], problems)
    return response(lowering, node, found.lower(place))


@lower.register
def _(layer: layers.DepthwiseConv, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    windows = lowering.windows(f"{node.name}_window", x.node, layer.slide)
    place = Place(lowering, node.name, x.node, x.scale, layer.slide, windows)
    inputs, channels = lowering.floats[node.inputs[0]].__getitem__, len(layer.weights)
    how = lowering.method(node.name).depthwise
    problems = [
        (Gatherer(row.reshape(1, -1), layer.window, how.samples), slice(channel, None, channels))
        for channel, row in enumerate(layer.weights)
    ]
    found = compressed(lowering, how, place, inputs, problems)
    if not all(isinstance(one, Compressed) for one in found):
        raise ProgramError(
            f"layer {node.name!r}: method {type(how).__name__} gives depthwise weights as "
            f"{type(found[0]).__name__}, and only Compressed ones have an operator; let its "
            "`depthwise` be a method that gives these"
        )
    found = cast(list[Compressed], found)
    weights = np.concatenate([one.weights for one in found])
    scale = np.concatenate([one.scale for one in found])
    dot = place.emit("dot", ops.DepthwiseDot(weights, found[0].grid), windows)
    return response(lowering, node, Sums(dot, x.scale * scale))


@lower.register
def _(layer: layers.BatchNorm, lowering: Lowering, node: Node) -> Value:
    x = lowering.source(node)
    if isinstance(x, Pending) and x.function is not None:
        x = lowering.ready(x)
    factor, term = layer.factor, layer.term
    if isinstance(x, Ready):
        if len(set(factor.tolist())) == 1 and factor[0] > 0 and not term.any():
            return replace(x, scale=x.scale * float(factor[0]))
        x = lowering.pending(x, node.name)
    return Pending(x.node, factor * x.scale, factor * x.offset + term, node.name)


@lower.register
def _(layer: layers.Activation, lowering: Lowering, node: Node) -> Value:
    x = lowering.source(node)
    if isinstance(x, Pending) and x.function is not None:
        both = _both_clamps(x.function, layer)
        if both is not None:
            return replace(x, label=node.name, function=both)
        x = lowering.ready(x)
    if isinstance(x, Ready):
        if isinstance(layer, layers.Relu) and lowering.edge(x).grid.lo >= 0:
            return x
        x = lowering.pending(x, node.name)
    return replace(x, label=node.name, function=layer)


@lower.register
def _(layer: Quantize, lowering: Lowering, node: Node) -> Value:
    x, grid = lowering.source(node), Grid(layer.lo, layer.hi)
    if isinstance(x, Ready):
        here = lowering.edge(x).grid
        if x.scale == layer.step and grid.lo <= here.lo and here.hi <= grid.hi:
            return x
        x = lowering.pending(x, node.name)
    return lowering.round(replace(x, label=node.name), layer.step, grid)


@lower.register
def _(layer: Sign, lowering: Lowering, node: Node) -> Value:
    x = lowering.source(node)
    if isinstance(x, Pending) and x.function is not None and not x.function.monotone:
        x = lowering.ready(x)
    if isinstance(x, Ready):
        x = lowering.pending(x, node.name)
    op = folding.sign(lowering.edge(x), x.real, x.scale >= 0)
    return Ready(lowering.calibration.emit(node.name, op, x.node), layer.step)


def _both_clamps(first: layers.Activation, then: layers.Activation) -> Clip | None:
    """Two clamps as one; None where one of them is another function."""
    inner, outer = limits(first), limits(then)
    if inner is None or outer is None:
        return None
    return Clip(*(min(max(end, outer[0]), outer[1]) for end in inner))


@lower.register
def _(layer: layers.MaxPool, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    # The least value of all wins against nothing that is there.
    least = lowering.edge(x).grid.lo
    windows = lowering.windows(f"{node.name}_window", x.node, layer.slide, least)
    op = ops.MaxPool(prod(layer.kernel))
    return Ready(lowering.calibration.emit(node.name, op, windows), x.scale)


@lower.register
def _(layer: layers.AveragePool, lowering: Lowering, node: Node) -> Value:
    return _mean(lowering, node, layer.slide)


@lower.register
def _(layer: layers.GlobalAveragePool, lowering: Lowering, node: Node) -> Value:
    height, width, _ = lowering.network.shapes[node.inputs[0]]
    return _mean(lowering, node, Slide((height, width)))


def _mean(lowering: Lowering, node: Node, slide: Slide) -> Pending:
    x = lowering.ready(lowering.source(node))
    windows = lowering.windows(f"{node.name}_window", x.node, slide)
    op = ops.SumPool(prod(slide.kernel))
    total = lowering.calibration.emit(f"{node.name}_sum", op, windows)
    return lowering.pending(Ready(total, x.scale), node.name, 1 / op.size)


@lower.register
def _(layer: layers.Pad, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    op = ops.Window((1, 1), padding=layer.padding)
    return replace(x, node=lowering.calibration.emit(node.name, op, x.node))


@lower.register
def _(layer: layers.Flatten | layers.Reshape, lowering: Lowering, node: Node) -> Value:
    x = lowering.ready(lowering.source(node))
    op = ops.Reshape(lowering.network.shapes[node.name])
    return replace(x, node=lowering.calibration.emit(node.name, op, x.node))


@lower.register
def _(layer: layers.ArgMax, lowering: Lowering, node: Node) -> Value:
    x = lowering.scores(node.inputs[0])
    return Ready(lowering.calibration.emit(f"{node.name}_best", ops.TopK(1), x.node), 1.0)


@lower.register
def _(layer: layers.Add, lowering: Lowering, node: Node) -> Value:
    a, b = lowering.common(node)
    total = lowering.calibration.emit(f"{node.name}_sum", ops.Add(), a.node, b.node)
    return lowering.pending(Ready(total, a.scale), node.name)


@lower.register
def _(layer: layers.Concatenate, lowering: Lowering, node: Node) -> Value:
    inputs = lowering.common(node)
    name = lowering.calibration.emit(node.name, ops.Concatenate(), *(x.node for x in inputs))
    return Ready(name, inputs[0].scale)
