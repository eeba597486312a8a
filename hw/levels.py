"""How many levels of logic a stage may hold to reach a clock: measured, not modelled.

`benchmarks/fit_levels.py` places matrix-vector units with each number of levels and writes the
least clock of them, of medians over seeds, to `levels_FAMILY.json`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

MEASURED = "ecp5"
"""The family whose clocks stand in for those that were not measured."""


def data_file(family: str) -> Path:
    """Where the clocks of a family lie."""
    return Path(__file__).with_name(f"levels_{family}.json")


@cache
def clocks(family: str = "ecp5") -> dict[int, float]:
    """MHz that the slowest of the measured units reached, by levels, the fewest first.

    A family of which nothing was measured stands as `MEASURED` does, and no promise is made of it.
    """
    file = data_file(family)
    found = json.loads((file if file.is_file() else data_file(MEASURED)).read_text())["mhz"]
    return {int(levels): found[levels] for levels in sorted(found, key=int)}


def levels_for(clock_mhz: float, family: str = "ecp5") -> int:
    """The most levels a stage may hold for a clock, of those measured.

    Where none was measured to reach it, those of the fastest: no promise is made then.
    """
    known = clocks(family)
    reached = [levels for levels, mhz in known.items() if mhz >= clock_mhz]
    return max(reached) if reached else max(known, key=lambda levels: known[levels])
