"""What every unit offers: ports, a component, its exact timing, its foldings and its area.

Dispatch is on the operator's dataclass.  A unit is an operator at a place: its input and output
edges and its folding.  FIFOs, width converters and forks are units too, of dataclasses of their
own, with the same four functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, NoReturn

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.fixed import Grid, ProgramError
from ..models.program import Edge
from .timing import Timing

DEFAULT_LEVELS = 3
"""Levels of logic in a stage, unless a clock asks for others (`levels.levels_for`)."""


@dataclass(frozen=True)
class Fold:
    """How many results (`pe`) and how many operands of each (`simd`) a unit handles in a cycle."""

    pe: int = 1
    simd: int = 1


@dataclass(frozen=True)
class Port:
    """A stream of `beats` a frame, each `lanes` elements of `grid`, lane 0 in the low bits."""

    grid: Grid
    lanes: int
    beats: int

    @classmethod
    def of(cls, edge: Edge, lanes: int) -> Port:
        """The port that carries an edge, `lanes` elements a beat."""
        return cls(edge.grid, lanes, edge.elements // lanes)

    @property
    def width(self) -> int:
        """Bits of payload."""
        return self.grid.bits * self.lanes


@dataclass(frozen=True, eq=False)
class Place:
    """Where an operator stands: the edges it reads, the edge it feeds, its folding, its depth.

    levels: levels of logic that one stage of a pipeline may hold.
    """

    inputs: tuple[Edge, ...]
    output: Edge
    fold: Fold = Fold()
    levels: int = DEFAULT_LEVELS


@dataclass(frozen=True)
class Ports:
    """Input and output ports of a unit."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Unit(wiring.Component):
    """A component with streams `i` and `o` (`i0`, `i1`, ... and `o0`, `o1`, ... where several)."""

    def __init__(self, op: Any, place: Place) -> None:
        self.op, self.place = op, place
        self.ports = ports(op, place)
        members = {
            name: In(stream.Signature(port.width))
            for name, port in zip(input_names(self.ports), self.ports.inputs, strict=True)
        }
        members |= {
            name: Out(stream.Signature(port.width))
            for name, port in zip(output_names(self.ports), self.ports.outputs, strict=True)
        }
        super().__init__(members)

    def stream(self, name: str) -> Any:
        """The stream of a port by name."""
        return getattr(self, name)


def input_names(of: Ports) -> tuple[str, ...]:
    """Names of the input ports, in order."""
    return _names("i", len(of.inputs))


def output_names(of: Ports) -> tuple[str, ...]:
    """Names of the output ports, in order."""
    return _names("o", len(of.outputs))


def _names(letter: str, count: int) -> tuple[str, ...]:
    return (letter,) if count == 1 else tuple(f"{letter}{k}" for k in range(count))


def _missing(op: Any, what: str) -> NoReturn:
    raise NotImplementedError(
        f"{type(op).__name__} has no {what}; register one with @{what}.register in hw/"
    )


@singledispatch
def foldings(op: Any, place: Place) -> tuple[Fold, ...]:
    """Every folding that the unit can have at this place (whose own fold is ignored)."""
    _missing(op, "foldings")


@singledispatch
def ports(op: Any, place: Place) -> Ports:
    """The streams of the unit."""
    _missing(op, "ports")


@singledispatch
def component(op: Any, place: Place) -> Unit:
    """The Amaranth component."""
    _missing(op, "component")


@singledispatch
def timing(op: Any, place: Place) -> Timing:
    """The exact cycle behaviour of the component."""
    _missing(op, "timing")


@singledispatch
def cycles(op: Any, place: Place) -> int:
    """Closed formula: least cycles per frame, where every port moves at most a beat a cycle."""
    of = ports(op, place)
    return max(port.beats for port in (*of.inputs, *of.outputs))


@singledispatch
def fill(op: Any, place: Place) -> int:
    """Closed formula: cycles from the first input beat to the first output beat, fed at full speed.

    Exact for a unit alone.
    """
    _missing(op, "fill")


@singledispatch
def tail(op: Any, place: Place) -> int:
    """Closed formula: cycles from the last input beat to the last output beat."""
    return fill(op, place)


def divisors(n: int) -> tuple[int, ...]:
    """All divisors of n, rising."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return tuple(sorted({*small, *(n // d for d in small)}))


def check_fold(name: str, op: Any, place: Place) -> None:
    """Raise a one-sentence `ProgramError` unless the folding divides what it folds."""
    allowed = foldings(op, place)
    if place.fold in allowed:
        return
    pes = sorted({fold.pe for fold in allowed})
    simds = sorted({fold.simd for fold in allowed})
    raise ProgramError(
        f"layer {name!r}: {type(op).__name__} cannot be folded with pe {place.fold.pe} and simd "
        f"{place.fold.simd}; pe is one of {_short(pes)} and simd one of {_short(simds)}"
    )


def _short(values: list[int]) -> str:
    return ", ".join(map(str, values[:16])) + (", ..." if len(values) > 16 else "")
