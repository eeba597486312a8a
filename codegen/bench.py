"""The bench around written designs: a Verilog module for simulation only, and golden vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.beats import to_beats
from ..hw.design import SINK, SOURCE, Design
from ..hw.unit import Port
from ..models.fixed import Ints
from .top import data_width
from .verilog import Rtl

TESTBENCH = Path(__file__).with_name("testbench.py")


@dataclass(frozen=True, eq=False)
class Trial:
    """One design of a bench, with the frames to feed and the stall patterns at both ends."""

    name: str
    design: Design
    rtl: Rtl
    inputs: Ints
    gates: Mapping[str, np.ndarray]


def bench_verilog(trials: Sequence[Trial]) -> str:
    """The module `bench`: all designs under one clock and reset, their streams traced to files.

    Each transfer of stream k becomes a line "k CYCLE WORD" of NAME.trace; cycles count from the
    end of reset, which writes the line "reset".
    """
    parts = [
        "`timescale 1ns/1ps",
        "module bench(input aclk, input aresetn, input flush);",
        '  initial if ($test$plusargs("wave")) begin',
        '    $dumpfile("wave.dump");',
        "    $dumpvars(0, bench);",
        "  end",
    ]
    parts += [_instance(trial) for trial in trials]
    return "\n".join([*parts, "endmodule", ""])


def _instance(trial: Trial) -> str:
    name, design = trial.name, trial.design
    signals = (
        ("reg", "s_axis_tvalid", 1),
        ("wire", "s_axis_tready", 1),
        ("reg", "s_axis_tdata", data_width(design.input)),
        ("reg", "s_axis_tlast", 1),
        ("wire", "m_axis_tvalid", 1),
        ("reg", "m_axis_tready", 1),
        ("wire", "m_axis_tdata", data_width(design.output)),
        ("wire", "m_axis_tlast", 1),
        ("wire", "error", 1),
    )
    lines = [f"  {kind} [{width - 1}:0] {name}_{signal};" for kind, signal, width in signals]
    ports = ", ".join(f".{signal}({name}_{signal})" for _, signal, _ in signals)
    lines.append(f"  {trial.rtl.top} {name} (.aclk(aclk), .aresetn(aresetn), {ports});")
    lines += [
        f"  integer {name}_file;",
        f"  integer {name}_cycle;",
        f'  initial {name}_file = $fopen("{name}.trace", "w");',
        f"  always @(posedge flush) $fflush({name}_file);",
        "  always @(posedge aclk) begin",
        f"    {name}_cycle <= aresetn ? {name}_cycle + 1 : 0;",
        f'    if (!aresetn) $fwrite({name}_file, "reset\\n");',
    ]
    for k, stream in enumerate(design.streams):
        tap = f"{name}.{stream.name}"
        lines.append(
            f"    if (aresetn && {tap}_valid && {tap}_ready) "
            f'$fwrite({name}_file, "{k} %0d %h\\n", {name}_cycle, {tap}_data);'
        )
    lines.append("  end")
    return "\n".join(lines)


def write_vectors(trials: Sequence[Trial], folder: Path) -> None:
    """Write bench.json and golden.npz: the words of every stream and the promised cycles."""
    arrays: dict[str, np.ndarray] = {}
    designs = []
    for trial in trials:
        design, frames = trial.design, len(trial.inputs)
        values = design.program.run(trial.inputs)
        times = design.transfers(design.graph(trial.gates).evaluate(frames), frames)
        for stream in design.streams:
            key = f"{trial.name}/{{}}/{stream.name}"
            words = to_beats(values[stream.edge], stream.port)
            arrays[key.format("words")] = _bytes(words, stream.port)
            arrays[key.format("cycles")] = times[stream.name]
        for end in (SOURCE, SINK):
            gate = trial.gates.get(end, np.ones(0, bool))
            arrays[f"{trial.name}/gates/{end}"] = gate
        designs.append({"name": trial.name, "frames": frames, "streams": _streams(design)})
    (folder / "bench.json").write_text(json.dumps({"designs": designs}))
    np.savez_compressed(folder / "golden.npz", allow_pickle=False, **arrays)  # type: ignore[arg-type]


def _streams(design: Design) -> list[dict[str, Any]]:
    return [
        {
            "name": stream.name,
            "unit": stream.producer[0],
            "beats": stream.port.beats,
            "lanes": stream.port.lanes,
        }
        for stream in design.streams
    ]


def _bytes(words: list[int], port: Port) -> np.ndarray:
    size = (port.width + 7) // 8
    raw = b"".join(word.to_bytes(size, "little") for word in words)
    return np.frombuffer(raw, np.uint8).reshape(len(words), size)
