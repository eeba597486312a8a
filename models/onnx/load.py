"""From an ONNX file to an exact integer program, or every reason why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from onnx import defs

from .. import ops
from ..border import Border
from ..fixed import Grid, ProgramError
from ..program import INPUT, Edge, Program
from .budget import Exhausted, check_elements
from .constants.constant import Constant, blamed, is_float, limits_of, sized
from .constants.folding import cost, fold, foldable
from .ends import BITS_MAX, answer, channels_first, finish, layout
from .graph import MICROSOFT, ONNX, QONNX, Graph, Node, Tensor
from .importer import Form, Importer
from .nodes import HANDLERS
from .parameters import Attributes
from .read import read
from .streams import RAW, Stream, Unknown, Value

SAME_SHAPE = {
    "Elu", "Selu", "Celu", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Softplus", "Softsign",
    "Gelu", "Mish", "Swish", "ThresholdedRelu", "Sin", "Cos", "Tan", "Pow", "Softmax", "Hardmax",
    "InstanceNormalization", "LayerNormalization", "GroupNormalization", "LRN",
    "LpNormalization", "MeanVarianceNormalization", "Not", "CumSum",
}  # fmt: skip
"""Operators that are not offered, but keep the shape: what follows them is looked at as well."""
MOST_INPUTS = {
    (QONNX, "MultiThreshold"): 2,
    (MICROSOFT, "QGemm"): 9,
    (MICROSOFT, "QLinearAdd"): 8,
    (MICROSOFT, "QLinearMul"): 8,
    (MICROSOFT, "QLinearAveragePool"): 5,
    (MICROSOFT, "QLinearGlobalAveragePool"): 5,
    (MICROSOFT, "QLinearLeakyRelu"): 5,
    (MICROSOFT, "QLinearSigmoid"): 5,
}
"""Of operators that no schema here describes, and whose reader does not count."""
NEAR = 0.75
"""How alike the name of an operator must be to be hinted at."""


@dataclass(frozen=True, eq=False)
class Imported:
    """What became of a file: the program, or None and every obstacle, one sentence each."""

    name: str
    program: Program | None
    obstacles: tuple[str, ...]
    forms: tuple[Form, ...]
    nodes: int


def load(path: str | Path) -> Program:
    """Read an ONNX file as an exact integer program; a `ProgramError` names the first obstacle."""
    found = check(path)
    if found.program is not None:
        return found.program
    more = len(found.obstacles) - 1
    rest = f" (and {more} more: `bitwright check` lists them)" if more else ""
    raise ProgramError(f"{path}: {found.obstacles[0]}{rest}")


def check(path: str | Path) -> Imported:
    """Read an ONNX file and say all that stands in its way."""
    return imported(read(path), Path(path).stem)


def imported(graph: Graph, name: str) -> Imported:
    """What a graph becomes."""
    importer = Importer(graph, 1)
    waiting = Counter(importer.readers)
    waiting.update(tensor.name for tensor in graph.outputs)
    program: Program | None = None
    try:
        _enter(importer)
        for node in graph.nodes:
            _take(importer, node)
            waiting.subtract({*node.inputs})
            for tensor in {*node.inputs}:
                if not waiting[tensor]:  # a large index that nothing reads again
                    importer.values.pop(tensor, None)
        program = _program(importer, name)
    except ProgramError as error:
        importer.obstacle(str(error))
    if importer.obstacles:
        program = None
    return Imported(
        name, program, tuple(importer.obstacles), tuple(importer.forms), len(graph.nodes)
    )


def _enter(importer: Importer) -> None:
    """Make the graph's input a stream and its constants values."""
    graph = importer.graph
    if not graph.inputs:
        raise ProgramError(
            "the graph has no input, and an accelerator has exactly one; export it with its input"
        )
    if len(graph.inputs) > 1:
        names = ", ".join(repr(tensor.name) for tensor in graph.inputs[:8])
        importer.obstacle(
            f"the graph has {len(graph.inputs)} inputs ({names}), and an accelerator has exactly "
            "one; make the others initialisers"
        )
    for tensor in graph.inputs:
        importer.values[tensor.name] = Unknown()
    for name, values in graph.constants.items():
        importer.values[name] = Constant(values, graph.types.get(name, values.dtype.name))
    tensor = next(iter(graph.inputs))
    importer.batch, shape = _shape(tensor)
    with blamed_input(tensor):
        sized(shape)
    check_elements(f"the graph's input {tensor.name!r}", importer.batch * prod(shape))
    index, axes = layout(shape, channels_first(graph))
    importer.check_channels(f"the graph's input {tensor.name!r}", index.shape[-1])
    source, dtype = RAW, ""
    if not is_float(tensor.dtype):
        with blamed_input(tensor):
            lo, hi = limits_of(tensor.dtype)
        if hi.bit_length() > BITS_MAX:
            raise ProgramError(
                f"the graph's input {tensor.name!r} is {tensor.dtype}, and integers of at most 32 "
                "bits enter hardware; give it a narrower type"
            )
        importer.edges[INPUT] = Edge.of(index.shape, Grid(lo, hi))
        importer.border, source, dtype = Border(), INPUT, tensor.dtype
    importer.axes = axes
    importer.values[tensor.name] = Stream(source, shape, index, (), "input", dtype)


def blamed_input(tensor: Tensor) -> Any:
    """Let what is refused inside name the graph's input."""
    return blamed(Node(tensor.name, "input", ONNX, 1, (), ()))


def _shape(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """Batch and shape of a frame."""
    if not tensor.shape:
        raise ProgramError(
            f"the graph's input {tensor.name!r} has no batch axis; give it the shape (1, ...)"
        )
    batch, *shape = tensor.shape
    for axis, size in enumerate(shape, 1):
        if not size:
            how = "no fixed size" if size is None else "size 0"
            raise ProgramError(
                f"the graph's input {tensor.name!r} has {how} along axis {axis}; export the model "
                "with fixed sizes"
            )
    return max(1, batch or 1), tuple(size for size in shape if size is not None)


def _take(importer: Importer, node: Node) -> None:
    """Give each output of a node its value."""
    importer.taken = node
    values: Sequence[Value]
    inputs = [importer.values[name] if name else None for name in node.inputs]
    try:
        values = _values(importer, node, inputs)
    except Exhausted:
        raise
    except ProgramError as error:
        importer.obstacle(str(error))
        same = node.op in SAME_SHAPE and inputs and isinstance(inputs[0], Stream)
        values = [inputs[0] if same and inputs[0] is not None else Unknown()]
    for name, value in zip(node.outputs, [*values, *[Unknown()] * len(node.outputs)], strict=False):
        if name:
            importer.values[name] = _shared(importer, node, name, value)


def _shared(importer: Importer, node: Node, name: str, value: Value) -> Value:
    """A value, rounded once for all where several nodes read it."""
    if importer.readers[name] < 2 or not isinstance(value, Stream):
        return value
    try:
        return importer.rounded(value, node)
    except Exhausted:
        raise
    except ProgramError as error:
        importer.obstacle(str(error))
        return Unknown()


def _values(importer: Importer, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value]:
    constants = [value for value in inputs if isinstance(value, Constant)]
    given = [value for value in inputs if value is not None]
    if len(constants) == len(given) and foldable(node):
        importer.spend(cost(node, constants))
        return fold(node, [value if isinstance(value, Constant) else None for value in inputs])
    handler = HANDLERS.get((node.domain, node.op))
    stream = next((value for value in given if isinstance(value, Stream)), None)
    if node.op in ("Shape", "Size") and node.domain == ONNX and stream is not None:
        _check_inputs(node)
        return fold(node, [_sizes(importer, stream)])
    if handler is None:
        raise ProgramError(f"{node}: {_unknown(node)}")
    if any(isinstance(value, Unknown) for value in given):
        return [Unknown()]
    _check_inputs(node)
    attributes = Attributes(node)
    with blamed(node):
        values = handler.run(importer, node, attributes)
    attributes.done()
    return values if isinstance(values, tuple) else [values]


def _check_inputs(node: Node) -> None:
    """Refuse more inputs than the standard knows: ignoring one could change the meaning."""
    most = MOST_INPUTS.get((node.domain, node.op), len(node.inputs))
    if node.domain == ONNX and defs.has(node.op):
        known = defs.has(node.op, node.version)
        most = (
            defs.get_schema(node.op, node.version) if known else defs.get_schema(node.op)
        ).max_input
    if len(node.inputs) > most:
        raise ProgramError(
            f"{node}: it has {len(node.inputs)} inputs, and at most {most} are known; export the "
            "model again"
        )


def _sizes(importer: Importer, stream: Stream) -> Constant:
    """A constant of the tensor's shape, of which only the shape is asked for: it takes no room."""
    zeros = np.broadcast_to(np.zeros((), np.int8), (importer.batch, *stream.shape))
    return Constant(zeros, "int8")


def _unknown(node: Node) -> str:
    names = [op for domain, op in HANDLERS if domain == node.domain]
    if not names:
        return (
            f"nothing is known of the domain {node.domain[:60]!r}; express it by operators of "
            "ONNX, QONNX or com.microsoft"
        )
    near = get_close_matches(node.op, names, 1, NEAR)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return (
        f"the operator is not offered in hardware{hint}; express it by those that docs/onnx.md "
        "lists"
    )


def _program(importer: Importer, name: str) -> Program | None:
    graph = importer.graph
    if len(graph.outputs) != 1:
        names = ", ".join(repr(tensor.name) for tensor in graph.outputs[:8])
        importer.obstacle(
            f"the graph has {len(graph.outputs)} outputs ({names}), and an accelerator has exactly "
            "one; concatenate them or drop the others"
        )
    value = importer.values[graph.outputs[0].name]
    if isinstance(value, Constant):
        raise ProgramError("the graph's output does not depend on its input; export it again")
    if isinstance(value, Unknown):
        if not importer.obstacles:
            importer.obstacle("the graph's output is a value that hardware does not compute")
        return None
    chain, name_of_finish = finish(value.chain)
    stream = importer.settled(replace(value, chain=chain), "the graph's output")
    if importer.obstacles:
        return None
    stream = importer.unflattened(stream, "the graph's output")
    source = importer.realised(stream.source)
    if source == INPUT:
        source = importer.emit("output", ops.Reshape(importer.edge(stream).shape), source)
    border = answer(stream.affine, name_of_finish, stream.shape, stream.index)
    kept = _ancestors(importer, source)
    assert importer.border is not None
    own = _shape(graph.inputs[0])[1]
    edge = importer.edges[INPUT]
    entry = replace(importer.border, shape=None if own == edge.shape else own, axes=importer.axes)
    return Program(
        name if name.isprintable() and 0 < len(name) <= 200 else "onnx",
        edge,
        tuple(node for node in importer.nodes.values() if node.name in kept),
        entry,
        border,
        {"from": "ONNX", "forms": {form.node: form.form for form in importer.forms}},
    )


def _ancestors(importer: Importer, last: str) -> set[str]:
    """The nodes that the output needs."""
    kept, waiting = {last}, [last]
    while waiting:
        for source in importer.nodes[waiting.pop()].inputs:
            if source != INPUT and source not in kept:
                kept.add(source)
                waiting.append(source)
    return kept
