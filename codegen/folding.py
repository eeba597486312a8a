"""Choosing how far each layer is folded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..hw.buffers import buffered
from ..hw.design import Design, folding_choices, placed
from ..hw.unit import Fold, cycles
from ..models.fixed import ProgramError
from ..models.program import Program

DEFAULT_CYCLES = 1024


def fold_for(program: Program, target: int | None = None) -> dict[str, Fold]:
    """Return for each layer the folding of least parallelism with at most `target` cycles a frame.

    None: `DEFAULT_CYCLES`, or the least that the layers allow where that is more.  Among foldings
    of equal parallelism the one with most SIMD wins: it accumulates in fewest registers.
    """
    choices = folding_choices(program)
    counted = {
        name: {fold: _cycles(program, name, fold) for fold in folds}
        for name, folds in choices.items()
    }
    slowest = max(counted, key=lambda name: min(counted[name].values()))
    least = max(min(counted[slowest].values()), program.input.elements if not counted else 1)
    if target is None:
        target = max(DEFAULT_CYCLES, least)
    if target < least:
        raise ProgramError(
            f"layer {slowest!r} takes {least} cycles a frame at its most parallel, above the "
            f"{target} asked for; ask for {least} or more"
        )
    return {
        name: min(
            (fold for fold, count in options.items() if count <= target),
            key=lambda fold: (fold.pe * fold.simd, -fold.simd),
        )
        for name, options in counted.items()
    }


def _cycles(program: Program, name: str, fold: Fold) -> int:
    node = next(node for node in program.nodes if node.name == name)
    return cycles(node.op, placed(program, name, fold))


def read_folds(document: Any) -> dict[str, Fold]:
    """Read a fold file: {layer: {"pe": P, "simd": S}}; what is left out is 1."""
    if not isinstance(document, Mapping):
        raise ProgramError('a fold file holds {layer: {"pe": P, "simd": S}}, not a list or value')
    folds = {}
    for layer, entry in document.items():
        if not isinstance(entry, Mapping) or not set(entry) <= {"pe", "simd"}:
            raise ProgramError(
                f'layer {layer!r} of the fold file holds {{"pe": P, "simd": S}}, not {entry!r}'
            )
        for key, value in entry.items():
            if type(value) is not int or value < 1:
                raise ProgramError(
                    f"layer {layer!r} of the fold file: {key} is a positive integer, not {value!r}"
                )
        folds[str(layer)] = Fold(**entry)
    return folds


def build(
    program: Program,
    cycles_per_frame: int | None = None,
    fold: Mapping[str, Mapping[str, int]] | None = None,
) -> Design:
    """Return the design of a program: folded as asked, buffered for its full throughput.

    fold: {layer: {"pe": P, "simd": S}}; layers that it leaves out are not parallel (1 and 1).
    """
    if fold is not None and cycles_per_frame is not None:
        raise ProgramError("give either cycles per frame or a folding, not both")
    folds = read_folds(fold) if fold is not None else fold_for(program, cycles_per_frame)
    return buffered(Design(program, folds, {}))
