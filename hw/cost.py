"""Estimated area of every unit: features counted from its structure, coefficients fitted to Yosys.

`features(op, place)` says of what a unit is made: adder bits, comparator bits, gates of lanes,
counter bits, registers, memories.  Registers, block RAMs and multipliers are counts that stand by
themselves; LUTs are a sum of features with coefficients per kind of unit, which
`benchmarks/fit_area.py` fits and writes to `cost_FAMILY.json` together with the error that it
measured on units it did not fit.  Where a unit has a feature beyond those fitted, or a kind that
was never fitted, there is no estimate.

| file | what it says |
|---|---|
| `cost.py` | estimates and their error, from features and the fit |
| `cost_families.py` | what sets the families apart, as data |
| `cost_parts.py` | what a feature is; counters |
| `cost_memory.py`, `cost_sums.py` | memories and tables; sums and products |
| `cost_product.py` | products in several stages |
| `cost_matrix.py` | the features of matrix-vector units |
| `cost_tables.py` | of units that choose entries of tables, and of decision trees |
| `cost_channels.py`, `cost_requantise.py`, `cost_thresholds.py` | of units channel by channel |
| `cost_streams.py` | of units that order, choose and pool, and of links |
| `cost_tiles.py` | of units that transform taps and put blocks in place |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..models.fixed import ProgramError
from . import cost_channels as cost_channels
from . import cost_matrix as cost_matrix
from . import cost_requantise as cost_requantise
from . import cost_streams as cost_streams
from . import cost_tables as cost_tables
from . import cost_thresholds as cost_thresholds
from . import cost_tiles as cost_tiles
from .cost_families import FAMILIES as FAMILIES
from .cost_parts import Features as Features
from .cost_parts import features as features
from .cost_parts import terms as terms
from .unit import Place, ports

RESOURCES = ("lut", "ff", "bram", "dsp")
REACH = 16
"""How many times as much of a feature as any fitted unit has is within the fit."""
UNFITTED = 0.15
"""The part of a unit's LUTs that may be of features beyond the fit."""


@dataclass(frozen=True)
class Estimate:
    """Estimated area of a unit."""

    lut: int
    ff: int
    bram: int
    dsp: int

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(*(getattr(self, r) + getattr(other, r) for r in RESOURCES))


@dataclass(frozen=True, eq=False)
class Model:
    """Fitted coefficients and the largest features that they were fitted on; `about` is the rest.

    kinds: how many units of each kind were fitted; in_design: LUTs in a whole design, whose slowest
    units are mapped for speed, for each LUT of its units alone.
    """

    coefficients: Mapping[str, float]
    most: Mapping[str, float]
    kinds: Mapping[str, int]
    in_design: float
    about: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Model:
        """From the document that the fit writes."""
        names = ("coefficients", "most", "kinds", "in_design")
        return cls(*(document[name] for name in names), document)

    def estimate(self, of: Features) -> Estimate | None:
        """The area, or None beyond what was fitted."""
        if of.kind not in self.kinds:
            return None
        found = weighed(of, self.coefficients)
        beyond = {n: v for n, v in terms(of).items() if v > REACH * self.most.get(n, 0)}
        lut = sum(self.coefficients.get(n, 1.0) * v for n, v in beyond.items())
        return None if lut > UNFITTED * found.lut else self.extrapolate(of)

    def extrapolate(self, of: Features) -> Estimate:
        """The same sum without the limit of what was fitted.

        A kind that was not fitted takes the coefficients of the kind it is a part of ("Dot.xnor"
        for "Dot.xnor.unrolled"), and a LUT for each count of a feature where that has none either.
        """
        kind = of.kind
        while kind not in self.kinds and "." in kind:
            kind = kind.rpartition(".")[0]
        alone = weighed(replace(of, kind=kind), self.coefficients)
        return replace(alone, lut=round(self.in_design * alone.lut))


def weighed(of: Features, coefficients: Mapping[str, float]) -> Estimate:
    """The area of so many features with these coefficients, where there is none with 1."""
    lut = of.parts.exact + sum(coefficients.get(n, 1.0) * v for n, v in terms(of).items() if v)
    return Estimate(round(lut), of.parts.ff, of.parts.bram, of.parts.dsp)


def data_file(family: str) -> Path:
    """Where the fit for a family lies."""
    return Path(__file__).with_name(f"cost_{family}.json")


@cache
def model(family: str = "ecp5") -> Model | None:
    """The fitted model of a family; None where there is none."""
    file = data_file(family)
    return Model.of(json.loads(file.read_text())) if file.is_file() else None


def estimate(op: Any, place: Place, family: str = "ecp5") -> Estimate | None:
    """The estimated area of a unit; None for what was not calibrated, with `error` beside it.

    None stands for a family or a kind of unit without a fit, and for a unit with more of some
    feature than any that was fitted.
    """
    fitted = model(family)
    known = features.dispatch(type(op)) is not features.dispatch(object)
    return fitted.estimate(features(op, place, FAMILIES[family])) if fitted and known else None


def area(op: Any, place: Place, family: str = "ecp5") -> tuple[Estimate, bool]:
    """The estimate and True; where there is none, what stands in for it and False.

    Stand-ins are for choosing between foldings and are never shown as estimates: the fit beyond its
    range with twice the LUTs, so that it is taken where nothing calibrated comes near, and for an
    operator without features a LUT and a register per bit of its ports.  Raises ProgramError for a
    family without a fit.
    """
    fitted = model(family)
    if fitted is None:
        files = sorted(Path(__file__).parent.glob("cost_*.json"))
        raise ProgramError(
            f"there is no area model of the family {family!r}; it is one of "
            + ", ".join(file.stem.removeprefix("cost_") for file in files)
        )
    if features.dispatch(type(op)) is features.dispatch(object):
        of = ports(op, place)
        bits = sum(port.width for port in (*of.inputs, *of.outputs))
        return Estimate(bits, bits, 0, 0), False
    found = features(op, place, FAMILIES[family])
    estimated = fitted.estimate(found)
    if estimated is not None:
        return estimated, True
    beyond = fitted.extrapolate(found)
    return replace(beyond, lut=2 * beyond.lut), False


def error(family: str = "ecp5") -> dict[str, Any]:
    """How far estimates are off, measured on units not in the fit, to be printed beside them.

    {"lut": {"median", "worst"}, "ff": ..., "bram": ..., "dsp": ..., "designs": the same for sums
    over whole designs, "units", "held_back", "date", "yosys"}: relative errors; empty for a family
    without a fit.
    """
    fitted = model(family)
    if fitted is None:
        return {}
    about = fitted.about
    said = {name: about[name] for name in ("units", "held_back", "date", "yosys")}
    return {**about["error"], "designs": about["design_error"], **said}
