"""Place and route by nextpnr: what a design takes of a real FPGA, and the clock it reaches there.

The design is mapped alone, as `codegen.synth` counts it; the harness is mapped around a black box,
and the two netlists are joined, so that neither is optimised into the other.  With a file of pins
the design itself is placed, without the harness.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..models.container import replace_file
from ..models.fixed import ProgramError
from . import synth, tools
from .devices import PLACERS, Device, candidates
from .harness import INSTANCE, PINS, harness, ports
from .synth import RESOURCES, Area
from .verilog import Rtl

SECONDS = 7200
NO_ROOM = re.compile(
    r"no bels remaining|utilisation limit|unable to (find|place)|failed to (place|legali)",
    re.IGNORECASE,
)
"""What nextpnr says where packing or placing ended because there is no room."""
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
class Failure:
    """A seed with which the design was not placed, and the sentence that says why."""

    seed: int
    reason: str


@dataclass(frozen=True)
class Placed:
    """A design on a device: its own netlist, that of its harness (None without), and each run.

    failed: the seeds that ended without a result; there is one run at least.
    """

    device: str
    netlist: Area
    harness: Area | None
    runs: tuple[Run, ...]
    failed: tuple[Failure, ...] = ()

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
    where a bitstream is written or a seed failed.  Raises `ProgramError` where a tool is missing,
    where all seeds are refused or take too long, and where no device is large enough.
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
    if bitstream is not None:
        _check_packing(family, bitstream)
    tried, program = candidates(family, device), _program(family)
    text = None if pins is None else _read_pins(pins)
    job = _Job(rtl, family, clock or TARGET, text, seconds, program, tell)

    def make() -> dict[str, Any]:
        return asdict(_place(job, tried, seeds, jobs, bitstream))

    if bitstream is not None:
        return _restored(make())
    key = [*synth.contents(rtl, family), tools.version(program), *_texts(job, tried), seeds]
    return _restored(tools.remembered("place", key, make, lambda made: not made["failed"]))


def _read_pins(pins: Path) -> str:
    try:
        return pins.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProgramError(
            f"the file of pins {pins} is not UTF-8 text (byte {error.start}); give a .pcf, .lpf or "
            ".cst file"
        ) from None


def _check_packing(family: str, bitstream: Path) -> None:
    """Refuse before hours of placing what could not be packed or written behind it."""
    _packer(family)
    if bitstream.is_dir() or not bitstream.parent.is_dir():
        raise ProgramError(
            f"the bitstream {bitstream} is a file in a folder that exists; choose another place"
        )


def _texts(job: _Job, tried: list[Device]) -> list[Any]:
    """All that the tools are told, but for the design: the key of what they make of it."""
    frame = None if job.pins is not None else _frame(job)
    each = [
        [
            asdict(device),
            _script(job, device.variant),
            _command(job, device, 0),
            _sites(job, device),
        ]
        for device in tried
    ]
    return [asdict(PLACERS[job.family]), frame, each]


def _restored(made: dict[str, Any]) -> Placed:
    frame = made["harness"]
    return Placed(
        made["device"],
        Area(**made["netlist"]),
        Area(**frame) if frame else None,
        tuple(Run(**run) for run in made["runs"]),
        tuple(Failure(**failure) for failure in made["failed"]),
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
            rest = pool.map(lambda seed: _tried(job, device, seed, folder), range(2, seeds + 1))
            every = [first, *rest]
        runs = tuple(run for run in every if isinstance(run, Run))
        if not runs:
            assert isinstance(first, ProgramError)
            raise first
        failed = tuple(
            Failure(seed, str(run)) for seed, run in enumerate(every, 1) if not isinstance(run, Run)
        )
        if bitstream is not None:
            fastest = max(runs, key=lambda run: run.mhz or 0.0)
            _pack(job, device, folder, fastest.seed, bitstream)
        return Placed(device.name, *netlists[device.variant], runs, failed)


def _first(
    job: _Job, tried: list[Device], netlists: dict[str, tuple[Area, Area | None]], folder: Path
) -> tuple[Device, Run | ProgramError]:
    """The smallest device that the design fits, and what became of the first seed.

    A device is left for the next where there is no room for the design.  Pins are those of one
    board, and any other failure would meet the next device as well.
    """
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
        found = _tried(job, device, 1, folder)
        if last or job.pins is not None or not _without_room(found):
            return device, found
        job.tell(f"{device.name} is too small for {job.rtl.top}, trying the next")
    raise AssertionError("a family has at least one device")


def _tried(job: _Job, device: Device, seed: int, folder: Path) -> Run | ProgramError:
    """What became of a seed: one that fails leaves the others theirs."""
    try:
        return _run(job, device, seed, folder)
    except (tools.TooSlow, tools.Refused) as error:
        job.tell(f"seed {seed} failed: {error}")
        return error


def _without_room(found: Run | ProgramError) -> bool:
    return isinstance(found, tools.Refused) and bool(NO_ROOM.search(found.said))


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
    if job.pins is None:
        (folder / f"{top}_harness.v").write_text(_frame(job))
    synth.yosys(_script(job, variant), folder, job.seconds, top)
    own = synth.counted(folder / "own.json", family, time.perf_counter() - start)
    if job.pins is not None:
        return own, None
    return own, synth.counted(folder / "frame.json", family, boxes=frozenset({top}))


def _frame(job: _Job) -> str:
    """The harness as Verilog."""
    return harness(job.rtl.top, ports(job.rtl.verilog, job.rtl.top))


def _script(job: _Job, variant: str) -> str:
    """What Yosys does: map the design, and join it to its harness if there is one."""
    top, family = job.rtl.top, job.family
    if job.pins is not None:
        mapped = synth.mapped(family, top, variant, "own", pads=True)
        return f"read_verilog {top}.v; {mapped}; write_json {_net(variant)}"
    frame = f"{top}_harness"
    return "; ".join(
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


def _net(variant: str) -> str:
    return f"net{variant.replace(' ', '')}.json"


# --- nextpnr ------------------------------------------------------------------------------------


def _run(job: _Job, device: Device, seed: int, folder: Path) -> Run:
    job.tell(f"placing {job.rtl.top} on {device.name}, seed {seed}")
    stem, sites = f"{device.name}-{seed}", _sites(job, device)
    if sites is not None:
        (folder / f"{stem}.pins").write_text(sites, encoding="utf-8")
    command = [job.program, *_command(job, device, seed)]
    start = time.perf_counter()
    tools.run(command, folder, job.seconds, job.rtl.top, f"nextpnr for {device.name}")
    report = json.loads((folder / f"{stem}.report.json").read_text())
    return read_report(report, job.family, seed, time.perf_counter() - start)


def _command(job: _Job, device: Device, seed: int) -> list[str]:
    """What nextpnr is called with."""
    placer, stem = PLACERS[job.family], f"{device.name}-{seed}"
    option, suffix = placer.bits
    if _sites(job, device) is not None:
        pins = [placer.pins % f"{stem}.pins"]
    else:
        pins = ["--lpf-allow-unconstrained"] if job.family == "ecp5" else []
    return [
        *device.options, "--json", _net(device.variant), "--seed", str(seed),
        "--freq", f"{job.clock:g}", "--timing-allow-fail", "--report", f"{stem}.report.json",
        option, f"{stem}.{suffix}", *pins,
    ]  # fmt: skip


def _sites(job: _Job, device: Device) -> str | None:
    """Where the pins are; None where nextpnr places those of a harness itself."""
    if job.pins is None and device.sites:
        return "".join(f'IO_LOC "{pin}" {device.sites[pin]};\n' for pin in PINS)
    return job.pins


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


def _packer(family: str) -> str:
    program = PLACERS[family].packer[0]
    return tools.needed(program, tools.find(program), "a bitstream")


def _pack(job: _Job, device: Device, folder: Path, seed: int, bitstream: Path) -> None:
    placer = PLACERS[job.family]
    names = {
        "placed": f"{device.name}-{seed}.{placer.bits[1]}",
        "bitstream": "packed",
        "part": device.part,
    }
    program, *rest = (word.format(**names) for word in placer.packer)
    tools.run([_packer(job.family), *rest], folder, job.seconds, job.rtl.top, program)
    replace_file(bitstream, (folder / "packed").read_bytes())
