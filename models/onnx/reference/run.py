"""The exact meaning of graphs that hardware refuses since they compute a scale from each input.

A graph with a `DynamicQuantizeLinear` is evaluated node by node on constants, of which a frame is
one: on the real numbers, rounding only where and as a node says.  What is irrational (sigmoid,
tanh, softmax, roots) is kept to 256 bits after the point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...fixed import INT64_MAX, ProgramError
from ..constants.constant import Constant, Refused, blamed, is_float, limits_of
from ..constants.folding import fold, foldable
from ..constants.rules import Rules
from ..graph import ONNX, Graph, Node, Tensor
from .layers import LAYERS
from .numbers import Numbers, pure
from .rules import POINTWISE

RULES: Rules = {**POINTWISE, **LAYERS}
DYNAMIC = "DynamicQuantizeLinear"


def needed(graph: Graph) -> bool:
    """True if the graph computes scales from each input, which hardware refuses."""
    return any(node.domain == ONNX and node.op == DYNAMIC for node in graph.nodes)


def run(graph: Graph, frames: NDArray[Any]) -> NDArray[Any]:
    """The graph's output for frames (N, *own input shape): real, or integer.

    One frame at a time, or one batch where the file fixes the batch's size: a scale is that of one
    input tensor.  Returns int64 where the output is of an integer type, else the float64 nearest to
    each exact value.  Raises a `ProgramError` in one sentence.
    """
    results = exact(graph, frames)
    return np.concatenate([_plain(graph.outputs[0], result) for result in results])


def exact(graph: Graph, frames: NDArray[Any]) -> list[Constant]:
    """The exact outputs, one for each run; see `run`."""
    _check_ends(graph)
    tensor, evaluation = graph.inputs[0], _Evaluation(graph)
    _check_frames(tensor, frames)
    batch = tensor.shape[0] or 1
    return [
        _output(graph.outputs[0], evaluation(part), batch) for part in _parts(tensor, frames, batch)
    ]


def _check_ends(graph: Graph) -> None:
    for what, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        if len(tensors) != 1:
            names = ", ".join(repr(tensor.name) for tensor in tensors[:8]) or "none"
            raise ProgramError(
                f"the graph has {len(tensors)} {what}s ({names}), and the reference computes "
                f"graphs of exactly one; export it with one {what}"
            )


def _check_frames(tensor: Tensor, frames: NDArray[Any]) -> None:
    if not tensor.shape:
        raise ProgramError(
            f"the graph's input {tensor.name!r} has no batch axis; give it the shape (1, ...)"
        )
    own = tensor.shape[1:]
    pairs = zip(own, frames.shape[1:], strict=False)
    if frames.ndim != 1 + len(own) or any(size not in (None, n) for size, n in pairs):
        wanted = ", ".join("N" if size is None else str(size) for size in (None, *own))
        raise ProgramError(
            f"the graph's input {tensor.name!r} has the shape ({wanted}), and inputs of shape "
            f"{frames.shape} do not fit it; reshape them"
        )
    if not len(frames):
        raise ProgramError("there is no frame to compute; give at least one input")
    if len(frames) % (tensor.shape[0] or 1):
        raise ProgramError(
            f"the graph's input {tensor.name!r} takes {tensor.shape[0]} frames at a time, and "
            f"{len(frames)} are no multiple of it; give a multiple, or export the model with a "
            "batch of 1"
        )
    _check_values(tensor, frames)


def _check_values(tensor: Tensor, frames: NDArray[Any]) -> None:
    if frames.dtype.kind not in "iubf" or frames.dtype.itemsize > 8:
        raise ProgramError(
            f"inputs are integers or floats of at most 64 bits, not {frames.dtype}; convert them"
        )
    if not bool(np.isfinite(frames).all()):
        raise ProgramError("inputs hold NaN or infinity; every input must be a finite number")
    if is_float(tensor.dtype):
        return
    lo, hi = limits_of(tensor.dtype)
    hi = min(hi, INT64_MAX)
    wrong = (frames < lo) | (frames > hi)
    if frames.dtype.kind == "f":
        wrong |= (frames != np.trunc(frames)) | (frames >= 2.0**63)
    if bool(wrong.any()):
        raise ProgramError(
            f"the graph's input {tensor.name!r} is {tensor.dtype}, and {frames[wrong][0]} is none; "
            f"give integers of {lo}..{hi}"
        )


def _parts(tensor: Tensor, frames: NDArray[Any], batch: int) -> Iterator[Constant]:
    """The frames of each run."""
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        yield Constant(part if is_float(tensor.dtype) else part.astype(np.int64), tensor.dtype)


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """Evaluates a graph of one input; what does not depend on it is computed once."""

    graph: Graph

    @cached_property
    def known(self) -> tuple[dict[str, Constant], tuple[Node, ...]]:
        """All that is constant, by name, and the nodes that are not."""
        types = self.graph.types
        values = {
            name: Constant(array, types.get(name, array.dtype.name))
            for name, array in self.graph.constants.items()
        }
        left: list[Node] = []
        for node in self.graph.nodes:
            if all(name in values for name in node.inputs if name):
                _enter(node, values)
            else:
                left.append(node)
        return values, tuple(left)

    def __call__(self, x: Constant) -> Constant:
        """The graph's output for an input."""
        constants, nodes = self.known
        values = {**constants, self.graph.inputs[0].name: x}
        for node in nodes:
            _enter(node, values)
        return values[self.graph.outputs[0].name]


def _enter(node: Node, values: dict[str, Constant]) -> None:
    """Compute a node's outputs from `values`, into it."""
    inputs = [values[name] if name else None for name in node.inputs]
    for name, value in zip(node.outputs, computed(node, inputs), strict=False):
        if name:
            values[name] = value


def computed(node: Node, inputs: Sequence[Constant | None]) -> Sequence[Constant]:
    """The outputs of a node, of its inputs (None where one is omitted)."""
    if node.domain == ONNX and node.op in RULES:
        with blamed(node):
            return RULES[node.op](node, inputs)
    if foldable(node):
        return [pure(result) for result in fold(node, inputs)]
    raise ProgramError(
        f"{node}: the reference does not compute this operator, and hardware refuses the graph's "
        f"{DYNAMIC}; quantise the model statically"
    )


def _output(tensor: Tensor, value: Constant, batch: int) -> Constant:
    if value.shape[:1] != (batch,):
        raise ProgramError(
            f"the graph's output {tensor.name!r} has the shape {value.shape} for {batch} frames, "
            "and its first axis is not theirs; export the model with a batch axis"
        )
    return value


_nearest = np.frompyfunc(lambda count, over, under: count * over / under, 3, 1)


def _plain(tensor: Tensor, value: Constant) -> NDArray[Any]:
    """The output as NumPy has it: Python divides integers to the nearest float64."""
    if not is_float(value.dtype):
        return value.integers()
    try:
        numbers = Numbers.of(value)
        floats = _nearest(numbers.counts, numbers.unit.numerator, numbers.unit.denominator)
        return np.asarray(floats).astype(np.float64)
    except (Refused, OverflowError):
        raise ProgramError(
            f"the graph's output {tensor.name!r} has values beyond float64; scale it down"
        ) from None
