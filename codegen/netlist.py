"""A module's netlist between RTLIL and Verilog, in which every width is explicit.

Each operand of a `Node` has exactly the width at which the operator works, and each result exactly
the node's width.  So an expression means the same alone and inside another one, whatever Verilog's
rules would do to operands of unequal widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from . import rtlil
from .rtlil import Bits, Sig, Slice, Wire

# Operators of a node, by what their operands are.
ARITHMETIC = frozenset({"+", "-", "*", "s*"})
"""Modulo 2**width: low bits of the result depend on low bits of the operands alone."""
BITWISE = frozenset({"&", "|", "^"})
UNARY = frozenset({"~", "neg"})
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "s<", "s<=", "s>", "s>="})
SHIFTS = frozenset({"<<", ">>", "s>>"})
DIVISIONS = frozenset({"/", "%", "s/", "s%"})
REDUCTIONS = frozenset({"all", "any", "odd"})


@dataclass(frozen=True)
class Node:
    """An operator.  `mux` is (condition, then, else), `copy` just its operand."""

    op: str
    args: tuple[Sig, ...]
    width: int


@dataclass(frozen=True)
class Set:
    """A register's bits from `low` upwards take a value at the clock."""

    low: int
    value: Sig


@dataclass(frozen=True)
class If:
    """Statements under a condition of one bit."""

    condition: Sig
    then: tuple[Set | If, ...]
    otherwise: tuple[Set | If, ...]


@dataclass(frozen=True)
class Clock:
    """A clock and its active edge; `reset` is an asynchronous reset, active high."""

    signal: Sig
    rising: bool
    reset: Sig = ()


@dataclass(frozen=True)
class Register:
    """A register; without a statement that applies it holds. `init` is also its reset value."""

    clock: Clock
    body: tuple[Set | If, ...]
    init: str | None


@dataclass(frozen=True)
class Write:
    """A write port; `enable` has a bit per bit of data."""

    clock: Clock
    address: Sig
    data: Sig
    enable: Sig


@dataclass(frozen=True)
class Read:
    """A read port, by a clock or (None) at once; `seen` are writes visible in the same cycle."""

    memory: str
    clock: Clock | None
    address: Sig
    enable: Sig
    seen: tuple[Write, ...]


@dataclass(frozen=True)
class Instance:
    """A submodule; ports in the order of the netlist."""

    module: str
    name: str
    inputs: dict[str, Sig]
    outputs: dict[str, Sig]


Driver = Node | Register | Read | Instance


@dataclass(frozen=True)
class Netlist:
    """A module; `drivers` has one driver for each wire that is not an input.

    contents: words of each constant memory; order: wires driven by nodes and
    asynchronous reads, each after what it depends on, but for `early`, which some need before.
    """

    name: str
    wires: dict[str, Wire]
    memories: dict[str, rtlil.Memory]
    contents: dict[str, Sequence[int]]
    writes: dict[str, tuple[Write, ...]]
    instances: tuple[Instance, ...]
    drivers: dict[str, Driver]
    order: tuple[str, ...] = ()
    early: frozenset[str] = frozenset()


def width(sig: Sig) -> int:
    """Bits of a value."""
    return sum(piece.width for piece in sig)


def join(pieces: Iterable[Bits | Slice]) -> Sig:
    """Put pieces side by side, neighbours merged where they continue one another."""
    made: list[Bits | Slice] = []
    for piece in pieces:
        last = made[-1] if made else None
        if isinstance(piece, Bits) and isinstance(last, Bits):
            made[-1] = Bits(piece.text + last.text)
        elif (
            isinstance(piece, Slice)
            and isinstance(last, Slice)
            and (piece.wire, piece.low) == (last.wire, last.low + last.width)
        ):
            made[-1] = Slice(last.wire, last.low, last.width + piece.width)
        elif piece.width:
            made.append(piece)
    return tuple(made)


def cut(sig: Sig, low: int, size: int) -> Sig:
    """Return `size` bits of a value from bit `low` upwards."""
    made: list[Bits | Slice] = []
    for piece in sig:
        start, stop = max(low, 0), min(low + size, piece.width)
        if start < stop:
            made.append(_part(piece, start, stop))
        low -= piece.width
    return join(made)


def _part(piece: Bits | Slice, start: int, stop: int) -> Bits | Slice:
    if isinstance(piece, Slice):
        return Slice(piece.wire, piece.low + start, stop - start)
    return Bits(piece.text[piece.width - stop : piece.width - start])


def resize(sig: Sig, size: int, signed: bool) -> Sig:
    """Cut or extend a value, by its sign or by zeros."""
    have = width(sig)
    if have >= size:
        return cut(sig, 0, size)
    fill = cut(sig, have - 1, 1) if signed and have else (Bits("0"),)
    return join((*sig, *(fill * (size - have))))


def constant(sig: Sig) -> int | None:
    """Return the number that a constant value is."""
    if not all(isinstance(piece, Bits) for piece in sig):
        return None
    return int("0" + "".join(piece.text for piece in reversed(sig) if isinstance(piece, Bits)), 2)


def bits(value: int, size: int) -> Sig:
    """Return a constant of `size` bits."""
    return (Bits(f"{value % (1 << size):0{size}b}"),) if size else ()


def anonymous(wire: str) -> bool:
    """Whether nobody named this wire."""
    return wire.startswith(("$", "\\$"))


def sigs(driver: Driver) -> Iterator[Sig]:
    """All values that a driver reads, as often as its text names them."""
    if isinstance(driver, Node):
        yield from driver.args
    elif isinstance(driver, Register):
        yield driver.clock.signal
        yield driver.clock.reset
        yield from _body_sigs(driver.body)
    elif isinstance(driver, Read):
        yield from (driver.address, driver.enable)
        if driver.clock:
            yield driver.clock.signal
        for write in driver.seen:
            # Named in a comparison and in a choice: twice keeps them from being written out twice.
            yield from (*write_sigs(write), driver.address, *write_sigs(write))
    else:
        yield from driver.inputs.values()


def write_sigs(write: Write) -> tuple[Sig, ...]:
    """All values that a write port reads."""
    return write.clock.signal, write.address, write.data, write.enable


def _body_sigs(body: tuple[Set | If, ...]) -> Iterator[Sig]:
    for statement in body:
        if isinstance(statement, Set):
            yield statement.value
        else:
            yield statement.condition
            yield from _body_sigs(statement.then)
            yield from _body_sigs(statement.otherwise)
