"""An integer program as a QONNX graph: for others to read, to run, and to check us by.

The graph takes and gives real numbers in the program's own scales and layouts, with a batch of 1
that nothing but the declared shapes depends on.  Inside, float32 tensors carry the program's
integers at a scale of 1: (1, C) for one axis, otherwise (1, C, H, W), channels first.  Every
integer that a runtime can meet, partial sums in any order included, fits the 24 bits that float32
holds exactly (products before rounding may take float64), so that the graph computes what the
program computes; a program that needs more is refused.  At the input, what stands for an integer
of the program's range becomes that integer; numbers between are rounded as the border says, by
float32.

Standard operators are those of opset 11, which QONNX prefers, the others those of its own domain.
A `Window`, and a `Reshape` that only flattens, is written as one with the operator that reads it
where there is a form for both (`absorbs`), otherwise by itself.  Tables and the lookups in them are
written as the matrix products that they equal.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from ..container import replace_file
from ..ops import Lookup, Tables
from ..program import INPUT, Node, Program
from .export import Draft, check_exact, inward, outward, write


def export(program: Program) -> ModelProto:
    """Return the program as a QONNX model; ProgramError where float32 cannot compute it exactly."""
    program = replace(program, nodes=tuple(map(_plain, program.nodes)))
    for name, edge in program.edges.items():
        where = "the input" if name == INPUT else f"node {name!r}"
        check_exact(where, "its values", (*edge.lo.tolist(), *edge.hi.tolist()))
    draft = Draft(program)
    draft.tensors[INPUT] = inward(draft)
    for node in program.nodes:
        readers = [draft.node[name] for name, _ in program.consumers[node.name]]
        if not readers or any(draft.absorbed(reader) is not node for reader in readers):
            draft.here = node.name
            draft.tensors[node.name] = write(node.op, draft, node)
    return draft.model(outward(draft))


def _plain(node: Node) -> Node:
    """A node as the matrix product that it equals, where it is one in another form."""
    return replace(node, op=node.op.dot) if isinstance(node.op, Tables | Lookup) else node


def save(program: Program, path: str | Path) -> None:
    """Write the program as a QONNX file: completely or not at all; the same program, same bytes."""
    replace_file(Path(path), export(program).SerializeToString(deterministic=True))
