"""Fit the area model: synthesise units of every kind, fit, and measure the error on others.

    python benchmarks/fit_area.py [--family ecp5] [--share 0.3] [--jobs 2] [--check]

Each unit is synthesised alone, with so much time for its paths that Yosys maps all of it for area,
as it does in a whole design with all but the slowest unit; whole designs are synthesised as users
do.  Results are cached (`area_synthesis`).  Writes hw/cost_FAMILY.json; --check fits and prints
only.  `area_units` draws the units, `area_designs` the designs.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from area_designs import designs
from area_synthesis import areas
from area_units import Sample, samples
from scipy.optimize import nnls

from bitwright.codegen.synth import Area, yosys_version
from bitwright.codegen.verilog import write_component, write_rtl
from bitwright.hw import cost
from bitwright.hw.unit import component

SEED = 20240
FIRST = "ecp5"
"""The family that is fitted first: its coefficients are the guess for the others."""
SHARE = 0.3
"""Of the units of each kind, unless more are asked for."""
PULL = 0.3
"""Weight of the first guess of a coefficient."""
CONSTANT, USUAL = 8.0, 100
"""First guess of the LUTs that any unit of a kind has; LUTs of a usual unit."""
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
    """Coefficients of these names, with the least squared relative error of LUTs; none is negative.

    Each is drawn to its `first` guess, as if by `PULL` of the weight of all units that have it: the
    few units of a kind that leave two coefficients open do not decide on extremes.
    """
    matrix = np.array([[unit.terms.get(name, 0.0) for name in names] for unit in units])
    wanted = np.array([unit.area.lut - unit.features.parts.exact for unit in units], float)
    weight = 1 / np.array([max(unit.area.lut, FLOORS["lut"]) for unit in units], float)
    matrix, wanted = matrix * weight[:, None], wanted * weight
    guess = np.array([first.get(name, CONSTANT if "constant" in name else 1.0) for name in names])
    # Kinds cost more or less of a family's LUTs alike: 4 inputs or 6.
    guess *= float(np.median(wanted / np.maximum(matrix @ guess, 1e-9))) if first else 1.0
    # What every unit has once must not take up all that large units leave open.
    usual = np.sqrt((matrix > 0).sum(0)) / USUAL
    pull = PULL * np.maximum(np.maximum(np.sqrt((matrix**2).sum(0)), usual), 1e-6)
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
    names = list(ranges(units))
    part = np.random.default_rng(SEED).permutation(len(units)) % PARTS
    fits = [fit([u for u, p in zip(units, part, strict=True) if p != k], names, first)
            for k in range(PARTS)]  # fmt: skip
    return compared(units, [fits[k] for k in part])


def compared(units: list[Unit], by: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Errors of units, each estimated by coefficients of its own."""
    wrong: dict[str, list[float]] = {resource: [] for resource in cost.RESOURCES}
    by_kind: dict[str, list[float]] = {}
    for unit, coefficients in zip(units, by, strict=True):
        found = cost.weighed(unit.features, coefficients)
        for r in cost.RESOURCES:
            wrong[r].append(relative(getattr(found, r), getattr(unit.area, r), r))
        by_kind.setdefault(unit.features.kind, []).append(wrong["lut"][-1])
    return {
        "held_back": len(units),
        "error": {resource: summary(values) for resource, values in wrong.items()},
        "lut_by_kind": {k: {"units": len(v), **summary(v)} for k, v in sorted(by_kind.items())},
    }


# --- whole designs ------------------------------------------------------------------------------


def whole(units: cost.Model, family: str, jobs: int) -> list[dict[str, Any]]:
    """The sum of the units' estimates beside the synthesis of the whole, for each design."""
    made = {name: make() for name, make in designs(SEED).items()}
    measured = areas([write_rtl(design) for design in made.values()], family, jobs, delay=None)
    result: list[dict[str, Any]] = []
    for (name, design), area in zip(made.items(), measured, strict=True):
        rules = cost.FAMILIES[family]
        each = [units.estimate(cost.features(i.op, i.place, rules)) for i in design.instances]
        known = [e for e in each if e is not None]
        result.append({
            "design": name,
            "units": len(each),
            "without_estimate": len(each) - len(known),
            "estimate": {r: sum(getattr(e, r) for e in known) for r in cost.RESOURCES},
            "measured": {r: getattr(area, r) for r in cost.RESOURCES},
        })  # fmt: skip
    return result


def within(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What a design adds to its units: the middle of all networks; each is judged by the others.

    Yosys maps the slowest paths of a design for speed, and the stream's border is there once.
    Random programs are judged by all networks: parts of them fall away, as nothing depends on them.
    """
    complete = [design for design in found if not design["without_estimate"]]
    ratio = {d["design"]: d["measured"]["lut"] / d["estimate"]["lut"] for d in complete}
    networks = [name for name in ratio if not name.startswith("random")]
    factor = round(float(np.median([ratio[name] for name in networks])), 4)
    for design in found:
        others = [ratio[name] for name in networks if name != design["design"]]
        design["estimate"]["lut"] = round(float(np.median(others)) * design["estimate"]["lut"])
        design["error"] = {
            r: round(relative(design["estimate"][r], design["measured"][r], r), 4)
            for r in cost.RESOURCES
        }
    judged_ = [design for design in complete if design["design"] in networks]
    error = {r: summary([d["error"][r] for d in judged_]) for r in cost.RESOURCES}
    return {"in_design": factor, "designs": found, "design_error": error}


# --- the command --------------------------------------------------------------------------------


def calibrate(family: str, jobs: int, share: float) -> dict[str, Any]:
    """The whole document of `hw/cost_FAMILY.json`, but for the date."""
    units = measured_units(samples(SEED, share), family, jobs)
    names, first = list(ranges(units)), guess(family)
    document: dict[str, Any] = {
        "family": family,
        "yosys": yosys_version(),
        "seed": SEED,
        "units": len(units),
        "floors": FLOORS,
        "coefficients": fit(units, names, first),
        "most": ranges(units),
        "kinds": dict(sorted(Counter(unit.features.kind for unit in units).items())),
    }
    document |= judged(units, first)
    return document | within(whole(cost.Model.of({**document, "in_design": 1.0}), family, jobs))


def measured_units(drawn: list[Sample], family: str, jobs: int) -> list[Unit]:
    """The units beside their areas; several that are the same count once."""
    made = [write_component(component(sample.op, sample.place), "unit") for sample in drawn]
    found = areas(made, family, jobs)
    rules = cost.FAMILIES[family]
    return [
        Unit(sample, cost.features(sample.op, sample.place, rules), area)
        for sample, area in zip(drawn, found, strict=True)
    ]


def guess(family: str) -> dict[str, float]:
    """What coefficients are drawn to: those of `FIRST`, but for that family itself."""
    if family == FIRST:
        return {}
    return json.loads(cost.data_file(FIRST).read_text())["coefficients"]


def fresh(family: str, jobs: int, seed: int) -> dict[str, Any]:
    """The errors of the stored model on every sixth unit drawn from another seed."""
    document = json.loads(cost.data_file(family).read_text())
    units = measured_units(samples(seed)[::6], family, jobs)
    return {
        "family": family,
        "yosys": yosys_version(),
        "units": document["units"],
        **compared(units, [document["coefficients"]] * len(units)),
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
        f"{document['held_back']} judged by a fit without them"
    )
    for resource, error in document["error"].items():
        yield f"{resource:<20} median {error['median']:>7.1%}   worst {error['worst']:>7.1%}"
    yield "LUT by kind"
    for kind, error in document["lut_by_kind"].items():
        yield (
            f"  {kind:<20} median {error['median']:>7.1%}   worst {error['worst']:>7.1%}   "
            f"{error['units']:>3} units"
        )
    if document["designs"]:
        yield f"whole designs (sum of units times about {document['in_design']}) / measured"
    for design in document["designs"]:
        pairs = (
            f"{r} {design['estimate'][r]}/{design['measured'][r]} ({design['error'][r]:.1%})"
            for r in cost.RESOURCES
        )
        missing = design["without_estimate"]
        about = f", {missing} units without estimate" if missing else ""
        yield f"  {design['design']:<14} {', '.join(pairs)}{about}"
    for resource, error in document.get("design_error", {}).items():
        both = f"median {error['median']:>7.1%}   worst {error['worst']:>7.1%}"
        yield f"networks {resource:<11} {both}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=list(cost.FAMILIES), default=FIRST)
    parser.add_argument("--jobs", type=int, default=2, help="Yosys processes at a time")
    parser.add_argument("--share", type=float, default=SHARE, help="of each kind's units")
    parser.add_argument("--check", action="store_true", help="print, write nothing")
    parser.add_argument(
        "--fresh", type=int, metavar="SEED", help="judge the stored fit on units of another seed"
    )
    given = parser.parse_args()
    if given.fresh is not None:
        print("\n".join(table(fresh(given.family, given.jobs, given.fresh))))
        return
    document = calibrate(given.family, given.jobs, given.share)
    print("\n".join(table(document)))
    if not given.check:
        write(document, cost.data_file(given.family))


if __name__ == "__main__":
    main()
