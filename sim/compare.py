"""Designs side by side: bits, weights, operations, cycles three ways, area, energy, speed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from ..codegen.bench import Trial
from ..codegen.project import sample_frames
from ..codegen.verilog import write_rtl
from ..hw import cost
from ..hw.design import Design, Instance, figures
from ..hw.work import KINDS, Work, work
from ..models.fixed import Ints
from ..models.memory import forms, weight_bits, weights
from . import rtl, systolic
from .energy import energy
from .roofline import roofline
from .stalls import Activity, activities
from .units import operator

Progress = Callable[[str], None]
FRAMES = 3
FAMILIES = {
    "ecp5": "Lattice ECP5",
    "ice40": "Lattice iCE40",
    "gowin": "Gowin",
    "xc7": "Xilinx 7",
}
"""Families of FPGAs, as a sentence names them."""


@dataclass(frozen=True)
class Clock:
    """A clock in MHz: assumed, or the median that place and route reached with several seeds."""

    mhz: float
    lowest: float | None = None
    highest: float | None = None
    seeds: int = 0

    @property
    def assumed(self) -> bool:
        """True if nobody has placed and routed."""
        return self.seeds == 0

    @property
    def source(self) -> str:
        """Where it is from, in a few words."""
        return "assumed" if self.assumed else f"place and route, median of {self.seeds} seeds"


@dataclass(frozen=True)
class Placed:
    """What synthesis, place and route made of a design: its clock, and its real area.

    clock: None where nextpnr does not model all delays (Gowin's multipliers).
    """

    clock: Clock | None
    area: cost.Estimate
    tools: str


def compare_designs(
    designs: Sequence[Design],
    engine: str | None,
    tell: Progress,
    family: str = "ecp5",
    clock: float | None = None,
    place: Callable[[Design], Placed | None] | None = None,
) -> list[dict[str, Any]]:
    """One entry per design: {"model", "interval", "limiting", "area", "forms", "layers", "total"}.

    "program" is the digest of what is computed: designs of one program are alternatives.
    "forms" is what each rounding of an imported model became (`models/memory.py`).  Beside them
    stand "clock" and "speed" (null without a clock), "placed" (null where nobody has placed and
    routed), "systolic" (an array of equal size) and "roofline".

    clock: MHz that are assumed for a design of which `place` gives none.

    Energy, in nJ a frame, is that of a model (`energy.py`).  "waits" says what part of its time in
    the first two frames a unit waits for input, and for room.

    Cycles stand three times: by closed formula (a layer's own cycles per frame), by the schedule
    and measured in RTL (null without an engine): the cycle in which the layer's last beat of the
    first frame leaves, and the interval between the last two frames.  "differences" counts the
    values and cycles of all streams in which the RTL was not as promised (null without an engine).
    """
    if engine == "auto":
        engine = "icarus" if shutil.which("iverilog") else "verilator"
    assumed = None if clock is None else Clock(clock)
    entries: list[dict[str, Any]] = []
    for number, design in enumerate(designs, 1):
        tell(f"design {number} of {len(designs)}: {design.program.name}")
        placed = place(design) if place else None
        entries.append(_entry(design, engine, tell, family, placed, assumed))
    return entries


def _entry(
    design: Design, engine: str | None, tell: Progress, family: str, placed: Placed | None,
    assumed: Clock | None,
) -> dict[str, Any]:  # fmt: skip
    scheduled = design.schedule(FRAMES)
    outcome = _measured(design, engine, tell) if engine else None
    traced = outcome.streams if outcome else None
    does = activities(design)
    layers = [
        _layer(design, instance, scheduled, traced, family, does[instance.name])
        for instance in design.instances
        if instance.layer is not None
    ]
    total = _total(design, layers, scheduled, traced, family)
    clock = (placed.clock if placed else None) or assumed
    roof = roofline(design, total["schedule"]["interval"])
    return {
        "model": design.program.name,
        "program": design.program.digest,
        "family": family,
        "folding": {n: {"pe": f.pe, "simd": f.simd} for n, f in design.folds.items()},
        "interval": design.interval,
        "limiting": design.limiting,
        "engine": engine,
        "differences": sum(outcome.wrong.values()) if outcome else None,
        "transfers": outcome.transfers if outcome else None,
        "area": area_error(family),
        "clock": {**asdict(clock), "source": clock.source} if clock else None,
        "speed": speed(total["schedule"], clock.mhz) if clock else None,
        "placed": {**asdict(placed.area), "tools": placed.tools} if placed else None,
        "systolic": systolic.beside(design),
        "roofline": roof.as_json() if roof else None,
        "forms": forms(design.program),
        "layers": layers,
        "total": total,
    }


def speed(cycles: Mapping[str, int], mhz: float) -> dict[str, float]:
    """Frames per second, and the microseconds from a frame's first input to its last output.

    The first input goes in cycle 0, so a last output in cycle "first" ends "first" + 1 cycles.
    """
    return {
        "frames_per_second": mhz * 1e6 / cycles["interval"],
        "latency_us": (cycles["first"] + 1) / mhz,
    }


def _measured(design: Design, engine: str, tell: Progress) -> rtl.Outcome:
    """What random frames did in RTL: cycles of every transfer, and what was wrong."""
    tell(f"measuring {design.program.name} under {engine}")
    frames = sample_frames(design.program.input, FRAMES)
    trial = Trial("dut", design, write_rtl(design), frames, {})
    return rtl.simulate([trial], engine, tell=tell).outcomes[0]


def _layer(
    design: Design, instance: Instance, scheduled: dict[str, Ints], traced: dict[str, Ints] | None,
    family: str, does: Activity,
) -> dict[str, Any]:  # fmt: skip
    stream = next(s for s in design.streams if s.producer[0] == instance.name)
    fold = instance.place.fold
    op = operator(instance)
    done = work(instance.op, instance.place)
    return {
        "layer": instance.layer,
        "operator": type(op).__name__,
        "pe": fold.pe,
        "simd": fold.simd,
        "bits": instance.place.output.grid.bits,
        "weights": weights(op),
        "weight_bits": weight_bits(op),
        "operations": done.multiply_adds if done else 0,
        "formula": instance.cycles,
        "schedule": _last(scheduled[stream.name], stream.port.beats),
        "rtl": _last(traced[stream.name], stream.port.beats) if traced else None,
        **estimate(instance, family),
        "energy_nj": round(energy(done).total / 1000, 6) if done else None,
        "work": _work(done),
        "waits": {"input": does.share(does.input), "room": does.share(does.room)},
    }


def _work(done: Work | None) -> dict[str, Any] | None:
    """What is done in a frame: operations of each kind, bits of memory, and energy of both."""
    if done is None:
        return None
    spent = energy(done)
    return {
        **{kind: done.counts.get(kind, 0) for kind in KINDS},
        "constant_bits_read": done.constant_reads,
        "value_bits_read": done.value_reads,
        "value_bits_written": done.value_writes,
        "arithmetic_nj": round(spent.arithmetic / 1000, 6),
        "memory_nj": round(spent.memory / 1000, 6),
    }


def _last(cycles: Ints, beats: int) -> int | None:
    return int(cycles[beats - 1]) if len(cycles) >= beats else None


def _total(
    design: Design,
    layers: list[dict[str, Any]],
    scheduled: dict[str, Ints],
    traced: dict[str, Ints] | None,
    family: str,
) -> dict[str, Any]:
    output = design.streams[-1]
    done = _whole(design)
    beats = output.port.beats
    summed = ("weights", "weight_bits", "operations")
    return {
        **{key: sum(layer[key] for layer in layers) for key in summed},
        "formula": {"first": design.first, "interval": design.interval},
        "schedule": figures(scheduled[output.name], beats),
        "rtl": figures(traced[output.name], beats)
        if traced is not None and len(traced[output.name]) >= beats
        else None,
        **estimate_design(design, family),
        "energy_nj": round(energy(done).total / 1000, 6) if done else None,
        "work": _work(done),
    }


def _whole(design: Design) -> Work | None:
    """What all units do in a frame, links included; None if that of one is unknown."""
    parts = [work(instance.op, instance.place) for instance in design.instances]
    known = [part for part in parts if part is not None]
    return sum(known, Work()) if len(known) == len(parts) else None


def estimate(instance: Instance, family: str = "ecp5") -> dict[str, int | None]:
    """Estimated LUT, FF, BRAM and DSP of a unit; null where no calibrated figure exists."""
    found = cost.estimate(instance.op, instance.place, family)
    return {key: getattr(found, key) if found else None for key in cost.RESOURCES}


def estimate_design(design: Design, family: str = "ecp5") -> dict[str, int | None]:
    """Estimated area of all units, links included; null if a unit has none."""
    parts = [estimate(instance, family) for instance in design.instances]
    return {key: _sum([part[key] for part in parts]) for key in cost.RESOURCES}


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def area_error(family: str = "ecp5") -> str:
    """A sentence that belongs beside every estimate: the family, and how far it is off."""
    about = cost.error(family)
    if not about:
        return ""
    return (
        f"LUT, FF, BRAM and DSP are estimates for {FAMILIES.get(family, family)}; median error on "
        f"{about['held_back']} units not in the fit: {_off(about)}; {design_error(family)}"
    )


def design_error(family: str = "ecp5") -> str:
    """How far estimates of whole designs are off, networks and random programs each by themselves.

    Parts of random programs fall away, as nothing reads them, so estimates are further off there.
    Programs that hold a unit without an estimate are left out: users see none for them either.
    """
    fitted = cost.model(family)
    if fitted is None:
        return ""
    about = fitted.about
    complete = [design for design in about["designs"] if not design["without_estimate"]]
    drawn = [design["error"] for design in complete if design["design"].startswith("random")]
    errors = {
        resource: {
            "median": median(error[resource] for error in drawn),
            "worst": max(error[resource] for error in drawn),
        }
        for resource in cost.RESOURCES
    }
    return (
        f"of {len(complete) - len(drawn)} networks not in the fit: {_off(about['design_error'])}; "
        f"of {len(drawn)} random programs, parts of which Yosys removes: {_off(errors)}; "
        f"{about['yosys']}, {about['date']}"
    )


def _off(errors: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(
        f"{key.upper()} {errors[key]['median']:.1%} (worst {errors[key]['worst']:.1%})"
        for key in cost.RESOURCES
    )
