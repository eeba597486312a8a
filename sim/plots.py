"""Geometry of the report's plots on logarithmic axes: what they share, and the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from .charts import Line, Picture, Rect, Text
from .roofline import Roofline
from .wording import short

LEFT, RIGHT, TOP, BOTTOM = 58, 18, 26, 46
DOT = 9


@dataclass(frozen=True)
class Size:
    """Width and height of a plot."""

    width: int
    height: int


WIDE, NARROW = Size(960, 380), Size(344, 300)


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from `low` to `high`, which stand at the pixels `begin` and `end`."""

    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], begin: float, end: float) -> Axis:
        """Room for all values, with a margin; at least a factor of 4 from end to end."""
        low, high = min(values), max(values)
        margin = max((high / low) ** 0.08, (4 / min(high / low, 4)) ** 0.5, 1.15)
        return cls(low / margin, high * margin, begin, end)

    def at(self, value: float) -> float:
        """The pixel of a value, within the axis."""
        share = log10(value / self.low) / log10(self.high / self.low)
        return round(self.begin + min(1.0, max(0.0, share)) * (self.end - self.begin), 1)

    @property
    def ticks(self) -> list[float]:
        """Round values: powers of ten, with 2 and 5 times where there are few."""
        powers = [10.0**k for k in range(floor(log10(self.low)), ceil(log10(self.high)) + 1)]
        for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
            found = [s * p for p in powers for s in steps if self.low <= s * p <= self.high]
            if len(found) >= 3:
                break
        return found


@dataclass(frozen=True)
class Plane:
    """Two axes and what they say."""

    size: Size
    x: Axis
    y: Axis
    x_name: str
    y_name: str

    @classmethod
    def around(
        cls, size: Size, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str
    ) -> Plane:
        """A plane with room for all values."""
        return cls(
            size,
            Axis.around(xs, LEFT, size.width - RIGHT),
            Axis.around(ys, size.height - BOTTOM, TOP),
            x_name,
            y_name,
        )

    def frame(self) -> tuple[list[Line], list[Text]]:
        """Grid lines, and the numbers and names of both axes."""
        lines, texts = [], []
        bottom, right = self.y.begin, self.x.end
        space = 0.0
        for value in self.x.ticks:
            x = self.x.at(value)
            lines.append(Line(f"M{x:g} {TOP}V{bottom:g}", "grid"))
            if x >= space:
                texts.append(Text(x, bottom + 17, short(value), "tick", "middle"))
                space = x + 34
        for value in self.y.ticks:
            y = self.y.at(value)
            lines.append(Line(f"M{LEFT} {y:g}H{right:g}", "grid"))
            texts.append(Text(LEFT - 7, y + 4, short(value), "tick", "end"))
        lines.append(Line(f"M{LEFT} {TOP}V{bottom:g}H{right:g}", "axis"))
        texts.append(Text((LEFT + right) / 2, self.size.height - 8, self.x_name, "axis", "middle"))
        texts.append(Text(4, 14, self.y_name, "axis"))
        return lines, texts

    def dot(self, x: float, y: float, kind: str, title: str) -> Rect:
        """A dot at a point, which says `title` when pointed at."""
        return Rect(self.x.at(x) - DOT / 2, self.y.at(y) - DOT / 2, DOT, DOT, f"dot {kind}", title)


def roof(of: Roofline, size: Size) -> Picture:
    """Roof, slopes, and a dot for each kind of traffic, on a line at what the design achieves."""
    intensities = {name: of.intensity(name) for name in of.traffic}
    ridges = {name: of.peak / moved.bits_per_cycle for name, moved in of.traffic.items()}
    xs = [*intensities.values(), *ridges.values()]
    plane = Plane.around(
        size, xs, [min(of.achieved, of.peak / 20), of.peak],
        "multiply-adds per bit moved", "multiply-adds per cycle",
    )  # fmt: skip
    lines, texts = plane.frame()
    top = plane.y.at(of.peak)
    rects: list[Rect] = []
    for name, moved in of.traffic.items():
        # A slope ends where it meets the roof, and begins at the plane's left or lower edge.
        begin = max(plane.x.low, plane.y.low / moved.bits_per_cycle)
        x, y = plane.x.at(begin), plane.y.at(begin * moved.bits_per_cycle)
        ridge = plane.x.at(ridges[name])
        lines.append(Line(f"M{x:g} {y:g}L{ridge:g} {top:g}H{plane.x.end:g}", f"slope {name}"))
        title = (
            f"{name}: {intensities[name]:.3g} multiply-adds per bit, {of.achieved:.4g} per cycle "
            f"of {of.bound(name):.4g} possible"
        )
        rects.append(plane.dot(intensities[name], of.achieved, name, title))
    texts.append(
        Text(plane.x.end, top - 8, f"{of.peak:,} multiply-adds in a cycle at most", "tick", "end")
    )
    return Picture(size.width, size.height, "Roofline", rects, lines, texts)
