"""Reads a recorded waveform as a synchronous design sees it, a sample per clock edge; draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pywellen import Waveform  # pyright: ignore[reportAttributeAccessIssue]  # compiled

from ..hw.beats import from_beats
from ..hw.design import Design, Stream
from ..hw.unit import Port
from ..models.fixed import Ints, ProgramError
from .charts import Line, Picture, Rect, Text, round_step, shortened

LANES_SHOWN = 4
LABELS = 144
CYCLE = 27
COLUMNS = 450
COLUMN = 2
ROW = 20
GROUP = 4 * ROW + 10
STRIP = 34
TOP = 22
LETTER = 5.6
"""Width of a letter of data."""


@dataclass(frozen=True, eq=False)
class Samples:
    """One stream: valid, ready and data at each clock edge, from the first input transfer on.

    label: what it is called in a picture.  data: words of `port`; None where the simulator knows
    no value.
    """

    name: str
    label: str
    port: Port
    valid: NDArray[np.bool_]
    ready: NDArray[np.bool_]
    data: Sequence[int | None]

    @property
    def transfers(self) -> Ints:
        """The cycles in which a beat moves."""
        return np.flatnonzero(self.valid & self.ready)

    def since(self, cycle: int) -> Samples:
        """The same stream from `cycle` on."""
        return replace(
            self, valid=self.valid[cycle:], ready=self.ready[cycle:], data=self.data[cycle:]
        )

    def text(self, cycle: int, room: int) -> str:
        """The data of a cycle in at most `room` letters; empty where nothing useful fits.

        A few lanes are decimal values; many, or too many for the room, are hexadecimal digits, the
        last ones if not all fit.
        """
        word = self.data[cycle]
        if word is None:
            return "?"
        if self.port.lanes <= LANES_SHOWN:
            text = " ".join(map(str, from_beats([word], self.port).ravel().tolist()))
            if len(text) <= room or self.port.lanes == 1:
                return text if len(text) <= room else ""
        digits = f"{word:0{(self.port.width + 3) // 4}x}"
        if len(digits) <= room:
            return digits
        return f"\N{HORIZONTAL ELLIPSIS}{digits[1 - min(room, 9) :]}" if room >= 4 else ""


def read_streams(
    wave: Path, design: Design, name: str, streams: Mapping[str, Stream]
) -> dict[str, Samples]:
    """Sample `streams`, by label, of the design that the bench calls `name`.

    Cycle 0 takes the first input.

    wave: VCD or FST that `rtl.simulate` recorded of one run from reset.
    """
    recorded = {var.full_name: var for var in Waveform(str(wave)).all_vars()}
    clock = _changes(recorded, "bench.aclk", wave)
    edges = np.array([time for time, value in clock if value == 1], np.int64)
    reset = _levels(_changes(recorded, "bench.aresetn", wave), edges)
    edges = edges[reset]

    def sampled(label: str, stream: Stream) -> Samples:
        signals = [
            _changes(recorded, f"bench.{name}.{stream.name}_{signal}", wave)
            for signal in ("valid", "ready", "data")
        ]
        valid, ready = _levels(signals[0], edges), _levels(signals[1], edges)
        return Samples(stream.name, label, stream.port, valid, ready, _words(signals[2], edges))

    moved = sampled("", design.streams[0]).transfers
    start = int(moved[0]) if len(moved) else 0
    return {label: sampled(label, stream).since(start) for label, stream in streams.items()}


def _changes(recorded: dict[str, Any], name: str, wave: Path) -> list[tuple[int, int | str]]:
    if name not in recorded:
        raise ProgramError(f"{wave} holds no signal {name}; record the waveform of this design")
    return list(recorded[name].tv)


def _words(changes: list[tuple[int, int | str]], edges: Ints) -> list[int | None]:
    """The value just before each edge: what registers take, while they change at the edge."""
    times = np.array([time for time, _ in changes], np.int64)
    at = np.searchsorted(times, edges, side="left") - 1
    values = [value if isinstance(value, int) else None for _, value in changes]
    return [values[k] if k >= 0 else None for k in at.tolist()]


def _levels(changes: list[tuple[int, int | str]], edges: Ints) -> NDArray[np.bool_]:
    return np.array([word == 1 for word in _words(changes, edges)], bool)


@dataclass(frozen=True)
class Trace:
    """A waveform: names, which stay in sight, beside lines, which scroll."""

    labels: Picture
    lines: Picture


def zoom(samples: Sequence[Samples], begin: int, end: int) -> Trace:
    """Draw valid, ready and data of some streams in the cycles begin <= c < end."""
    begin = max(begin, 0)
    end = min(end, len(samples[0].valid))
    width, height = (end - begin) * CYCLE + 2, TOP + GROUP * len(samples)
    rects: list[Rect] = []
    lines: list[Line] = [Line(_grid(end - begin, height), "grid")]
    texts = [
        Text((c - begin) * CYCLE + 1, 12, f"{c:,}", "tick")
        for c in range(begin, end)
        if c % 5 == 0 and c + 1 < end
    ]
    labels: list[Text] = [Text(0, 12, "cycle", "tick")]
    for number, stream in enumerate(samples):
        y = TOP + GROUP * number
        labels.append(Text(0, y + 13, shortened(stream.label, int(LABELS / 7.4)), "name"))
        lanes = f"{stream.port.lanes} \N{MULTIPLICATION SIGN} {stream.port.grid.bits}"
        texts.append(Text(2, y + 13, f"{stream.name}, {lanes} bits", "aside"))
        for k, signal in enumerate(("valid", "ready", "data"), 1):
            labels.append(Text(LABELS - 10, y + ROW * k + 13, signal, "line", "end"))
        lines.append(Line(_level(stream.valid[begin:end], y + ROW), "level"))
        lines.append(Line(_level(stream.ready[begin:end], y + 2 * ROW), "level"))
        words = _words_shown(stream, begin, end)
        for (first, last), behind in zip(words, [*words[1:], (end, end)], strict=True):
            free = 0 if behind[0] == end or stream.valid[behind[0]] else behind[1] - behind[0]
            at = (first - begin) * CYCLE + 1, y + 3 * ROW
            _draw_word(stream, (first, last), free, at, rects, texts)
    title = f"valid, ready and data in cycles {begin} to {end - 1}"
    return Trace(
        Picture(LABELS, height, "names", (), (), labels),
        Picture(width, height, title, rects, lines, texts),
    )


def _grid(cycles: int, height: float) -> str:
    return "".join(f"M{c * CYCLE + 1} {TOP - 4}V{height - 8}" for c in range(cycles + 1))


def _level(bits: NDArray[np.bool_], y: float) -> str:
    """A line that is high where `bits` hold."""
    heights = np.where(bits, y + 4, y + ROW - 4).tolist()
    steps = [f"V{height:g}h{CYCLE}" for height in heights]
    return "".join([f"M1 {heights[0]:g}", *steps])


def _words_shown(stream: Samples, begin: int, end: int) -> list[tuple[int, int]]:
    """Spans of cycles that show one word: until it is taken, changes or loses its validity."""
    valid, ready, data = stream.valid, stream.ready, stream.data
    cuts = [
        c
        for c in range(begin + 1, end)
        if valid[c] != valid[c - 1] or data[c] != data[c - 1] or (valid[c] and ready[c - 1])
    ]
    return list(pairwise([begin, *cuts, end]))


def _draw_word(
    stream: Samples, span: tuple[int, int], free: int, at: tuple[float, float],
    rects: list[Rect], texts: list[Text],
) -> None:  # fmt: skip
    """A word in its box, or behind it where it is too long and `free` idle cycles follow."""
    (first, last), (x, y) = span, at
    width = (last - first) * CYCLE
    if not stream.valid[first]:
        rects.append(Rect(x, y + ROW / 2 - 0.5, width, 1, "idle"))
        return
    waits = last - first - int(stream.ready[last - 1])
    if waits:
        rects.append(Rect(x + 1, y + 2, width - 2, ROW - 4, "waits"))
    if stream.ready[last - 1]:
        rects.append(Rect(x + waits * CYCLE + 1, y + 2, CYCLE - 2, ROW - 4, "moves"))
    box = CYCLE * (waits or 1)
    inside = stream.text(first, int((box - 4) / LETTER))
    behind = stream.text(first, int((free * CYCLE - 8) / LETTER))
    if len(inside) >= len(behind):
        texts.append(Text(x + box / 2, y + 13.5, inside, "word", "middle"))
    else:
        texts.append(Text(x + width + 4, y + 13.5, behind, "word"))


def overview(samples: Sequence[Samples], end: int) -> Trace:
    """Draw when beats move and when they wait, from cycle 0 to `end`, a strip for each stream."""
    width, height = COLUMNS * COLUMN, TOP + STRIP * len(samples)
    edges = np.linspace(0, end, COLUMNS + 1).round().astype(np.int64)
    lines: list[Line] = []
    labels: list[Text] = [Text(0, 12, "cycle", "tick")]
    for number, stream in enumerate(samples):
        y = TOP + STRIP * number
        labels.append(Text(0, y + 14, shortened(stream.label, int(LABELS / 7.4)), "name"))
        lines.append(Line(f"M0 {y + 20:g}h{width}", "grid"))
        moving = stream.valid[:end] & stream.ready[:end]
        waiting = stream.valid[:end] & ~stream.ready[:end]
        lines += _density(moving, edges, y + 10, "strip moves")
        lines += _density(waiting, edges, y + 23, "strip waits")
    step = round_step(end / 8)
    texts = [Text(c * width / end, 12, f"{c:,}", "tick") for c in range(0, end - step // 2, step)]
    title = f"when beats move and wait in cycles 0 to {end - 1}"
    return Trace(
        Picture(LABELS, height, "names", (), (), labels),
        Picture(width, height, title, (), lines, texts),
    )


def _density(events: NDArray[np.bool_], edges: Ints, y: float, kind: str) -> list[Line]:
    """Columns shaded in four steps by the share of their cycles that hold an event."""
    counts = np.diff(np.concatenate([[0], np.cumsum(events)])[np.minimum(edges, len(events))])
    shades = np.ceil(4 * counts / np.maximum(np.diff(edges), 1)).astype(int).tolist()
    lines: list[Line] = []
    for shade in range(1, 5):
        runs = _runs([s == shade for s in shades])
        if runs:
            d = "".join(f"M{a * COLUMN} {y:g}h{(b - a) * COLUMN}" for a, b in runs)
            lines.append(Line(d, f"{kind} shade{shade}"))
    return lines


def _runs(mask: Sequence[bool]) -> list[tuple[int, int]]:
    """Spans a <= k < b in which `mask` holds throughout."""
    groups = [[k for k, _ in run] for _, run in groupby(enumerate(mask), lambda pair: pair[1])]
    return [(run[0], run[-1] + 1) for run in groups if mask[run[0]]]
