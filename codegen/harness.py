"""A frame of registers around a design, so that it fits any package and keeps all of its logic.

Three pins are left: `clk`, `d`, `q`.  All inputs but the clock are a shift register filled from
`d`; every output has a register of its own, and these are folded into a shift register of XORs that
ends in `q`.  So each output bit is seen, each input bit is free, and every path of the design runs
from register to register, as it does inside a larger design.  The harness' own paths are a register
to the next, through one XOR at most.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..models.fixed import ProgramError

CLOCKS = ("aclk", "clk")
INSTANCE = "dut"
PINS = ("clk", "d", "q")


@dataclass(frozen=True)
class TopPort:
    """A port of a top module."""

    name: str
    direction: str
    width: int


def ports(verilog: str, top: str) -> list[TopPort]:
    """The ports of a module, read from Verilog as `codegen.verilog` writes it."""
    header = re.search(rf"^module {re.escape(top)} \((.*?)^\);", verilog, re.DOTALL | re.MULTILINE)
    if header is None:
        raise ProgramError(f"there is no module {top!r} in the Verilog; generate it again")
    found = re.findall(r"(input|output)(?: reg)? (?:\[(\d+):0\] )?(\w+)", header.group(1))
    return [TopPort(name, way, int(high or 0) + 1) for way, high, name in found]


def harness(top: str, of: list[TopPort]) -> str:
    """Verilog of `TOP_harness` around a black box of `top`."""
    inputs = [p for p in of if p.direction == "input" and p.name not in CLOCKS]
    outputs = [p for p in of if p.direction == "output"]
    if not inputs or not outputs:
        raise ProgramError(
            f"module {top!r} has no inputs or no outputs, so that nothing can be measured; give "
            "one that has both"
        )
    wires = [
        *(f".{p.name}(clk)" for p in of if p.name in CLOCKS),
        *_slices("driven", inputs),
        *_slices("seen", outputs),
    ]
    box = ", ".join(f"{p.direction} [{p.width - 1}:0] {p.name}" for p in of)
    into, out = (sum(p.width for p in side) - 1 for side in (inputs, outputs))
    return f"""\
(* blackbox *)
module {top} ({box});
endmodule

module {top}_harness (input clk, input d, output q);

  reg [{into}:0] driven;
  wire [{out}:0] seen;
  reg [{out}:0] held;
  reg [{out}:0] folded;

  always @(posedge clk) begin
    driven <= {{driven, d}};
    held <= seen;
    folded <= {{folded, 1'b0}} ^ held;
  end
  assign q = folded[{out}];

  {top} {INSTANCE} (
    {", ".join(wires)}
  );

endmodule
"""


def _slices(vector: str, of: list[TopPort]) -> list[str]:
    made: list[str] = []
    low = 0
    for port in of:
        made.append(f".{port.name}({vector}[{low + port.width - 1}:{low}])")
        low += port.width
    return made
