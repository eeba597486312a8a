"""What operators and programs remember: weights, their bits, and the forms of their roundings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .ops import DepthwiseDot, Dot
from .program import Op, Program


def weights(op: Op) -> int:
    """How many weights an operator has."""
    return int(op.weights.size) if isinstance(op, Dot | DepthwiseDot) else 0


def weight_bits(op: Op) -> int:
    """Bits of all weights, as stored."""
    return weights(op) * op.grid.bits if isinstance(op, Dot | DepthwiseDot) else 0


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
