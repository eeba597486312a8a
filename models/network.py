"""Float networks: a graph of few layers, what compression and lowering start from.

A saved network is a container of kind "bitwright.network", version 2: the document

    {"name": str, "input_shape": [H, W, C], "input_range": [] or [least, largest],
     "borders": {"input": border, "output": border}, "metadata": {any JSON}, "nodes": [
        {"name": str, "layer": class name, "inputs": [names], "parameters": {field: JSON}}, ...]}

and for every array field of a layer the array "<node>.<field>".  A border holds those of "shape",
"axes" and "finish" (`border.py`) that are not plain.  Version 1 has no borders, and fields that a
layer lacks have their defaults.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from . import activations as activations  # makes the layers known
from . import container
from .border import IDENTITY, Border
from .fixed import BINARY, ProgramError
from .layer import SIZE_MAX, Floats, Layer, Shape, field_names, layer_classes
from .layers import BatchNorm, Conv, Dense, DepthwiseConv
from .program import INPUT as INPUT
from .program import Edge

ELEMENTS_MAX = 1 << 28
KIND, VERSION, VERSIONS = "bitwright.network", 2, {1, 2}
DOCUMENT_FIELDS = {
    "name": str,
    "input_shape": list,
    "input_range": list,
    "metadata": dict,
    "nodes": list,
    "borders": dict,
}
BORDER_FIELDS = {"shape": list, "axes": list, "finish": str}
NODE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")

Linear = Conv | DepthwiseConv | Dense


@dataclass(frozen=True)
class Node:
    """A layer with a name; `inputs` name earlier nodes or the network's "input"."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """One input, a sequence of nodes in the order of computation, one output (the last node).

    Call it on (N, *input_shape) to get (N, *output shape); integers are computed in float64.
    `input_range` are the least and the largest input where inputs are integers, such as pixels.
    `metadata` (who trained it, how well it does) is carried along and decides nothing.  Of the
    borders only the layout and the finish are used: how the model's own frames differ from ours.
    """

    name: str
    input_shape: Shape
    nodes: tuple[Node, ...]
    input_range: tuple[int, int] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    input_border: Border = IDENTITY
    output_border: Border = IDENTITY

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "nodes", tuple(self.nodes))
        if not self.input_shape or any(
            type(size) is not int or not 1 <= size <= SIZE_MAX for size in self.input_shape
        ):
            raise ProgramError(
                f"network {self.name!r}: input_shape holds integers from 1 to {SIZE_MAX}, "
                f"not {self.input_shape!r}"
            )
        if self.input_range is not None:
            object.__setattr__(self, "input_range", _range(self.name, self.input_range))
        if not self.nodes:
            raise ProgramError(f"network {self.name!r} has no nodes; give at least one")
        _ = self.shapes
        open_ends = [name for name in self.shapes if not self.consumers[name]][:-1]
        if open_ends:
            raise ProgramError(
                f"network {self.name!r}: nothing reads {', '.join(map(repr, open_ends))}, and only "
                "the last node is an output; connect or drop the others"
            )
        self.input_border.check(self._edge(INPUT))
        self.output_border.check(self._edge(self.output))

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of one frame of each value, by name, the input first."""
        shapes = {INPUT: self.input_shape}
        for node in self.nodes:
            shapes[node.name] = _shape(node, shapes)
        return shapes

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that read each value, once for each of their inputs that does."""
        readers: dict[str, list[Node]] = {name: [] for name in self.shapes}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @property
    def output(self) -> str:
        """Name of the last node."""
        return self.nodes[-1].name

    def _edge(self, name: str) -> Edge:
        """A value's layout in the terms of borders; its range says nothing."""
        return Edge.of(self.shapes[name], BINARY)

    def accept(self, frames: Floats) -> Floats:
        """Frames (N, ...) as the model's users hold them, or channels last, as channels last."""
        frames, own = np.asarray(frames), self.input_border.own_shape(self._edge(INPUT))
        if frames.shape[1:] == own and frames.ndim:
            return self.input_border.inward(frames, self._edge(INPUT))
        if own != self.input_shape and frames.shape[1:] != self.input_shape:
            raise ProgramError(
                f"network {self.name!r} takes inputs of shape {_with_batch(own)}, not "
                f"{frames.shape}; reshape them"
            )
        return frames

    def answer(self, frames: Floats) -> Floats:
        """What the model itself gives for frames as its users hold them: own layout, finished."""
        return self.output_border.answer(self(self.accept(frames)), self._edge(self.output))

    def run(self, x: Floats, until: str) -> Floats:
        """Compute up to the node `until` and return its value, (N, *shape)."""
        return self.trace(x, until)[until]

    def trace(self, x: Floats, until: str) -> dict[str, Floats]:
        """Compute up to the node `until` and return every value on the way, the input too."""
        if until not in self.shapes:
            raise ProgramError(
                f"network {self.name!r} has no node {until!r}; choose one of "
                f"{', '.join(self.shapes)}"
            )
        values = {INPUT: self._check_input(x)}
        for node in self.nodes:
            if until in values:
                break
            values[node.name] = node.layer(*(values[name] for name in node.inputs))
        return values

    def __call__(self, x: Floats) -> Floats:
        """Compute the output."""
        return self.run(x, self.output)

    def _check_input(self, x: Floats) -> Floats:
        x = np.asarray(x)
        if x.shape[1:] != self.input_shape or not x.shape:
            raise ProgramError(
                f"network {self.name!r} takes inputs of shape {_with_batch(self.input_shape)}, not "
                f"{x.shape}; reshape them (channels last)"
            )
        if x.dtype.kind not in "iubf":
            raise ProgramError(
                f"network {self.name!r} takes integers or floats, not {x.dtype}; convert them"
            )
        return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)

    def save(self, path: str | Path) -> None:
        """Write the network to `path`."""
        arrays: container.Arrays = {}
        nodes: list[dict[str, Any]] = []
        for node in self.nodes:
            cls = type(node.layer)
            values = {name: getattr(node.layer, name) for name in field_names(cls)}
            arrays |= {f"{node.name}.{name}": values.pop(name) for name in cls.ranks}
            nodes.append(
                {
                    "name": node.name,
                    "layer": cls.__name__,
                    "inputs": list(node.inputs),
                    "parameters": values,
                }
            )
        document = {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "input_range": list(self.input_range or ()),
            "metadata": dict(self.metadata),
            "nodes": nodes,
            "borders": {
                "input": _plain(self.input_border),
                "output": _plain(self.output_border),
            },
        }
        container.save(path, KIND, VERSION, document, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a network that `save` wrote."""
        document, arrays = container.load(path, KIND, VERSIONS)
        try:
            document = {"borders": {"input": {}, "output": {}}} | document
            name, shape, ends, metadata, items, borders = _fields(document, DOCUMENT_FIELDS)
            nodes = tuple(_node(item, arrays) for item in items)
            if arrays:
                raise ProgramError(f"array {min(arrays)!r} belongs to no node; drop it")
            ends = tuple(ends) or None
            sides = [_border(side) for side in _fields(borders, {"input": dict, "output": dict})]
            return cls(name, tuple(shape), nodes, ends, metadata, *sides)
        except ProgramError as error:
            raise ProgramError(f"{path}: {error}") from None


def _with_batch(shape: Shape) -> str:
    return f"({', '.join(map(str, ('N', *shape)))})"


def _plain(border: Border) -> dict[str, Any]:
    """The layout and finish of a border that are not those of a plain one, as JSON."""
    values = {name: getattr(border, name) for name in BORDER_FIELDS}
    changed = {name: v for name, v in values.items() if v != getattr(IDENTITY, name)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in changed.items()}  # type: ignore[misc]


def _border(document: dict[str, Any]) -> Border:
    """Undo `_plain`."""
    types = {name: kind for name, kind in BORDER_FIELDS.items() if name in document}
    values = dict(zip(types, _fields(document, types), strict=True))
    for name in types.keys() & {"shape", "axes"}:
        if any(type(size) is not int or not 0 <= size <= SIZE_MAX for size in values[name]):
            raise ProgramError(
                f"the {name} of a border holds integers from 0 to {SIZE_MAX}, not "
                f"{str(values[name])[:80]}"
            )
        values[name] = tuple(values[name])
    return Border(**values)


def _range(name: str, ends: Sequence[Any]) -> tuple[int, int]:
    if len(ends) != 2 or any(type(end) is not int for end in ends) or ends[0] >= ends[1]:
        raise ProgramError(
            f"network {name!r}: input_range is two integers, the smaller first, not {ends!r}"
        )
    return ends[0], ends[1]


def _shape(node: Node, shapes: Mapping[str, Shape]) -> Shape:
    """The output shape of a node whose inputs are checked here."""
    if not NODE_NAME.fullmatch(node.name):
        raise ProgramError(
            f"node {node.name[:100]!r}: a name is a letter or '_', then at most 99 letters, digits "
            "and '_'; rename it"
        )
    if node.name in shapes:
        raise ProgramError(f"two nodes are called {node.name!r}; names must differ")
    fewest, most = node.layer.inputs
    if not fewest <= len(node.inputs) <= most:
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise ProgramError(
            f"node {node.name!r}: {type(node.layer).__name__} takes {wanted} inputs, "
            f"not {len(node.inputs)}"
        )
    for name in node.inputs:
        if name not in shapes:
            raise ProgramError(
                f"node {node.name!r} reads {name!r}, which no earlier node gives; "
                "list nodes in the order of computation"
            )
    try:
        shape = node.layer.shape(*(shapes[name] for name in node.inputs))
    except ProgramError as error:
        raise ProgramError(f"node {node.name!r}: {error}") from None
    if prod(shape) > ELEMENTS_MAX:
        raise ProgramError(
            f"node {node.name!r}: shape {shape} has {prod(shape)} elements, above the limit of "
            f"{ELEMENTS_MAX}; split the network"
        )
    return shape


def _fields(document: Any, types: Mapping[str, type]) -> list[Any]:
    """The values of a JSON object that has exactly these keys, of these types."""
    if not isinstance(document, dict) or document.keys() != types.keys():  # type: ignore[misc]
        raise ProgramError(f"an object with {', '.join(types)} is expected; save it again")
    values = cast(dict[str, Any], document)
    for name, wanted in types.items():
        if not isinstance(values[name], wanted):
            raise ProgramError(f"{name} is a {wanted.__name__}, not {str(values[name])[:80]!r}")
    return [values[name] for name in types]


def _node(document: Any, arrays: container.Arrays) -> Node:
    """Build one node, taking its arrays out of `arrays`."""
    name, layer, inputs, parameters = _fields(
        document, {"name": str, "layer": str, "inputs": list, "parameters": dict}
    )
    if not all(isinstance(source, str) for source in inputs):
        raise ProgramError(f"node {name!r}: inputs are names, not {str(inputs)[:80]}")
    classes = layer_classes()
    if layer not in classes:
        raise ProgramError(
            f"node {name!r} is a {layer[:80]!r}, which is no layer; choose one of "
            f"{', '.join(sorted(classes))}"
        )
    cls = classes[layer]
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in parameters.items()}  # type: ignore[misc]
    values |= {key: arrays.pop(f"{name}.{key}") for key in cls.ranks if f"{name}.{key}" in arrays}
    values = _defaults(cls) | values
    if values.keys() != set(field_names(cls)):
        raise ProgramError(
            f"node {name!r}: a {layer} has {', '.join(field_names(cls)) or 'no fields'}, "
            f"not {', '.join(sorted(values)) or 'none'}"
        )
    try:
        return Node(name, cls(**values), tuple(inputs))
    except ProgramError as error:
        raise ProgramError(f"node {name!r}: {error}") from None


def _defaults(cls: type[Layer]) -> dict[str, Any]:
    """The values of fields that older files lack."""
    return {
        item.name: item.default
        for item in fields(cls)  # type: ignore[arg-type]  # all are dataclasses
        if item.default is not MISSING
    }


def scaled(layer: Linear, factor: Floats, term: Floats) -> Linear:
    """The layer whose output is factor[n] * y[n] + term[n], computed in float64."""
    axes = (-1,) + (1,) * (layer.weights.ndim - 1)
    dtype = layer.weights.dtype
    return replace(
        layer,
        weights=(layer.weights * factor.reshape(axes)).astype(dtype),
        bias=(layer.bias * factor + term).astype(dtype),
    )


def fold_batch_norm(network: Network, kept: Collection[str] = ()) -> Network:
    """Fold each BatchNorm into the linear layer before it, where nothing else reads that layer.

    The linear layer keeps its name, and readers of the BatchNorm read it instead.  Layers whose
    names are `kept` stay as they are, and so does a BatchNorm behind one.
    """
    nodes = {node.name: node for node in network.nodes}
    renamed: dict[str, str] = {}
    for node in network.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        nodes[node.name] = node = replace(node, inputs=inputs)
        before = nodes.get(inputs[0])
        if (
            isinstance(node.layer, BatchNorm)
            and before is not None
            and isinstance(before.layer, Linear)
            and before.name not in kept
            and len(network.consumers[node.inputs[0]]) == 1
        ):
            folded = scaled(before.layer, node.layer.factor, node.layer.term)
            nodes[before.name] = replace(before, layer=folded)
            renamed[node.name] = before.name
            del nodes[node.name]
    return replace(network, nodes=tuple(nodes.values()))
