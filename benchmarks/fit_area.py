"""Fit the area model: synthesise units of every kind, fit, and measure the error on others.

    python benchmarks/fit_area.py [--family ecp5] [--jobs 2] [--check]

Each unit is synthesised alone, with so much time for its paths that Yosys maps all of it for area,
as it does in a whole design with all but the slowest unit; whole designs are synthesised as users
do.  Results are cached (`area_synthesis`).  Writes hw/cost_FAMILY.json; --check fits and prints
only.  `area_units` draws the units, `area_designs` the designs.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from area_synthesis import areas
from area_units import Sample, samples
from scipy.optimize import nnls

from bitwright.codegen.synth import FAMILIES, Area, yosys_version
from bitwright.codegen.verilog import write_component
from bitwright.hw import cost
from bitwright.hw.unit import component

SEED = 20240
PULL = 0.1
"""Weight of the first guess of a coefficient."""
PARTS = 6
"""Units are judged in so many parts, each by a fit to the others."""
FLOORS = {"lut": 20, "ff": 20, "bram": 1, "dsp": 1}
"""Errors are relative to what was measured, or to this where that is less."""


# --- fit ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Unit:
    """A synthesised unit beside its features."""

    sample: Sample
    features: cost.Features
    area: Area

    @property
    def terms(self) -> dict[str, float]:
        """Features under the names of their coefficients."""
        return cost.terms(self.features)


def fit(units: list[Unit], names: list[str], first: Mapping[str, float]) -> dict[str, float]:
    """Coefficients of these names that minimise the squared relative error of LUTs; none is negative.

    Each is drawn to its `first` guess, as if by `PULL` of the weight of all units that have it: the
    few units of a kind that leave two coefficients open do not decide on extremes.
    """
    matrix = np.array([[unit.terms.get(name, 0.0) for name in names] for unit in units])
    wanted = np.array([unit.area.lut - unit.features.parts.exact for unit in units], float)
    weight = 1 / np.array([max(unit.area.lut, FLOORS["lut"]) for unit in units], float)
    matrix, wanted = matrix * weight[:, None], wanted * weight
    guess = np.array([first.get(name, 1.0) for name in names])
    # Kinds cost more or less of a family's LUTs alike: 4 inputs or 6.
    guess *= float(np.median(wanted / np.maximum(matrix @ guess, 1e-9))) if first else 1.0
    pull = PULL * np.maximum(np.sqrt((matrix**2).sum(0)), 1e-6)
    system = np.concatenate([matrix, np.diag(pull)])
    solution, _ = nnls(system, np.concatenate([wanted, pull * guess]), maxiter=10_000)
    return {name: round(float(value), 4) for name, value in zip(names, solution, strict=True)}


def ranges(units: list[Unit]) -> dict[str, float]:
    """The largest value of each feature among units that share its coefficient."""
    most: dict[str, float] = {}
    for unit in units:
        for name, value in unit.terms.items():
            most[name] = max(most.get(name, 0.0), float(value))
    return dict(sorted(most.items()))


def relative(estimate: int, measured: int, resource: str) -> float:
    """Relative error; below the floor of a resource, relative to that."""
    return abs(estimate - measured) / max(measured, FLOORS[resource])


def summary(errors: list[float]) -> dict[str, float]:
    """Median and worst."""
    return {"median": round(float(np.median(errors)), 4), "worst": round(max(errors), 4)}


def judged(units: list[Unit], first: Mapping[str, float]) -> dict[str, Any]:
    """Errors on units that were not fitted: each is judged by a fit without its part of all."""
    order = np.random.default_rng(SEED).permutation(len(units))
    names = list(ranges(units))
    wrong: dict[str, list[float]] = {resource: [] for resource in cost.RESOURCES}
    by_kind: dict[str, list[float]] = {}
    for part in range(PARTS):
        held = [units[k] for k in order[part::PARTS]]
        coefficients = fit([units[k] for n, k in enumerate(order) if n % PARTS != part], names, first)
        for unit in held:
            found = cost.weighed(unit.features, coefficients)
            for resource in cost.RESOURCES:
                measured = getattr(unit.area, resource)
                wrong[resource].append(relative(getattr(found, resource), measured, resource))
            by_kind.setdefault(unit.features.kind, []).append(wrong["lut"][-1])
    return {
        "held_back": len(units),
        "error": {resource: summary(values) for resource, values in wrong.items()},
        "lut_by_kind": {k: {"units": len(v), **summary(v)} for k, v in sorted(by_kind.items())},
    }


# --- the command --------------------------------------------------------------------------------


def calibrate(family: str, jobs: int) -> dict[str, Any]:
    """The whole document of `hw/cost_FAMILY.json`, but for the date."""
    drawn = samples()
    areas = measure(drawn, family, jobs)
    units = [
        Unit(sample, cost.features(sample.op, sample.place), area)
        for sample, area in zip(drawn, areas, strict=True)
    ]
    fitted, held = split(units)
    document: dict[str, Any] = {
        "family": family,
        "yosys": yosys_version(),
        "seed": SEED,
        "units": len(fitted),
        "floors": FLOORS,
        "coefficients": fit(fitted),
        "most": ranges(fitted),
        "kinds": dict(sorted(Counter(unit.features.kind for unit in fitted).items())),
    }
    model = cost.Model.of(document)
    document |= judged(model, held)
    document["designs"] = found = designs(model, family)
    document["design_error"] = {r: summary([d["error"][r] for d in found]) for r in cost.RESOURCES}
    return document


def fresh(family: str, jobs: int, seed: int) -> dict[str, Any]:
    """The errors of the stored model on every sixth unit drawn from another seed."""
    document = json.loads(cost.data_file(family).read_text())
    drawn = samples(seed)[::6]
    units = [
        Unit(sample, cost.features(sample.op, sample.place), area)
        for sample, area in zip(drawn, measure(drawn, family, jobs), strict=True)
    ]
    return {
        "family": family,
        "yosys": yosys_version(),
        "units": document["units"],
        **judged(cost.Model.of(document), units),
        "designs": [],
    }


def write(document: dict[str, Any], file: Path) -> None:
    """Write the document with today's date, or with the old one if nothing else has changed."""
    old = json.loads(file.read_text()) if file.is_file() else {}
    same = {name: value for name, value in old.items() if name != "date"} == document
    today = datetime.now(UTC).date().isoformat()
    dated = {"date": old["date"] if same else today, **document}
    file.write_text(json.dumps(dated, indent=1) + "\n")


def table(document: dict[str, Any]) -> Iterator[str]:
    """What was found, line by line."""
    yield (
        f"{document['family']}, {document['yosys']}: {document['units']} units fitted, "
        f"{document['held_back']} held back, {document['out_of_range']} beyond the fitted range"
    )
    for resource, error in document["error"].items():
        yield f"{resource:<20} median {error['median']:>7.1%}   worst {error['worst']:>7.1%}"
    yield "LUT by kind, units not in the fit"
    for kind, error in document["lut_by_kind"].items():
        yield (
            f"  {kind:<20} median {error['median']:>7.1%}   worst {error['worst']:>7.1%}   "
            f"{error['units']:>3} units"
        )
    if document["designs"]:
        yield "whole designs, estimate / measured"
    for design in document["designs"]:
        pairs = (
            f"{r} {design['estimate'][r]}/{design['measured'][r]} ({design['error'][r]:.1%})"
            for r in cost.RESOURCES
        )
        yield f"  {design['design']:<18} {', '.join(pairs)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=["ecp5"], default="ecp5")
    parser.add_argument("--jobs", type=int, default=2, help="syntheses at a time")
    parser.add_argument("--check", action="store_true", help="print, write nothing")
    parser.add_argument(
        "--fresh", type=int, metavar="SEED", help="judge the stored fit on units of another seed"
    )
    arguments = parser.parse_args()
    if arguments.fresh is not None:
        print("\n".join(table(fresh(arguments.family, arguments.jobs, arguments.fresh))))
        return
    document = calibrate(arguments.family, arguments.jobs)
    print("\n".join(table(document)))
    if not arguments.check:
        write(document, cost.data_file(arguments.family))


if __name__ == "__main__":
    main()
