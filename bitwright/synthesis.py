"""What a design takes of an FPGA family, and the clock it reaches: measured, beside the estimate.

A design comes from a model or from a folder that `generate` has written; both give the same figures
but for the estimate, which only a model has.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitwright.codegen import synth
from bitwright.codegen.devices import DEVICES, PLACERS
from bitwright.codegen.place import Placed, place, unit_of
from bitwright.codegen.project import FORMAT, FRAMES, MANIFEST
from bitwright.codegen.verilog import Rtl, write_rtl
from bitwright.hw import cost
from bitwright.hw.cost import RESOURCES
from bitwright.hw.design import Design, figures
from bitwright.models.fixed import ProgramError
from bitwright.sim import compare
from bitwright.sim.compare import area_error, estimate_design, speed

from .text import table

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How `measure` goes about it: see `codegen.place.place`.

    placed: False leaves place and route out.
    """

    device: str | None = None
    seeds: int = 3
    jobs: int = 1
    placed: bool = True
    pins: Path | None = None
    bitstream: Path | None = None
    progress: Progress = lambda _: None


AS_USUAL = Options()


@dataclass(frozen=True)
class Subject:
    """A design to synthesise; estimate: LUT, FF, BRAM and DSP as computed, if they were."""

    name: str
    rtl: Rtl
    units: Sequence[str]
    first: int
    interval: int
    estimate: dict[str, int | None] | None

    @classmethod
    def of_design(cls, design: Design, family: str) -> Subject:
        """A design that has just been built."""
        arrivals = design.schedule(FRAMES)[design.streams[-1].name]
        cycles: dict[str, Any] = figures(arrivals, design.output.beats)
        units = [instance.name for instance in design.instances]
        rtl, estimate = write_rtl(design), estimate_design(design, family)
        return cls(design.program.name, rtl, units, cycles["first"], cycles["interval"], estimate)

    @classmethod
    def of_folder(cls, folder: Path) -> Subject:
        """A project folder; `ProgramError` where it is none, or not whole."""
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            _check_manifest(manifest)
            texts = {name: (folder / name).read_bytes() for name in manifest["files"]}
            top, cycles = manifest["top"], manifest["cycles"]
            rtl = Rtl(
                top,
                texts[f"{top}.v"].decode(),
                {name: data.decode() for name, data in texts.items() if name.endswith(".hex")},
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise ProgramError(
                f"the folder {folder} is no whole project of bitwright; make one with "
                "`bitwright generate`"
            ) from None
        for name, digest in manifest["files"].items():
            if hashlib.sha256(texts[name]).hexdigest() != digest:
                raise ProgramError(
                    f"the file {folder / name} is not the one that was generated, by its SHA-256 "
                    f"in {MANIFEST}; make the project again with `bitwright generate`"
                )
        name, units = manifest["program"], list(manifest["modules"])
        return cls(name, rtl, units, cycles["first"], cycles["interval"], None)


def _check_manifest(manifest: Any) -> None:
    """Raise ValueError where a manifest, which may come from anywhere, is not as it is written."""
    files, modules, cycles = (manifest[name] for name in ("files", "modules", "cycles"))
    if manifest["format"] != FORMAT or not isinstance(files, dict) or not isinstance(modules, dict):
        raise ValueError
    texts = [manifest["program"], manifest["top"], *modules, *files, *files.values()]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError
    if not all(type(cycles[name]) is int and cycles[name] >= 1 for name in ("first", "interval")):
        raise ValueError
    # Names become part of scripts and of paths.
    sources = (manifest["top"], *(_stem(name) for name in files if name.endswith(".hex")))
    if not all(re.fullmatch(r"\w+", name, re.ASCII) for name in sources):
        raise ValueError
    if any("/" in name or "\\" in name or name in ("", ".", "..") for name in files):
        raise ValueError


def measure(
    subject: Subject, family: str, clock: float | None = None, options: Options = AS_USUAL
) -> dict[str, Any]:
    """Synthesise, place and route; Xilinx 7 is only synthesised.  clock: MHz to aim at.

    Returns {"model", "family", "device", "estimate", "netlist", "harness", "placed", "room",
    "clock", "limiting", "cycles", "frames_per_second", "latency_us", "bitstream", "notes",
    "tools", "seconds"}.  `netlist` is what Yosys made of the design alone, `placed` what is taken
    of the device, that of the `harness` included; `clock` is {"asked", "median", "least", "most",
    "met", "seeds"} in MHz; `limiting` names the units at the ends of the critical path of the
    median run.  Frames per second and latency are the promised cycles at the median clock.  What
    was not measured is null, and `notes` says why.
    """
    tell, bitstream = options.progress, options.bitstream
    start = time.perf_counter()
    result: dict[str, Any] = {
        "model": subject.name,
        "family": family,
        "device": None,
        "estimate": subject.estimate,
        "netlist": None,
        "harness": None,
        "placed": None,
        "room": None,
        "clock": None,
        "limiting": None,
        "cycles": {"first": subject.first, "interval": subject.interval},
        "frames_per_second": None,
        "latency_us": None,
        "bitstream": None,
        "notes": [],
        "tools": {"yosys": synth.yosys_version()},
    }
    if options.placed and family in PLACERS:
        found = place(
            subject.rtl,
            family,
            options.device,
            options.seeds,
            clock,
            options.jobs,
            options.pins,
            bitstream,
            tell=tell,
        )
        result |= _placed(found, subject, clock)
        result["bitstream"] = str(bitstream) if bitstream else None
    else:
        if options.device or bitstream or options.pins:
            raise ProgramError(
                f"a device, pins or a bitstream need place and route, which {family} "
                f"{'is left without here' if family in PLACERS else 'has no open tool for'}; "
                "leave these options out"
            )
        tell(f"mapping {subject.rtl.top} for {family} with Yosys")
        result["netlist"] = _area(synth.cached(subject.rtl, family))
        if family not in PLACERS:
            result["notes"] = [f"{family} is mapped by Yosys only: not placed, and without a clock"]
    if result["estimate"]:
        result["notes"] += [area_error(family)]
    result["seconds"] = time.perf_counter() - start
    return result


def placer(
    family: str, clock: float | None, seeds: int, tell: Progress
) -> Callable[[Design], compare.Placed]:
    """What makes of a design what `compare` wants of place and route; refused without a tool."""
    if family not in PLACERS:
        raise ProgramError(
            f"no open tool places designs for {family}; choose {', '.join(PLACERS)}, or leave "
            "place and route out"
        )

    def placed(design: Design) -> compare.Placed:
        found = place(write_rtl(design), family, seeds=seeds, clock=clock, tell=tell)
        # The netlist's, which has no harness in it.
        area = cost.Estimate(**_area(found.netlist))
        reached = None
        if found.mhz is not None:
            reached = compare.Clock(
                found.mhz, min(found.clocks), max(found.clocks), len(found.clocks)
            )
        return compare.Placed(reached, area, f"{synth.yosys_version()}, nextpnr for {found.device}")

    return placed


def _stem(name: str) -> str:
    return name.removesuffix(".hex")


def _placed(found: Placed, subject: Subject, clock: float | None) -> dict[str, Any]:
    middle, units = found.middle, list(subject.units)
    device = DEVICES[found.device]
    result: dict[str, Any] = {
        "device": found.device,
        "netlist": _area(found.netlist),
        "harness": _area(found.harness) if found.harness else None,
        "placed": {r: middle.used.get(r) for r in RESOURCES},
        "room": {r: device.room[r] if r in middle.used else None for r in RESOURCES},
        "limiting": {"from": unit_of(middle.start, units), "to": unit_of(middle.end, units)},
        "notes": _notes(found),
    }
    if found.mhz is None:
        return result
    return result | {
        "clock": {
            "asked": clock,
            "median": found.mhz,
            "least": min(found.clocks),
            "most": max(found.clocks),
            "met": None if clock is None else sum(mhz >= clock for mhz in found.clocks),
            "seeds": [{"seed": run.seed, "mhz": run.mhz} for run in found.runs],
        },
        **speed({"first": subject.first, "interval": subject.interval}, found.mhz),
    }


def _notes(found: Placed) -> list[str]:
    notes: list[str] = []
    if found.mhz is None:
        notes.append("nextpnr does not model the delay of these multipliers, so there is no clock")
    notes += [f"seed {failure.seed} has no result: {failure.reason}" for failure in found.failed]
    if found.harness:
        notes.append(
            "placed inside a harness of registers on three pins, which is counted under `placed`"
        )
    if "ff" not in found.middle.used:
        notes.append("LUT under `placed` are logic cells, which hold the flip-flops as well")
    return notes


def _area(area: synth.Area) -> dict[str, int]:
    return {r: getattr(area, r) for r in RESOURCES}


# What the command prints


def text(result: dict[str, Any]) -> str:
    """The result as a small table and a few sentences."""
    rows = [
        {"": row, **{r.upper(): result[row][r] for r in RESOURCES}}
        for row in ("estimate", "netlist", "harness", "placed", "room")
        if result[row]
    ]
    where = " ".join(filter(None, (result["family"], result["device"])))
    lines = [f"{result['model']} on {where}", table(rows)]
    if result["clock"]:
        lines += _clock(result)
    if result["bitstream"]:
        lines.append(f"bitstream of the fastest seed: {result['bitstream']}")
    return "\n".join([*lines, *(f"({note})" for note in result["notes"])])


def _clock(result: dict[str, Any]) -> list[str]:
    clock, limiting, cycles = result["clock"], result["limiting"], result["cycles"]
    runs = len(clock["seeds"])
    seeds = "1 seed" if runs == 1 else f"{runs} seeds"
    asked = (
        "" if clock["asked"] is None else f"; {clock['asked']:g} MHz met by {clock['met']} of them"
    )
    ends = dict.fromkeys((limiting["from"], limiting["to"]))
    reached = f"clock {clock['median']:.1f} MHz, median of {seeds} "
    spread = f"({clock['least']:.1f} to {clock['most']:.1f}){asked}"
    pace = f"{result['frames_per_second']:,.0f} frames a second ({cycles['interval']} cycles each)"
    latency = f"latency {result['latency_us']:.2f} us ({cycles['first'] + 1} cycles)"
    return [f"{reached}{spread}; limited by {' to '.join(ends)}", f"{pace}, {latency}"]
