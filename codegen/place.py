"""Place and route by nextpnr: what a design takes of a real FPGA, and the clock it reaches there.

The design is mapped alone, as `codegen.synth` counts it; the harness is mapped around a black box,
and the two netlists are joined, so that neither is optimised into the other.  With a file of pins
the design itself is placed, without the harness.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..models.fixed import ProgramError
from . import synth, tools
from .devices import PLACERS, Device, candidates
from .harness import INSTANCE, PINS, harness, ports
from .synth import RESOURCES, Area
from .verilog import Rtl

SECONDS = 7200
TARGET = 200.0
"""The clock in MHz that nextpnr aims at where none is asked for; it reports what it reaches."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One placement.

    mhz: the clock reached, or None where nextpnr does not model it.  used: what the whole takes,
    harness included; resources without sites of their own are absent.  start, end: the cells at the
    ends of the critical path.
    """

    seed: int
    mhz: float | None
    used: Mapping[str, int]
    start: str
    end: str
    seconds: float


@dataclass(frozen=True)
class Placed:
    """A design on a device: its own netlist, that of its harness (None without), and each run."""

    device: str
    netlist: Area
    harness: Area | None
    runs: tuple[Run, ...]

    @property
    def middle(self) -> Run:
        """The run of the median clock; of an even number of runs the slower of the middle two."""
        ordered = sorted(self.runs, key=lambda run: run.mhz or 0.0)
        return ordered[(len(ordered) - 1) // 2]

    @property
    def clocks(self) -> list[float]:
        """The clocks reached, in MHz, in the order of seeds; empty where none is modelled."""
        return [run.mhz for run in self.runs if run.mhz is not None]

    @property
    def mhz(self) -> float | None:
        """The median clock in MHz."""
        return median(self.clocks) if self.clocks else None


def place(
    rtl: Rtl,
    family: str,
    device: str | None = None,
    seeds: int = 3,
    clock: float | None = None,
    jobs: int = 1,
    pins: Path | None = None,
    bitstream: Path | None = None,
    seconds: float = SECONDS,
    tell: Progress = lambda _: None,
) -> Placed:
    """Place a design with seeds 1 to `seeds`, on the smallest device it fits, or on `device`.

    clock: MHz to aim at.  jobs: placements at a time.  pins: constraints of the real ports (.pcf,
    .lpf or .cst), which leave out the harness; bitstream: write that of the fastest seed, which
    takes `pins`.  seconds: for each run of each tool.  The result is remembered by content, but not
    where a bitstream is written.  Raises `ProgramError` where a tool is missing, refuses the design
    or takes too long, and where no device is large enough.
    """
    if family not in PLACERS:
        raise ProgramError(
            f"there is no place and route for the family {family!r}, only for "
            f"{', '.join(PLACERS)}; leave the placing out"
        )
    if bitstream is not None and pins is None:
        raise ProgramError(
            "a bitstream needs the pins of your board; give them with --pins FILE (.pcf for ice40, "
            ".lpf for ecp5, .cst for gowin)"
        )
    tried, program = candidates(family, device), _program(family)
    text = None if pins is None else pins.read_text()
    job = _Job(rtl, family, clock or TARGET, text, seconds, program, tell)

    def make() -> dict[str, Any]:
        return asdict(_place(job, tried, seeds, jobs, bitstream))

    if bitstream is not None:
        return _restored(make())
    rules = [*map(asdict, tried), asdict(PLACERS[family]), tools.version(program)]
    key = [*synth.contents(rtl, family), *rules, seeds, job.clock, text]
    return _restored(tools.remembered("place", key, make))


def _restored(made: dict[str, Any]) -> Placed:
    frame = made["harness"]
    return Placed(
        made["device"],
        Area(**made["netlist"]),
        Area(**frame) if frame else None,
        tuple(Run(**run) for run in made["runs"]),
    )


def _program(family: str) -> str:
    name = PLACERS[family].program
    return tools.needed(name, tools.find(name), "place and route")


@dataclass(frozen=True, eq=False)
class _Job:
    """What stays the same from device to device and from seed to seed."""

    rtl: Rtl
    family: str
    clock: float
    pins: str | None
    seconds: float
    program: str
    tell: Progress


def _place(job: _Job, tried: list[Device], seeds: int, jobs: int, bitstream: Path | None) -> Placed:
    with tempfile.TemporaryDirectory(prefix="bitwright-") as name:
        folder = Path(name)
        synth.write(job.rtl, folder)
        netlists: dict[str, tuple[Area, Area | None]] = {}
        device, first = _first(job, tried, netlists, folder)
        with ThreadPoolExecutor(jobs) as pool:
            rest = pool.map(lambda seed: _run(job, device, seed, folder), range(2, seeds + 1))
            runs = (first, *rest)
        if bitstream is not None:
            fastest = max(runs, key=lambda run: run.mhz or 0.0)
            _pack(job, device, folder, fastest.seed, bitstream)
        return Placed(device.name, *netlists[device.variant], runs)


def _first(
    job: _Job, tried: list[Device], netlists: dict[str, tuple[Area, Area | None]], folder: Path
) -> tuple[Device, Run]:
    """The smallest device that the design fits, placed with the first seed."""
    for device in tried:
        if device.variant not in netlists:
            job.tell(f"mapping {job.rtl.top} for {device.name} with Yosys")
            netlists[device.variant] = _netlist(job, device.variant, folder)
        lack = _lacking(device, netlists[device.variant])
        last = device is tried[-1]
        if lack and last:
            raise ProgramError(
                f"{job.rtl.top} needs {lack}, and {device.name} has no more; fold the design "
                "further, or choose a larger device or another family"
            )
        if lack:
            continue
        try:
            return device, _run(job, device, 1, folder)
        except ProgramError:
            # What fits by its counts may still not be placed or packed: the next has more room.
            if last:
                raise
            job.tell(f"{device.name} is too small for {job.rtl.top}, trying the next")
    raise AssertionError("a family has at least one device")


def _lacking(device: Device, netlist: tuple[Area, Area | None]) -> str:
    """What a device has too little of, e.g. "900 LUT of 800"; empty if it may fit."""
    need = {r: sum(getattr(a, r) for a in netlist if a is not None) for r in RESOURCES}
    return " and ".join(
        f"{need[r]} {r.upper()} of {device.room[r]}" for r in RESOURCES if need[r] > device.room[r]
    )


# --- the netlist --------------------------------------------------------------------------------


def _netlist(job: _Job, variant: str, folder: Path) -> tuple[Area, Area | None]:
    """Write `net.json` of a variant to `folder`; return the area of the design and the harness."""
    top, family = job.rtl.top, job.family
    start = time.perf_counter()
    if job.pins is not None:
        mapped = synth.mapped(family, top, variant, "own", pads=True)
        script = f"read_verilog {top}.v; {mapped}; write_json {_net(variant)}"
        synth.yosys(script, folder, job.seconds, top)
        return synth.counted(folder / "own.json", family, time.perf_counter() - start), None
    frame = f"{top}_harness"
    (folder / f"{frame}.v").write_text(harness(top, ports(job.rtl.verilog, top)))
    script = "; ".join(
        (
            f"read_verilog {top}.v",
            synth.mapped(family, top, variant, "own"),
            "design -stash own",
            f"read_verilog {frame}.v",
            synth.mapped(family, frame, variant, "frame", pads=True),
            f"delete ={top}",
            f"design -copy-from own -as {top} ={top}",
            f"hierarchy -top {frame}",
            "flatten",
            f"write_json {_net(variant)}",
        )
    )
    synth.yosys(script, folder, job.seconds, top)
    own = synth.counted(folder / "own.json", family, time.perf_counter() - start)
    return own, synth.counted(folder / "frame.json", family, boxes=frozenset({top}))


def _net(variant: str) -> str:
    return f"net{variant.replace(' ', '')}.json"


# --- nextpnr ------------------------------------------------------------------------------------


def _run(job: _Job, device: Device, seed: int, folder: Path) -> Run:
    placer, stem = PLACERS[job.family], f"{device.name}-{seed}"
    job.tell(f"placing {job.rtl.top} on {device.name}, seed {seed}")
    option, suffix = placer.bits
    command = [
        job.program, *device.options, "--json", _net(device.variant), "--seed", str(seed),
        "--freq", f"{job.clock:g}", "--timing-allow-fail", "--report", f"{stem}.report.json",
        option, f"{stem}.{suffix}", *_pins(job, device, folder),
    ]  # fmt: skip
    start = time.perf_counter()
    tools.run(command, folder, job.seconds, job.rtl.top, f"nextpnr for {device.name}")
    report = json.loads((folder / f"{stem}.report.json").read_text())
    return read_report(report, job.family, seed, time.perf_counter() - start)


def _pins(job: _Job, device: Device, folder: Path) -> list[str]:
    """The option that says where pins are; without one nextpnr places those of a harness itself."""
    text = job.pins
    if text is None and device.sites:
        text = "".join(f'IO_LOC "{pin}" {device.sites[pin]};\n' for pin in PINS)
    if text is None:
        return ["--lpf-allow-unconstrained"] if job.family == "ecp5" else []
    (folder / "pins").write_text(text)
    return [PLACERS[job.family].pins % "pins"]


def read_report(report: Mapping[str, Any], family: str, seed: int, seconds: float) -> Run:
    """What nextpnr's JSON report says of a routed design."""
    sites = {name: count["used"] for name, count in report["utilization"].items()}
    used = {
        resource: sum(sites.get(name, 0) * each for name, each in table.items())
        for resource, table in PLACERS[family].used.items()
    }
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    # nextpnr has no delays for Gowin's multipliers: what it says of them is no clock.
    modelled = bool(clocks) and not (family == "gowin" and used["dsp"])
    start, end = _ends(report["critical_paths"])
    return Run(seed, round(min(clocks), 2) if modelled else None, used, start, end, seconds)


def _ends(paths: list[Mapping[str, Any]]) -> tuple[str, str]:
    """The cells at the ends of the slowest path from register to register."""
    inside = [p for p in paths if p["path"] and "<async>" not in (p["from"], p["to"])]
    if not inside:
        return "", ""
    slowest = max(inside, key=lambda p: sum(step["delay"] for step in p["path"]))["path"]
    return slowest[0]["from"]["cell"], slowest[-1]["to"]["cell"]


def unit_of(cell: str, units: list[str]) -> str:
    """The unit that a cell of a flat netlist belongs to.

    A name is that of the cell's output, and streams are named after the unit that reads them.
    """
    inner = cell.removeprefix(f"{INSTANCE}.")
    owners = [u for u in units if inner == u or inner.startswith((f"{u}.", f"{u}_"))]
    if owners:
        return max(owners, key=len)
    return "the top level" if inner != cell or not units else "the harness"


def _pack(job: _Job, device: Device, folder: Path, seed: int, bitstream: Path) -> None:
    placer = PLACERS[job.family]
    names = {
        "placed": f"{device.name}-{seed}.{placer.bits[1]}",
        "bitstream": "packed",
        "part": device.part,
    }
    program, *rest = (word.format(**names) for word in placer.packer)
    path = tools.needed(program, tools.find(program), "a bitstream")
    tools.run([path, *rest], folder, job.seconds, job.rtl.top, program)
    bitstream.write_bytes((folder / "packed").read_bytes())
