"""The bench around written designs: Verilog for simulation only, and golden vectors.

Data moves inside Verilog, in bulk: sources, sinks and checkers read binary files, which the bench
in Python (`testbench.py`) writes from the golden vectors before it starts them.  What a checker
finds as it must be leaves no trace, so that a long run costs no more than the design itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.beats import pack
from ..hw.design import SINK, SOURCE, Design
from ..models.fixed import Ints
from .top import data_width
from .verilog import Rtl

TESTBENCH = Path(__file__).with_name("testbench.py")

# Names with two underscores, which no program has, keep these apart from designs.
_MODULES = """\
`timescale 1ns/1ps

// Offers words, begins to in cycles where its gate is open, and holds each until it is taken.
// NAME.source holds a record for each: a byte that is the last flag, and the word.
// NAME.source.gate holds a byte for each cycle from reset's end: 0 is closed; beyond it is open.
module bench__source #(parameter NAME = "", parameter WIDTH = 8) (
  input clock, input reset, input ready,
  output reg valid, output reg [WIDTH-1:0] data, output reg last
);
  reg [WIDTH+7:0] record;
  integer file, gates, open, got;
  initial begin valid = 0; data = 0; last = 0; file = 0; gates = 0; open = 1; got = 0; end
  always @(posedge clock) begin
    if (reset) begin
      if (file != 0) $fclose(file);
      if (gates != 0) $fclose(gates);
      file = $fopen({NAME, ".source"}, "rb");
      gates = $fopen({NAME, ".source.gate"}, "rb");
      open = 1;
      got = $fread(record, file);
    end
    if (open != -1) open = $fgetc(gates);
    if (reset || !valid || ready) begin
      valid <= 0;
      if (open != 0 && got == WIDTH / 8 + 1) begin
        valid <= 1;
        data <= record[WIDTH-1:0];
        last <= record[WIDTH];
        got = $fread(record, file);
      end
    end
  end
endmodule

// Is ready in cycles where its gate, NAME.sink.gate, is open.
module bench__sink #(parameter NAME = "") (input clock, input reset, output reg ready);
  integer gates, open;
  initial begin ready = 0; gates = 0; open = 1; end
  always @(posedge clock) begin
    if (reset) begin
      if (gates != 0) $fclose(gates);
      gates = $fopen({NAME, ".sink.gate"}, "rb");
      open = 1;
    end
    if (open != -1) open = $fgetc(gates);
    ready <= open != 0;
  end
endmodule

// Compares each transfer with the next record of NAME.STREAM: its cycle (4 bytes) and its word.
// Of those that differ it writes "STREAM NUMBER CYCLE WORD", and at the end "STREAM TRANSFERS".
module bench__check #(parameter NAME = "", parameter STREAM = "", parameter WIDTH = 8) (
  input clock, input reset, input finish, input [31:0] cycle, input [31:0] log,
  input moves, input [WIDTH-1:0] word
);
  localparam BYTES = (WIDTH + 7) / 8;
  reg [8*BYTES+31:0] record, happened;
  integer file, got, count;
  initial begin file = 0; got = 0; count = 0; end
  always @(posedge clock)
    if (reset) begin
      if (file != 0) $fclose(file);
      file = $fopen({NAME, ".", STREAM}, "rb");
      got = $fread(record, file);
      count = 0;
    end else if (moves) begin
      happened = word;
      happened[8*BYTES+31:8*BYTES] = cycle;
      if (got != BYTES + 4 || record !== happened)
        $fwrite(log, "%0s %0d %0d %h\\n", STREAM, count, cycle, word);
      got = $fread(record, file);
      count = count + 1;
    end
  always @(posedge finish) begin
    $fwrite(log, "%0s %0d\\n", STREAM, count);
    $fflush(log);
  end
endmodule

"""


@dataclass(frozen=True, eq=False)
class Trial:
    """One design of a bench, with the frames to feed and the stall patterns at both ends."""

    name: str
    design: Design
    rtl: Rtl
    inputs: Ints
    gates: Mapping[str, np.ndarray]


def bench_verilog(trials: Sequence[Trial]) -> str:
    """The module `bench`: all designs under one clock and reset, each stream with its checker.

    Cycles count from the end of reset, at which every source, sink and checker begins anew.  A
    rising `finish` completes the logs.  Nothing here depends on frames, weights or stalls.
    """
    parts = [
        "module bench(input aclk, input aresetn, input finish);",
        '  initial if ($test$plusargs("wave")) begin',
        '    $dumpfile("wave.dump");',
        "    $dumpvars(0, bench);",
        "  end",
        "  reg [31:0] bench__cycle;",
        "  always @(posedge aclk) bench__cycle <= aresetn ? bench__cycle + 1 : 0;",
    ]
    parts += [_instance(trial) for trial in trials]
    return _MODULES + "\n".join([*parts, "endmodule", ""])


def _instance(trial: Trial) -> str:
    name, design = trial.name, trial.design
    into, out = data_width(design.input), data_width(design.output)
    signals = (
        ("s_axis_tvalid", 1),
        ("s_axis_tready", 1),
        ("s_axis_tdata", into),
        ("s_axis_tlast", 1),
        ("m_axis_tvalid", 1),
        ("m_axis_tready", 1),
        ("m_axis_tdata", out),
        ("m_axis_tlast", 1),
        ("error", 1),
    )
    lines = [f"  wire [{width - 1}:0] {name}_{signal};" for signal, width in signals]
    ports = ", ".join(f".{signal}({name}_{signal})" for signal, _ in signals)
    source = ", ".join(f"{name}_s_axis_t{signal}" for signal in ("ready", "valid", "data", "last"))
    lines += [
        f"  {trial.rtl.top} {name} (.aclk(aclk), .aresetn(aresetn), {ports});",
        f'  bench__source #("vectors/{name}", {into}) {name}_source (aclk, !aresetn, {source});',
        f'  bench__sink #("vectors/{name}") {name}_sink (aclk, !aresetn, {name}_m_axis_tready);',
        f"  integer {name}_log;",
        f"  initial {name}_log = 0;",
        "  always @(posedge aclk) if (!aresetn) begin",
        f"    if ({name}_log != 0) $fclose({name}_log);",
        f'    {name}_log = $fopen("vectors/{name}.log", "w");',
        "  end",
    ]
    for k, stream in enumerate(design.streams):
        tap, size = f"{name}.{stream.name}", stream.port.width
        moves, word = f"{tap}_valid && {tap}_ready", f"{tap}_data"
        if stream is design.streams[-1]:
            # The port itself, with padding and the last flag in a byte of its own.
            moves, size = f"{name}_m_axis_tvalid && {name}_m_axis_tready", out + 8
            word = f"{{7'd0, {name}_m_axis_tlast, {name}_m_axis_tdata}}"
        lines.append(
            f'  bench__check #("vectors/{name}", "{k}", {size}) {name}_check{k} (aclk, !aresetn,'
            f" finish, bench__cycle, {name}_log, {moves}, {word});"
        )
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
            arrays[key.format("words")] = pack(values[stream.edge], stream.port)
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
