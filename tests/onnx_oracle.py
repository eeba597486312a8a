"""An ONNX graph's ideal real-valued meaning, in exact rational arithmetic.

Constants are the rational numbers that their floats are, every operator is computed exactly and
rounds only where, and as, it says it does.  It knows nothing of bitwright and judges its importer.

    run(model, x)                             the output, for frames x of shape (N, ...)
    run_in_units(model, x)                    the same, as whole numbers of one unit
    trace(model, x, names)                    tensors on the way, and what they were before rounding
    first_difference(model, x, theirs)        where another executor's tensors first differ

Integer tensors come as int64, real ones as object arrays of `Fraction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_plain
import onnx_quantised
import onnx_windows
from onnx_exact import REAL, Array, Exact, exact, joined
from onnx_node import FAMILIES, OPERATORS, View

Model = onnx.ModelProto | str | Path
assert {onnx_plain, onnx_quantised, onnx_windows}  # imported for the operators they register


def run(model: Model, x: Array) -> Array:
    """The model's first output for the frames of its only input.

    A model whose batch is fixed at B is run on B frames at a time.
    """
    return run_in_units(model, x).array()


def run_in_units(model: Model, x: Array) -> Exact:
    """What `run` returns, as whole numbers of one unit: fractions of all values take time."""
    loaded = load(model)
    found = joined([values[loaded.outputs[0]] for values in loaded.runs(x)])
    if found.integral:
        found.integers()  # Raises where they are none.
    return found


@dataclass(frozen=True, eq=False)
class Traced:
    """A tensor: its values, and where it has just been rounded what it was before.

    `unrounded` is in steps of the rounding with its zero point included, `distance` how far that
    lies from the nearest tie, in steps; both are None where nothing was rounded.  Operators that
    only move or rescale rounded values keep both.
    """

    values: Array
    unrounded: Array | None
    distance: Array | None


def trace(model: Model, x: Array, keep: Iterable[str] | None = None) -> dict[str, Traced]:
    """The tensors of these names (or all that are computed from the input), in graph order."""
    loaded = load(model)
    names = loaded.computed if keep is None else list(keep)
    runs = list(loaded.runs(x))
    return {name: _traced([values[name] for values in runs]) for name in names}


def _traced(parts: list[Exact]) -> Traced:
    values = _stack([part.array() for part in parts])
    roundings = [part.rounding for part in parts if part.rounding is not None]
    if not roundings:
        return Traced(values, None, None)
    return Traced(
        values,
        _stack([r.unrounded() for r in roundings]),
        _stack([r.distance() for r in roundings]),
    )


@dataclass(frozen=True)
class Difference:
    """The first tensor that differs, in graph order, and the first value of it that does.

    `distance` is how far the ideal value before rounding lies from the nearest tie, in steps;
    None where the tensor is not the result of a rounding.  `count` of `size` values differ.
    """

    tensor: str
    index: tuple[int, ...]
    ideal: int | Fraction
    theirs: int | float
    distance: Fraction | None
    count: int
    size: int

    def __str__(self) -> str:
        place = f"{self.tensor}{list(self.index)}"
        text = f"{self.count} of {self.size} values of {place} differ: {float(self.ideal)!r} is"
        text += f" ideal, {float(self.theirs)!r} was given"
        if self.distance is None:
            return text
        return f"{text}, {float(self.distance):.3g} steps from a tie"


def first_difference(
    model: Model, x: Array, theirs: Mapping[str, Array], tolerance: float = 0.0
) -> Difference | None:
    """Where the tensors of another executor first differ from the ideal, or None.

    Real tensors may differ by `tolerance` times the largest of the ideal values.
    """
    loaded = load(model)
    ours = trace(model, x, [name for name in loaded.computed if name in theirs])
    assert ours, "none of these tensors is computed by the model"
    for name, mine in ours.items():
        given = np.asarray(theirs[name])
        wrong = _differs(mine.values, given, Fraction(tolerance))
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            distance = None if mine.distance is None else mine.distance[index]
            ideal, other = mine.values[index], given[index].item()
            return Difference(name, index, ideal, other, distance, int(wrong.sum()), wrong.size)
    return None


def _differs(ideal: Array, given: Array, tolerance: Fraction) -> Array:
    assert ideal.shape == given.shape, f"shapes {ideal.shape} and {given.shape}"
    if ideal.dtype != object:
        return ideal != given.astype(np.int64)
    off = np.abs(ideal - exact(given, REAL).fractions())
    return np.asarray(off > tolerance * np.max(np.abs(ideal), initial=0), dtype=bool)


def evaluate(model: Model, inputs: Mapping[str, Array]) -> dict[str, Exact]:
    """Every tensor of one run with the inputs as given, whatever their batch."""
    return load(model).evaluate(inputs)


def load(model: Model) -> Loaded:
    """A model made ready: what depends on constants alone is computed once."""
    proto = model if isinstance(model, onnx.ModelProto) else onnx.load(str(model))
    return Loaded(proto)


class Loaded:
    """A model and the values of everything in it that is constant."""

    def __init__(self, proto: onnx.ModelProto):
        graph = proto.graph
        self.versions = {FAMILIES.get(o.domain, o.domain): o.version for o in proto.opset_import}
        self.raw = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value for value in graph.input if value.name not in self.raw]
        self.outputs = [value.name for value in graph.output]
        self.constants: dict[str, Exact] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.computed: list[str] = []
        known = set(self.raw)
        for node in graph.node:
            if all(name in known for name in node.input if name):
                known |= set(node.output)
                self._compute(node, self.constants)
            else:
                self.nodes.append(node)
                self.computed += [name for name in node.output if name]

    def evaluate(self, inputs: Mapping[str, Array]) -> dict[str, Exact]:
        values = dict(self.constants)
        kinds = {value.name: value.type.tensor_type.elem_type or REAL for value in self.inputs}
        values |= {name: exact(np.asarray(array), kinds[name]) for name, array in inputs.items()}
        for node in self.nodes:
            self._compute(node, values)
        return values

    def runs(self, x: Array) -> Iterable[dict[str, Exact]]:
        """One run per batch of the model's own size, or one in all where that is open."""
        if len(self.inputs) != 1:
            raise NotImplementedError(f"{len(self.inputs)} inputs where one is wanted")
        name, dims = self.inputs[0].name, self.inputs[0].type.tensor_type.shape.dim
        batch = dims[0].dim_value or len(x)
        if len(x) % batch:
            raise ValueError(f"{len(x)} frames for a model that takes {batch} at a time")
        for start in range(0, len(x), batch):
            yield self.evaluate({name: x[start : start + batch]})

    def _compute(self, node: onnx.NodeProto, values: dict[str, Exact]) -> None:
        family = FAMILIES.get(node.domain, node.domain)
        function = OPERATORS.get((family, node.op_type))
        if function is None:
            raise NotImplementedError(f"the operator {node.op_type} of the domain {node.domain!r}")
        view = View(node, self.versions.get(family, 1))
        inputs = [self._fetch(name, node, values) for name in node.input]
        outputs: Any = function(view, *inputs)
        results = outputs if isinstance(outputs, tuple) else (outputs,)
        values.update(zip(node.output, results, strict=False))

    def _fetch(self, name: str, node: onnx.NodeProto, values: dict[str, Exact]) -> Exact | None:
        if not name:
            return None
        if name not in values:
            raw = self.raw[name]
            if node.op_type == "Clip" and not np.isfinite(onnx.numpy_helper.to_array(raw)).all():
                return None  # an infinite bound is none
            self.constants[name] = values[name] = onnx_plain.tensor(raw)
        return values[name]


def _stack(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
