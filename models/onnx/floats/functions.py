"""Functions of each value in float graphs, and those of whole frames that may stand at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from ... import activations, layers
from ...activations import LARGEST
from ...layer import Layer
from ..constants.constant import Constant
from ..graph import Node
from ..parameters import Attributes
from .table import handles, own_axis
from .views import Draft, View, reals, refuse


def _activated(draft: Draft, node: Node, layer: Layer) -> View:
    view = draft.view(node)
    return replace(view, source=draft.emit(node, layer, view.source))


@handles("Relu")
def _relu(draft: Draft, node: Node, attributes: Attributes) -> View:
    return _activated(draft, node, layers.Relu())


SIMPLE: dict[str, Callable[[], Layer]] = {
    "HardSwish": activations.HardSwish,
    "Softplus": activations.Softplus,
}


@handles(*SIMPLE)
def _simple(draft: Draft, node: Node, attributes: Attributes) -> View:
    return _activated(draft, node, SIMPLE[node.op]())


@handles("LeakyRelu")
def _leaky_relu(draft: Draft, node: Node, attributes: Attributes) -> View:
    return _activated(draft, node, activations.LeakyRelu(float(attributes.number("alpha", 0.01))))


@handles("Elu")
def _elu(draft: Draft, node: Node, attributes: Attributes) -> View:
    return _activated(draft, node, activations.Elu(float(attributes.number("alpha", 1.0))))


@handles("HardSigmoid")
def _hard_sigmoid(draft: Draft, node: Node, attributes: Attributes) -> View:
    alpha, beta = attributes.number("alpha", 0.2), attributes.number("beta", 0.5)
    return _activated(draft, node, activations.HardSigmoid(float(alpha), float(beta)))


@handles("PRelu")
def _prelu(draft: Draft, node: Node, attributes: Attributes) -> View:
    slopes = draft.numbers(node, 1, "the slopes")
    view, (by_channel,) = draft.by_channel(node, draft.view(node), slopes)
    return replace(view, source=draft.emit(node, activations.PRelu(by_channel), view.source))


@handles("Clip")
def _clip(draft: Draft, node: Node, attributes: Attributes) -> View:
    ends = [-LARGEST, LARGEST]
    for number, name in enumerate(("min", "max"), 1):
        constant = draft.optional(node, number, f"the {name}imum")
        if constant is not None:
            ends[number - 1] = _scalar(node, constant)
        elif name in attributes:
            ends[number - 1] = float(attributes.number(name))
    return _clipped(draft, node, draft.view(node), *ends)


@handles("Max", "Min")
def _bounded(draft: Draft, node: Node, attributes: Attributes) -> View:
    if len(node.inputs) != 2:
        raise refuse(node, f"it takes a tensor and a constant, not {len(node.inputs)} inputs")
    at = 1 if isinstance(draft.value(node, 1), Constant) else 0
    bound = _scalar(node, draft.constant(node, at, "the bound"))
    view = draft.view(node, 1 - at)
    ends = (bound, LARGEST) if node.op == "Max" else (-LARGEST, bound)
    return _clipped(draft, node, view, *ends)


def _clipped(draft: Draft, node: Node, view: View, lo: float, hi: float) -> View:
    lo, hi = max(lo, -LARGEST), min(hi, LARGEST)
    if lo > hi:
        raise refuse(node, f"its least value {lo} is above its largest {hi}; correct them")
    layer = layers.Relu() if (lo, hi) == (0, LARGEST) else activations.Clip(lo, hi)
    return replace(view, source=draft.emit(node, layer, view.source))


def _scalar(node: Node, constant: Constant) -> float:
    if constant.size != 1:
        raise refuse(node, f"its bounds are one number, not of shape {constant.shape}; use scalars")
    return float(reals(constant).ravel()[0])


@handles("Sigmoid", "Tanh", "Softmax", "LogSoftmax")
def _finish(draft: Draft, node: Node, attributes: Attributes) -> View:
    view = draft.view(node)
    if node.op in ("Softmax", "LogSoftmax"):
        rank = len(view.shape)
        axis = attributes.integer("axis", -1 if node.version >= 13 else 1)
        if own_axis(node, axis, rank) != rank - 1:
            raise refuse(
                node,
                f"it works along axis {axis} of {draft.with_batch(view)}, and only along the last; "
                "cut the model before it",
            )
    finish = {"LogSoftmax": "log_softmax"}.get(node.op, node.op.lower())
    return replace(view, finish=finish, finisher=str(node))


@handles("ArgMax")
def _arg_max(draft: Draft, node: Node, attributes: Attributes) -> View:
    # All finishes rise with each score, and leave the largest where it is.
    view = replace(draft.unfinished(node), finish="")
    rank = len(view.shape)
    axis = own_axis(node, attributes.integer("axis", 0), rank)
    if attributes.flag("select_last_index", False):
        raise refuse(node, "it takes the last of equal values; export it with select_last_index=0")
    vector = rank == 1
    source = draft.vector(node, view) if vector else draft.ordered(node, view, axis)
    name = draft.emit(node, layers.ArgMax(), source)
    keep = attributes.flag("keepdims", True)
    rest = view.shape[:axis] + view.shape[axis:][1:]
    places = np.arange(prod(rest)).reshape(rest)
    return View(name, np.expand_dims(places, axis) if keep else places)
