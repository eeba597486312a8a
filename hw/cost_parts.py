"""Of what a unit is made: the features that an area is estimated from.

The files of units beside this one add up parts: registers, block RAMs and multipliers as counts,
and by name what takes LUTs, which the fit gives a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from .cost_families import Family
from .unit import Place


@dataclass(frozen=True)
class Parts:
    """Of what a unit is made.

    lut: features whose weighted sum are its LUTs; exact: LUTs that count as they are (LUT memory);
    ff, bram, dsp: registers, block RAMs and multipliers.
    """

    lut: Mapping[str, float] = field(default_factory=dict[str, float])
    exact: int = 0
    ff: int = 0
    bram: int = 0
    dsp: int = 0

    def __add__(self, other: Parts) -> Parts:
        names = [*self.lut, *(name for name in other.lut if name not in self.lut)]
        return Parts(
            {name: self.lut.get(name, 0) + other.lut.get(name, 0) for name in names},
            self.exact + other.exact,
            self.ff + other.ff,
            self.bram + other.bram,
            self.dsp + other.dsp,
        )

    def __mul__(self, times: int) -> Parts:
        lut = {name: value * times for name, value in self.lut.items()}
        counts = (self.exact, self.ff, self.bram, self.dsp)
        return Parts(lut, *(count * times for count in counts))


@dataclass(frozen=True)
class Features:
    """The kind of a unit, whose coefficients it takes, and its parts."""

    kind: str
    parts: Parts


@singledispatch
def features(op: Any, place: Place, family: Family) -> Features:
    """Of what the unit is made in a family: what `place` and the constants of `op` decide."""
    raise NotImplementedError(
        f"{type(op).__name__} has no area features; register them with @features.register"
    )


SHARED = frozenset(
    {
        *("count", "stages", "mux", "bypass", "accumulate", "input", "constant_of_passes"),
        *("table", "leaf", "join", "few", "ands", "fulls", "ends", "adders", "carry", "short"),
    }
)
"""Features that cost the same in every kind of unit: one coefficient for all."""


def terms(of: Features) -> dict[str, float]:
    """The features under the names of their coefficients."""
    named = of.parts.lut.items()
    return {name if name in SHARED else f"{of.kind}.{name}": value for name, value in named}


def gates(ff: int = 0, **lut: float) -> Parts:
    """Features by name, and registers; `constant` stands for what every unit of a kind has."""
    return Parts(lut, ff=ff)


def together(*parts: Parts) -> Parts:
    """Sum of parts."""
    return sum(parts, Parts())


def count_bits(limit: int) -> int:
    """Bits of a counter 0 .. limit - 1."""
    return (limit - 1).bit_length()


def counting(*limits: int) -> Parts:
    """Counters: their registers; an increment, a comparison and a return to zero for each bit."""
    bits = sum(map(count_bits, limits))
    return Parts({"count": bits}, ff=bits)


def trailing_zeros(value: int, most: int) -> int:
    """Low bits of a number that are 0, at most so many."""
    low = int(value) & -int(value)
    return min(most, low.bit_length() - 1) if low else most
