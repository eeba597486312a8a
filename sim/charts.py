"""Geometry of the report's pictures; the template draws it, and escapes every name in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from ..hw.convert import Narrow, Widen
from ..hw.design import SINK, SOURCE, Design, Instance
from ..hw.fifo import Fifo
from ..hw.fork import Fork
from ..hw.unit import Fold

Point = tuple[float, float]
LINKS = (Widen, Narrow, Fifo)
HEIGHT = 96
ABOVE = 20
CORNER = 6


@dataclass(frozen=True)
class Rect:
    """A rectangle; `kind` is its class in the style sheet, `title` what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""


@dataclass(frozen=True)
class Line:
    """A line, as SVG path data."""

    d: str
    kind: str


@dataclass(frozen=True)
class Text:
    """A line of text, anchored at "start", "middle" or "end"."""

    x: float
    y: float
    text: str
    kind: str
    anchor: str = "start"


@dataclass(frozen=True)
class Picture:
    """What the template draws: rectangles, then lines, then text."""

    width: float
    height: float
    title: str
    rects: Sequence[Rect]
    lines: Sequence[Line]
    texts: Sequence[Text]


@dataclass(frozen=True)
class Card:
    """What a unit's box says: a name, lines below it, and its share of the interval, 0 to 1."""

    name: str
    lines: tuple[str, ...]
    share: float
    limiting: bool = False


@dataclass(frozen=True)
class Arrow:
    """A connection of two units, through converters and buffers.

    bits: of the stream at its start and at its end; depth: words of its deepest buffer.
    """

    start: str
    end: str
    bits: tuple[int, int]
    depth: int

    @property
    def width(self) -> str:
        """Both widths, or the one."""
        first, last = self.bits
        return f"{first} b" if first == last else f"{first}\N{RIGHTWARDS ARROW}{last} b"

    @property
    def buffer(self) -> tuple[str, ...]:
        """The buffer in words, if there is one."""
        return (f"buffer {self.depth:,}",) if self.depth else ()


@dataclass(frozen=True)
class Sheet:
    """How wide the chain is drawn: boxes in a row, width of a box, gap between boxes."""

    columns: int
    box: int
    gap: int
    margin: int


WIDE = Sheet(5, 152, 68, 30)
NARROW = Sheet(2, 130, 72, 22)


def arrows(design: Design) -> list[Arrow]:
    """Return the connections between units, forks, source and sink."""
    leaving = {stream.producer: stream for stream in design.streams}
    found: list[Arrow] = []
    for stream in design.streams:
        if _is_link(design.by_name.get(stream.producer[0])):
            continue
        last, depth = stream, 0
        while _is_link(link := design.by_name.get(last.consumer[0])):
            assert link is not None
            depth = max(depth, link.op.depth if isinstance(link.op, Fifo) else 0)
            last = leaving[link.name, "o"]
        bits = (stream.port.width, last.port.width)
        found.append(Arrow(stream.producer[0], last.consumer[0], bits, depth))
    return found


def _is_link(instance: Instance | None) -> bool:
    return instance is not None and isinstance(instance.op, LINKS)


def cards(design: Design, operators: Mapping[str, str]) -> dict[str, Card | None]:
    """Return what each unit's box says, by name, in the order of the data; None for a fork.

    operators: what each layer computes, by the layer's name.
    """
    interval = design.interval
    found: dict[str, Card | None] = {}
    found[SOURCE] = _border("input", design.input.beats, design.program.input, interval)
    for unit in design.instances:
        if isinstance(unit.op, Fork):
            found[unit.name] = None
        elif unit.layer is not None:
            lines = (
                operators[unit.layer],
                _edge(unit.place.output),
                _fold(unit.place.fold),
                f"{unit.cycles:,} cycles",
            )
            found[unit.name] = Card(
                unit.layer, lines, unit.cycles / interval, unit.layer == design.limiting
            )
    found[SINK] = _border("output", design.output.beats, design.program.output, interval)
    return found


def _border(name: str, beats: int, edge: Any, interval: int) -> Card:
    return Card(name, ("AXI4-Stream", _edge(edge), f"{beats:,} beats"), beats / interval)


def _edge(edge: Any) -> str:
    bits = edge.grid.bits
    shape = "\N{MULTIPLICATION SIGN}".join(map(str, edge.shape))
    return f"{shape}, {bits} bit{'s' if bits > 1 else ''}"


def _fold(fold: Fold) -> str:
    return f"PE {fold.pe} \N{MULTIPLICATION SIGN} SIMD {fold.simd}"


@dataclass(frozen=True, eq=False)
class Chain:
    """The network as boxes in ranks, from left to right, wrapped into rows.

    A connection that passes over ranks gets a free cell in each of them, so that every hop leads
    from one rank to the next.
    """

    cards: Mapping[str, Card | None]
    arrows: Sequence[Arrow]
    sheet: Sheet

    @cached_property
    def rank(self) -> dict[str, int]:
        """The length of the longest way from the source to each unit."""
        rank = dict.fromkeys(self.cards, 0)
        for name in self.cards:
            before = [rank[arrow.start] for arrow in self.arrows if arrow.end == name]
            rank[name] = max(before, default=-1) + 1
        return rank

    @cached_property
    def hops(self) -> list[tuple[str, str, Arrow]]:
        """Connections cut at each rank; a free cell is called after its connection and rank."""
        found: list[tuple[str, str, Arrow]] = []
        for number, arrow in enumerate(self.arrows):
            between = range(self.rank[arrow.start] + 1, self.rank[arrow.end])
            cells = [arrow.start, *(f"{number}/{rank}" for rank in between), arrow.end]
            found += [(a, b, arrow) for a, b in pairwise(cells)]
        return found

    @cached_property
    def place(self) -> dict[str, tuple[int, int]]:
        """Rank and lane of each cell: as straight behind what it reads as there is room."""
        ranks: dict[int, list[str]] = {}
        behind: dict[str, list[str]] = {}
        for name, rank in self.rank.items():
            ranks.setdefault(rank, []).append(name)
        for start, end, _ in self.hops:
            behind.setdefault(end, []).append(start)
            if end not in self.cards:
                ranks[int(end.partition("/")[2])].append(end)
        place: dict[str, tuple[int, int]] = {}
        for rank in sorted(ranks):
            mean = {
                cell: sum(place[b][1] for b in behind[cell]) / len(behind[cell])
                if cell in behind
                else 0.0
                for cell in ranks[rank]
            }
            lane = -1
            for cell in sorted(ranks[rank], key=lambda cell: mean[cell]):
                lane = max(lane + 1, int(mean[cell]))
                place[cell] = rank, lane
        return place

    @cached_property
    def tops(self) -> list[float]:
        """Where each row begins, and where the last one ends."""
        columns = self.sheet.columns
        rows = max(rank for rank, _ in self.place.values()) // columns + 1
        tops = [float(ABOVE)]
        for row in range(rows):
            lanes = 1 + max(lane for rank, lane in self.place.values() if rank // columns == row)
            wraps = sum(self._wraps(a, b) for a, b, _ in self.hops if self._row(a) == row)
            tops.append(tops[-1] + lanes * (HEIGHT + ABOVE) + (14 + 16 * wraps if wraps else 0))
        return tops

    def picture(self, title: str) -> Picture:
        """Draw it."""
        rects: list[Rect] = []
        lines: list[Line] = []
        texts: list[Text] = []
        for name, card in self.cards.items():
            _draw_card(self._corner(name), self.sheet.box, card, rects, texts)
        self._draw_hops(lines, texts)
        used = min(self.sheet.columns, max(rank for rank, _ in self.place.values()) + 1)
        width = used * (self.sheet.box + self.sheet.gap) - self.sheet.gap + 2 * self.sheet.margin
        return Picture(width, self.tops[-1], title, rects, lines, texts)

    def _row(self, cell: str) -> int:
        return self.place[cell][0] // self.sheet.columns

    def _wraps(self, start: str, end: str) -> bool:
        return self._row(start) != self._row(end)

    def _corner(self, cell: str) -> Point:
        rank, lane = self.place[cell]
        column = rank % self.sheet.columns
        x = self.sheet.margin + column * (self.sheet.box + self.sheet.gap)
        return x, self.tops[self._row(cell)] + lane * (HEIGHT + ABOVE)

    def _exit(self, cell: str) -> Point:
        x, y = self._corner(cell)
        return x + self.sheet.box, y + HEIGHT / 2

    def _entry(self, start: str, cell: str) -> Point:
        x, y = self._corner(cell)
        before = sorted((a for a, b, _ in self.hops if b == cell), key=lambda a: self.place[a][1])
        return x, y + HEIGHT / 2 + 28 * (before.index(start) - (len(before) - 1) / 2)

    def _draw_hops(self, lines: list[Line], texts: list[Text]) -> None:
        wrapped: dict[int, int] = {}
        for start, end, arrow in self.hops:
            out, into = self._exit(start), self._entry(start, end)
            if start not in self.cards:
                lines.append(Line(_line((out[0] - self.sheet.box, out[1]), out), "hop"))
            row = self._row(start)
            if self._wraps(start, end):
                order = wrapped[row] = wrapped.get(row, -1) + 1
                points, label = self._around(out, into, self.tops[row + 1] - ABOVE, order)
                words = ", ".join([arrow.width, *arrow.buffer])
                text = [Text(*label, words, "bits")]
            else:
                points, (x, y) = _across(out, into)
                text = [Text(x, y - 5, arrow.width, "bits", "middle")]
                text += [Text(x, y + 13, words, "buffer", "middle") for words in arrow.buffer]
            lines.append(Line(_line(*points), "hop"))
            if end in self.cards:
                lines.append(Line(f"M{into[0] - 7:g} {into[1] - 4:g}l7 4l-7 4z", "head"))
            texts += text if start in self.cards else []

    def _around(
        self, out: Point, into: Point, bottom: float, order: int
    ) -> tuple[list[Point], Point]:
        """From the end of a row to the beginning of the next, below the boxes."""
        y = bottom - 16 * order
        right, left = out[0] + 12 - 5 * (order % 2), into[0] - 14 + 5 * (order % 2)
        points = [out, (right, out[1]), (right, y), (left, y), (left, into[1]), into]
        return points, (left + 14, y - 5)


def _across(out: Point, into: Point) -> tuple[list[Point], Point]:
    """From a box to one in the next column, and the middle of the free part of the way."""
    (x0, y0), (x1, y1) = out, into
    if abs(y0 - y1) < 1:
        return [out, into], ((x0 + x1) / 2, y0)
    turn, y = (x0 + 8, y1) if y1 > y0 else (x1 - 10, y0)
    free = (turn + x1) / 2 if y1 > y0 else (x0 + turn) / 2
    return [out, (turn, y0), (turn, y1), into], (free, y)


def _line(*points: Point) -> str:
    """Path data of a line with rounded corners."""
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, behind in zip(points, points[1:], points[2:], strict=False):
        (ax, ay), (bx, by) = _towards(corner, before), _towards(corner, behind)
        parts.append(f"L{ax:g} {ay:g}Q{corner[0]:g} {corner[1]:g} {bx:g} {by:g}")
    return "".join([*parts, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _towards(corner: Point, other: Point) -> Point:
    """A point near `corner` on the way to `other`."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = max(abs(dx), abs(dy), 1e-9)
    step = min(CORNER, length / 2) / length
    return corner[0] + dx * step, corner[1] + dy * step


def _draw_card(
    corner: Point, width: float, card: Card | None, rects: list[Rect], texts: list[Text]
) -> None:
    x, y = corner
    if card is None:
        middle = y + HEIGHT / 2
        rects.append(Rect(x, middle - 14, width, 28, "fork"))
        texts.append(Text(x + width / 2, middle + 4, "fork", "line", "middle"))
        return
    kind = "limiting" if card.limiting else "unit"
    rects.append(Rect(x, y, width, HEIGHT, f"box {kind}", card.name))
    rects.append(Rect(x + 10, y + HEIGHT - 10, width - 20, 3, "groove"))
    filled = max(1.0, (width - 20) * min(card.share, 1))
    rects.append(Rect(x + 10, y + HEIGHT - 10, filled, 3, f"share {kind}"))
    texts.append(Text(x + 10, y + 19, shortened(card.name, int((width - 16) / 8)), "name"))
    texts += [
        Text(x + 10, y + 35 + 15 * k, shortened(line, int(width / 6.2)), "line")
        for k, line in enumerate(card.lines)
    ]
    if card.limiting:
        texts.append(Text(x + width, y - 6, "limits the speed", "limit", "end"))


def shortened(text: str, length: int) -> str:
    """At most `length` characters, the middle left out."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[: length - 1 - half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def round_step(about: float) -> int:
    """A step of 1, 2 or 5 times a power of ten, at least `about`."""
    power = 1
    while 10 * power < about:
        power *= 10
    return next((k * power for k in (1, 2, 5) if k * power >= about), 10 * power)
