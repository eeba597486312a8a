"""The verbs: load, compress, search, export, generate, simulate, synth, compare, explore, zoo.

A model is a saved integer program or a quantised ONNX file (its path), the name of a network in the
zoo, or a `Program`.  `check`, which says what becomes of an ONNX file, stands in `verdict.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from bitwright.codegen.bench import Trial
from bitwright.codegen.choices import Choices
from bitwright.codegen.folding import Ends, Wish, build
from bitwright.codegen.pareto import describe
from bitwright.codegen.price import AREA
from bitwright.codegen.project import generate as write_project
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.design import SINK, SOURCE, Design, figures
from bitwright.models import saved
from bitwright.models import zoo as models_zoo
from bitwright.models.classes import top_1
from bitwright.models.fixed import Ints, ProgramError
from bitwright.models.lower import NONE, quantise
from bitwright.models.network import Network
from bitwright.models.onnx import write as onnx_writer
from bitwright.models.onnx.floats.network import network_of
from bitwright.models.onnx.load import load as load_onnx
from bitwright.models.onnx.read import read as read_onnx
from bitwright.models.program import Program
from bitwright.sim import kernels, pareto, rtl
from bitwright.sim.compare import Placed, compare_designs, design_error
from bitwright.sim.energy import ABOUT as ENERGY

from . import dynamic, searching, synthesis
from .expected import Expected, check_classes
from .synthesis import AS_USUAL, Options, Subject

Array = NDArray[Any]
Model = str | Path | Program
Fold = Mapping[str, Mapping[str, int]]
Progress = Callable[[str], None]

STALL_MAX = 0.99
SOFTWARE = ("reference", "numba")


def load(model: Model) -> Program:
    """Return the integer program of a model."""
    if isinstance(model, Program):
        return model
    known = models_zoo.programs()
    if str(model) in known and not Path(model).exists():
        return known[str(model)].load()
    if not Path(model).exists() and Path(model).suffix == "":
        raise ProgramError(
            f"{model} is neither a file nor in the zoo; the zoo has {', '.join(known)}"
        )
    if Path(model).suffix == ".onnx":
        return load_onnx(model)
    return saved.load(model)


def generate(
    model: Model,
    out: str | Path,
    cycles_per_frame: int | None = None,
    fold: Fold | None = None,
    progress: Progress | None = None,
    **wish: Unpack[Wish],
) -> dict[str, Any]:
    """Write a project folder (Verilog, memory files, bench, manifest); return the manifest.

    One way to fold it: cycles_per_frame, the folding of least area that takes at most so many;
    fold, a folding per layer, {layer: {"pe": P, "simd": S}}, completed for layers that it leaves
    out; target_fps (frames per second) with clock (MHz); budget, {"lut": N, "bram": N, ...}, within
    which the fastest is taken.  family: whose area counts ("ecp5"); minimise: "area", or a resource
    before it; least_buffers: the least depths that keep the interval.
    """
    tell = progress or (lambda _: None)
    return write_project(build(load(model), cycles_per_frame, fold, tell, **wish), Path(out))


def simulate(
    model: Model,
    inputs: Array,
    expect: Array | None = None,
    engine: str = "verilator",
    frames: int | None = None,
    stall: float = 0.0,
    seed: int = 0,
    wave: str | Path | None = None,
    cycles_per_frame: int | None = None,
    fold: Fold | None = None,
    progress: Progress | None = None,
    **wish: Unpack[Wish],
) -> dict[str, Any]:
    """Run frames through an engine and compare with the reference, value by value.

    `inputs` and `expect` have the model's own layout, (N, *shape), `expect` its own scale as well.
    The folding is asked for as in `generate`.

    Returns {"model", "engine", "frames", "mismatches", "top_1_agreement", "streams", "cycles",
    "seconds", "outputs", "report"}: `mismatches` counts output values that differ from the
    reference or from `expect`; `top_1_agreement` says in how many frames the expected class comes
    first, {"agreeing", "frames"} (null without `expect`, and where the outputs are no classes);
    `streams` says how many streams and transfers inside the RTL were compared and how many differ
    in value or cycle (null for reference and numba); `cycles` holds the promised and the measured
    figures (null with stalls and without RTL); `outputs` are in the model's own output scale.
    """
    tell = progress or (lambda _: None)
    asked = wish.get("target_fps") or wish.get("budget")
    if engine in SOFTWARE and (stall or wave or cycles_per_frame or fold or asked):
        raise ProgramError(
            f"engine {engine!r} has no hardware to stall, fold or record; leave these options out "
            "or use verilator or icarus"
        )
    graph = dynamic.graph_of(model) if engine == "reference" else None
    if graph is not None:
        return dynamic.simulate(str(model), graph, np.asarray(inputs)[:frames], expect, tell)
    program = load(model)
    x = program.accept(np.asarray(inputs)[:frames])
    if len(x) == 0:
        raise ProgramError("there is no frame to simulate; give at least one input")
    start = time.perf_counter()
    tell(f"computing {len(x)} frames by the definitions")
    reference = program(x)
    result: dict[str, Any] = {
        "model": program.name,
        "engine": engine,
        "frames": len(x),
        "mismatches": 0,
        "top_1_agreement": None,
        "streams": None,
        "cycles": None,
        "seconds": {"reference": time.perf_counter() - start},
        "report": [],
    }
    start = time.perf_counter()
    undefined = np.zeros(0, np.int64)
    if engine == "reference":
        outputs = reference
    elif engine == "numba":
        outputs = kernels.run(program, x)
        result["seconds"]["numba"] = time.perf_counter() - start
    else:
        rtl.check_engine(engine)
        design = build(program, cycles_per_frame, fold, tell, **wish)
        outcome = _run_rtl(design, x, engine, stall, seed, wave, result, tell)
        outputs, undefined = outcome.outputs, _values_of(outcome.undefined, design, reference)
    wrong = _differences(outputs, reference)
    wrong.reshape(-1)[undefined] = True
    if expect is not None:
        expected = Expected.of(program, np.asarray(expect), len(reference))
        wrong |= expected.missed(outputs, reference)
        lost = np.zeros(reference.shape, bool)
        lost.reshape(-1)[undefined] = True
        result["top_1_agreement"] = expected.agreement(outputs, lost)
    result["mismatches"] = int(wrong.sum())
    result["outputs"] = program.answer(outputs)
    return result


def _run_rtl(
    design: Design, x: Ints, engine: str, stall: float, seed: int, wave: str | Path | None,
    result: dict[str, Any], tell: Progress,
) -> rtl.Outcome:  # fmt: skip
    start = time.perf_counter()
    tell("writing Verilog")
    gates = stall_pattern(design, len(x), stall, seed)
    trial = Trial("dut", design, write_rtl(design), x, gates)
    written = time.perf_counter() - start
    run = rtl.simulate([trial], engine, wave=Path(wave) if wave else None, tell=tell)
    outcome = run.outcomes[0]
    result["seconds"] |= {"generate": written, **run.seconds}
    result["report"] = outcome.report
    result["streams"] = {
        "checked": len(outcome.streams),
        "transfers": outcome.transfers,
        "differences": sum(outcome.wrong.values()),
    }
    if not gates:
        promised = design.schedule(len(x))[design.streams[-1].name]
        result["cycles"] = {
            "promised": figures(promised, design.output.beats),
            "measured": rtl.measured(outcome, design),
        }
    return outcome


def _values_of(beats: list[int], design: Design, reference: Ints) -> Ints:
    """Where the values of output beats stand in the flat outputs."""
    lanes = design.output.lanes
    values = (np.array(beats, np.int64)[:, None] * lanes + np.arange(lanes)).ravel()
    return values[values < reference.size]


def stall_pattern(design: Design, frames: int, stall: float, seed: int) -> dict[str, Any]:
    """Seeded stalls at both ends: each cycle is closed with probability `stall`, independently."""
    if not 0 <= stall <= STALL_MAX:
        raise ProgramError(f"a share of stalls is from 0 to {STALL_MAX}, not {stall}; stall less")
    if stall == 0:
        return {}
    cycles = int((frames + 4) * design.interval / (1 - stall)) + 1000
    rng = np.random.default_rng(seed)
    return {end: rng.random(cycles) >= stall for end in (SOURCE, SINK)}


def _differences(outputs: Ints, reference: Ints) -> NDArray[np.bool_]:
    """Which reference values the outputs miss; frames that never came are missed whole."""
    wrong = np.ones(reference.shape, bool)
    came = min(len(outputs), len(reference))
    wrong[:came] = outputs[:came] != reference[:came]
    return wrong


def synth(
    model: Model,
    cycles_per_frame: int | None = None,
    fold: Fold | None = None,
    options: Options = AS_USUAL,
    **wish: Unpack[Wish],
) -> dict[str, Any]:
    """Measure what a design takes of an FPGA family, and its clock: see `synthesis.measure`.

    model: as elsewhere and folded as in `generate`, or the folder of a generated project, which is
    folded already.  family: ecp5 without it; clock: also what place and route aims at.
    """
    family, clock = wish.get("family", "ecp5"), wish.get("clock")
    if not isinstance(model, Program) and Path(model).is_dir():
        asked = (cycles_per_frame, fold, wish.get("target_fps"), wish.get("budget"))
        measured = wish.get("least_buffers") or wish.get("minimise", AREA) != AREA
        if measured or any(way is not None for way in asked):
            raise ProgramError(f"{model} is a project, which is folded; fold it in `generate`")
        subject = Subject.of_folder(Path(model))
    else:
        design = build(load(model), cycles_per_frame, fold, options.progress, **wish)
        subject = Subject.of_design(design, family)
    return synthesis.measure(subject, family, clock, options)


def compare(
    models: Sequence[Model],
    cycles_per_frame: Sequence[int] = (),
    folds: Sequence[Fold | None] = (),
    engine: str | None = "auto",
    progress: Progress | None = None,
    target_fps: Sequence[float] = (),
    budgets: Sequence[Mapping[str, int]] = (),
    place: Callable[[Design], Placed | None] | None = None,
    report: Callable[[Sequence[Design], Sequence[Mapping[str, Any]]], object] | None = None,
    **wish: Unpack[Ends],
) -> dict[str, Any]:
    """Models and foldings side by side, per layer and in total.

    Each model appears once per entry of `cycles_per_frame`, `folds`, `target_fps` and `budgets`
    (see `generate`, `clock`, `family` and `minimise` too), or once with the default folding.
    `engine` measures the cycles in RTL ("auto": Icarus, else Verilator; None: not).  Times are
    those at `clock`, or at the clock that `place` found: what place and route made of a design.
    report: called with the designs and what was found, as `sim.comparison.write` wants them.
    "front" numbers the designs that no other of the same program beats (see `sim/pareto.py`).
    """
    tell = progress or (lambda _: None)
    designs: list[Design] = []
    for model in models:
        program = load(model)
        ways: list[dict[str, Any]] = [{"cycles_per_frame": target} for target in cycles_per_frame]
        ways += [{"fold": fold} for fold in folds if fold is not None]
        ways += [{"target_fps": fps} for fps in target_fps]
        ways += [{"budget": budget} for budget in budgets]
        designs += [build(program, tell=tell, **way, **wish) for way in ways or [{}]]
    family, clock = wish.get("family", "ecp5"), wish.get("clock")
    entries = compare_designs(designs, engine, tell, family, clock, place)
    if report is not None:
        tell("writing the report")
        report(designs, entries)
    return {"models": entries, "energy": ENERGY, "front": pareto.front_of(entries)}


def explore(
    model: Model,
    family: str = "ecp5",
    points: int | None = None,
    minimise: str = "area",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The Pareto front of foldings: cycles per frame against area, or against one resource.

    points: so many targets over the range, or the whole front.  Returns {"model", "family",
    "minimise", "points", "error", "off"}; see `pareto.describe`.  "off" is a sentence that belongs
    beside the areas: how far such estimates are off for whole designs.
    """
    tell = progress or (lambda _: None)
    found = describe(Choices(load(model), family), points, minimise, tell)
    return {**found, "off": design_error(family)}


def compress(
    network: Network | str | Path,
    data: Array | None = None,
    weights: str = "bwnh",
    activations: int = 8,
    labels: Array | None = None,
    mixed: Mapping[str, str] = NONE,
) -> Program:
    """Compress a float network to a program.

    network: a `Network`, its file, a float ONNX file, or the name of one in the zoo.  data:
    calibration inputs (N, *shape), in the model's own layout or channels last.  weights: a method
    ("bwnh", "ternary", "int4", ...); activations: bits of each activation (2 to 8); labels: classes
    of `data` (N,), for the accuracy on it in the program's metadata; mixed: another method for some
    layers, by their names.
    """
    if data is None:
        raise ProgramError("compression needs calibration data; give inputs of the network")
    floats = float_network(network)
    if labels is not None:
        check_classes(floats)
    program = quantise(floats, data, weights, activations, kernels.execute, mixed)
    if labels is None:
        return program
    accuracy = top_1(kernels.run(program, floats.accept(data)), labels)
    return replace(program, metadata={**program.metadata, "calibration_accuracy": accuracy})


def search(
    network: Network | str | Path,
    data: Array,
    among: Sequence[str],
    labels: Array | None = None,
    accuracy: float | None = None,
    most: int | None = None,
    minimise: str = "lut",
    activations: int = 8,
    cycles_per_frame: int | None = None,
    family: str = "ecp5",
    progress: Progress | None = None,
) -> tuple[Program, dict[str, Any]]:
    """Choose a method for each layer, and compress by them; return program and report.

    among: the methods, the first of which compresses the other layers while one is tried.  Either
    accuracy, the share of right classes that the cheapest mixture must have, or most, the cost
    within which the most accurate is taken.  Both are measured on `data`: by labels (N,), else by
    the float network's own classes.  minimise: what costs, "bits" of weights or a resource ("lut",
    "ff", "bram", "dsp") of the least folding of `cycles_per_frame`, estimated.  The report has
    "chosen" and "measured" mixtures: {"methods", "cost", "loss", "accuracy"}.
    """
    tell = progress or (lambda _: None)
    cost = searching.costs(minimise, cycles_per_frame, family)
    prepared = searching.prepare(
        float_network(network), data, among, labels, activations, cost, tell
    )
    if accuracy is not None and most is None:
        found = prepared.least(accuracy)
    elif most is not None and accuracy is None:
        found = prepared.best(most)
    else:
        raise ProgramError("a search goes for an accuracy or for a cost; give one of them")
    tell("compressing by what was chosen")
    return prepared.compress(found.methods), searching.describe(found, prepared, minimise)


def float_network(network: Network | str | Path) -> Network:
    """Return the float network that is given, in a file, or in the zoo by its name."""
    if isinstance(network, Network):
        return network
    known = models_zoo.networks()
    if str(network) in known and not Path(network).exists():
        return known[str(network)].load()
    if not Path(network).exists() and Path(network).suffix == "":
        raise ProgramError(
            f"{network} is neither a file nor a float network of the zoo, which has "
            f"{', '.join(known)}"
        )
    if Path(network).suffix == ".onnx":
        return _float_onnx(Path(network))
    return Network.load(network)


def _float_onnx(path: Path) -> Network:
    graph = read_onnx(path)
    try:
        return network_of(graph, path.stem if path.stem.isprintable() else "")
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None


def export(model: Model, path: str | Path) -> None:
    """Write a model as a QONNX file, which other tools read and `load` reads back."""
    onnx_writer.save(load(model), path)


def save(program: Program, path: str | Path) -> None:
    """Write an integer program to a file, which `load` reads."""
    saved.save(program, path)


def zoo() -> list[dict[str, Any]]:
    """What comes with bitwright: name, shapes, range and accuracy of each network."""
    return [entry.describe() for entry in models_zoo.entries()]
