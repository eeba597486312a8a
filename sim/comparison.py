"""Designs side by side, for the report: a table, the Pareto picture, systolic arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import plots
from .charts import Picture
from .pareto import Field, judged, measured
from .systolic import DATAFLOWS

Json = Mapping[str, Any]


def titles(entries: Sequence[Json]) -> list[str]:
    """A name for each design: its model, and where that is not enough its interval and a number."""
    named = [entry["model"] for entry in entries]
    found = [
        f"{entry['model']}, {entry['interval']:,} cycles"
        if named.count(entry["model"]) > 1
        else entry["model"]
        for entry in entries
    ]
    seen: Counter[str] = Counter()
    for k, name in enumerate(found):
        seen[name] += 1
        if seen[name] > 1:
            found[k] = f"{name} ({seen[name]})"
    return found


@dataclass(frozen=True, eq=False)
class Comparison:
    """Entries of `compare_designs` under their titles."""

    entries: Sequence[Json]
    titles: Sequence[str]

    @property
    def rows(self) -> list[tuple[int, str, Json]]:
        """Number, title and entry of each design."""
        pairs = zip(self.titles, self.entries, strict=True)
        return [(number, title, entry) for number, (title, entry) in enumerate(pairs, 1)]

    @cached_property
    def field(self) -> Field:
        """The designs by area and speed."""
        return Field.of(self.entries, self.titles)

    @cached_property
    def front(self) -> list[int]:
        """The numbers of the designs that no other of their program beats."""
        return [point.number for point in self.field.front]

    def area(self, entry: Json) -> Json:
        """The resources that an entry is judged by: see `judged`."""
        return judged(self.entries, entry)

    @property
    def timed(self) -> bool:
        """True if some design has a clock."""
        return any(entry["clock"] for entry in self.entries)

    @property
    def clocks(self) -> list[str]:
        """The clocks and where they are from, each said once."""
        clocks = [entry["clock"] for entry in self.entries if entry["clock"]]
        return list(dict.fromkeys(map(_said, clocks)))

    @property
    def areas(self) -> list[str]:
        """How far the estimates are off, each family said once."""
        if measured(self.entries):
            return []
        return list(dict.fromkeys(entry["area"] for entry in self.entries if entry["area"]))

    @property
    def unknown(self) -> bool:
        """True if the area of some design is not known."""
        return any(self.area(entry)["lut"] is None for entry in self.entries)

    @property
    def measured(self) -> bool:
        """True if some design was simulated."""
        return any(entry["differences"] is not None for entry in self.entries)

    @property
    def transfers(self) -> int:
        """Transfers that were compared in RTL."""
        return sum(entry["transfers"] or 0 for entry in self.entries)

    @property
    def differences(self) -> int:
        """Transfers and values that were not as promised."""
        return sum(entry["differences"] or 0 for entry in self.entries)

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """Speed against area for wide and for narrow screens; empty where no area is known."""
        if not self.field.points:
            return {}
        sizes = {"wide": plots.WIDE, "narrow": plots.NARROW}
        return {name: self.field.picture(size) for name, size in sizes.items()}

    @property
    def dataflows(self) -> dict[str, str]:
        """What each dataflow of a systolic array is called."""
        return {flow: flow.replace("_", " ") for flow in DATAFLOWS}


def _said(clock: Json) -> str:
    """A clock in a few words: 80 MHz (assumed), or with its spread."""
    spread = "" if clock["lowest"] is None else f", {clock['lowest']:.4g} to {clock['highest']:.4g}"
    return f"{clock['mhz']:.4g} MHz ({clock['source']}{spread})"
