"""Exact evaluation of nodes whose inputs are all constants."""

from __future__ import annotations

from collections.abc import Sequence

from ..budget import ELEMENT, OBJECT
from ..graph import ONNX, QONNX, Node
from ..quantisers import DEQUANTISERS, QUANTISERS, dequantiser, quantiser, truncation
from .arithmetic import ARITHMETIC
from .constant import Constant, Refused, blamed, common_shape
from .moves import MOVES
from .reductions import REDUCTIONS
from .rules import Rules

TRUNC = (QONNX, "Trunc")
RULES: Rules = {**MOVES, **ARITHMETIC, **REDUCTIONS}


def foldable(node: Node) -> bool:
    """True if `fold` knows the operator."""
    key = node.domain, node.op
    plain = node.domain == ONNX and node.op in RULES
    return plain or key in QUANTISERS or key in DEQUANTISERS or key == TRUNC


def cost(node: Node, constants: Sequence[Constant]) -> int:
    """Units of work that `fold` takes, as `budget` counts them, at the least."""
    each = OBJECT if node.op in ARITHMETIC or node.op in REDUCTIONS else ELEMENT
    return each * sum(constant.size for constant in constants)


def fold(node: Node, inputs: Sequence[Constant | None]) -> tuple[Constant, ...]:
    """Evaluate a node on constants: one for each of its inputs, None where one is omitted.

    Returns one constant for each of the node's outputs.  Arithmetic is that of the real numbers,
    and of the integers where the graph has integers; nothing is rounded to a float.
    """
    key = node.domain, node.op
    with blamed(node):
        if key in QUANTISERS:
            x = _quantised(inputs)
            return (quantiser(node, inputs, len(x.shape))(x),)
        if key == TRUNC:
            x = _quantised(inputs)
            return (truncation(node, inputs, len(x.shape))(x),)
        if key in DEQUANTISERS:
            return (_dequantised(node, inputs),)
        if node.domain != ONNX or node.op not in RULES:
            raise Refused("the operator is not computed on constants; fold it before exporting")
        return RULES[node.op](node, inputs)


def _quantised(inputs: Sequence[Constant | None]) -> Constant:
    if not inputs or inputs[0] is None:
        raise Refused("its first input is missing; export the model again")
    return inputs[0]


def _dequantised(node: Node, inputs: Sequence[Constant | None]) -> Constant:
    x = _quantised(inputs)
    scale, zero = dequantiser(node, inputs, len(x.shape))
    for parameter in (scale, zero):
        if common_shape(x.shape, parameter.shape) != x.shape:
            raise Refused(
                f"scales of shape {parameter.shape} do not fit a tensor of shape {x.shape}; export "
                "the model again"
            )
    return Constant(x.integers() - zero, "float32", scale)
