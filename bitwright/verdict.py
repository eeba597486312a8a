"""What becomes of an ONNX file: its ends, weights and roundings, or all that stands in its way.

This imports neither Numba nor Amaranth, so that the answer is there in a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitwright.models.border import Border
from bitwright.models.memory import weight_bits, weights
from bitwright.models.onnx.importer import Form
from bitwright.models.onnx.load import check as check_onnx
from bitwright.models.program import Edge, Program

from .text import cell, printable, table


def check(path: str | Path) -> dict[str, Any]:
    """Say whether an ONNX file becomes an exact integer program, and which; `load` makes it.

    Returns {"model", "goes_through", "obstacles", "nodes", "operators", "input", "output",
    "weights", "weight_bits", "forms", "exact"}: `obstacles` is a list of sentences, empty for a
    file that goes through, and all behind it is null for one that does not.  `nodes` counts those
    of the file, `operators` those of the program.  `input` and `output` hold `shape` (the model's
    own, without the batch), `range` and `step` of the integers, `real_range`, how inputs are
    `rounded`, and `finish`, what is left to the host.  `forms` is what each rounding became: all
    are exact, `nothing to do` included.  Raises `ProgramError` for what is no ONNX file.
    """
    found = check_onnx(path)
    verdict = {
        "model": str(path),
        "goes_through": found.program is not None,
        "obstacles": list(found.obstacles),
        "nodes": found.nodes,
    }
    return verdict | _described(found.program, found.forms)


def _described(program: Program | None, forms: tuple[Form, ...]) -> dict[str, Any]:
    if program is None:
        keys = ("operators", "input", "output", "weights", "weight_bits", "forms", "exact")
        return dict.fromkeys(keys)
    return {
        "operators": len(program.nodes),
        "input": _end(program.input_border, program.input)
        | {"rounded": program.input_border.rounding},
        "output": _end(program.output_border, program.output)
        | {"finish": program.output_border.finish or None},
        "weights": sum(weights(node.op) for node in program.nodes),
        "weight_bits": sum(weight_bits(node.op) for node in program.nodes),
        "forms": [
            {"node": form.node, "form": form.form, "range": list(form.range)} for form in forms
        ],
        "exact": True,
    }


def _end(border: Border, edge: Edge) -> dict[str, Any]:
    """Shape and ranges of one end."""
    reals = np.concatenate([border.real(edge.lo), border.real(edge.hi)])
    return {
        "shape": list(border.own_shape(edge)),
        "range": [edge.grid.lo, edge.grid.hi],
        "step": edge.step,
        "real_range": [float(reals.min()), float(reals.max())],
    }


def text(verdict: dict[str, Any]) -> str:
    """The verdict for people."""
    model, nodes = verdict["model"], verdict["nodes"]
    if not verdict["goes_through"]:
        count = len(verdict["obstacles"])
        heading = f"{model} does not go through: {count} obstacle{'s' * (count != 1)}"
        return "\n".join([heading, *(f"- {sentence}" for sentence in verdict["obstacles"])])
    heading = (
        f"{model} goes through: {nodes} nodes become {verdict['operators']} operators with "
        f"{verdict['weights']:,} weights in {verdict['weight_bits']:,} bits"
    )
    lines = [heading, table([_row(verdict, end) for end in ("input", "output")])]
    if verdict["forms"]:
        lines.append(table([_form(form) for form in verdict["forms"]]))
        lines.append("Every rounding is exact: the integers are those of the file's real numbers.")
    else:
        lines.append("Nothing is rounded behind the input: the integers are exact.")
    if verdict["output"]["finish"]:
        lines.append(f"The {verdict['output']['finish']} at the end is computed on the host.")
    return "\n".join(lines)


def _row(verdict: dict[str, Any], end: str) -> dict[str, str]:
    found = verdict[end]
    lo, hi = found["real_range"]
    return {
        "end": end,
        "shape": cell(found["shape"]) or "one number",
        "integers": _integers(found["range"], found["step"]),
        "stand for": f"{lo:.6g}..{hi:.6g}",
    }


def _form(form: dict[str, Any]) -> dict[str, str]:
    lo, hi = form["range"]
    return {"rounding": printable(form["node"]), "becomes": form["form"], "integers": f"{lo}..{hi}"}


def _integers(ends: list[int], step: int) -> str:
    return "-1 and 1" if step == 2 else f"{ends[0]}..{ends[1]}"
