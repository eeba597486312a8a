"""The matrix-vector unit, folded PE x SIMD: (N/PE) * (S/SIMD) cycles a vector, no bubbles."""

from __future__ import annotations

from ..models.fixed import Ints
from ..models.ops import Dot
from .constant_dot import ConstantMatrixVector, constant_stages, constant_timing, is_constant
from .elastic import accumulator
from .lanes import Lanes
from .matrix import Matrix, MatrixVector, Passes, Plan
from .timing import Timing
from .unit import (
    Fold,
    Place,
    Port,
    Ports,
    Unit,
    component,
    cycles,
    divisors,
    fill,
    foldings,
    ports,
    tail,
    timing,
)


@foldings.register
def _(op: Dot, place: Place) -> tuple[Fold, ...]:
    rows, columns = op.weights.shape
    return tuple(Fold(pe, simd) for pe in divisors(rows) for simd in divisors(columns))


@ports.register
def _(op: Dot, place: Place) -> Ports:
    return Ports(
        (Port.of(place.inputs[0], place.fold.simd),), (Port.of(place.output, place.fold.pe),)
    )


def folded(op: Dot, fold: Fold) -> tuple[int, int]:
    """Passes over the rows and over the columns: (N/PE, S/SIMD)."""
    rows, columns = op.weights.shape
    return rows // fold.pe, columns // fold.simd


def weight_rows(op: Dot, fold: Fold) -> Ints:
    """Weights in the order in which they are read: (passes, PE*SIMD), PE outermost in a word."""
    rows, columns = folded(op, fold)
    tiles = op.weights.reshape(rows, fold.pe, columns, fold.simd)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * columns, -1)


def passes(op: Dot, place: Place) -> Passes:
    """The steps of a frame."""
    vectors = place.inputs[0].elements // op.weights.shape[1]
    return Passes(vectors, *folded(op, place.fold))


def lanes_of(op: Dot, place: Place) -> tuple[Lanes, int]:
    """The arithmetic of a unit, and the bits of a word of its weights."""
    fold, width = place.fold, accumulator(place.output.grid).width
    lanes = Lanes(place.inputs[0].grid, op.grid, fold.simd, fold.pe, width)
    return lanes, sum(shape.width for shape in lanes.steps[0].row) * lanes.steps[0].rows


def plan(op: Dot, place: Place) -> Plan[Lanes]:
    """The datapath of a unit and its stages."""
    lanes, word = lanes_of(op, place)
    steps, beat = passes(op, place), place.inputs[0].grid.bits * place.fold.simd
    used = steps.read(beat, word, steps.rows * steps.columns)
    return Plan.of(lanes, used, place.levels)


@timing.register
def _(op: Dot, place: Place) -> Timing:
    if is_constant(op, place):
        return constant_timing(op, place)
    return passes(op, place).timing(plan(op, place).stages)


@cycles.register
def _(op: Dot, place: Place) -> int:
    return passes(op, place).cycles


@fill.register
def _(op: Dot, place: Place) -> int:
    if is_constant(op, place):
        return constant_stages(op, place)
    return passes(op, place).fill(plan(op, place).stages)


@tail.register
def _(op: Dot, place: Place) -> int:
    if is_constant(op, place):
        return constant_stages(op, place)
    return passes(op, place).tail(plan(op, place).stages)


def matrix_of(op: Dot, made: Plan[Lanes], rows: Ints, fold: Fold) -> Matrix:
    """The arithmetic of a unit whose memory holds such rows of weights, (D, PE*SIMD)."""
    starts = made.lanes.starts(op.weights).reshape(-1, fold.pe)
    return Matrix(made, made.lanes.words(rows), made.lanes.stored, starts)


@component.register
def _(op: Dot, place: Place) -> Unit:
    if is_constant(op, place):
        return ConstantMatrixVector(op, place)
    matrix = matrix_of(op, plan(op, place), weight_rows(op, place.fold), place.fold)
    return MatrixVector(op, place, passes(op, place), matrix)
