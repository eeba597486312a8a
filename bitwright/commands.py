"""The commands: each takes what was parsed, calls `bitwright.api` and prints.

Heavy imports stand inside the functions, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import __version__, wishes
from . import doctor as tools_found
from .text import agrees, compared, finetuned, simulated, table

OK, FAILED = 0, 1

TRAINING: dict[str, tuple[type, str]] = {
    "epochs": (int, "passes over the inputs (default: 20)"),
    "rate": (float, "learning rate at the start (default: 0.002)"),
    "batch": (int, "inputs at a time (default: 64)"),
    "teacher": (float, "the float network's share of the loss, 0 to 1 (default: 0.5)"),
    "temperature": (float, "softens what the float network says (default: 4)"),
    "hint": (float, "weight of the float network's activations (default: 0)"),
    "shift": (int, "images move by up to so many pixels (default: 0)"),
    "noise": (float, "deviation of noise in front of 1-bit activations (default: 0)"),
    "hold": (float, "share of the inputs that judges whether training helped (default: 0.1)"),
    "seed": (int, "the same seed gives the same program (default: 0)"),
}
"""What `finetune` takes beside what `compress` does: see `models/train/finetune.py`."""


def check(args: argparse.Namespace) -> int:
    """Say what becomes of an ONNX file, or what is in its way."""
    from . import verdict

    found = verdict.check(args.model)
    _print(args, found, verdict.text(found))
    return OK if found["goes_through"] else FAILED


def compress(args: argparse.Namespace) -> int:
    """Turn a float network into an integer program."""
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


def search(args: argparse.Namespace) -> int:
    """Find the method of each layer."""
    from . import api, searching
    from .files import check_output, read_array, read_optional

    check_output(args.output, "--output")
    program, result = api.search(
        args.network,
        read_array(args.data, "--data"),
        args.among,
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
    return _print(args, {"model": str(args.output), **result}, searching.text(result))


def finetune(args: argparse.Namespace) -> int:
    """Compress a float network and train the result."""
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
        "held": program.metadata.get("held"),
        "mixed": dict(args.weights_of),
        "activations": args.activations,
    }
    return _print(args, written, finetuned(written))


def export(args: argparse.Namespace) -> int:
    """Write a model as a QONNX file."""
    from . import api
    from .files import check_output

    check_output(args.output, "--output")
    api.export(args.model, args.output)
    written = {"model": args.model, "onnx": str(args.output)}
    return _print(args, written, f"{args.model} written to {args.output}")


def generate(args: argparse.Namespace) -> int:
    """Write a project folder."""
    from . import api
    from .files import read_fold

    manifest = api.generate(
        args.model, args.output, progress=_progress, **wishes.wish(args, read_fold)
    )
    pace = wishes.pace(manifest["cycles"]["interval"], args.clock)
    return _print(args, manifest, f"{args.model} written to {args.output}: {pace}")


def simulate(args: argparse.Namespace) -> int:
    """Run a model and compare it with its reference."""
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
    _print(args, result, simulated(result))
    return OK if agrees(result) else FAILED


def synth(args: argparse.Namespace) -> int:
    """Synthesise, place and route."""
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


def compare(args: argparse.Namespace) -> int:
    """Set models and foldings side by side."""
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
    _print(args, result, compared(result))
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


def explore(args: argparse.Namespace) -> int:
    """List the foldings that no other beats."""
    from . import api

    result = api.explore(args.model, args.family, args.points, args.minimise, _progress)
    return _print(args, result, wishes.explored(result))


def zoo(args: argparse.Namespace) -> int:
    """List the networks that come along."""
    from . import api

    entries = api.zoo()
    rows = [{**entry, "input_range": _between(entry["input_range"])} for entry in entries]
    return _print(args, entries, table(rows))


def doctor(args: argparse.Namespace) -> int:
    """List the tools found, and what is missing."""
    tools = tools_found.tools()
    complete = tools_found.complete(tools)
    found = {
        "bitwright": __version__,
        "complete": complete,
        "tools": [tool.as_json() for tool in tools],
    }
    _print(args, found, tools_found.table(tools))
    return OK if complete else FAILED


def _print(args: argparse.Namespace, value: object, text: str) -> int:
    """Print JSON alone where it was asked for, readable text otherwise; return the code for OK."""
    print(json.dumps(value, indent=2, ensure_ascii=False) if args.json else text)
    return OK


def _progress(sentence: str) -> None:
    """Tell the user, on standard error, what long work is doing."""
    print(f"[{time.strftime('%H:%M:%S')}] {sentence}", file=sys.stderr, flush=True)


def _between(ends: list[int] | None) -> str | None:
    return f"{ends[0]}..{ends[1]}" if ends else None
