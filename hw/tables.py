"""Inner products with the words of codebooks: a matrix-vector unit that spends nothing on zeros.

Foldings are those of a `Dot` of K rows and Cs columns, sub-space after sub-space, in
M * (K/PE) * (Cs/SIMD) cycles a position; or whole sub-spaces side by side, g of them with PE = g*K
and SIMD = g*Cs, in M/g cycles.
"""

from __future__ import annotations

from ..models.fixed import Ints
from ..models.ops import Tables
from .elastic import accumulator
from .lanes import Lanes
from .matrix import Matrix, MatrixVector, Passes, Plan, scheduled
from .unit import (
    Fold,
    Place,
    Port,
    Ports,
    Unit,
    component,
    divisors,
    foldings,
    ports,
)


@foldings.register
def _(op: Tables, place: Place) -> tuple[Fold, ...]:
    spaces, words, size = op.codebooks.shape
    inside = [Fold(pe, simd) for pe in divisors(words) for simd in divisors(size)]
    return (*inside, *(Fold(g * words, g * size) for g in divisors(spaces)[1:]))


@ports.register
def _(op: Tables, place: Place) -> Ports:
    return Ports(
        (Port.of(place.inputs[0], place.fold.simd),), (Port.of(place.output, place.fold.pe),)
    )


def folded(op: Tables, fold: Fold) -> tuple[int, int, int]:
    """Sub-spaces side by side, and the passes over the rows and the columns of each."""
    _, words, size = op.codebooks.shape
    blocks = max(1, fold.pe // words)
    return blocks, blocks * words // fold.pe, blocks * size // fold.simd


def passes(op: Tables, place: Place) -> Passes:
    """The steps of a frame: a vector is what the sub-spaces that stand side by side read."""
    blocks, rows, columns = folded(op, place.fold)
    size = op.codebooks.shape[2]
    return Passes(place.inputs[0].elements // (blocks * size), rows, columns)


def weight_rows(op: Tables, fold: Fold) -> Ints:
    """Weights as they are read: (steps of a position, PE*SIMD/blocks), the first block first."""
    blocks, rows, columns = folded(op, fold)
    spaces, words, size = op.codebooks.shape
    tiles = op.codebooks.reshape(-1, blocks, rows, words // rows, columns, size // columns)
    return tiles.transpose(0, 2, 4, 1, 3, 5).reshape(spaces // blocks * rows * columns, -1)


def plan(op: Tables, place: Place) -> Plan[Lanes]:
    """The datapath of one sub-space, and its stages."""
    fold, x = place.fold, place.inputs[0].grid
    blocks, rows, columns = folded(op, fold)
    width = accumulator(place.output.grid).width
    lanes = Lanes(x, op.grid, fold.simd // blocks, fold.pe // blocks, width)
    word = blocks * sum(shape.width for shape in lanes.steps[0].row) * lanes.steps[0].rows
    words = len(op.codebooks) // blocks * rows * columns
    used = passes(op, place).read(x.bits * fold.simd, word, words)
    return Plan.of(lanes, used, place.levels)


scheduled(Tables, passes, plan)


def memory_words(op: Tables, place: Place) -> Ints:
    """What the memory holds, a row a step: numbers on `plan(op, place).lanes.stored`."""
    lanes = plan(op, place).lanes
    blocks = folded(op, place.fold)[0]
    values = weight_rows(op, place.fold)
    return lanes.words(values.reshape(len(values) * blocks, -1)).reshape(len(values), -1)


def start_rows(op: Tables, place: Place) -> Ints:
    """What the accumulators start from, (P, PE)."""
    size = op.codebooks.shape[2]
    return plan(op, place).lanes.starts(op.codebooks.reshape(-1, size)).reshape(-1, place.fold.pe)


@component.register
def _(op: Tables, place: Place) -> Unit:
    made, words = plan(op, place), memory_words(op, place)
    blocks = folded(op, place.fold)[0]
    matrix = Matrix(made, words, made.lanes.stored, start_rows(op, place), blocks)
    return MatrixVector(op, place, passes(op, place), matrix)
