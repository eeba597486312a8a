"""The command line: parse, call `bitwright.api`, print.

Heavy imports stand inside the command functions, so that `--help` answers at once.  With `--json`
standard output carries JSON alone; progress and errors go to standard error.  Exit codes: 0 well,
1 values or cycles disagree (`check`: something stands in the file's way; `doctor`: a needed tool is
missing), 2 bad input or a missing tool, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from . import __version__, doctor, wishes
from .text import cell, is_plain, side_by_side, table

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one sentence, no traceback."""
    try:
        args = _parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader has gone: nothing is left to say, not even while Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _complain(_os_sentence(error, argv), BAD_INPUT)
    except MemoryError:
        return _complain("the model does not fit this machine's memory; split it", BAD_INPUT)
    except ModuleNotFoundError as error:
        if (error.name or "bitwright").split(".")[0] == "bitwright":
            raise
        sentence = f"the Python package {error.name} is missing; `bitwright doctor` says more"
        return _complain(sentence, BAD_INPUT)
    except ValueError as error:
        if not _is_program_error(error):
            raise
        return _complain(str(error), BAD_INPUT)
    return code


# The commands


def _check(args: argparse.Namespace) -> int:
    from . import verdict

    found = verdict.check(args.model)
    _print(args, found, verdict.text(found))
    return OK if found["goes_through"] else FAILED


def _compress(args: argparse.Namespace) -> int:
    from . import api
    from .files import check_output, read_array, read_optional

    check_output(args.output, "--output")
    program = api.compress(
        args.network,
        data=read_array(args.data, "--data"),
        weights=args.weights,
        mixed=dict(args.weights_of),
        activations=args.activations,
        labels=read_optional(args.labels, "--labels"),
    )
    api.save(program, args.output)
    written = {
        "model": str(args.output),
        "network": args.network,
        "weights": args.weights,
        "mixed": dict(args.weights_of),
        "activations": args.activations,
    }
    return _print(args, written, f"{args.network} compressed to {args.output}")


def _search(args: argparse.Namespace) -> int:
    from . import api, search
    from .files import check_output, read_array, read_optional

    check_output(args.output, "--output")
    program, result = api.search(
        args.network,
        read_array(args.data, "--data"),
        args.among.split(","),
        labels=read_optional(args.labels, "--labels"),
        accuracy=args.accuracy,
        most=args.most,
        minimise=args.minimise,
        activations=args.activations,
        cycles_per_frame=args.cycles_per_frame,
        family=args.family,
        progress=_progress,
    )
    api.save(program, args.output)
    return _print(args, {"model": str(args.output), **result}, search.text(result))


def _finetune(args: argparse.Namespace) -> int:
    from . import training
    from .api import save
    from .files import check_output, read_array

    check_output(args.output, "--output")
    changed = {name: getattr(args, name) for name in TRAINING if getattr(args, name) is not None}
    program = training.finetune(
        args.network,
        data=read_array(args.data, "--data"),
        labels=read_array(args.labels, "--labels"),
        weights=args.weights,
        mixed=dict(args.weights_of),
        activations=args.activations,
        options=training.Options(**changed),
        progress=_progress,
    )
    save(program, args.output)
    written = {
        "model": str(args.output),
        "network": args.network,
        **{key: program.metadata[key] for key in ("weights", "finetuning", "training_accuracy")},
        "mixed": dict(args.weights_of),
        "activations": args.activations,
    }
    return _print(args, written, f"{args.network} fine-tuned to {args.output}")


def _export(args: argparse.Namespace) -> int:
    from . import api
    from .files import check_output

    check_output(args.output, "--output")
    api.export(args.model, args.output)
    written = {"model": args.model, "onnx": str(args.output)}
    return _print(args, written, f"{args.model} written to {args.output}")


def _generate(args: argparse.Namespace) -> int:
    from . import api
    from .files import read_fold

    manifest = api.generate(
        args.model, args.output, progress=_progress, **wishes.wish(args, read_fold)
    )
    pace = wishes.pace(manifest["cycles"]["interval"], args.clock)
    return _print(args, manifest, f"{args.model} written to {args.output}: {pace}")


def _simulate(args: argparse.Namespace) -> int:
    from . import api
    from .files import check_output, read_array, read_fold, read_optional, save_array

    check_output(args.output, "--output")
    result = api.simulate(
        args.model,
        inputs=read_array(args.inputs, "--inputs"),
        expect=read_optional(args.expect, "--expect"),
        engine=args.engine,
        frames=args.frames,
        stall=args.stall,
        seed=args.seed,
        wave=args.wave,
        progress=_progress,
        **wishes.wish(args, read_fold),
    )
    outputs, report = result.pop("outputs"), result.pop("report", [])
    if args.output:
        save_array(args.output, outputs)
    for sentence in report:
        print(sentence, file=sys.stderr)
    _print(args, result, _simulated(result))
    return OK if _agrees(result) else FAILED


def _synth(args: argparse.Namespace) -> int:
    from . import api, synthesis
    from .files import read_fold

    options = synthesis.Options(
        device=args.device,
        seeds=args.seeds,
        jobs=args.jobs,
        placed=args.place,
        pins=args.pins,
        bitstream=args.bitstream,
        progress=_progress,
    )
    result = api.synth(args.model, options=options, **wishes.wish(args, read_fold))
    return _print(args, result, synthesis.text(result))


def _compare(args: argparse.Namespace) -> int:
    from . import api
    from .files import check_output, read_fold

    check_output(args.report, "--report")
    result = api.compare(
        args.models,
        engine=None if args.engine == "none" else args.engine,
        place=_placer(args.place, args.family, args.clock),
        report=_report_writer(args.report),
        progress=_progress,
        **wishes.columns(args, read_fold),
    )
    wrong = any(model["differences"] for model in result["models"])
    _print(args, result, _compared(result))
    return FAILED if wrong else OK


def _report_writer(path: Path | None) -> Callable[..., object] | None:
    """What writes the report of a comparison to `path`, where one was given."""
    if path is None:
        return None
    from bitwright.sim.report import write_comparison

    return partial(write_comparison, path)


def _placer(seeds: int | None, family: str, clock: float | None) -> Callable[..., Any] | None:
    """What places the designs of a comparison with so many seeds, where that was asked for."""
    if seeds is None:
        return None
    from .synthesis import placer

    return placer(family, clock, seeds, _progress)


def _explore(args: argparse.Namespace) -> int:
    from . import api

    result = api.explore(args.model, args.family, args.points, args.minimise, _progress)
    return _print(args, result, wishes.explored(result))


def _zoo(args: argparse.Namespace) -> int:
    from . import api

    entries = api.zoo()
    rows = [{**entry, "input_range": _between(entry["input_range"])} for entry in entries]
    return _print(args, entries, table(rows))


def _doctor(args: argparse.Namespace) -> int:
    tools = doctor.tools()
    complete = doctor.complete(tools)
    found = {
        "bitwright": __version__,
        "complete": complete,
        "tools": [tool.as_json() for tool in tools],
    }
    _print(args, found, doctor.table(tools))
    return OK if complete else FAILED


# What they print


def _print(args: argparse.Namespace, value: object, text: str) -> int:
    """Print JSON alone where it was asked for, readable text otherwise; return the code for OK."""
    print(json.dumps(value, indent=2, ensure_ascii=False) if args.json else text)
    return OK


def _progress(sentence: str) -> None:
    """Tell the user, on standard error, what long work is doing."""
    print(f"[{time.strftime('%H:%M:%S')}] {sentence}", file=sys.stderr, flush=True)


def _agrees(result: dict[str, Any]) -> bool:
    """Tell whether every value and, where cycles were measured, every cycle is as promised."""
    cycles, streams = result["cycles"], result["streams"]
    return (
        result["mismatches"] == 0
        and (cycles is None or cycles["promised"] == cycles["measured"])
        and (streams is None or streams["differences"] == 0)
    )


def _figures(of: dict[str, int] | None) -> str | None:
    """First and interval of a whole design, for one cell of a table."""
    return f"{of['first']}, then {of['interval']}" if of else None


def _between(ends: list[int] | None) -> str | None:
    return f"{ends[0]}..{ends[1]}" if ends else None


def _simulated(result: dict[str, Any]) -> str:
    verdict = "agrees" if _agrees(result) else "DISAGREES"
    counts = f"{result['frames']} frames, {result['mismatches']} mismatches"
    lines = [f"{result['model']} on {result['engine']}: {verdict}; {counts}"]
    top_1 = result["top_1_agreement"]
    if top_1:
        lines.append("top-1 agrees in {agreeing} of {frames} frames".format(**top_1))
    if result["cycles"]:
        cycles = result["cycles"].items()
        lines.append(table([{"cycles": who, **(what or {})} for who, what in cycles]))
    if result["streams"]:
        lines.append(
            "{checked} streams, {transfers} transfers compared in value and cycle, "
            "{differences} differences".format(**result["streams"])
        )
    spent = (f"{name} {seconds:.2f} s" for name, seconds in result["seconds"].items())
    return "\n".join([*lines, "time: " + ", ".join(spent)])


def _compared(result: dict[str, Any]) -> str:
    parts: list[str] = []
    for model in result["models"]:
        area = model["area"]
        plain = {k: v for k, v in model.items() if is_plain(v) and k not in ("area", "program")}
        heading = ", ".join(f"{k} {cell(v)}" for k, v in plain.items())
        total = {"layer": "total", **model["total"]} | {
            way: _figures(model["total"][way]) for way in ("formula", "schedule", "rtl")
        }
        rows = [{k: v for k, v in row.items() if is_plain(v)} for row in (*model["layers"], total)]
        lines = [heading, _times(model), table(rows), _forms(model["forms"]), area]
        parts.append("\n".join(filter(None, lines)))
    return "\n\n".join([*parts, side_by_side(result["models"], result["front"]), result["energy"]])


def _times(model: dict[str, Any]) -> str:
    """Frames per second and latency of a design that has a clock, and where that is from."""
    if not model["clock"]:
        return ""
    return "{frames_per_second:,.0f} frames per second, latency {latency_us:.4g} us".format(
        **model["speed"]
    ) + " at {mhz:g} MHz ({source})".format(**model["clock"])


def _forms(forms: dict[str, str]) -> str:
    """How many roundings of an imported model have each form."""
    counts = [f"{form} ({count})" for form, count in Counter(forms.values()).items()]
    return f"roundings, all exact: {', '.join(counts)}" if counts else ""


def _at_least(least: int) -> Callable[[str], int]:
    """Return a parser of integers that refuses those below `least`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} is expected, not {text}")
        return int(text)

    return parse


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"a share from 0 to below 1 is expected, not {text}")
    return value


def _assigned(text: str) -> tuple[str, str]:
    layer, equals, name = text.partition("=")
    if not (layer and equals and name):
        raise argparse.ArgumentTypeError(f"LAYER=METHOD is expected, not {text}")
    return layer, name


# Errors


def _complain(sentence: str, code: int) -> int:
    print(f"bitwright: {sentence}", file=sys.stderr)
    return code


def _os_sentence(error: OSError, argv: Sequence[str] | None) -> str:
    """The file (or the command, where the system names none), what is wrong, and what to do."""
    words = sys.argv[1:] if argv is None else argv
    thing = os.fsdecode(error.filename) if error.filename else " ".join(words[:1]) or "bitwright"
    remedy = "free some space" if error.errno == errno.ENOSPC else "mend that"
    return (
        f"{thing}: {error.strerror or error}; {remedy} and run it again, nothing was left half-done"
    )


def _is_program_error(error: ValueError) -> bool:
    from bitwright.models.fixed import ProgramError

    return isinstance(error, ProgramError)


# The arguments


class _Parser(argparse.ArgumentParser):
    """An argument parser that states a mistake in one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bitwright",
        description="Import or compress a network, generate its Verilog, simulate it, compare.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bitwright {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = _command(
        commands,
        "check",
        _check,
        "say whether an ONNX file goes through, or what is in its way",
    )
    check.add_argument("model", metavar="MODEL.onnx", help="a quantised ONNX file: QONNX, QDQ, ...")

    compress = _command(
        commands, "compress", _compress, "turn a float network into an integer program"
    )
    _compression(compress, "calibration inputs, in the model's own layout")
    compress.add_argument("--labels", metavar="Y.npy", type=Path, help="classes of the inputs")
    _output(compress, "MODEL", "where to save the integer program", required=True)

    search = _command(
        commands, "search", _search, "find the method of each layer for an accuracy or a cost"
    )
    _network(search, "calibration inputs, in the model's own layout")
    search.add_argument("--labels", metavar="Y.npy", type=Path, help="classes of the inputs")
    _output(search, "MODEL", "where to save the integer program", required=True)
    search.add_argument(
        "--among",
        metavar="METHOD,...",
        default="int8,int4,ternary,bwnh2,bwnh",
        help="the methods; the first compresses the rest while one is tried (default: %(default)s)",
    )
    goal = search.add_mutually_exclusive_group(required=True)
    goal.add_argument(
        "--accuracy", metavar="A", type=_probability, help="the cheapest with this share right"
    )
    goal.add_argument(
        "--most", metavar="N", type=_at_least(1), help="the most accurate that costs at most N"
    )
    search.add_argument(
        "--minimise",
        choices=["bits", *wishes.RESOURCES],
        default="lut",
        help="what costs: stored bits of weights, or estimated area (default: lut)",
    )
    search.add_argument(
        "--cycles-per-frame", metavar="N", type=_at_least(1), help="of the folding that is counted"
    )
    search.add_argument(
        "--family", choices=wishes.FAMILIES, default="ecp5", help="whose area (default: ecp5)"
    )

    finetune = _command(
        commands, "finetune", _finetune, "compress a float network and train the result (PyTorch)"
    )
    _compression(finetune, "training inputs, in the model's own layout")
    finetune.add_argument(
        "--labels", metavar="Y.npy", type=Path, required=True, help="classes of the inputs"
    )
    for name, (kind, purpose) in TRAINING.items():
        finetune.add_argument(f"--{name}", metavar="N", type=kind, help=purpose)
    _output(finetune, "MODEL", "where to save the integer program", required=True)

    export = _command(commands, "export", _export, "write a model as a QONNX file")
    _model(export)
    _output(export, "OUT.onnx", "the file to write", required=True)

    generate = _command(commands, "generate", _generate, "write Verilog, memory files, a testbench")
    _model(generate)
    _output(generate, "DIR", "the folder to write", required=True)
    _folding(generate)

    simulate = _command(
        commands, "simulate", _simulate, "run a model and compare values and cycles"
    )
    _model(simulate)
    simulate.add_argument(
        "--inputs", metavar="X.npy", type=Path, required=True, help="frames to feed, one a row"
    )
    simulate.add_argument(
        "--expect",
        metavar="Y.npy",
        type=Path,
        help="values the outputs must be, in the model's own shape and scale",
    )
    simulate.add_argument(
        "--engine",
        choices=["reference", "numba", "verilator", "icarus"],
        default="verilator",
        help="what computes (default: verilator)",
    )
    simulate.add_argument(
        "--frames", metavar="N", type=_at_least(1), help="only the first N frames"
    )
    simulate.add_argument(
        "--stall",
        metavar="P",
        type=_probability,
        default=0.0,
        help="share of cycles in which source and sink pause (default: 0)",
    )
    simulate.add_argument(
        "--seed", metavar="S", type=_at_least(0), default=0, help="seed of the stalls (default: 0)"
    )
    simulate.add_argument(
        "--wave",
        metavar="FILE",
        type=Path,
        help="write a waveform (VCD from Verilator, FST from Icarus)",
    )
    _output(simulate, "Y.npy", "write the outputs, in the model's own output scale")
    _folding(simulate)

    synth = _command(
        commands, "synth", _synth, "synthesise, place and route: real area, and the clock reached"
    )
    synth.add_argument("model", metavar="DIR|MODEL", help=f"a generated project, or {MODEL_HELP}")
    synth.add_argument(
        "--device", metavar="NAME", help="hx8k, up5k, 45k, ... (default: the smallest that fits)"
    )
    synth.add_argument(
        "--seeds", metavar="N", type=_at_least(1), default=3, help="placements (default: 3)"
    )
    synth.add_argument(
        "--jobs", metavar="N", type=_at_least(1), default=1, help="placements at a time"
    )
    synth.add_argument(
        "--no-place", dest="place", action="store_false", help="map only, without a clock"
    )
    synth.add_argument(
        "--pins", metavar="FILE", type=Path, help="pins of the real ports (.pcf, .lpf, .cst)"
    )
    synth.add_argument(
        "--bitstream", metavar="FILE", type=Path, help="write a bitstream; needs --pins"
    )
    _folding(synth)

    compare = _command(
        commands, "compare", _compare, "cycles and area of models or foldings, side by side"
    )
    compare.add_argument("models", metavar="MODEL", nargs="+", help=MODEL_HELP)
    wishes.add_columns(compare, _at_least(1))
    compare.add_argument(
        "--engine",
        choices=["auto", "icarus", "verilator", "none"],
        default="auto",
        help="measures the cycles in RTL; none: not, for big networks (default: auto)",
    )
    compare.add_argument(
        "--place",
        metavar="SEEDS",
        type=_at_least(1),
        help="synthesise, place and route: times at the clock reached, and the real area",
    )
    compare.add_argument(
        "--report", metavar="FILE.html", type=Path, help="write it as a self-contained page too"
    )

    explore = _command(
        commands, "explore", _explore, "the Pareto front of foldings: cycles against area"
    )
    _model(explore)
    explore.add_argument(
        "--points",
        metavar="N",
        type=_at_least(1),
        help="so many targets (default: the whole front)",
    )
    wishes.add_measure(explore)

    _command(commands, "zoo", _zoo, "list the networks that come with bitwright")
    _command(commands, "doctor", _doctor, "list the tools found, and what is missing")
    return parser


MODEL_HELP = "a saved integer program, a quantised ONNX file, or the name of one in the zoo"


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], purpose: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON alone on standard output")
    return parser


TRAINING: dict[str, tuple[type, str]] = {
    "epochs": (int, "passes over the inputs (default: 20)"),
    "rate": (float, "learning rate at the start (default: 0.002)"),
    "batch": (int, "inputs at a time (default: 64)"),
    "teacher": (float, "the float network's share of the loss, 0 to 1 (default: 0.5)"),
    "temperature": (float, "softens what the float network says (default: 4)"),
    "hint": (float, "weight of the float network's activations (default: 0)"),
    "shift": (int, "images move by up to so many pixels (default: 0)"),
    "seed": (int, "the same seed gives the same program (default: 0)"),
}
"""What `finetune` takes beside what `compress` does: see `models/train/finetune.py`."""


def _network(parser: argparse.ArgumentParser, data: str) -> None:
    """Add a float network, its `data`, and the bits of activations."""
    parser.add_argument(
        "network",
        metavar="NETWORK",
        help="a saved float network, a float ONNX file, or the name of one in the zoo",
    )
    parser.add_argument("--data", metavar="X.npy", type=Path, required=True, help=data)
    parser.add_argument(
        "--activations",
        metavar="N",
        type=_at_least(1),
        default=8,
        help="bits per activation (default: 8)",
    )


def _compression(parser: argparse.ArgumentParser, data: str) -> None:
    """Add a float network and the methods that compress it."""
    _network(parser, data)
    parser.add_argument(
        "--weights", metavar="METHOD", default="bwnh", help="bwnh, int4, int8, ... (default: bwnh)"
    )
    parser.add_argument(
        "--weights-of",
        metavar="LAYER=METHOD",
        type=_assigned,
        action="append",
        default=[],
        help="another method for one layer, e.g. the first (may be given several times)",
    )


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)


def _output(
    parser: argparse.ArgumentParser, metavar: str, purpose: str, *, required: bool = False
) -> None:
    parser.add_argument(
        "-o", "--output", metavar=metavar, type=Path, required=required, help=purpose
    )


def _folding(parser: argparse.ArgumentParser) -> None:
    wishes.add_options(parser, _at_least(1))
