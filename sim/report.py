"""One self-contained HTML file: what was built, what it costs, and that it was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..hw.design import Design, Instance, Stream
from ..models.container import replace_file
from ..models.fixed import Ints
from ..models.memory import forms
from ..models.ops import DepthwiseDot, Dot, Tables, TableSum, Window
from . import charts, plots, waves
from .charts import NARROW, WIDE, Chain, Picture, round_step
from .comparison import Comparison, titles
from .energy import ABOUT as ENERGY
from .gantt import SLICES, Track, track
from .roofline import roofline
from .stalls import activities
from .waves import Samples, Trace
from .wording import count, microseconds, nanojoules, part, percent, short, some, time

AREA = ("lut", "ff", "bram", "dsp")
ZOOM = 33
"""Cycles of each detail of the waveform."""

Json = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Simulation:
    """One run in a simulator, as `bitwright.simulate` returns it; stall: share of closed cycles.

    streams: {"checked", "transfers", "differences"}; cycles: {"promised", "measured"}, each with
    first, interval and total, or None with stalls.
    """

    engine: str
    frames: int
    stall: float
    mismatches: int
    streams: Json
    cycles: Json | None
    seconds: Mapping[str, float]

    @property
    def agrees(self) -> bool:
        """True if every value and every cycle was right."""
        wrong = self.mismatches + self.streams["differences"]
        return not wrong and (
            self.cycles is None or self.cycles["promised"] == self.cycles["measured"]
        )


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """A network and everything that was found out about it.

    entry: of `compare_designs`.  measured: cycles of each transfer in RTL by stream, for an entry
    that was not measured.  accuracies are shares of `images`.  seconds: of each step beside the
    simulations.  wave: VCD or FST of one run of the design, `wave_name` in its bench.  area_error:
    a sentence with the error of the area estimates, without which none is shown.
    """

    title: str
    about: str
    design: Design
    entry: Json
    simulations: Sequence[Simulation] = ()
    measured: Mapping[str, Ints] | None = None
    float_accuracy: float | None = None
    accuracy: float | None = None
    images: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    wave: Path | None = None
    wave_name: str = "dut"
    area_error: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar, `share` of the full width, 0 to 1."""

    label: str
    value: str
    share: float
    limiting: bool = False


@dataclass(frozen=True)
class Detail:
    """A piece of the waveform under a heading."""

    heading: str
    trace: Trace


@dataclass(frozen=True, eq=False)
class Section:
    """What the template shows of one network."""

    run: NetworkRun

    @cached_property
    def agrees(self) -> bool:
        """True if every simulation agrees."""
        return all(simulation.agrees for simulation in self.run.simulations)

    @cached_property
    def layers(self) -> list[Json]:
        """A row for each layer, and when its first frame was done in RTL."""
        return [{**row, "rtl": row["rtl"] or self._done(row)} for row in self.run.entry["layers"]]

    def _done(self, row: Json) -> int | None:
        design = self.run.design
        unit = next(i for i in design.instances if i.layer == row["layer"])
        stream = _leaving(design, unit)
        cycles = (self.run.measured or {}).get(stream.name, ())
        return int(cycles[stream.port.beats - 1]) if len(cycles) >= stream.port.beats else None

    @cached_property
    def has_area(self) -> bool:
        """True if some layer has an estimate, and the error of estimates is known."""
        return bool(self.run.area_error) and any(row["lut"] is not None for row in self.layers)

    @cached_property
    def forms(self) -> dict[str, str]:
        """What each rounding of an imported model became."""
        return forms(self.run.design.program)

    @property
    def unstalled(self) -> list[Simulation]:
        """The simulations in which cycles were measured."""
        return [s for s in self.run.simulations if s.cycles is not None]

    @property
    def limited_by(self) -> str:
        """The limiting unit, and how many layers take just as long."""
        design = self.run.design
        equal = [row["layer"] for row in self.layers if row["formula"] == design.interval]
        others = len(set(equal) - {design.limiting})
        return f"{design.limiting} and {others} more" if others else design.limiting

    @property
    def first_measured(self) -> int | None:
        """The cycle of the first frame's last output in RTL."""
        entry = self.run.entry["total"]["rtl"]
        measured = entry or next(
            (s.cycles["measured"] for s in self.run.simulations if s.cycles), None
        )
        return measured and measured["first"]

    @property
    def frames(self) -> dict[str, int]:
        """Frames simulated in each simulator."""
        engines = dict.fromkeys(s.engine for s in self.run.simulations)
        return {
            engine: sum(s.frames for s in self.run.simulations if s.engine == engine)
            for engine in engines
        }

    @cached_property
    def chains(self) -> dict[str, Picture]:
        """The network as a chain of units, for wide and for narrow screens."""
        design = self.run.design
        operators = {i.layer: described(i) for i in design.instances if i.layer is not None}
        cards, arrows = charts.cards(design, operators), charts.arrows(design)
        return {
            name: Chain(cards, arrows, sheet).picture(f"{self.run.title} as a chain of units")
            for name, sheet in (("wide", WIDE), ("narrow", NARROW))
        }

    @cached_property
    def cycle_bars(self) -> list[Bar]:
        """Cycles per frame of each layer against the interval between frames."""
        interval = self.run.design.interval
        return [
            Bar(row["layer"], f"{row['formula']:,}", row["formula"] / interval,
                row["layer"] == self.run.design.limiting)
            for row in self.layers
        ]  # fmt: skip

    @cached_property
    def area_bars(self) -> dict[str, list[Bar]]:
        """Estimated area of each layer by resource, against the largest."""
        return {
            resource.upper(): _area_bars(self.layers, resource)
            for resource in AREA
            if any(row[resource] for row in self.layers)
        }

    @cached_property
    def energy_bars(self) -> list[Bar]:
        """Modelled energy per frame of each layer, and of all links, against the largest."""
        known = {row["layer"]: row["energy_nj"] or 0.0 for row in self.layers}
        between = (self.run.entry["total"]["energy_nj"] or 0.0) - sum(known.values())
        known["buffers between"] = between
        largest = max(known.values()) or 1.0
        return [
            Bar(name, nanojoules(nj), nj / largest, nj == largest)
            for name, nj in known.items()
            if nj >= 1e-6
        ]

    @cached_property
    def roofs(self) -> dict[str, Picture]:
        """The roofline for wide and for narrow screens; empty without matrix products."""
        interval = self.run.entry["total"]["schedule"]["interval"]
        found = roofline(self.run.design, interval)
        sizes = {"wide": plots.WIDE, "narrow": plots.NARROW}
        return {name: plots.roof(found, size) for name, size in sizes.items()} if found else {}

    @cached_property
    def gantt(self) -> list[Track]:
        """What each layer does in the first two frames, by the schedule."""
        design = self.run.design
        found = activities(design)
        return [
            track(unit.layer, found[unit.name], self._end)
            for unit in design.instances
            if unit.layer is not None
        ]

    @cached_property
    def _end(self) -> int:
        """The cycle behind the second frame."""
        design = self.run.design
        return int(design.schedule(2)[design.streams[-1].name][-1]) + 1

    @cached_property
    def ticks(self) -> list[tuple[int, float]]:
        """Round cycles below the picture of the first two frames, and where they stand."""
        step = round_step(self._end / 6)
        return [(cycle, 100 * cycle / self._end) for cycle in range(0, self._end - step // 3, step)]

    @cached_property
    def overview(self) -> Trace | None:
        """When beats of the main streams move during the first frame, as recorded."""
        return waves.overview(list(self._samples.values()), self._frame) if self.run.wave else None

    @cached_property
    def details(self) -> list[Detail]:
        """Pieces of the recorded waveform: the input, the busiest unit, the output."""
        if self.run.wave is None:
            return []
        into, first, before, behind, last, out = self._samples.values()
        busy = int(behind.transfers[0]) - ZOOM // 4
        return [
            _detail("The first values enter", [into, first], 0),
            _detail(f"{self._units[1].layer} at work", [before, behind], busy),
            _detail("The answer leaves", [last, out], self._frame + 3 - ZOOM),
        ]

    @cached_property
    def _units(self) -> tuple[Instance, Instance, Instance]:
        """The first layer, the one with most to do, the last."""
        layers = [i for i in self.run.design.instances if i.layer is not None]
        work = {row["layer"]: (row["operations"], row["formula"]) for row in self.layers}
        return layers[0], max(layers, key=lambda unit: work[unit.layer or ""]), layers[-1]

    @cached_property
    def _samples(self) -> dict[str, Samples]:
        """Six streams: the input, the first result, both sides of the busiest unit, the end."""
        assert self.run.wave is not None
        design, (first, busy, last) = self.run.design, self._units
        shown = {
            "input": design.streams[0],
            f"from {first.layer}": _leaving(design, first),
            f"into {busy.layer}": _arriving(design, busy),
            f"out of {busy.layer}": _leaving(design, busy),
            f"to {last.layer}": _arriving(design, last),
            "output": design.streams[-1],
        }
        return waves.read_streams(self.run.wave, design, self.run.wave_name, shown)

    @cached_property
    def _frame(self) -> int:
        """The cycle behind the first frame in the recorded waveform."""
        output = self.run.design.streams[-1]
        return int(self._samples["output"].transfers[output.port.beats - 1]) + 1


def _leaving(design: Design, unit: Instance) -> Stream:
    return next(s for s in design.streams if s.producer[0] == unit.name)


def _arriving(design: Design, unit: Instance) -> Stream:
    return next(s for s in design.streams if s.consumer[0] == unit.name)


def _detail(heading: str, streams: list[Samples], begin: int) -> Detail:
    return Detail(heading, waves.zoom(streams, max(begin, 0), max(begin, 0) + ZOOM))


def described(unit: Instance) -> str:
    """What a unit computes, in a few words."""
    op = getattr(unit.op, "op", unit.op)
    name = type(op).__name__
    if isinstance(op, Dot | DepthwiseDot | Tables | TableSum):
        bits = op.grid.bits
        return f"{name}, {bits}-bit weights"
    if isinstance(op, Window):
        height, width = op.kernel
        return f"{name} {height}\N{MULTIPLICATION SIGN}{width}"
    return name


def _area_bars(layers: Sequence[Json], resource: str) -> list[Bar]:
    largest = max(row[resource] or 0 for row in layers)
    return [
        Bar(
            row["layer"], count(row[resource]), (row[resource] or 0) / largest,
            row[resource] == largest,
        )
        for row in layers
    ]  # fmt: skip


def write_report(
    path: str | Path,
    runs: Sequence[NetworkRun],
    title: str = "bitwright",
    comparison: Comparison | None = None,
) -> Path:
    """Write the report of one or several networks to `path`, completely or not at all.

    comparison: of the runs, to stand before them.  The file needs nothing beside
    itself: no scripts, no fonts, no network.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, render(runs, title, comparison).encode())
    return path


def write_comparison(
    path: str | Path,
    designs: Sequence[Design],
    entries: Sequence[Json],
    title: str = "bitwright comparison",
) -> Path:
    """Write the report of designs side by side and of each; entries: of `compare_designs`."""
    names = titles(entries)
    runs = [
        NetworkRun(name, _about(design), design, entry, area_error=entry["area"])
        for name, design, entry in zip(names, designs, entries, strict=True)
    ]
    return write_report(path, runs, title, Comparison(entries, names))


def _about(design: Design) -> str:
    shape = "\N{MULTIPLICATION SIGN}".join(map(str, design.program.input.shape))
    layers = sum(instance.layer is not None for instance in design.instances)
    return (
        f"{shape} inputs of {design.program.input.grid.bits} bits, {layers} units; folded to "
        f"{design.interval:,} cycles a frame."
    )


def render(
    runs: Sequence[NetworkRun],
    title: str = "bitwright",
    comparison: Comparison | None = None,
) -> str:
    """Return the report as HTML; every name in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        filter.__name__: filter
        for filter in (count, some, percent, part, nanojoules, short, time, microseconds)
    }
    sections = [Section(run) for run in runs]
    simulations = [s for run in runs for s in run.simulations]
    return environment.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        simulations=simulations,
        agrees=all(section.agrees for section in sections),
        transfers=sum(s.streams["transfers"] for s in simulations),
        differences=sum(s.mismatches + s.streams["differences"] for s in simulations),
        comparison=comparison,
        energy_about=ENERGY,
        slices=SLICES,
        version=version("bitwright"),
        area=AREA,
    )
