"""Designs side by side: bits, weights, operations, cycles three ways, estimated area."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

from ..codegen.bench import Trial
from ..codegen.project import sample_frames
from ..codegen.verilog import write_rtl
from ..hw import cost
from ..hw.design import Design, Instance, figures
from ..models.fixed import Ints
from ..models.memory import forms, weight_bits, weights
from ..models.ops import DepthwiseDot, Dot
from ..models.program import Op
from . import rtl

Progress = Callable[[str], None]
FRAMES = 3


def compare_designs(
    designs: Sequence[Design], engine: str | None, tell: Progress
) -> list[dict[str, Any]]:
    """One entry per design: {"model", "interval", "limiting", "area", "forms", "layers", "total"}.

    "forms" is what each rounding of an imported model became (`models/memory.py`).

    Cycles stand three times: by closed formula (a layer's own cycles per frame), by the schedule
    and measured in RTL (null without an engine): the cycle in which the layer's last beat of the
    first frame leaves, and the interval between the last two frames.  "differences" counts the
    values and cycles of all streams in which the RTL was not as promised (null without an engine).
    """
    if engine == "auto":
        engine = "icarus" if shutil.which("iverilog") else "verilator"
    return [_entry(design, engine, tell) for design in designs]


def _entry(design: Design, engine: str | None, tell: Progress) -> dict[str, Any]:
    scheduled = design.schedule(FRAMES)
    outcome = _measured(design, engine, tell) if engine else None
    traced = outcome.streams if outcome else None
    layers = [
        _layer(design, instance, scheduled, traced)
        for instance in design.instances
        if instance.layer is not None
    ]
    return {
        "model": design.program.name,
        "folding": {n: {"pe": f.pe, "simd": f.simd} for n, f in design.folds.items()},
        "interval": design.interval,
        "limiting": design.limiting,
        "engine": engine,
        "differences": sum(outcome.wrong.values()) if outcome else None,
        "area": area_error(),
        "forms": forms(design.program),
        "layers": layers,
        "total": _total(design, layers, scheduled, traced),
    }


def _measured(design: Design, engine: str, tell: Progress) -> rtl.Outcome:
    """What random frames did in RTL: cycles of every transfer, and what was wrong."""
    tell(f"measuring {design.program.name} under {engine}")
    frames = sample_frames(design.program.input, FRAMES)
    trial = Trial("dut", design, write_rtl(design), frames, {})
    return rtl.simulate([trial], engine, tell=tell).outcomes[0]


def _layer(
    design: Design, instance: Instance, scheduled: dict[str, Ints], traced: dict[str, Ints] | None
) -> dict[str, Any]:
    stream = next(s for s in design.streams if s.producer[0] == instance.name)
    fold = instance.place.fold
    op = _operator(instance)
    return {
        "layer": instance.layer,
        "operator": type(op).__name__,
        "pe": fold.pe,
        "simd": fold.simd,
        "bits": instance.place.output.grid.bits,
        "weights": weights(op),
        "weight_bits": weight_bits(op),
        "operations": operations(op, instance),
        "formula": instance.cycles,
        "schedule": _last(scheduled[stream.name], stream.port.beats),
        "rtl": _last(traced[stream.name], stream.port.beats) if traced else None,
        **estimate(instance),
    }


def _operator(instance: Instance) -> Op:
    """The program's operator behind a unit (windows are wrapped with their buffer)."""
    return getattr(instance.op, "op", instance.op)


def _last(cycles: Ints, beats: int) -> int | None:
    return int(cycles[beats - 1]) if len(cycles) >= beats else None


def _total(
    design: Design,
    layers: list[dict[str, Any]],
    scheduled: dict[str, Ints],
    traced: dict[str, Ints] | None,
) -> dict[str, Any]:
    output = design.streams[-1]
    beats = output.port.beats
    summed = ("weights", "weight_bits", "operations")
    return {
        **{key: sum(layer[key] for layer in layers) for key in summed},
        "formula": {"first": design.first, "interval": design.interval},
        "schedule": figures(scheduled[output.name], beats),
        "rtl": figures(traced[output.name], beats)
        if traced is not None and len(traced[output.name]) >= beats
        else None,
        **estimate_design(design),
    }


def operations(op: Op, instance: Instance) -> int:
    """Multiply-adds (or their binary and ternary forms) per frame; comparisons and the like not."""
    if isinstance(op, Dot):
        return int(instance.place.output.elements) * op.weights.shape[1]
    if isinstance(op, DepthwiseDot):
        return int(instance.place.inputs[0].elements)
    return 0


def estimate(instance: Instance) -> dict[str, int | None]:
    """Estimated LUT, FF, BRAM and DSP of a unit; null where no calibrated figure exists."""
    found = cost.estimate(instance.op, instance.place)
    return {key: getattr(found, key) if found else None for key in cost.RESOURCES}


def estimate_design(design: Design) -> dict[str, int | None]:
    """Estimated area of all units, links included; null if a unit has none."""
    parts = [estimate(instance) for instance in design.instances]
    return {key: _sum([part[key] for part in parts]) for key in cost.RESOURCES}


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def area_error() -> str:
    """A sentence that belongs beside every estimate: the family, and how far it is off."""
    about = cost.error()
    if not about:
        return ""
    return (
        "LUT, FF, BRAM and DSP are estimates for Lattice ECP5; median error on "
        f"{about['held_back']} units not in the fit: {_off(about)}; of whole designs: "
        f"{_off(about['designs'])}; {about['yosys']}, {about['date']}"
    )


def _off(errors: dict[str, dict[str, float]]) -> str:
    return ", ".join(
        f"{key.upper()} {errors[key]['median']:.1%} (worst {errors[key]['worst']:.1%})"
        for key in cost.RESOURCES
    )
