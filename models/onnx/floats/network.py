"""Float graphs, as PyTorch and Keras export them, as networks that compression starts from."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ...border import Border
from ...fixed import ProgramError
from ...layer import Shape
from ...network import INPUT, Network
from ...network import Node as NetworkNode
from ..constants.constant import Constant
from ..constants.folding import fold, foldable
from ..graph import ONNX, Graph, Node, Tensor
from ..parameters import Attributes
from . import arithmetic as arithmetic  # these enter their handlers in the table
from . import functions as functions
from . import layers as layers
from . import moves as moves
from .table import HANDLERS
from .views import Draft, Value, View, refuse, rows

NAME = re.compile(r"[ -~]{1,100}")
"""Names of graphs that are good names of networks: printable, and not long."""
CHANNELS_FIRST = {
    "Conv",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "BatchNormalization",
}
ROW_BY_ROW = {"Reshape", "Flatten", "Gemm", "MatMul", "Squeeze", "Unsqueeze", "Transpose"}
"""What tells how a graph's input is laid out, whichever of them reads it first."""


def network_of(graph: Graph, name: str = "") -> Network:
    """The network that a float graph computes, called `name` or as the graph is.

    Tensors are channels last in it, wherever the graph has its channels; its borders say how the
    graph's own input and output differ.  A softmax, sigmoid or tanh at the end becomes the finish
    of the output's border.  Raises `ProgramError`, naming the node, for what is not understood.
    """
    tensor = _only(graph.inputs, "inputs")
    output = _only(graph.outputs, "outputs")
    draft, border = _begun(graph, tensor)
    for node in graph.nodes:
        _take(draft, node)
    view = draft.values.get(output.name)
    if not isinstance(view, View):
        raise ProgramError(f"output {output.name!r} of the graph does not depend on its input")
    maker = next(node for node in graph.nodes if output.name in node.outputs)
    source, output_border = draft.border(maker, view)
    if source == INPUT:
        raise ProgramError(f"output {output.name!r} of the graph is its input; nothing is computed")
    return Network(
        name or (graph.name if NAME.fullmatch(graph.name) else "network"),
        draft.shapes[INPUT],
        tuple(_needed(draft, source)),
        _range(tensor),
        {"producer": graph.producer} if graph.producer else {},
        border,
        output_border,
    )


def _only(tensors: tuple[Tensor, ...], what: str) -> Tensor:
    if len(tensors) != 1:
        names = ", ".join(repr(tensor.name) for tensor in tensors[:5])
        raise ProgramError(
            f"the graph has {len(tensors)} {what} ({names}), and a network has one; cut it to one"
        )
    return tensors[0]


def _begun(graph: Graph, tensor: Tensor) -> tuple[Draft, Border]:
    """A draft that has nothing but constants and the input, and the input's border."""
    batch, *sizes = tensor.shape or (None,)
    if not sizes or len(sizes) > 3 or None in sizes or 0 in sizes:
        raise ProgramError(
            f"input {tensor.name!r} of the graph has the shape {tensor.shape}, and one batch axis "
            "and one to three known sizes are understood; fix the sizes when exporting"
        )
    own = tuple(size for size in sizes if size is not None)
    shape, axes = _layout(graph, tensor.name, own)
    dtype = np.float64 if tensor.dtype == "float64" else np.float32
    draft = Draft(batch or 1, dtype, "float" not in tensor.dtype)
    draft.shapes[INPUT] = shape
    draft.values |= {key: Constant.of(value) for key, value in graph.constants.items()}
    places = rows(shape).transpose(axes).reshape(own)
    draft.values[tensor.name] = View(INPUT, places)
    return draft, Border(shape=own, axes=axes)


def _layout(graph: Graph, name: str, own: Shape) -> tuple[Shape, tuple[int, ...]]:
    """The input's shape in the network, and the order in which the graph has its axes."""
    if len(own) == 1:
        return own, (0,)
    long = own if len(own) == 3 else (own[0], 1, own[1])
    if _channels_first(graph, name):
        return (*long[1:], long[0]), (2, 0, 1)
    return (own if len(own) == 3 else (1, *own)), (0, 1, 2)


def _channels_first(graph: Graph, name: str) -> bool:
    """Whether the node that first tells the layout of the input takes it channels first."""
    follows = {name}
    for node in graph.nodes:
        if not follows.intersection(node.inputs):
            continue
        if node.op in CHANNELS_FIRST:
            return True
        if node.op in ROW_BY_ROW:
            # To channels last, and not from there: it is channels first.
            return node.attributes.get("perm") == (0, 2, 3, 1)
        follows.update(node.outputs)
    return True


def _range(tensor: Tensor) -> tuple[int, int] | None:
    """The integers of a narrow integer input."""
    if tensor.dtype not in ("uint8", "int8", "uint16", "int16"):
        return None
    limits = np.iinfo(tensor.dtype)
    return int(limits.min), int(limits.max)


def _take(draft: Draft, node: Node) -> None:
    """Compute what a node gives, in the draft's terms."""
    read = [draft.value(node, number) for number, name in enumerate(node.inputs) if name]
    if all(isinstance(value, Constant) for value in read) and foldable(node):
        inputs = [draft.values.get(name) for name in node.inputs]
        results: list[Value] = list(fold(node, inputs))  # type: ignore[arg-type]  # as just asked
    elif node.domain != ONNX or node.op not in HANDLERS:
        raise refuse(
            node,
            "the operator is not understood in float models; replace it, or import a quantised "
            "model as it is",
        )
    else:
        attributes = Attributes(node)
        found = HANDLERS[node.op](draft, node, attributes)
        attributes.done()
        results = found if isinstance(found, list) else [found]
    # Results beyond the first are those of training, or nobody's.
    draft.values |= {key: value for key, value in zip(node.outputs, results, strict=False) if key}


def _needed(draft: Draft, source: str) -> Iterator[NetworkNode]:
    """The layers that the last one needs, in order."""
    needed = {source}
    for name in reversed(draft.nodes):
        if name in needed:
            needed.update(draft.nodes[name].inputs)
    return (node for name, node in draft.nodes.items() if name in needed)
