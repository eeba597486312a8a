"""The arguments of the command line, and the command that each stands for.

Nothing heavy is imported here: `--help` answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import __version__, commands, wishes

BAD_INPUT = 2
MODEL_HELP = "a saved integer program, a quantised ONNX file, or the name of one in the zoo"


class _Parser(argparse.ArgumentParser):
    """An argument parser that states a mistake in one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` of what it returns is the command's function."""
    whole = _Parser(
        prog="bitwright",
        description="Import or compress a network, generate its Verilog, simulate it, compare.",
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"bitwright {__version__}")
    adders = whole.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        _check,
        _compress,
        _search,
        _finetune,
        _export,
        _generate,
        _simulate,
        _synth,
        _compare,
        _explore,
        _zoo,
        _doctor,
    ):
        add(adders)
    return whole


def _check(adders: Any) -> None:
    command = _command(
        adders,
        "check",
        commands.check,
        "say whether an ONNX file goes through, or what is in its way",
    )
    command.add_argument(
        "model", metavar="MODEL.onnx", help="a quantised ONNX file: QONNX, QDQ, ..."
    )


def _compress(adders: Any) -> None:
    command = _command(
        adders, "compress", commands.compress, "turn a float network into an integer program"
    )
    _compression(command, "calibration inputs, in the model's own layout")
    command.add_argument("--labels", metavar="Y.npy", type=Path, help="classes of the inputs")
    _output(command, "MODEL", "where to save the integer program", required=True)


def _search(adders: Any) -> None:
    command = _command(
        adders, "search", commands.search, "find the method of each layer for an accuracy or a cost"
    )
    _network(command, "calibration inputs, in the model's own layout")
    command.add_argument("--labels", metavar="Y.npy", type=Path, help="classes of the inputs")
    _output(command, "MODEL", "where to save the integer program", required=True)
    command.add_argument(
        "--among",
        metavar="METHOD,...",
        type=_methods,
        default="int8,int4,ternary,bwnh2,bwnh",
        help="the methods; the first compresses the rest while one is tried (default: %(default)s)",
    )
    goal = command.add_mutually_exclusive_group(required=True)
    goal.add_argument(
        "--accuracy",
        metavar="A",
        type=_share(last=True),
        help="the cheapest with this share right",
    )
    goal.add_argument(
        "--most", metavar="N", type=_at_least(1), help="the most accurate that costs at most N"
    )
    command.add_argument(
        "--minimise",
        choices=["bits", *wishes.RESOURCES],
        default="lut",
        help="what costs: stored bits of weights, or estimated area (default: lut)",
    )
    command.add_argument(
        "--cycles-per-frame", metavar="N", type=_at_least(1), help="of the folding that is counted"
    )
    command.add_argument(
        "--family", choices=wishes.FAMILIES, default="ecp5", help="whose area (default: ecp5)"
    )


def _finetune(adders: Any) -> None:
    command = _command(
        adders,
        "finetune",
        commands.finetune,
        "compress a float network and train the result (PyTorch)",
    )
    _compression(command, "training inputs, in the model's own layout")
    command.add_argument(
        "--labels", metavar="Y.npy", type=Path, required=True, help="classes of the inputs"
    )
    for name, (kind, purpose) in commands.TRAINING.items():
        command.add_argument(f"--{name}", metavar="N", type=kind, help=purpose)
    _output(command, "MODEL", "where to save the integer program", required=True)


def _export(adders: Any) -> None:
    command = _command(adders, "export", commands.export, "write a model as a QONNX file")
    _model(command)
    _output(command, "OUT.onnx", "the file to write", required=True)


def _generate(adders: Any) -> None:
    command = _command(
        adders, "generate", commands.generate, "write Verilog, memory files, a testbench"
    )
    _model(command)
    _output(command, "DIR", "the folder to write", required=True)
    _folding(command)


def _simulate(adders: Any) -> None:
    command = _command(
        adders, "simulate", commands.simulate, "run a model and compare values and cycles"
    )
    _model(command)
    command.add_argument(
        "--inputs", metavar="X.npy", type=Path, required=True, help="frames to feed, one a row"
    )
    command.add_argument(
        "--expect",
        metavar="Y.npy",
        type=Path,
        help="values the outputs must be, in the model's own shape and scale",
    )
    command.add_argument(
        "--engine",
        choices=["reference", "numba", "verilator", "icarus"],
        default="verilator",
        help="what computes (default: verilator)",
    )
    command.add_argument("--frames", metavar="N", type=_at_least(1), help="only the first N frames")
    command.add_argument(
        "--stall",
        metavar="P",
        type=_share(last=False),
        default=0.0,
        help="share of cycles in which source and sink pause (default: 0)",
    )
    command.add_argument(
        "--seed", metavar="S", type=_at_least(0), default=0, help="seed of the stalls (default: 0)"
    )
    command.add_argument(
        "--wave",
        metavar="FILE",
        type=Path,
        help="write a waveform (VCD from Verilator, FST from Icarus)",
    )
    _output(command, "Y.npy", "write the outputs, in the model's own output scale")
    _folding(command)


def _synth(adders: Any) -> None:
    command = _command(
        adders,
        "synth",
        commands.synth,
        "synthesise, place and route: real area, and the clock reached",
    )
    command.add_argument("model", metavar="DIR|MODEL", help=f"a generated project, or {MODEL_HELP}")
    command.add_argument(
        "--device", metavar="NAME", help="hx8k, up5k, 45k, ... (default: the smallest that fits)"
    )
    command.add_argument(
        "--seeds", metavar="N", type=_at_least(1), default=3, help="placements (default: 3)"
    )
    command.add_argument(
        "--jobs", metavar="N", type=_at_least(1), default=1, help="placements at a time"
    )
    command.add_argument(
        "--no-place", dest="place", action="store_false", help="map only, without a clock"
    )
    command.add_argument(
        "--pins", metavar="FILE", type=Path, help="pins of the real ports (.pcf, .lpf, .cst)"
    )
    command.add_argument(
        "--bitstream", metavar="FILE", type=Path, help="write a bitstream; needs --pins"
    )
    _folding(command)


def _compare(adders: Any) -> None:
    command = _command(
        adders, "compare", commands.compare, "cycles and area of models or foldings, side by side"
    )
    command.add_argument("models", metavar="MODEL", nargs="+", help=MODEL_HELP)
    wishes.add_columns(command, _at_least(1))
    command.add_argument(
        "--engine",
        choices=["auto", "icarus", "verilator", "none"],
        default="auto",
        help="measures the cycles in RTL; none: not, for big networks (default: auto)",
    )
    command.add_argument(
        "--place",
        metavar="SEEDS",
        type=_at_least(1),
        help="synthesise, place and route: times at the clock reached, and the real area",
    )
    command.add_argument(
        "--report", metavar="FILE.html", type=Path, help="write it as a self-contained page too"
    )


def _explore(adders: Any) -> None:
    command = _command(
        adders, "explore", commands.explore, "the Pareto front of foldings: cycles against area"
    )
    _model(command)
    command.add_argument(
        "--points",
        metavar="N",
        type=_at_least(1),
        help="so many targets (default: the whole front)",
    )
    wishes.add_measure(command)


def _zoo(adders: Any) -> None:
    _command(adders, "zoo", commands.zoo, "list the networks that come with bitwright")


def _doctor(adders: Any) -> None:
    _command(adders, "doctor", commands.doctor, "list the tools found, and what is missing")


def _command(
    adders: Any, name: str, run: Callable[[argparse.Namespace], int], purpose: str
) -> argparse.ArgumentParser:
    parser = adders.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON alone on standard output")
    return parser


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


def _at_least(least: int) -> Callable[[str], int]:
    """Return a parser of integers that refuses those below `least`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} is expected, not {text}")
        return int(text)

    return parse


def _share(last: bool) -> Callable[[str], float]:
    """Return a parser of shares from 0 to 1, which itself is taken where it is the `last`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not (0 <= value < 1 or (last and value == 1)):
            end = "1" if last else "below 1"
            raise argparse.ArgumentTypeError(f"a share from 0 to {end} is expected, not {text}")
        return value

    return parse


def _methods(text: str) -> list[str]:
    """Methods at commas; their settings have commas too, and are no methods."""
    found: list[str] = []
    for part in text.split(","):
        if found and "=" in part and ":" not in part:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _assigned(text: str) -> tuple[str, str]:
    layer, equals, name = text.partition("=")
    if not (layer and equals and name):
        raise argparse.ArgumentTypeError(f"LAYER=METHOD is expected, not {text}")
    return layer, name
