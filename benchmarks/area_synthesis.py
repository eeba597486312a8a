"""Areas of many designs by Yosys: several in one process, each cached by its content.

Reading a family's library takes Yosys longer than a small unit does, so a process reads it once and
goes through a batch.  Results lie under ~/.cache/bitwright/area, by the Verilog, its memory files,
the rules of counting and Yosys' version.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from bitwright.codegen.synth import (
    FAMILIES,
    RELAXED,
    RESOURCES,
    Area,
    counted,
    find_yosys,
    yosys_version,
)
from bitwright.codegen.verilog import Rtl

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bitwright" / "area"
BATCH = 6
SECONDS = 3600
AFTER_LIBRARY = {"ecp5": "coarse", "ice40": "flatten", "gowin": "coarse", "xc7": "prepare"}
"""The label of a family's script at which the design is there and the library has been read."""
XC7_BLOCKS = "+/xilinx/brams_xc6v_map.v"
XC7_LIBMAP = (
    "memory_libmap -logic-cost-rom 0.015625 -lib +/xilinx/lutrams_xc5v.txt "
    "-lib +/xilinx/brams_xc4v.txt -D HAS_SIZE_36 -D HAS_CASCADE -D HAS_MIXWIDTH_SDP -no-auto-huge"
)
"""The step of `synth_xilinx -family xc7` that places memories."""
MAP_OPTIONS = "-nooverwrite -noblackbox -icells"
"""How `techmap` reads its maps."""


def areas(designs: list[Rtl], family: str, jobs: int, delay: int | None = RELAXED) -> list[Area]:
    """The areas in their order, with progress on standard error; delay: as in `synth`."""
    files = [_entry(rtl, family, delay) for rtl in designs]
    missing = [pair for pair in zip(designs, files, strict=True) if not pair[1].is_file()]
    batches = [missing[k : k + BATCH] for k in range(0, len(missing), BATCH)]
    print(f"{family}: {len(missing)} of {len(designs)} to synthesise", file=sys.stderr, flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        for number, _ in enumerate(pool.map(lambda b: _run(b, family, delay), batches), 1):
            print(f"{family}: batch {number} of {len(batches)}", file=sys.stderr, flush=True)
    return [Area(**json.loads(file.read_text())) for file in files]


def _entry(rtl: Rtl, family: str, delay: int | None) -> Path:
    target = FAMILIES[family]
    command = f"{target.command} {target.bare}".strip()
    rules = [command, *(getattr(target, resource) for resource in RESOURCES)]
    text = json.dumps(
        [rtl.top, rtl.verilog, rtl.memories, rules, yosys_version(), delay], sort_keys=True
    )
    return CACHE / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _run(batch: Iterable[tuple[Rtl, Path]], family: str, delay: int | None) -> None:
    """Synthesise a batch in one process and write its results into the cache."""
    given = list(batch)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bitwright-") as name:
        folder = Path(name)
        for number, (rtl, _) in enumerate(given):
            place = folder / f"{number}"
            place.mkdir()
            for file, text in {f"{rtl.top}.v": rtl.verilog, **rtl.memories}.items():
                place.joinpath(file).write_text(text)
        folder.joinpath("empty.v").write_text("module empty; endmodule\n")
        folder.joinpath("batch.ys").write_text(
            _script([rtl.top for rtl, _ in given], family, delay)
        )
        done = subprocess.run(
            [str(find_yosys()), "-q", "-s", "batch.ys"],
            cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr or done.stdout)
        each = round((time.perf_counter() - start) / len(given), 2)
        found = [counted(folder / f"{k}.json", family, each) for k in range(len(given))]
    for (_, file), area in zip(given, found, strict=True):
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(asdict(area)))
        part.replace(file)


def _script(tops: list[str], family: str, delay: int | None) -> str:
    """The library is read beside an empty module, and kept for every design."""
    target, after = FAMILIES[family], AFTER_LIBRARY[family]
    command = f"{target.command} {target.bare}"
    lines = [
        f"scratchpad -set abc9.D {delay}" if delay else "",
        "read_verilog empty.v",
        f"{command} -top empty -run begin:{after}",
        "delete empty",
        "design -save library",
    ]
    if family == "xc7":
        lines += [
            "design -reset",
            f"read_verilog {MAP_OPTIONS} {XC7_BLOCKS}",
            "design -save blocks",
        ]
    for number, top in enumerate(tops):
        lines += [
            "design -load library",
            f"read_verilog {number}/{top}.v",
            f"hierarchy -check -top {top}",
            "proc",
            *_mapped(f"{command} -top {top} -run", family),
            f"tee -q -o {number}.json stat -json",
        ]
    return "\n".join(lines) + "\n"


def _mapped(command: str, family: str) -> list[str]:
    """The family's own script; for Xilinx 7 its block RAMs are read once, which takes seconds."""
    after = AFTER_LIBRARY[family]
    if family != "xc7":
        return [f"{command} {after}:"]
    return [
        f"{command} {after}:map_memory",
        XC7_LIBMAP,
        "techmap -map +/xilinx/lutrams_xc5v_map.v",
        "techmap -map %blocks",
        f"{command} map_ffram:",
    ]
