"""Designs by area and speed, and those that no other beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .charts import Line, Picture, Text
from .plots import Plane, Size

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """A design: its number in the table, its name, its area in LUTs and its speed."""

    number: int
    name: str
    area: float
    speed: float


@dataclass(frozen=True)
class Field:
    """The designs whose area is known, and what the figures are."""

    points: tuple[Point, ...]
    area: str
    speed: str

    @classmethod
    def of(cls, entries: Sequence[Json], names: Sequence[str] | None = None) -> Field:
        """The entries of `compare_designs`.

        Speed is in frames per second where each design has a clock, else per million cycles.
        """
        timed = all(entry["speed"] for entry in entries)
        points = [
            Point(
                number, name, area,
                entry["speed"]["frames_per_second"] if timed
                else 1e6 / entry["total"]["schedule"]["interval"],
            )
            for number, (entry, name) in enumerate(
                zip(entries, names or [entry["model"] for entry in entries], strict=True), 1
            )
            if (area := (entry["placed"] or entry["total"])["lut"])
        ]  # fmt: skip
        real = all(entry["placed"] for entry in entries)
        return cls(
            tuple(points),
            "LUTs" if real else "LUTs, estimated",
            "frames per second" if timed else "frames per million cycles",
        )

    @property
    def front(self) -> list[Point]:
        """The designs than which no other is as small and faster, or smaller and as fast."""
        found: list[Point] = []
        for point in sorted(self.points, key=lambda p: (p.area, -p.speed, p.number)):
            last = found[-1] if found else None
            equal = last is not None and (point.area, point.speed) == (last.area, last.speed)
            if last is None or point.speed > last.speed or equal:
                found.append(point)
        return found

    def picture(self, size: Size) -> Picture:
        """Speed against area, numbered; the front is joined by a line in steps."""
        plane = Plane.around(
            size,
            [point.area for point in self.points],
            [point.speed for point in self.points],
            self.area,
            self.speed,
        )
        lines, texts = plane.frame()
        front = self.front
        path = f"M{plane.x.at(front[0].area):g} {plane.y.begin:g}"
        for point in front:
            path += f"H{plane.x.at(point.area):g}V{plane.y.at(point.speed):g}"
        lines.append(Line(f"{path}H{plane.x.end:g}", "front"))
        rects = [
            plane.dot(
                p.area, p.speed, "best" if p in front else "other",
                f"{p.number}: {p.name}; {self.area} {p.area:,.0f}; {self.speed} {p.speed:,.4g}",
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
    """The numbers, from 1, of the designs of known area that no other beats."""
    return [point.number for point in Field.of(entries).front]
