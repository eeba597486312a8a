"""The options by which a folding is asked for, and the table of `explore`.

Nothing heavy is imported here, as `arguments.py` imports it: what reads fold files is passed in.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .text import table

RESOURCES = ("lut", "ff", "bram", "dsp")
FAMILIES = ("ecp5", "ice40", "gowin", "xc7")
Parse = Callable[[str], Any]
ReadFold = Callable[[Path | None], Any]


def add_options(parser: argparse.ArgumentParser, count: Parse) -> None:
    """Add the ways to ask for one folding, of which a user gives one at most."""
    ways = parser.add_mutually_exclusive_group()
    for name, options in _ways(count).items():
        ways.add_argument(name, **options)
    add_ends(parser)


def add_columns(parser: argparse.ArgumentParser, count: Parse) -> None:
    """Add the same ways, each of which adds a column and may be repeated."""
    for name, options in _ways(count).items():
        options["help"] = f"add a column: {options['help']}; may be repeated"
        parser.add_argument(name, action="append", default=[], **options)
    add_ends(parser)


def _ways(count: Parse) -> dict[str, dict[str, Any]]:
    return {
        "--cycles-per-frame": {
            "metavar": "N", "type": count, "help": "the least area at N cycles a frame",
        },
        "--target-fps": {
            "metavar": "F", "type": _positive, "help": "the least area at F frames/s and --clock",
        },
        "--budget": {
            "metavar": "lut=N,...",
            "type": _budget,
            "help": "the fastest within so many lut, ff, bram and dsp",
        },
        "--fold": {
            "metavar": "FILE",
            "type": Path,
            "help": 'JSON: {"LAYER": {"pe": P, "simd": S}, ...}; layers left out keep up',
        },
    }  # fmt: skip


def add_ends(parser: argparse.ArgumentParser) -> None:
    """Add what a folding is judged by, and how its buffers are sized."""
    parser.add_argument(
        "--least-buffers", action="store_true", help="the least buffers, which take seconds to find"
    )
    parser.add_argument("--clock", metavar="MHZ", type=_frequency, help="the clock that is meant")
    add_measure(parser)


def add_measure(parser: argparse.ArgumentParser) -> None:
    """Add by which area foldings are compared."""
    parser.add_argument(
        "--family", choices=FAMILIES, default="ecp5", help="whose area counts (default: ecp5)"
    )
    parser.add_argument(
        "--minimise",
        choices=["area", *RESOURCES],
        default="area",
        help="what is least, before area (default: area, see docs/folding.md)",
    )


def wish(args: argparse.Namespace, read_fold: ReadFold) -> dict[str, Any]:
    """The folding that was asked for, as `api.generate` takes it."""
    return {
        "cycles_per_frame": args.cycles_per_frame,
        "fold": read_fold(args.fold),
        "target_fps": args.target_fps,
        "budget": args.budget,
        **_ends(args),
    }


def columns(args: argparse.Namespace, read_fold: ReadFold) -> dict[str, Any]:
    """The foldings that were asked for, as `api.compare` takes them."""
    return {
        "cycles_per_frame": args.cycles_per_frame,
        "folds": [read_fold(fold) for fold in args.fold],
        "target_fps": args.target_fps,
        "budgets": args.budget,
        **_ends(args),
    }


def _ends(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "clock": args.clock,
        "family": args.family,
        "minimise": args.minimise,
        "least_buffers": args.least_buffers,
    }


def pace(interval: int, clock: float | None) -> str:
    """Cycles per frame, and frames per second where a clock is meant."""
    at = (
        ""
        if clock is None
        else f", {clock * 1e6 / interval:,.0f} frames per second at {clock:g} MHz"
    )
    return f"{interval:,} cycles a frame{at}"


def explored(result: dict[str, Any]) -> str:
    """The front as a table, with the error of its estimates below."""
    shown = ("cycles", "limiting", *RESOURCES)
    rows = [
        {**{name: point[name] for name in shown}, "beyond": len(point["beyond"]) or None}
        for point in result["points"]
    ]
    return (
        f"{result['model']} on {result['family']}: {len(rows)} foldings of least "
        f"{result['minimise']} for their cycles per frame\n{table(rows)}\n"
        f"estimated, with the least buffers; median error {result['off']}\n"
        "beyond: units outside the calibrated range, counted with twice the extrapolated LUTs"
    )


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 is expected, not {text}")
    return value


def _frequency(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 10_000:
        raise argparse.ArgumentTypeError(f"MHz above 0 and up to 10000 are expected, not {text}")
    return value


def _budget(text: str) -> dict[str, int]:
    """Parse "lut=5000,bram=8"."""
    budget: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in RESOURCES or name in budget or not (value.isascii() and value.isdigit()):
            raise argparse.ArgumentTypeError(
                f"a budget is lut=N,ff=N,bram=N,dsp=N, or some of these, not {text}"
            )
        budget[name] = int(value)
    return budget
