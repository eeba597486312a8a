"""The best folding against FINN's greedy rule and FINN's published foldings, on one cost model.

    python benchmarks/bench_folding.py [--family ecp5] [--json] [NETWORK ...]

Area is what `bitwright.codegen.choices` counts: units and links, buffers at their least; one number
for it (`price`) is LUTs, with block RAMs and multipliers at the rates of `bitwright.codegen.price`.
For three targets of each network: the greedy folding, ours at the cycles that it reaches, and the
fewest cycles within the LUTs, block RAMs and multipliers that it takes.  Seconds are of the
processor, for the search from nothing, estimates included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

import finn
from greedy import greedy

from bitwright.codegen.choices import Choice, Choices, Total
from bitwright.codegen.folding import breakpoints, cheapest, complete, fastest, quickest, read_folds
from bitwright.codegen.optimum import area_of
from bitwright.codegen.price import AREA, UNIT, price_of
from bitwright.hw.cost import RESOURCES
from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models import zoo
from bitwright.models.program import Program
from bitwright.text import table

NETWORKS = ("tfc", "cnv", "resnet8", "dscnn", "digits-bwnh", "digits-int8", "digits-binary")
TARGETS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", default=NETWORKS)
    parser.add_argument("--family", default="ecp5")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.networks:
        found = measure(name, zoo.programs()[name].load(), options.family)
        rows += found
        if not options.json:
            print(table(found) + "\n", flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))


def measure(name: str, program: Program, family: str) -> list[dict[str, Any]]:
    """A row per folding: FINN's published one where there is one, greedy ones, and ours."""
    rows: list[dict[str, Any]] = []
    if name in finn.PUBLISHED:
        published = finn.folding(program, finn.PUBLISHED[name])
        folds = complete(program, read_folds(published), family)
        rows += _against(name, "FINN's published", program, folds, family)
    choices = Choices(program, family)
    for target in _targets(choices):
        chosen = greedy(choices, target)
        folds = {layer: choice.fold for layer, choice in chosen.items()}
        rows += _against(name, f"greedy to {target}", program, folds, family)
    return rows


def _targets(choices: Choices) -> list[int]:
    """Targets between the default (or the least possible) and 64 times as many cycles."""
    least = max(1024, fastest(choices)[1])
    steps = breakpoints(choices)
    return [min(steps, key=lambda s: abs(s - least * 8**k)) for k in range(TARGETS)]


def _against(
    name: str, way: str, program: Program, folds: Mapping[str, Fold], family: str
) -> list[dict[str, Any]]:
    choices = Choices(program, family)
    chosen = {
        layer: next(choice for choice in every if choice.fold == folds[layer])
        for layer, every in choices.layers.items()
    }
    baseline = _row(name, way, choices, chosen)
    budget = {resource: baseline[resource] for resource in ("lut", "bram", "dsp")}
    ways = {
        "  best at these cycles": lambda fresh: cheapest(fresh, baseline["cycles"]),
        "  fastest in this area": lambda fresh: quickest(fresh, budget),
    }
    rows = [baseline]
    for title, search in ways.items():
        start = time.process_time()
        found = search(Choices(program, family))
        rows.append(_row(name, title, choices, found.chosen, time.process_time() - start, baseline))
    return rows


def _row(
    name: str,
    way: str,
    choices: Choices,
    chosen: Mapping[str, Choice],
    seconds: float | None = None,
    baseline: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    area = area_of(choices, chosen)
    price = int(area @ price_of(AREA, choices.family)) / UNIT
    cycles = max(choice.cycles for choice in chosen.values())
    folds = {layer: choice.fold for layer, choice in chosen.items()}
    of = baseline or {"cycles": cycles, "price": price}
    return {
        "network": name,
        "folding": way,
        "cycles": cycles,
        **dict(zip(RESOURCES, area.tolist(), strict=True)),
        "price": round(price),
        "price ratio": f"{price / of['price']:.2f}",
        "cycles ratio": f"{cycles / of['cycles']:.2f}",
        "beyond": len(Total.of(Design(choices.program, folds, {}), choices.family).beyond),
        "seconds": None if seconds is None else f"{seconds:.2f}",
    }


if __name__ == "__main__":
    main()
