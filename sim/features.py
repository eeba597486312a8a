"""What a random case covers, as names that campaigns count."""

import numpy as np

from ..hw.design import SINK, SOURCE, Design
from ..hw.fifo import Fifo
from ..hw.fork import Fork
from ..models.fixed import Grid
from ..models.ops import (
    DepthToSpace,
    DepthwiseDot,
    Dot,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SumPool,
    Table,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from ..models.program import Edge, Op
from .random_program import Case


def features(case: Case) -> set[str]:
    """What occurs in a case, under the names by which coverage counts it."""
    found = _hardware_features(case)
    for node in case.program.nodes:
        found.add(type(node.op).__name__)
        found |= _operator_features(node.op, case.program.edges[node.inputs[0]])
    bits = case.program.input.grid.bits
    width = "1" if bits == 1 else "2 to 4" if bits < 5 else "5 to 16"
    return found | {f"input {_values(case.program.input)}", f"input of {width} bits"}


def _hardware_features(case: Case) -> set[str]:
    design = case.design
    kinds = {type(instance.op) for instance in design.instances}
    flags = {
        "branch": Fork in kinds,
        "widths that do not divide": _widths_do_not_divide(design),
        "deep buffer": any(isinstance(i.op, Fifo) and i.op.deep for i in design.instances),
        "folding with both factors above 1": any(
            fold.pe > 1 and fold.simd > 1 for fold in design.folds.values()
        ),
        "stalls at the source": SOURCE in case.gates,
        "stalls at the sink": SINK in case.gates,
        "no stalls": not case.gates,
    }
    return {name for name, there in flags.items() if there}


def _widths_do_not_divide(design: Design) -> bool:
    """True if some link first widens and then narrows."""
    names = {instance.name for instance in design.instances}
    return any(name.replace("__widen", "__narrow") in names for name in names if "__widen" in name)


def _operator_features(op: Op, edge: Edge) -> set[str]:
    if isinstance(op, Window):
        return _window_features(op, edge)
    if isinstance(op, Dot | DepthwiseDot):
        return {f"{type(op).__name__}, {_weight_kind(op.grid)} x {_values(edge)}"}
    if isinstance(op, Thresholds):
        return _threshold_features(op, edge)
    if isinstance(op, Scale):
        return _scale_features(op)
    flags = {
        "Requantise, negative multiplier": isinstance(op, Requantise) and op.multiplier.min() < 0,
        "Select, a range": isinstance(op, Select) and bool((np.diff(op.channels) == 1).all()),
        "Tree, in one order": isinstance(op, Tree) and not np.ptp(op.order, 0).any(),
        "Table, one for all": isinstance(op, Table) and len(op.values) == 1 < edge.channels,
        "DepthToSpace, cropped": isinstance(op, DepthToSpace)
        and any(size % block for size, block in zip(op.size, op.block, strict=True)),
        "global pool": isinstance(op, MaxPool | SumPool) and edge.shape[:-1] == (1, 1),
        "flatten": isinstance(op, Reshape) and len(op.shape) == 1,
        "TopK, several": isinstance(op, TopK) and op.k > 1,
    }
    return {name for name, there in flags.items() if there}


def _window_features(op: Window, edge: Edge) -> set[str]:
    flags = {
        "padding": max(op.padding) > 0,
        "padding of bipolar values": max(op.padding) > 0 and edge.step == 2,
        "padding, not by 0": max(op.padding) > 0 and op.pad != 0,
        "cropping": min(op.padding) < 0,
        "repetition": op.repeats,
        "stride": max(op.stride) > 1,
        "dilation": max(op.dilation) > 1 and op.reach != op.kernel,
    }
    return {name for name, there in flags.items() if there}


def _threshold_features(op: Thresholds, edge: Edge) -> set[str]:
    kind = "sign" if op.is_sign else "multi"
    rising, falling = bool((op.step > 0).any()), bool((op.step < 0).any())
    slope = "mixed" if rising and falling else "falling" if falling else "rising"
    found = {f"Thresholds, {kind}, {slope}"}
    if bool(((op.thresholds > edge.hi[:, None]) | (op.thresholds <= edge.lo[:, None])).any()):
        found.add("Thresholds outside the range")
    return found


def _scale_features(op: Scale) -> set[str]:
    sizes = np.abs(op.multiplier)
    flags = {
        "Scale, no multiplier": not (sizes & (sizes - 1)).any(),
        "Scale, no bias": not op.bias.any(),
        "Scale, negative multiplier": op.multiplier.min() < 0,
    }
    return {name for name, there in flags.items() if there}


def _weight_kind(grid: Grid) -> str:
    if grid.bipolar:
        return "binary"
    return "ternary" if (grid.lo, grid.hi) == (-1, 1) else "signed" if grid.signed else "unsigned"


def _values(edge: Edge) -> str:
    grid = edge.grid
    if grid.bipolar:
        return "bipolar"
    return "ternary" if (grid.lo, grid.hi) == (-1, 1) else "signed" if grid.signed else "unsigned"
