"""Spoilt ONNX files before the importer: each is read or refused in a sentence, and nothing else.

Nothing else is: another exception or a warning, a sentence with unprintable characters, more than
`SECONDS`, more than `MEMORY` bytes above what the process has anyway, a crash, a file left behind.
Such a case is written to a folder under its seed.

    python -m bitwright.sim.fuzz_onnx --count 20000
    python -m bitwright.sim.fuzz_onnx --replay SEED
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..models.fixed import ProgramError
from .spoil import models, variant

SECONDS = 5.0
MEMORY = 1 << 30
START_SECONDS = 120.0
"""For a worker to import everything, on a busy machine."""
WORDS_MAX = 3000
ENTRY = "bitwright.models.onnx.load:load"

READ, REFUSED = "read", "refused"
FINDINGS = ("traceback", "words", "hang", "memory", "crash", "litter")
OUTCOMES = (READ, REFUSED, *FINDINGS)


@dataclass(frozen=True)
class Case:
    """What became of one seed; `told` is the sentence, or the traceback."""

    seed: int
    outcome: str
    told: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"seed {self.seed} ({variant(self.seed)[0]}): {self.outcome}\n{self.told}"


@dataclass(frozen=True)
class Campaign:
    """What became of many seeds; campaigns add up."""

    counts: Counter[str] = field(default_factory=Counter[str])
    sentences: Counter[str] = field(default_factory=Counter[str])
    """Refusals, with names and numbers left out."""
    findings: tuple[Case, ...] = ()
    slowest: float = 0.0

    def __add__(self, other: Campaign) -> Campaign:
        return Campaign(
            self.counts + other.counts,
            self.sentences + other.sentences,
            tuple(sorted(self.findings + other.findings, key=lambda case: case.seed)),
            max(self.slowest, other.slowest),
        )

    @classmethod
    def of(cls, case: Case) -> Campaign:
        """The campaign of one case."""
        sentences = Counter([_shape(case.told)] if case.outcome == REFUSED else [])
        findings = (case,) if case.outcome in FINDINGS else ()
        return cls(Counter([case.outcome]), sentences, findings, case.seconds)


def _shape(sentence: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|-?\d+(\.\d+)?|\([^()]*\)", "_", sentence)


# Inside a worker.


def work(entry: str) -> None:
    """Answer every seed on standard input with one line of JSON, within the limits."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    function = _resolve(entry)
    folder = Path(tempfile.mkdtemp(dir="."))
    for data in models().values():  # what is loaded on first use is no case's memory
        _judge(function, folder, data)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    answers.write("ready\n")
    for line in sys.stdin:
        start = time.perf_counter()
        outcome, told = _judge(function, folder, variant(int(line))[1])
        seconds = time.perf_counter() - start
        answers.write(json.dumps([outcome, told, seconds]) + "\n")


def _resolve(entry: str) -> Callable[[Path], Any]:
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)


def _judge(function: Callable[[Path], Any], folder: Path, data: bytes) -> tuple[str, str]:
    path = folder / "model.onnx"
    path.write_bytes(data)
    outcome, told = _called(function, path)
    if os.listdir(folder) != [path.name]:  # noqa: PTH208  # names, not paths
        return "litter", ", ".join(sorted(os.listdir(folder)))  # noqa: PTH208
    return outcome, told


def _called(function: Callable[[Path], Any], path: Path) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            function(path)
    except ProgramError as error:
        return _refused(str(error), path)
    except MemoryError:
        return "memory", traceback.format_exc()
    except Exception:  # noqa: BLE001  # whatever it raises is a finding
        return "traceback", traceback.format_exc()
    return READ, ""


def _refused(sentence: str, path: Path) -> tuple[str, str]:
    """A refusal is one printable line that begins with the path."""
    start = f"{path}: "
    proper = sentence.startswith(start) and sentence.isprintable() and len(sentence) <= WORDS_MAX
    return REFUSED if proper else "words", sentence.removeprefix(start) if proper else sentence


# Outside.


class Worker:
    """A process that judges seeds, started anew after a case that ended it."""

    def __init__(self, entry: str, folder: str):
        self.entry, self.folder = entry, folder
        self.process: subprocess.Popen[str] | None = None

    def judge(self, seed: int) -> Case:
        """Have one seed judged; a worker that does not answer in time is ended."""
        process = self.process or self._start()
        assert process.stdin is not None
        process.stdin.write(f"{seed}\n")
        process.stdin.flush()
        try:
            answer = self._answer(process, SECONDS)
        except TimeoutError:
            self.stop()
            return Case(seed, "hang", f"no answer in {SECONDS} s", SECONDS)
        if not answer:
            status = process.wait()
            self.stop()
            return Case(seed, "crash", f"the process ended with status {status}")
        return Case(seed, *json.loads(answer))

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bitwright.sim.fuzz_onnx", "--work", "--entry", self.entry]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        process = self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment,
        )
        if self._answer(process, START_SECONDS) != "ready\n":
            raise RuntimeError(f"the worker does not start: {' '.join(command)}")
        return process

    @staticmethod
    def _answer(process: subprocess.Popen[str], seconds: float) -> str:
        """The next line, or nothing where the process has ended."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise TimeoutError
        return process.stdout.readline()

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def run(seeds: Sequence[int], entry: str = ENTRY, workers: int = 2) -> Campaign:
    """Judge every seed, in `workers` processes."""

    def share(mine: Iterable[int]) -> Campaign:
        worker = Worker(entry, folder)
        try:
            return sum((Campaign.of(worker.judge(seed)) for seed in mine), Campaign())
        finally:
            worker.stop()

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(share, [seeds[n::workers] for n in range(workers)]), Campaign())


def keep(findings: Iterable[Case], folder: Path) -> None:
    """Write the file of each finding under its seed, and what became of it beside."""
    for case in findings:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{case.seed}.onnx").write_bytes(variant(case.seed)[1])
        (folder / f"{case.seed}.txt").write_text(f"{case}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign or replay one seed; 1 where there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m bitwright.sim.fuzz_onnx")
    parser.add_argument("--count", type=int, default=1000, help="files (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path("onnx-findings"), help="for findings")
    parser.add_argument("--entry", default=ENTRY, help="the function, as module:name")
    parser.add_argument("--replay", type=int, metavar="SEED", help="judge one seed and show it")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        work(options.entry)
        return 0
    start = time.perf_counter()
    first = options.seed if options.replay is None else options.replay
    seeds = range(first, first + (options.count if options.replay is None else 1))
    campaign = run(seeds, options.entry, options.workers)
    keep(campaign.findings, options.folder)
    _tell(campaign, time.perf_counter() - start, options.folder)
    return 1 if campaign.findings else 0


def _tell(campaign: Campaign, seconds: float, folder: Path) -> None:
    print(", ".join(f"{outcome} {campaign.counts[outcome]}" for outcome in OUTCOMES))
    print(
        f"{campaign.counts.total()} files in {seconds:.1f} s, the slowest {campaign.slowest:.2f} "
        f"s, {len(campaign.sentences)} different refusals"
    )
    for sentence, count in campaign.sentences.most_common(12):
        print(f"{count:7} {sentence}")
    for case in campaign.findings[:8]:
        print(case)
    if campaign.findings:
        print(f"their files are in {folder}; replay one with --replay SEED")


if __name__ == "__main__":
    sys.exit(main())
