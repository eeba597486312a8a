"""Arithmetic in float graphs: with constants, of branches, side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ... import activations, layers
from ...layer import Layer, Shape
from ..constants.constant import Constant
from ..graph import Node
from ..parameters import Attributes
from .table import handles, own_axis
from .views import Draft, View, joined, refuse


@handles("BatchNormalization")
def _batch_norm(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    attributes.ignore("momentum", "spatial")
    if attributes.flag("training_mode", False):
        raise refuse(node, "it is in training mode; export the model for inference")
    epsilon = float(attributes.number("epsilon", 1e-5))
    names = ("the scale", "the offset", "the mean", "the variance")
    scale, offset, mean, variance = (
        draft.numbers(node, number, what) for number, what in enumerate(names, 1)
    )
    if float(variance.min(initial=1.0)) + epsilon <= 0:
        raise refuse(node, "variance + epsilon is above 0 in every channel; correct the variance")
    factor = scale / np.sqrt(variance + epsilon)
    along = (-1,) + (1,) * (len(view.shape) - 1)
    term = offset - mean * factor
    return draft.affine(node, view, factor.reshape(along), term.reshape(along))


@handles("Add", "Sub", "Mul", "Div")
def _arithmetic(draft: Draft, node: Node, attributes: Attributes) -> View:
    constants = [isinstance(draft.value(node, number), Constant) for number in (0, 1)]
    if not any(constants):
        return _branches(draft, node)
    at = constants.index(True)
    number = draft.numbers(node, at, "a constant")
    view = draft.view(node, 1 - at)
    if node.op == "Mul":
        return draft.affine(node, view, number, np.zeros(()))
    if node.op == "Div":
        if at == 0 or not number.all():
            raise refuse(
                node, "it divides by 0, or by a tensor that depends on the input; avoid it"
            )
        return draft.affine(node, view, 1 / number, np.zeros(()))
    if node.op == "Sub" and at == 0:
        return draft.affine(node, view, np.array(-1.0), number)
    return draft.affine(node, view, np.ones(()), number if node.op == "Add" else -number)


def _branches(draft: Draft, node: Node) -> View:
    """The sum or difference of two branches, or a gate of one by a function of it."""
    if node.op == "Mul":
        return _gate(draft, node)
    first, second = draft.view(node, 0), draft.view(node, 1)
    if node.op == "Div" or first.shape != second.shape:
        raise refuse(
            node,
            f"two tensors of shapes {draft.with_batch(first)} and {draft.with_batch(second)} that "
            "depend on the input can only be added, with one shape; avoid it",
        )
    if node.op == "Sub":
        second = draft.affine(node, second, np.array(-1.0), np.zeros(()))
    first, second = _aligned(draft, node, first, second)
    return replace(first, source=draft.emit(node, layers.Add(), first.source, second.source))


def _aligned(draft: Draft, node: Node, first: View, second: View) -> tuple[View, View]:
    """Two tensors of one shape in layers of one shape and order."""

    def alike() -> bool:
        shapes = draft.shapes[first.source] == draft.shapes[second.source]
        return shapes and np.array_equal(first.places, second.places)

    if alike():
        return first, second
    if len(first.shape) > 1:
        sources = (draft.ordered(node, view) for view in (first, second))
        first, second = (draft.image_view(source, first.shape) for source in sources)
        return first, second
    first, second = draft.flat(node, first), draft.flat(node, second)
    if alike():
        return first, second
    order = second.places[np.argsort(first.places)]
    source = draft.select(node, order, second.source)
    return first, View(source, first.places)


def _gate(draft: Draft, node: Node) -> View:
    """X times a sigmoid of x; no other product of tensors is computed."""
    for number in (0, 1):
        gate, x = draft.unfinished(node, number), draft.unfinished(node, 1 - number)
        layer = _gated(draft, gate, x)
        if layer is not None and not x.finish and np.array_equal(gate.places, x.places):
            return replace(x, source=draft.emit(node, layer, x.source))
    raise refuse(
        node,
        "it multiplies two tensors that depend on the input, and only x * sigmoid(x) and "
        "x * hardsigmoid(x) are computed; train the network without such gates",
    )


def _gated(draft: Draft, gate: View, x: View) -> Layer | None:
    """The function that is x times `gate`, where that is a sigmoid of x."""
    if gate.finish == "sigmoid" and gate.source == x.source:
        return activations.Silu()
    made = draft.nodes.get(gate.source)
    if made is None or gate.finish or made.inputs != (x.source,):
        return None
    if isinstance(made.layer, activations.Sigmoid):
        return activations.Silu()
    if isinstance(made.layer, activations.HardSigmoid):
        return activations.HardSwish(made.layer.alpha, made.layer.beta)
    return None


@handles("Neg")
def _negated(draft: Draft, node: Node, attributes: Attributes) -> View:
    return draft.affine(node, draft.view(node), np.array(-1.0), np.zeros(()))


@handles("Concat")
def _concat(draft: Draft, node: Node, attributes: Attributes) -> View:
    views = [draft.view(node, number) for number in range(len(node.inputs))]
    rank = len(views[0].shape)
    axis = own_axis(node, attributes.integer("axis"), rank)
    rest = {view.shape[:axis] + view.shape[axis:][1:] for view in views}
    if len(rest) > 1 or any(len(view.shape) != rank for view in views):
        listed = ", ".join(draft.with_batch(view) for view in views)
        raise refuse(node, f"its inputs differ beyond axis {axis + 1}: {listed}; reshape them")
    if rank == 1:
        views = [draft.flat(node, view) for view in views]
        parts = [(view.source, view.places) for view in views]
    else:
        parts = [draft.image(node, view, axis) for view in views]
    places = joined(parts, [draft.shapes[source][-1] for source, _ in parts])
    source = _concatenated(draft, node, [source for source, _ in parts])
    if rank == 1:
        return View(source, places)
    shape: Shape = (*views[0].shape[:axis], len(places), *views[0].shape[axis:][1:])
    return draft.image_view(source, shape, axis, places)


def _concatenated(draft: Draft, node: Node, sources: list[str]) -> str:
    """Layers side by side, by as many `Concatenate` as that takes."""
    most = layers.Concatenate.inputs[1]
    while len(sources) > 1:
        groups = [sources[k : k + most] for k in range(0, len(sources), most)]
        sources = [
            group[0] if len(group) == 1 else draft.emit(node, layers.Concatenate(), *group)
            for group in groups
        ]
    return sources[0]
