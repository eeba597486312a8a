"""What every operator of the oracle is given: one node's attributes and place; and the register."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx_exact import Exact, from_fractions

QONNX, MICROSOFT = "qonnx", "microsoft"
FAMILIES = {
    "": "",
    "ai.onnx": "",
    "com.microsoft": MICROSOFT,
    "qonnx.custom_op.general": QONNX,
    "qonnx.custom_op.channels_last": QONNX,
    "finn.custom_op.general": QONNX,
    "finn": QONNX,
    "onnx.brevitas": QONNX,
}


class View:
    """A node: `view("axis", 1)` is an attribute or its default, `version` its domain's opset."""

    def __init__(self, node: onnx.NodeProto, version: int):
        self.op, self.version, self.outputs = node.op_type, version, list(node.output)
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}

    def __call__(self, name: str, default: Any = None) -> Any:
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def real(self, name: str, default: float) -> Exact:
        """A float attribute, as the float32 that the file holds, as one exact number."""
        return from_fractions(np.asarray(Fraction(float(np.float32(self(name, default)))), object))

    def need(self, name: str, *allowed: Any) -> None:
        """Refuse every value of an attribute but these and its absence."""
        if name in self.attributes and self(name) not in allowed:
            raise NotImplementedError(f"{self.op} with {name} = {self(name)!r}")


Inputs = list[Exact | None]
Operator = Callable[..., Exact | tuple[Exact, ...]]
OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(*names: str, family: str = "") -> Callable[[Operator], Operator]:
    """Register a function `(view, *inputs) -> outputs`; an omitted input is None."""

    def register(function: Operator) -> Operator:
        for name in names:
            assert (family, name) not in OPERATORS
            OPERATORS[family, name] = function
        return function

    return register
