"""Runs written Verilog under Verilator or Icarus through cocotb, and judges every stream."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ..codegen import runner
from ..codegen.bench import TESTBENCH, Trial, bench_verilog, write_vectors
from ..codegen.tools import cache_folder
from ..codegen.verilog import Rtl
from ..hw.beats import unpack
from ..hw.design import Design, figures
from ..models.fixed import Ints, ProgramError

ENGINES = ("verilator", "icarus")
Progress = Callable[[str], None]

POLL, TELL = 0.5, 5
"""Seconds between looks at a tool that runs, and at least between two lines about it."""

QUICK = 200_000
"""Cycles up to which a bench is built unoptimised: its compiler would take longer than its run."""

PATIENCE = {"build": 7200, "test": 900}
"""Seconds that a step may go on without any progress."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one design did in a simulator.

    wrong: differences by kind ("values", "cycles", "missing", "tlast"), all streams together.
    report: a sentence for each of the first ones.  outputs: (N, *shape), what the RTL gave, short
    if words are missing.  cycles: of each output transfer, from the first input transfer.
    streams: the same of each transfer of every stream, by name.  undefined: output beats with
    undefined bits, which stand as 0 in `outputs` and are wrong whatever was expected.
    """

    wrong: dict[str, int]
    report: list[str]
    outputs: Ints
    cycles: Ints
    streams: dict[str, Ints]
    undefined: list[int]

    @property
    def transfers(self) -> int:
        """Transfers compared with the schedule and the reference."""
        return sum(map(len, self.streams.values()))

    @property
    def right(self) -> bool:
        """True if every value and every cycle of every stream was right."""
        return not any(self.wrong.values())


@dataclass(frozen=True)
class Run:
    """Outcomes of one simulator run, and seconds spent building and running."""

    outcomes: list[Outcome]
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def simulate(
    trials: Sequence[Trial],
    engine: str,
    wave: Path | None = None,
    tell: Progress = lambda _: None,
) -> Run:
    """Run trials together in one simulator and compare every stream with the reference.

    wave: where to put the waveform (VCD from Verilator, FST from Icarus).  Raises
    ProgramError where a tool is missing or fails; differences are no error but an outcome.
    """
    check_engine(engine)
    _check_names(trials)
    start = time.perf_counter()
    build = _built(trials, engine, wave is not None and engine == "verilator", tell)
    built = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bitwright-") as name:
        cwd = Path(name)
        tell("computing the reference and the schedule")
        for trial in trials:
            for file, text in trial.rtl.memories.items():
                (cwd / file).write_text(text)
        write_vectors(trials, cwd)
        shutil.copy(TESTBENCH, cwd / "testbench.py")
        prepared = time.perf_counter()
        tell(f"simulating under {engine}")
        recorded = ["--waves"] if wave is not None else []
        _launch(engine, "test", build, cwd, ["--test=frames", *recorded], tell)
        outcomes = _outcomes(cwd, trials)
        if wave is not None:
            shutil.move(cwd / "wave.dump", wave)
    seconds = {
        "build": built - start,
        "reference": prepared - built,
        "simulate": time.perf_counter() - prepared,
    }
    return Run(outcomes, seconds)


def _check_names(trials: Sequence[Trial]) -> None:
    """Raise where two designs would share modules or memory files without being the same."""
    known: dict[str, Rtl] = {}
    for trial in trials:
        if known.setdefault(trial.rtl.top, trial.rtl) != trial.rtl:
            raise ProgramError(
                f"two designs of one bench are both called {trial.rtl.top!r}; "
                "give their programs different names"
            )


def check_engine(engine: str) -> None:
    """Raise unless `engine` is known and its tools are there."""
    if engine not in ENGINES:
        raise ProgramError(f"engine {engine!r} is none of {', '.join(ENGINES)}")
    if engine == "icarus" and shutil.which("iverilog") is None:
        raise ProgramError(
            "Icarus Verilog (iverilog) is not installed; install the package iverilog, or use "
            "--engine verilator"
        )
    for tool in ("g++", "make", "perl") if engine == "verilator" else ():
        if shutil.which(tool) is None:
            raise ProgramError(
                f"{tool} is not installed, and Verilator needs it; install it, or use "
                "--engine icarus"
            )


def _built(trials: Sequence[Trial], engine: str, waves: bool, tell: Progress) -> Path:
    """The folder of the compiled bench, from the cache where the same text was built before."""
    texts = {f"{trial.rtl.top}.v": trial.rtl.verilog for trial in trials}
    texts["bench.v"] = bench_verilog(trials)
    options = ["--waves"] if waves else []
    if engine == "verilator" and max(t.design.interval * len(t.inputs) for t in trials) <= QUICK:
        options.append("--quick")
    key = hashlib.sha256(
        json.dumps(
            [engine, options, *_tool_versions(), texts],
            sort_keys=True,
        ).encode()
        + Path(runner.__file__).read_bytes()
    ).hexdigest()[:32]
    builds = cache_folder() / "builds"
    builds.mkdir(parents=True, exist_ok=True)
    folder = builds / key
    with FileLock(builds / f"{key}.lock"):
        if folder.exists():
            return folder
        tell(f"building the simulator with {engine} (kept for the next time)")
        scratch = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=builds))
        try:
            for file, text in texts.items():
                (scratch / file).write_text(text)
            _launch(engine, "build", scratch, scratch, [*options, *sorted(texts)])
            scratch.replace(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


@cache
def _tool_versions() -> tuple[str, ...]:
    """What a build depends on besides its sources: another tool, another build."""
    icarus = ""
    if shutil.which("iverilog"):
        asked = ["iverilog", "-V"]
        icarus = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    first = icarus.partition("\n")[0]
    return (version("cocotb"), version("verilator"), first, sys.version, sys.executable)


def _launch(
    engine: str, step: str, build: Path, cwd: Path, options: Sequence[str],
    tell: Progress = lambda _: None,
) -> None:  # fmt: skip
    """Run a step of codegen/runner.py in a process of its own, whose environment it may change."""
    command = [sys.executable, runner.__file__, "--engine", engine, "--steps", step]
    command += ["--build-dir", str(build), *options]
    said = cwd / f"{step}.out"
    with said.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait(process, engine, step, cwd, tell)
        finally:
            if process.poll() is None:
                # The tools that it started too.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if step == "test" and not (cwd / "run.log").exists():
        raise ProgramError(f"{engine} did not start: {_tail(said, 3)}")
    if step == "build" and process.returncode:
        log = cwd / "build.log"
        raise ProgramError(
            f"{engine} could not build the bench: {_tail(log if log.exists() else said, 5)}"
        )


def _wait(
    process: subprocess.Popen[bytes], engine: str, step: str, cwd: Path, tell: Progress
) -> None:
    """Wait for a step's end, tell of its progress, and raise where it makes none for too long."""
    file, seen = cwd / "progress", ""
    moved = told = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
            return
        now, text = time.monotonic(), file.read_text() if file.exists() else ""
        if text != seen:
            seen, moved = text, now
            if text and now - told > TELL:
                done, total = map(int, text.split())
                tell(f"simulating under {engine}: cycle {done:,} of {total:,}")
                told = now
        if now - moved > PATIENCE[step]:
            raise ProgramError(
                f"{engine} made no progress for {PATIENCE[step]} seconds "
                f"({'building' if step == 'build' else 'simulating'}), and was ended; the design "
                "may loop within a cycle, or be too large for it"
            )


def _tail(log: Path, lines: int) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])


def _outcomes(cwd: Path, trials: Sequence[Trial]) -> list[Outcome]:
    """What the bench wrote down, in the order of the trials."""
    path = cwd / "results.json"
    if not path.exists():
        raise ProgramError(f"the simulation did not finish: {_tail(cwd / 'run.log', 5)}")
    results = json.loads(path.read_text())
    with np.load(cwd / "results.npz", allow_pickle=False) as arrays:
        return [_outcome(r, arrays, t) for r, t in zip(results, trials, strict=True)]


def _outcome(result: dict[str, Any], arrays: Any, trial: Trial) -> Outcome:
    design = trial.design
    values = unpack(arrays[f"{trial.name}/words"], design.output).reshape(-1)
    shape = design.program.output.shape
    frames = len(values) // design.program.output.elements
    outputs = values[: frames * design.program.output.elements].reshape(frames, *shape)
    happened = {s.name: arrays[f"{trial.name}/cycles/{s.name}"] for s in design.streams}
    first = happened[design.streams[0].name]
    start = int(first[0]) if len(first) else 0
    streams = {name: cycles - start for name, cycles in happened.items()}
    cycles = streams[design.streams[-1].name]
    return Outcome(result["wrong"], result["report"], outputs, cycles, streams, result["undefined"])


def measured(outcome: Outcome, design: Design) -> dict[str, int | None] | None:
    """The three figures of a run, or None where output is missing."""
    beats = design.output.beats
    if len(outcome.cycles) < beats:
        return None
    return figures(outcome.cycles, beats)
