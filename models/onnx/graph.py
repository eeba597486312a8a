"""An ONNX graph as plain Python and NumPy: what `read` makes of a file and the rest works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | NDArray[Any]

ONNX, QONNX, MICROSOFT = "", "qonnx", "microsoft"
"""The domains that are known.

`QONNX` stands for all names under which the QONNX operators are written ("qonnx.custom_op.general",
"finn.custom_op.general", "onnx.brevitas"), `MICROSOFT` for "com.microsoft", `ONNX` for "ai.onnx".
"""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A graph input or output: its name, NumPy dtype name and shape, the batch first.

    A dimension that the file leaves open is None.  "bfloat16", "int4", "uint4", "int2" and "uint2"
    are called by their ONNX names.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One node.  `name` is unique in the graph (made up where the file gives none).

    `op` and `domain` say what it computes, `version` is the imported version of that domain.  An
    omitted input or output is the empty string.
    """

    name: str
    op: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.op})"


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph: its nodes in an order of computation, its constants by name, read-only.

    `inputs` leaves out those that have an initialiser; `constants` holds the initialisers and what
    `Constant` nodes say; `types` names the element type of those whose arrays are wider ("int4" of
    an int8 array).
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]]
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    producer: str = ""
