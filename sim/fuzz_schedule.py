"""Random stalled accelerators whose every transfer must happen in the cycle that is promised.

Two witnesses: the written Verilog under Verilator and under Icarus.  Each must show the values of
the definition and the cycles of the schedule in every stream, with stalls at both ends.

    python -m bitwright.sim.fuzz_schedule --count 2000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ..codegen.bench import Trial
from ..codegen.verilog import write_rtl
from ..models.fixed import ProgramError
from . import rtl
from .features import features
from .random_program import Case, draw_stalled

BATCH = 50
"""Designs in one simulator build."""
COUNTED = ("branch", "stalls at the source", "stalls at the sink", "deep buffer")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Tally:
    """What came out of many designs; tallies add up.

    counts: "designs", those with each of `COUNTED` and with "least buffers".  transfers and
    differences: by engine, transfers compared, and those wrong in value or cycle or missing.
    failures: a line for each design that differs.
    """

    counts: Counter[str]
    transfers: Counter[str]
    differences: Counter[str]
    seconds: Counter[str]
    failures: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.counts + other.counts,
            self.transfers + other.transfers,
            self.differences + other.differences,
            self.seconds + other.seconds,
            self.failures + other.failures,
        )


def compare(cases: Sequence[Case], engines: Sequence[str]) -> Tally:
    """Run the Verilog of all cases, in one build for each engine, and count what differs."""
    counts = Counter(feature for case in cases for feature in features(case) & {*COUNTED})
    counts["designs"] = len(cases)
    counts["least buffers"] = sum(case.seed // 2 % 2 for case in cases)
    total = Tally(counts, Counter(), Counter(), Counter())
    trials = [
        Trial(f"d{k}", case.design, write_rtl(case.design), case.inputs, case.gates)
        for k, case in enumerate(cases)
    ]
    for engine in engines:
        start = time.perf_counter()
        found = rtl.simulate(trials, engine)
        seconds = Counter({engine: time.perf_counter() - start})
        for case, outcome in zip(cases, found.outcomes, strict=True):
            wrong = sum(outcome.wrong.values())
            lines = (f"seed {case.seed}, {engine}: {outcome.report[0]}",) if wrong else ()
            total += Tally(
                Counter(),
                Counter({engine: outcome.transfers}),
                Counter({engine: wrong}),
                Counter(),
                lines,
            )
        total += Tally(Counter(), Counter(), Counter(), seconds)
    return total


def run(seeds: Sequence[int], engines: Sequence[str], jobs: int, tell: Tell) -> Tally:
    """Compare the designs of all seeds, in batches, `jobs` of them at a time."""
    size = max(1, min(BATCH, -(-len(seeds) // jobs)))
    batches = [seeds[k : k + size] for k in range(0, len(seeds), size)]
    total = Tally(Counter(), Counter(), Counter(), Counter())
    start = time.perf_counter()
    for done, part in enumerate(_all(batches, engines, jobs), 1):
        total += part
        tell(
            f"batch {done} of {len(batches)}: {total.counts['designs']} designs, "
            f"{len(total.failures)} differ, {time.perf_counter() - start:.0f} s"
        )
        for failure in part.failures:
            tell(failure)
    return total


def _all(batches: Sequence[Sequence[int]], engines: Sequence[str], jobs: int) -> Iterator[Tally]:
    if jobs == 1 or len(batches) == 1:
        yield from (_batch(batch, engines) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        for future in as_completed(pool.submit(_batch, batch, engines) for batch in batches):
            yield future.result()


def _batch(seeds: Sequence[int], engines: Sequence[str]) -> Tally:
    start = time.perf_counter()
    cases = [draw_stalled(seed) for seed in seeds]
    drawn = Counter({"draw": time.perf_counter() - start})
    # No build is wanted a second time: they are not kept among those that are.
    kept = os.environ.get("BITWRIGHT_CACHE")
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        os.environ["BITWRIGHT_CACHE"] = str(Path(folder))
        try:
            total = compare(cases, engines)
        finally:
            if kept is None:
                del os.environ["BITWRIGHT_CACHE"]
            else:
                os.environ["BITWRIGHT_CACHE"] = kept
    return total + Tally(Counter(), Counter(), Counter(), drawn)


def summary(total: Tally) -> str:
    """The result in a few lines."""
    counts = total.counts
    kinds = (
        f"{counts['branch']} with branches",
        f"{counts['stalls at the source']} with stalls at the source",
        f"{counts['stalls at the sink']} at the sink",
        f"{counts['least buffers']} with least buffers",
        f"{counts['deep buffer']} with a deep one",
    )
    lines = [f"{counts['designs']} designs: {', '.join(kinds)}"]
    lines += [
        f"{engine}: {transfers} transfers compared with the schedule and the definition, "
        f"{total.differences[engine]} differences"
        for engine, transfers in total.transfers.items()
    ]
    each = ", ".join(
        f"{name} {1000 * seconds / max(1, counts['designs']):.0f}"
        for name, seconds in total.seconds.items()
    )
    right = counts["designs"] - len({line.partition(",")[0] for line in total.failures})
    share = 100 * right / max(1, counts["designs"])
    lines.append(f"milliseconds a design: {each}")
    lines.append(f"schedule = RTL in {right} of {counts['designs']} designs ({share:g} %)")
    return "\n".join(lines)


def _document(total: Tally, first: int) -> str:
    return json.dumps(
        {
            "seed": first,
            "counts": dict(sorted(total.counts.items())),
            "transfers": dict(total.transfers),
            "differences": {engine: total.differences[engine] for engine in total.transfers},
            "failures": list(total.failures),
            "seconds": {name: round(value, 3) for name, value in total.seconds.items()},
        }
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bitwright.sim.fuzz_schedule",
        description="Random stalled accelerators: the schedule against both simulators.",
    )
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="how many designs")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument(
        "--engine", action="append", choices=rtl.ENGINES, help="a simulator (default: both)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.jobs < 1 or options.seed < 0:
        parser.error("--count and --jobs are 1 or more, --seed is 0 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare as the command line says: 0 if all agree, 1 if not, 2 for what cannot be run."""
    options = _options(arguments)
    engines = tuple(options.engine or rtl.ENGINES)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        for engine in engines:
            rtl.check_engine(engine)
        seeds = range(options.seed, options.seed + options.count)
        total = run(seeds, engines, options.jobs, tell)
    except ProgramError as error:
        tell(f"error: {error}")
        return 2
    print(_document(total, options.seed) if options.json else summary(total))
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
