"""What operators and programs remember: weights, their bits, and the forms of their roundings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .ops import DepthwiseDot, Dot, Lookup, Tables, TableSum
from .program import Op, Program


def weights(op: Op) -> int:
    """How many weights an operator has: entries of tables and of codebooks, and indices, too."""
    return _stored(op)[0]


def weight_bits(op: Op) -> int:
    """Bits of all weights, as stored."""
    count, bits = _stored(op)
    return count * bits


def _stored(op: Op) -> tuple[int, int]:
    """How many weights, and the bits of each."""
    match op:
        case Dot(weights, grid) | DepthwiseDot(weights, grid):
            return weights.size, grid.bits
        case Tables(codebooks, grid):
            return codebooks.size, grid.bits
        case TableSum(tables, grid):
            return tables.size, grid.bits
        case Lookup(indices, words):
            return indices.size, max(1, (words - 1).bit_length())
        case _:
            return 0, 0


def forms(program: Program) -> dict[str, str]:
    """The form that each rounding of the model got, by its name in the model; all are exact.

    Empty for programs that were not imported.  Metadata of a saved program may hold anything: what
    is no form is left out, and names are printable.
    """
    found = program.metadata.get("forms")
    if not isinstance(found, Mapping):
        return {}
    known = cast(Mapping[Any, Any], found)
    return {
        name if name.isprintable() else ascii(name): form
        for name, form in known.items()
        if isinstance(name, str) and isinstance(form, str) and form.isprintable()
    }
