"""RTLIL, Yosys' netlist text, as far as Amaranth 0.5 writes it: parsed into frozen dataclasses.

The format is line by line: a module holds wires, memories, cells and processes, and ends with its
connections.  Whatever does not belong to it raises `RtlilError`; nothing is skipped silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field


class RtlilError(ValueError):
    """RTLIL text that is not as Amaranth writes it, or that cannot be written as Verilog."""


@dataclass(frozen=True)
class Bits:
    """A constant; the first character is the most significant bit."""

    text: str

    @property
    def width(self) -> int:
        """Number of bits."""
        return len(self.text)


@dataclass(frozen=True)
class Slice:
    """`width` bits of a wire, the lowest of them bit `low`."""

    wire: str
    low: int
    width: int


Sig = tuple[Bits | Slice, ...]
"""A value: pieces side by side, the least significant first; () has width 0."""


@dataclass(frozen=True)
class Wire:
    """A wire; `init` is the power-up value of a register, `port` is input, output or inout."""

    name: str
    width: int
    init: str | None = None
    port: str | None = None
    attributes: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Memory:
    """An array of `depth` words."""

    name: str
    width: int
    depth: int
    attributes: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Cell:
    """An operator, register, memory port or submodule; parameters as text, ports as values."""

    kind: str
    name: str
    parameters: dict[str, str]
    ports: dict[str, Sig]
    attributes: dict[str, str] = field(default_factory=dict[str, str])

    def number(self, parameter: str) -> int:
        """Return a parameter as a number."""
        text = self.parameters[parameter]
        width, tick, bits = text.partition("'")
        return int(bits or "0", 2) if tick else int(width)


@dataclass(frozen=True)
class Assign:
    """Within a process: these bits take this value, whatever was assigned before."""

    to: Sig
    value: Sig


@dataclass(frozen=True)
class Case:
    """A branch of a switch; patterns of 0, 1 and - (either); no patterns means always."""

    patterns: tuple[str, ...]
    body: Body


@dataclass(frozen=True)
class Switch:
    """The first case that matches `on` runs."""

    on: Sig
    cases: tuple[Case, ...]


Body = tuple[Assign | Switch, ...]


@dataclass(frozen=True)
class Module:
    """A module by its hierarchical name; connects are (whole wire, its value)."""

    name: str
    wires: dict[str, Wire]
    memories: dict[str, Memory]
    cells: tuple[Cell, ...]
    processes: tuple[Body, ...]
    connects: tuple[tuple[str, Sig], ...]


_TOKEN = re.compile(r"(\S+)(?: \[(\d+)(?::(\d+))?\])?")
_ATTRIBUTE = re.compile(r"attribute \\(\S+) (.*)$")
_WIRE = re.compile(r"wire width (\d+)(?: (input|output|inout) \d+ )?(?: signed)? (\S+)$")
_MEMORY = re.compile(r"memory width (\d+) size (\d+) (\S+)$")
_PARAMETER = re.compile(r"parameter (?:signed )?\\(\S+) (.*)$")


def parse(text: str) -> list[Module]:
    """Return the modules of RTLIL text, the top module first."""
    lines = (line.strip() for line in text.splitlines())
    reader = _Reader(line for line in lines if line)
    return list(reader.modules())


class _Reader:
    def __init__(self, lines: Iterator[str]) -> None:
        self.lines = lines
        self.wires: dict[str, Wire] = {}

    def modules(self) -> Iterator[Module]:
        for line in self.lines:
            if line.startswith("module "):
                yield self.module(line.removeprefix("module \\"))
            elif not _ATTRIBUTE.match(line):
                raise RtlilError(f"RTLIL outside any module: {line!r}")

    def module(self, name: str) -> Module:
        self.wires = {}
        memories: dict[str, Memory] = {}
        cells: list[Cell] = []
        processes: list[Body] = []
        connects: list[tuple[str, Sig]] = []
        attributes: dict[str, str] = {}
        for line in self.lines:
            word = line.partition(" ")[0]
            if word == "attribute":
                key, value = _match(_ATTRIBUTE, line)
                attributes[key] = value
                continue
            if word == "wire":
                wire = _wire(line, attributes)
                self.wires[wire.name] = wire
            elif word == "memory":
                width, depth, memory = _match(_MEMORY, line)
                memories[memory] = Memory(memory, int(width), int(depth), attributes)
            elif word == "cell":
                cells.append(self.cell(*line.split(" ")[1:], attributes))
            elif word == "process":
                processes.append(self.body())
            elif word == "connect":
                _, wire_name, value = line.split(" ", 2)
                connects.append((wire_name, self.sig(value)))
            elif line == "end":
                return Module(
                    name, self.wires, memories, tuple(cells), tuple(processes), tuple(connects)
                )
            else:
                raise RtlilError(f"unknown RTLIL in module {name!r}: {line[:80]!r}")
            attributes = {}
        raise RtlilError(f"module {name!r} does not end")

    def cell(self, kind: str, name: str, attributes: dict[str, str]) -> Cell:
        parameters: dict[str, str] = {}
        ports: dict[str, Sig] = {}
        for line in self.lines:
            if line == "end":
                return Cell(kind, name, parameters, ports, attributes)
            if line.startswith("connect "):
                _, port, value = line.split(" ", 2)
                ports[port[1:]] = self.sig(value)
            else:
                key, text = _match(_PARAMETER, line)
                parameters[key] = text
        raise RtlilError(f"cell {name!r} does not end")

    def body(self) -> Body:
        """The statements of a process."""
        statements: list[Assign | Switch] = []
        for line in self.lines:
            if line == "end":
                return tuple(statements)
            statements.append(self.statement(line))
        raise RtlilError("a process does not end")

    def statement(self, line: str) -> Assign | Switch:
        """An assignment, or a switch with all its cases."""
        word, _, rest = line.partition(" ")
        if word == "assign":
            pieces = _TOKEN.finditer(rest)
            return Assign(self.sig_of(pieces), self.sig_of(pieces))
        if word == "switch":
            return Switch(self.sig(rest), self.cases())
        raise RtlilError(f"unknown RTLIL in a process: {line[:80]!r}")

    def cases(self) -> tuple[Case, ...]:
        """The cases of a switch; each body ends where the next case or the switch's end is."""
        cases: list[Case] = []
        patterns: tuple[str, ...] | None = None
        body: list[Assign | Switch] = []
        for line in self.lines:
            word, _, rest = line.partition(" ")
            if word in ("case", "end") and patterns is not None:
                cases.append(Case(patterns, tuple(body)))
            if word == "end":
                return tuple(cases)
            if word == "case":
                patterns = tuple(p.partition("'")[2] for p in rest.split(", ")) if rest else ()
                body = []
            else:
                body.append(self.statement(line))
        raise RtlilError("a switch does not end")

    def sig(self, text: str) -> Sig:
        """Parse a whole value."""
        return self.sig_of(_TOKEN.finditer(text))

    def sig_of(self, pieces: Iterator[re.Match[str]]) -> Sig:
        """Read one value, braces or a single piece, from the tokens."""
        first = next(pieces)
        if first[1] != "{":
            piece = self.piece(first)
            return (piece,) if piece.width else ()
        found: list[Bits | Slice] = []
        for token in pieces:
            if token[1] == "}":
                return tuple(piece for piece in reversed(found) if piece.width)
            found.append(self.piece(token))
        raise RtlilError("a concatenation does not end")

    def piece(self, token: re.Match[str]) -> Bits | Slice:
        name, high, low = token.groups()
        if name[0].isdigit():
            return Bits(name.partition("'")[2]) if "'" in name else Bits(f"{int(name):032b}")
        wire = self.wires.get(name)
        if wire is None:
            raise RtlilError(f"RTLIL uses a wire that is not declared: {name!r}")
        if high is None:
            return Slice(name, 0, wire.width)
        bottom = int(low or high)
        return Slice(name, bottom, int(high) - bottom + 1)


def _wire(line: str, attributes: dict[str, str]) -> Wire:
    width, port, name = _match(_WIRE, line)
    init = attributes.pop("init", None)
    bits = None if init is None else init.partition("'")[2]
    return Wire(name, int(width), bits, port, attributes)


def _match(pattern: re.Pattern[str], line: str) -> tuple[str, ...]:
    found = pattern.match(line)
    if found is None:
        raise RtlilError(f"unknown RTLIL: {line[:80]!r}")
    return found.groups()
