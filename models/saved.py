"""Saving and loading integer programs: one file, no pickle, refused where anything is odd.

A container of kind "bitwright.program", version 1.  Its document holds

    {"name", "input": {"shape", "step"}, "borders": {"input", "output"}, "metadata",
     "nodes": [{"name", "op", "inputs", "fields"}]}

with a node's integers, tuples of integers and grids ([lo, hi, step]) in "fields"; its arrays are
`input.lo`, `input.hi` and `node<i>.<field>`; a field in `ADDED` that is absent has the value stated
there, and is left out where it has.  A border is {"scale", "offset"}, lists of fractions
"numerator/denominator", and perhaps "rounding", "shape", "axes" and "finish" (`border.py`).
"""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from . import container
from . import ops as ops
from .fixed import Grid, Ints, ProgramError
from .program import Border, Edge, Node, Op, Program

KIND, VERSION = "bitwright.program", 1
NODES_MAX = 10_000
NAME_MAX = 256
ADDED: dict[str, Any] = {"Window.repeat": (1, 1), "Requantise.even": 0}
"""Fields that operators gained after files without them were written, and what those files mean."""

Json = dict[str, Any]


def save(program: Program, path: str | Path) -> None:
    """Write a program to `path`, completely or not at all; the same program, the same bytes."""
    arrays: container.Arrays = {
        "input.lo": _narrow(program.input.lo),
        "input.hi": _narrow(program.input.hi),
    }
    nodes: list[Json] = []
    for number, node in enumerate(program.nodes):
        plain: Json = {}
        name = type(node.op).__name__
        for item in fields(node.op):  # type: ignore[arg-type]  # every operator is a dataclass
            value = getattr(node.op, item.name)
            if isinstance(value, np.ndarray):
                arrays[f"node{number}.{item.name}"] = _narrow(cast(Ints, value))
            elif value != ADDED.get(f"{name}.{item.name}"):
                plain[item.name] = _plain(value)
        nodes.append({"name": node.name, "op": name, "inputs": list(node.inputs), "fields": plain})
    document: Json = {
        "name": program.name,
        "input": {"shape": list(program.input.shape), "step": program.input.step},
        "borders": {
            "input": _border(program.input_border),
            "output": _border(program.output_border),
        },
        "metadata": dict(program.metadata),
        "nodes": nodes,
    }
    container.save(path, KIND, VERSION, document, arrays)


def load(path: str | Path) -> Program:
    """Read a program; raise a one-sentence ProgramError for a file that is not one."""
    document, arrays = container.load(path, KIND, {VERSION})
    try:
        return _program(document, arrays)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ProgramError(
            f"{path}: the document is damaged ({type(error).__name__}: {error}); save it again"
        ) from None


def operators() -> dict[str, type[Op]]:
    """Every operator class that can be saved, by name, those outside the tree included."""
    found: dict[str, type[Op]] = {}
    waiting: list[type[Op]] = [Op]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            found[kind.__name__] = kind
            waiting.append(kind)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Grid):
        return [value.lo, value.hi, value.step]
    return list(cast(tuple[int, ...], value)) if isinstance(value, tuple) else int(value)


def _narrow(values: Ints) -> Ints:
    """The narrowest signed integers that hold the values, to keep files small."""
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if values.size == 0 or (limits.min <= values.min() and values.max() <= limits.max):
            return cast(Ints, values.astype(kind))
    return values


def _border(border: Border) -> Json:
    document: Json = {
        "scale": [f"{f.numerator}/{f.denominator}" for f in border.scale],
        "offset": [f"{f.numerator}/{f.denominator}" for f in border.offset],
    }
    plain = Border()
    for name in ("rounding", "shape", "axes", "finish"):
        value = getattr(border, name)
        if value != getattr(plain, name):
            document[name] = list(cast(Any, value)) if isinstance(value, tuple) else value
    return document


def _program(document: Json, arrays: container.Arrays) -> Program:
    nodes = _sequence(document["nodes"], "nodes")
    if len(nodes) > NODES_MAX:
        raise ProgramError(f"a program has at most {NODES_MAX} nodes, not {len(nodes)}")
    shape = _integers(document["input"]["shape"], "the input's shape")
    step = document["input"]["step"]
    edge = Edge(shape, arrays["input.lo"], arrays["input.hi"], step)
    borders = document["borders"]
    return Program(
        _name(document["name"]),
        edge,
        tuple(_node(number, node, arrays) for number, node in enumerate(nodes)),
        _read_border(borders["input"]),
        _read_border(borders["output"]),
        dict(document["metadata"]),
    )


def _node(number: int, node: Json, arrays: container.Arrays) -> Node:
    name, kind = _name(node["name"]), operators().get(str(node["op"]))
    if kind is None:
        raise ProgramError(
            f"node {name!r} is of the unknown operator {str(node['op'])[:80]!r}; "
            f"known are {', '.join(sorted(_concrete()))}"
        )
    values: Json = {}
    for item in fields(kind):  # type: ignore[arg-type]
        key = f"node{number}.{item.name}"
        if key in arrays and item.type == "Ints":
            values[item.name] = arrays[key]
        elif item.name in node["fields"]:
            values[item.name] = _field(name, item.name, str(item.type), node["fields"][item.name])
        elif f"{kind.__name__}.{item.name}" in ADDED:
            values[item.name] = ADDED[f"{kind.__name__}.{item.name}"]
        else:
            raise ProgramError(f"node {name!r} lacks the field {item.name!r}; save it again")
    inputs = tuple(_name(source) for source in _sequence(node["inputs"], "inputs"))
    try:
        return Node(name, kind(**values), inputs)
    except ProgramError as error:
        raise ProgramError(f"node {name!r}: {error}") from None


def _concrete() -> list[str]:
    return [name for name, kind in operators().items() if not kind.__abstractmethods__]


def _field(node: str, name: str, kind: str, value: Any) -> Any:
    """A field read from JSON, of the type that the operator declares."""
    if kind == "Grid":
        lo, hi, step = _integers(value, f"the {name} of node {node!r}")
        return Grid(lo, hi, step)
    if kind.startswith("tuple"):
        return _integers(value, f"the {name} of node {node!r}")
    if kind != "int" or type(value) is not int:
        _refuse(f"the {name} of node {node!r}", kind, value)
    return value


def _refuse(what: str, wanted: str, value: Any) -> NoReturn:
    raise ProgramError(f"{what} is {wanted}, not {ascii(value)[:80]}; save the program again")


def _sequence(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(what, "a list", value)
    return cast(list[Any], value)


def _integers(value: Any, what: str) -> tuple[int, ...]:
    items = _sequence(value, what)
    if not all(type(item) is int and abs(item) < 1 << 62 for item in items):
        _refuse(what, "a list of integers", value)
    return tuple(items)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_MAX or not value.isprintable():
        _refuse("a name", f"a text of 1 to {NAME_MAX} characters that can be printed", value)
    return value


def _read_border(border: Json) -> Border:
    def fractions(key: str) -> tuple[Fraction, ...]:
        texts = [_name(text) for text in _sequence(border[key], key)]
        pairs = [text.partition("/") for text in texts]
        return tuple(Fraction(int(above), int(below)) for above, _, below in pairs)

    more: Json = {}
    for key in ("shape", "axes"):
        if key in border:
            more[key] = _integers(border[key], f"the border's {key}")
    for key in ("rounding", "finish"):
        if key in border:
            more[key] = _name(border[key])
    return Border(fractions("scale"), fractions("offset"), **more)
