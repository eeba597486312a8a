"""A folder that holds an accelerator: Verilog, memory files, bench, golden vectors, manifest.

The folder is complete or absent: it is built beside its place and renamed.  The same design gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.design import Design, figures
from ..models.border import Border
from ..models.fixed import Ints, ProgramError
from ..models.memory import forms
from ..models.program import Edge
from . import runner
from .bench import TESTBENCH, Trial, bench_verilog, write_vectors
from .verilog import Rtl, write_rtl

MANIFEST = "manifest.json"
FORMAT = "bitwright.project"
FRAMES = 4

_README = """\
# {top}

Plain Verilog of the accelerator `{top}` and the bench that checks it.

- `{top}.v`: the design; its top level has one AXI4-Stream input and one output.
- `*.hex`: weights and tables, read by `$readmemh` from the working directory.
- `manifest.json`: shapes, ranges, folding, promised cycles, hashes.
- `bench.v`, `testbench.py`, `bench.json`, `golden.npz`: the bench and its golden vectors.

Check every value of every stream, and the cycle of every transfer (needs Python with cocotb and
numpy, and the simulator):

    python runner.py --engine verilator
    python runner.py --engine icarus
"""


def generate(design: Design, out: Path) -> dict[str, Any]:
    """Write the project of a design to the folder `out` and return its manifest.

    `out` may be absent, empty, or an earlier project, which is replaced; anything else is refused.
    """
    _check_target(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        manifest = _write(design, scratch)
        scratch.chmod(0o755)
        _swap(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def _check_target(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ProgramError(f"{out} is a file; give a folder that is new, empty or an old project")
    if not any(out.iterdir()):
        return
    try:
        known = json.loads((out / MANIFEST).read_text())["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ProgramError(
            f"the folder {out} holds other files; give one that is new, empty or an old project"
        )


def _swap(scratch: Path, out: Path) -> None:
    """Put the new folder in place of the old one, which goes last."""
    if not out.exists():
        scratch.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    out.rename(old / "project")
    try:
        scratch.rename(out)
    except BaseException:
        # An interruption too must not cost the earlier project.
        (old / "project").rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _write(design: Design, folder: Path) -> dict[str, Any]:
    rtl = write_rtl(design)
    trial = Trial("dut", design, rtl, sample_frames(design.program.input, FRAMES), {})
    (folder / f"{rtl.top}.v").write_text(rtl.verilog)
    for name, text in rtl.memories.items():
        (folder / name).write_text(text)
    (folder / "bench.v").write_text(bench_verilog([trial]))
    write_vectors([trial], folder)
    for source in (TESTBENCH, Path(runner.__file__)):
        shutil.copyfile(source, folder / source.name)
    (folder / "README.md").write_text(_README.format(top=rtl.top))
    manifest = describe(design, rtl)
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    manifest["files"] = files
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def sample_frames(edge: Edge, frames: int, seed: int = 0) -> Ints:
    """Seeded random frames over an edge's whole range, for golden vectors."""
    rng = np.random.default_rng(seed)
    values = rng.integers(edge.lo, edge.hi, (frames, *edge.shape), endpoint=True)
    return np.where(values >= 0, 1, -1) if edge.step == 2 else values


def describe(design: Design, rtl: Rtl) -> dict[str, Any]:
    """The manifest: everything a user of the folder needs to know, without its file hashes."""
    program = design.program
    arrivals = design.schedule(FRAMES)[design.streams[-1].name]
    return {
        "format": FORMAT,
        "program": program.name,
        "top": rtl.top,
        "input": _port(program.input, design.input.lanes),
        "output": _port(program.output, design.output.lanes),
        "borders": {
            "input": _border(program.input_border, program.input),
            "output": _border(program.output_border, program.output),
        },
        "folding": {n: {"pe": f.pe, "simd": f.simd} for n, f in design.folds.items()},
        "buffers": dict(design.depths),
        "cycles": {"frames": FRAMES, **figures(arrivals, design.output.beats)},
        "limiting": design.limiting,
        "modules": {i.name: i.layer for i in design.instances},
        # Of an imported model: what each of its roundings became; every form is exact.
        "forms": forms(program),
        "hashes": {"program": program.digest, "verilog": _digest(rtl.verilog)},
        "tools": {name: version(name) for name in ("bitwright", "amaranth", "cocotb", "numpy")},
    }


def _port(edge: Edge, lanes: int) -> dict[str, Any]:
    grid = edge.grid
    return {
        "shape": list(edge.shape),
        "range": [grid.lo, grid.hi],
        "step": grid.step,
        "bits": grid.bits,
        "lanes": lanes,
    }


def _border(border: Border, edge: Edge) -> dict[str, Any]:
    """How the integers at a port stand for the model's own numbers, and in which layout."""
    return {
        "scale": [f"{f.numerator}/{f.denominator}" for f in border.scale],
        "offset": [f"{f.numerator}/{f.denominator}" for f in border.offset],
        "rounding": border.rounding,
        "shape": list(border.own_shape(edge)),
        "axes": list(border.axes or range(len(edge.shape))),
        "finish": border.finish,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
