"""The demonstration: python -m bitwright.demo [--out DIR] [--frames N] [--json].

Two networks on real images of handwritten digits, from trained weights to Verilog of which every
value and every cycle is checked in two simulators, and a report.  Every figure is computed in the
run.  Exit codes: 0 everything agrees, 1 something differs, 2 bad input or a missing tool, 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bitwright import api
from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import Rtl, write_rtl
from bitwright.hw.design import Design, figures
from bitwright.models import zoo
from bitwright.models.fixed import Ints, ProgramError
from bitwright.models.program import Program
from bitwright.models.zoo import digits
from bitwright.sim import kernels, rtl
from bitwright.sim.compare import area_error, compare_designs
from bitwright.sim.report import NetworkRun, Simulation, write_report

AGREES, DIFFERS, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
ENGINES = ("icarus", "verilator")
"""The slower one first: two at a time end sooner."""
STALL, SEED = 0.25, 1
STALLED_FRAMES = {"icarus": 8, "verilator": 32}
"""At most so many frames with stalls: Icarus takes most of the time."""
JOBS = 2
"""Simulators that run at once."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Example:
    """A network of the demonstration; `make` returns its program and its float accuracy."""

    title: str
    about: str
    cycles_per_frame: int
    make: Callable[[digits.Split], tuple[Program, float | None]]


@dataclass(frozen=True, eq=False)
class Built:
    """A network whose Verilog is written.

    x: the frames to simulate; reference: what the definitions make of them; kernel_differences:
    values of these frames that the Numba kernels give otherwise.
    """

    example: Example
    design: Design
    written: Rtl
    x: Ints
    reference: Ints
    kernel_differences: int
    float_accuracy: float | None
    accuracy: float
    images: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Demonstration:
    """What came out, and where the report is."""

    runs: Sequence[NetworkRun]
    kernel_differences: int
    report: Path
    seconds: float

    @property
    def agrees(self) -> bool:
        """True if nothing differs anywhere."""
        simulations = [s for run in self.runs for s in run.simulations]
        return not self.kernel_differences and all(s.agrees for s in simulations)

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "agrees": self.agrees,
            "kernel_differences": self.kernel_differences,
            "networks": [_as_json(run) for run in self.runs],
            "report": str(self.report),
            "seconds": self.seconds,
        }


def _as_json(run: NetworkRun) -> dict[str, Any]:
    return {
        "network": run.title,
        "float_accuracy": run.float_accuracy,
        "accuracy": run.accuracy,
        "images": run.images,
        "interval": run.design.interval,
        "limiting": run.design.limiting,
        "simulations": [asdict(simulation) for simulation in run.simulations],
        "seconds": dict(run.seconds),
    }


@dataclass(frozen=True)
class Steps:
    """Says what is done, and keeps how long it took."""

    tell: Tell
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, name: str) -> Generator[None, None, None]:
        """Tell and time what is done under `with`."""
        self.tell(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def compressed(split: digits.Split) -> tuple[Program, float | None]:
    """Compress the convolutional network to one bit per weight, by training images alone."""
    network = zoo.networks()["digits-cnn"].load()
    program = api.compress(network, split.calibration_x, weights="bwnh", activations=8)
    return program, api.top_1(network(split.test_x), split.test_y)


def binary(split: digits.Split) -> tuple[Program, float | None]:
    """Load the network that was trained with one-bit weights; it has no float form."""
    return api.load("digits-binary"), None


EXAMPLES = (
    Example(
        "Convolutional network (BWNH)",
        "Three convolutions and a dense layer, trained in float, then compressed by BWNH (binary "
        "weight networks via hashing): 1 bit per weight, 8-bit activations.",
        1024,
        compressed,
    ),
    Example(
        "Fully binary network",
        "Integer pixels in; weights and activations of 1 bit, trained as such; batch normalisation "
        "and sign have become one integer threshold per channel.",
        576,
        binary,
    ),
)


def demonstrate(
    out: Path,
    frames: int = 32,
    engines: Sequence[str] = ENGINES,
    examples: Sequence[Example] = EXAMPLES,
    tell: Tell = lambda _: None,
) -> Demonstration:
    """Run the demonstration and write report.html to `out`.

    Raises ProgramError for bad input and missing tools.
    """
    start = time.perf_counter()
    for engine in engines:
        rtl.check_engine(engine)
    split = digits.load()
    if not 1 <= frames <= len(split.test_x):
        raise ProgramError(f"frames are test images, from 1 to {len(split.test_x)}, not {frames}")
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder, _simulators() as pool:
        # The simulators of one network run while the next one is built.
        begun = [
            _begin(
                pool, _build(example, split, frames, tell), engines, Path(folder) / f"{k}.vcd", tell
            )
            for k, example in enumerate(examples)
        ]
        runs = [network.run() for network in begun]
        tell("writing the report")
        title = "bitwright demonstration: handwritten digits"
        report = write_report(out / "report.html", runs, title)
    differences = sum(network.built.kernel_differences for network in begun)
    return Demonstration(runs, differences, report, time.perf_counter() - start)


@contextmanager
def _simulators() -> Generator[ThreadPoolExecutor, None, None]:
    """A pool of simulators, which begins nothing more after an error or an interrupt."""
    pool = ThreadPoolExecutor(JOBS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _build(example: Example, split: digits.Split, frames: int, tell: Tell) -> Built:
    """From trained weights to Verilog; the accuracy of the integer program on the way."""
    steps = Steps(lambda text: tell(f"{example.title}: {text}"))
    x, images = split.test_x[:frames], len(split.test_x)
    with steps.step("making the integer program"):
        program, float_accuracy = example.make(split)
    with steps.step(f"running it on all {images} test images with the Numba kernels"):
        outputs = kernels.run(program, split.test_x)
    with steps.step(f"comparing the kernels with the definitions on {frames} images"):
        reference = program(x)
    differences = int((outputs[:frames] != reference).sum())
    accuracy = api.top_1(outputs, split.test_y)
    floats = "" if float_accuracy is None else f"float {100 * float_accuracy:.2f} %, "
    steps.tell(
        f"accuracy {floats}integer program {100 * accuracy:.2f} % on {images} test images; "
        f"{differences} values differ from the definitions"
    )
    with steps.step(f"folding to {example.cycles_per_frame} cycles a frame and writing Verilog"):
        design = build(program, example.cycles_per_frame)
        written = write_rtl(design)
    return Built(
        example, design, written, x, reference, differences, float_accuracy, accuracy, images,
        steps.seconds,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Begun:
    """A network whose simulations are under way."""

    built: Built
    simulations: Sequence[Future[tuple[Simulation, Mapping[str, Ints]]]]
    wave: Future[Path]

    def run(self) -> NetworkRun:
        """Everything about the network, when all is done; the first simulation has no stalls."""
        built, found = self.built, [future.result() for future in self.simulations]
        return NetworkRun(
            built.example.title,
            built.example.about,
            built.design,
            compare_designs([built.design], None, lambda _: None)[0],
            [simulation for simulation, _ in found],
            measured=found[0][1],
            float_accuracy=built.float_accuracy,
            accuracy=built.accuracy,
            images=built.images,
            seconds=built.seconds,
            wave=self.wave.result(),
            area_error=area_error(),
        )


def _begin(
    pool: ThreadPoolExecutor, built: Built, engines: Sequence[str], wave: Path, tell: Tell
) -> Begun:
    """Begin to simulate in every engine, without stalls and with, and to record a waveform."""
    jobs = [
        pool.submit(_simulate, built, engine, stall, tell)
        for engine in engines
        for stall in (0.0, STALL)
    ]
    return Begun(built, jobs, pool.submit(_record, built, engines[0], wave, tell))


def _simulate(
    built: Built, engine: str, stall: float, tell: Tell
) -> tuple[Simulation, Mapping[str, Ints]]:
    """One run; returns its figures and the measured cycles of every stream."""
    name = f"{built.example.title}, {engine}{', stalled' if stall else ''}"
    design, frames = built.design, len(built.x)
    if stall:
        frames = min(frames, STALLED_FRAMES[engine])
    gates = api.stall_pattern(design, frames, stall, SEED)
    trial = Trial("dut", design, built.written, built.x[:frames], gates)
    run = rtl.simulate([trial], engine, tell=lambda text: tell(f"{name}: {text}"))
    outcome = run.outcomes[0]
    simulation = Simulation(
        engine,
        frames,
        stall,
        _missed(outcome.outputs, built.reference[:frames]),
        {
            "checked": len(outcome.streams),
            "transfers": outcome.transfers,
            "differences": sum(outcome.wrong.values()),
        },
        None if stall else _cycles(design, frames, outcome),
        run.seconds,
    )
    for line in [_sentence(simulation), *outcome.report]:
        tell(f"{name}: {line}")
    return simulation, outcome.streams


def _missed(outputs: Ints, reference: Ints) -> int:
    """Values of the reference that the outputs miss, frames that never came included."""
    right = int((outputs == reference[: len(outputs)]).sum())
    return int(reference.size) - right


def _cycles(design: Design, frames: int, outcome: rtl.Outcome) -> dict[str, Any]:
    promised = design.schedule(frames)[design.streams[-1].name]
    return {
        "promised": figures(promised, design.output.beats),
        "measured": rtl.measured(outcome, design),
    }


def _sentence(simulation: Simulation) -> str:
    streams = simulation.streams
    text = (
        f"{simulation.frames} frames, {simulation.mismatches} mismatches; {streams['transfers']:,} "
        f"transfers on {streams['checked']} streams, {streams['differences']} differ in value or "
        "cycle"
    )
    if simulation.cycles is None:
        return text
    same = simulation.cycles["promised"] == simulation.cycles["measured"]
    found = simulation.cycles["measured"] or {}
    cycles = ", ".join(f"{name} {cycle:,}" for name, cycle in found.items() if cycle is not None)
    return f"{text}; cycles {cycles}: {'as promised' if same else 'NOT as promised'}"


def _record(built: Built, engine: str, wave: Path, tell: Tell) -> Path:
    """Record the waveform of the first frame."""
    tell(f"{built.example.title}, {engine}: recording a waveform of the first frame")
    trial = Trial("dut", built.design, built.written, built.x[:1], {})
    rtl.simulate([trial], engine, wave=wave)
    return wave


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration and print it; with --json, JSON alone on standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m bitwright.demo",
        description="From trained weights to checked Verilog, on real images, with a report.",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("demo-report"),
                        help="where the report goes (default: demo-report)")  # fmt: skip
    parser.add_argument("--frames", metavar="N", type=int, default=32,
                        help="test images to simulate (default: 32)")  # fmt: skip
    parser.add_argument("--json", action="store_true",
                        help="print JSON alone on standard output")  # fmt: skip
    options = parser.parse_args(argv)
    try:
        shown = demonstrate(options.out, options.frames, tell=_teller(options.json))
    except ProgramError as error:
        print(f"bitwright.demo: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("bitwright.demo: interrupted", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(shown.as_json(), indent=2) if options.json else _verdict(shown))
    return AGREES if shown.agrees else DIFFERS


def _teller(apart: bool) -> Tell:
    """Print sentences with the seconds since now; `apart`: on standard error."""
    start = time.perf_counter()
    stream = sys.stderr if apart else sys.stdout

    def tell(text: str) -> None:
        # One write: two simulators may speak at once.
        stream.write(f"[{time.perf_counter() - start:5.1f} s] {text}\n")
        stream.flush()

    return tell


def _verdict(shown: Demonstration) -> str:
    said = "everything agrees" if shown.agrees else "SOMETHING DIFFERS"
    return f"{said} ({shown.seconds:.0f} s); the report is in\n{shown.report.resolve()}"


if __name__ == "__main__":
    sys.exit(main())
