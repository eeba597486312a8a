"""Designs by area and speed, and those that no other design of the same program beats.

One design beats another if it computes the same program, is at least as fast and at least as small
in LUT, FF, BRAM and DSP each, and is better in one of these.  Areas of netlists are compared with
areas of netlists, estimates with estimates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..hw.cost import RESOURCES
from .charts import Line, Picture, Text
from .plots import Plane, Size

Json = Mapping[str, Any]


def measured(entries: Sequence[Json]) -> bool:
    """Whether all designs have the area of a netlist."""
    return all(entry["placed"] for entry in entries)


def judged(entries: Sequence[Json], entry: Json) -> Json:
    """The resources that one of the entries is judged by: a netlist's if all have one."""
    return entry["placed"] if measured(entries) else entry["total"]


@dataclass(frozen=True)
class Point:
    """A design: its number in the table, name, program, LUT, FF, BRAM and DSP, and its speed."""

    number: int
    name: str
    program: str
    area: tuple[int, ...]
    speed: float

    @property
    def luts(self) -> int:
        """What it stands at in the picture."""
        return self.area[0]

    def beats(self, other: Point) -> bool:
        """Whether it is the better design of the same program, whatever is wanted of it."""
        as_good = self.speed >= other.speed and all(
            a <= b for a, b in zip(self.area, other.area, strict=True)
        )
        differs = (self.area, self.speed) != (other.area, other.speed)
        return self.program == other.program and as_good and differs


@dataclass(frozen=True)
class Field:
    """The designs whose area is known, and what the figures are."""

    points: tuple[Point, ...]
    area: str
    speed: str

    @classmethod
    def of(cls, entries: Sequence[Json], names: Sequence[str] | None = None) -> Field:
        """The entries of `compare_designs`.

        Speed is in frames per second where each design has a clock, all of them assumed or none,
        else per million cycles.
        """
        assumed = {entry["clock"]["source"] == "assumed" for entry in entries if entry["clock"]}
        timed = all(entry["speed"] for entry in entries) and len(assumed) == 1
        points = [
            Point(
                number, name, entry["program"], tuple(area[r] for r in RESOURCES),
                entry["speed"]["frames_per_second"] if timed
                else 1e6 / entry["total"]["schedule"]["interval"],
            )
            for number, (entry, name) in enumerate(
                zip(entries, names or [entry["model"] for entry in entries], strict=True), 1
            )
            if (area := judged(entries, entry))["lut"]
        ]  # fmt: skip
        return cls(
            tuple(points),
            "LUTs" if measured(entries) else "LUTs, estimated",
            "frames per second" if timed else "frames per million cycles",
        )

    @property
    def front(self) -> list[Point]:
        """The designs that no other of the same program beats."""
        return [p for p in self.points if not any(other.beats(p) for other in self.points)]

    @property
    def steps(self) -> list[list[Point]]:
        """For each program the designs that are faster than all of fewer LUTs, or of as many."""
        found: dict[str, list[Point]] = {}
        for point in sorted(self.points, key=lambda p: (p.luts, -p.speed, p.number)):
            best = found.setdefault(point.program, [])
            if not best or point.speed > best[-1].speed:
                best.append(point)
        return list(found.values())

    def picture(self, size: Size) -> Picture:
        """Speed against LUTs, numbered; a line in steps is the best speed of a program."""
        plane = Plane.around(
            size,
            [point.luts for point in self.points],
            [point.speed for point in self.points],
            self.area,
            self.speed,
        )
        lines, texts = plane.frame()
        front = self.front
        for steps in self.steps:
            path = f"M{plane.x.at(steps[0].luts):g} {plane.y.begin:g}"
            for point in steps:
                path += f"H{plane.x.at(point.luts):g}V{plane.y.at(point.speed):g}"
            lines.append(Line(f"{path}H{plane.x.end:g}", "front"))
        rects = [
            plane.dot(
                p.luts, p.speed, "best" if p in front else "other",
                f"{p.number}: {p.name}; {self.area} {p.luts:,}; {self.speed} {p.speed:,.4g}",
            )
            for p in self.points
        ]  # fmt: skip
        # Designs at one place share a label.
        labels: dict[tuple[float, float], list[str]] = {}
        for point, dot in zip(self.points, rects, strict=True):
            labels.setdefault((dot.x, dot.y), []).append(str(point.number))
        texts += [
            Text(x - 3, y + 1, ", ".join(numbers), "number", "end")
            for (x, y), numbers in labels.items()
        ]
        title = f"{self.speed} against {self.area}"
        return Picture(size.width, size.height, title, rects, lines, texts)


def front_of(entries: Sequence[Json]) -> list[int]:
    """The numbers, from 1, of the designs of known area that no other of their program beats."""
    return [point.number for point in Field.of(entries).front]
