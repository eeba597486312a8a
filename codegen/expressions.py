"""Values of a netlist as Verilog expressions of exactly their width."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

from .netlist import (
    Bits,
    Instance,
    Netlist,
    Node,
    Sig,
    Slice,
    Write,
    anonymous,
    constant,
    sigs,
    width,
    write_sigs,
)

_SYMBOLS = {
    "s*": "*", "s/": "/", "s%": "%", "s>>": ">>>", "s<": "<", "s<=": "<=", "s>": ">", "s>=": ">=",
}  # fmt: skip
_PREFIX = {"~": "~", "neg": "-", "all": "&", "any": "|", "odd": "^"}
HINTS = {
    "+": "sum", "-": "diff", "neg": "minus", "*": "product", "s*": "product", "mux": "pick",
    ">>": "shifted", "s>>": "shifted", "<<": "shifted", "copy": "bits",
}  # fmt: skip
_OWN_WIRE = frozenset({"*", "s*", "/", "%", "s/", "s%", "<<", ">>", "s>>"})
"""Operators whose result always has a wire: they are large, or signed in their own right."""
_LONGEST = 80
"""Characters of an expression that may stand inside another one, if it does so once."""
_SHORT = 16
"""The same for one that stands in several places."""


@dataclass(frozen=True)
class Text:
    """An expression; `whole` if it needs no parentheses as an operand."""

    text: str
    whole: bool
    op: str = ""


def number(bits: str) -> str:
    """A constant with its width: decimal where short, else hexadecimal."""
    value = int(bits, 2)
    if len(bits) == 1:
        return f"1'b{bits}"
    return f"{len(bits)}'d{value}" if value < 1000 else f"{len(bits)}'h{value:x}"


def bounds(size: int) -> str:
    """The range of a declaration, with the space behind it; empty for a single bit."""
    return f"[{size - 1}:0] " if size > 1 else ""


class Expressions:
    """Writes values; an anonymous wire read as a whole may be written out in place."""

    def __init__(self, netlist: Netlist, name: Callable[[str], str]) -> None:
        self.wires, self.name = netlist.wires, name
        self.inline: dict[str, Text] = {}
        self.arguments: dict[str, str] = {}
        self.whole = _whole_reads(netlist)

    def offer(self, wire: str, node: Node, text: Text) -> bool:
        """Whether the result needs no wire of its own."""
        longest = _LONGEST if self.whole.get(wire) == 1 else _SHORT
        fits = node.op not in _OWN_WIRE and len(text.text) <= longest
        if fits and anonymous(wire) and wire in self.whole:
            self.inline[wire] = text
            return True
        return False

    @contextmanager
    def inside(self, arguments: dict[str, str]) -> Generator[None]:
        """Write values in terms of a function's arguments: a name for each wire."""
        self.arguments = arguments
        yield
        self.arguments = {}

    def sig(self, value: Sig) -> Text:
        """A value as an expression of exactly its width."""
        if len(value) == 1:
            return self._piece(value[0])
        runs = ((piece, len(list(same))) for piece, same in groupby(reversed(value)))
        parts = [self._repeated(piece, count) for piece, count in runs]
        return Text(parts[0] if len(parts) == 1 else f"{{{', '.join(parts)}}}", True)

    def text(self, value: Sig) -> str:
        """A value where nothing binds more tightly."""
        return self.sig(value).text

    def operand(self, value: Sig, op: str = "") -> str:
        """A value as an operand; chains of one associative operator need no parentheses."""
        made = self.sig(value)
        return made.text if made.whole or (op and made.op == op) else f"({made.text})"

    def _repeated(self, piece: Bits | Slice, count: int) -> str:
        text = self._piece(piece).text
        return text if count == 1 else f"{{{count}{{{text}}}}}"

    def _piece(self, piece: Bits | Slice) -> Text:
        if isinstance(piece, Bits):
            return Text(number(piece.text), True)
        if piece.wire in self.inline and piece.wire not in self.arguments:
            return self.inline[piece.wire]
        name = self.arguments.get(piece.wire) or self.name(piece.wire)
        size = self.wires[piece.wire].width
        if piece.width == size:
            return Text(name, True)
        if piece.width == 1:
            return Text(f"{name}[{piece.low}]", True)
        return Text(f"{name}[{piece.low + piece.width - 1}:{piece.low}]", True)

    def node(self, node: Node) -> Text:
        """An operator as an expression."""
        op, args = node.op, node.args
        if op == "copy":
            return self.sig(args[0])
        if op == "mux":
            condition, then, otherwise = (self.operand(arg) for arg in args)
            return Text(f"{condition} ? {then} : {otherwise}", False)
        if op in _PREFIX:
            return Text(f"{_PREFIX[op]}{self.operand(args[0])}", False)
        symbol = _SYMBOLS.get(op, op)
        if op in ("&", "|", "^"):
            return Text(f"{self.operand(args[0], op)} {symbol} {self.operand(args[1])}", False, op)
        if not op.startswith("s"):
            return Text(f"{self.operand(args[0])} {symbol} {self.operand(args[1])}", False)
        right = self.operand(args[1]) if op == "s>>" else self._signed(args[1])
        return Text(f"{self._signed(args[0])} {symbol} {right}", False)

    def _signed(self, value: Sig) -> str:
        known = constant(value)
        if known is None:
            return f"$signed({self.text(value)})"
        size = width(value)
        negative = known >> (size - 1)
        return f"-{size}'sd{(1 << size) - known}" if negative else f"{size}'sd{known}"


def _whole_reads(netlist: Netlist) -> dict[str, int]:
    """How often the text reads each wire that is always read with all its bits together."""
    reads: dict[str, int] = {}
    parted = set(netlist.early)
    for value in _all_values(netlist):
        for piece in value:
            if isinstance(piece, Slice):
                reads[piece.wire] = reads.get(piece.wire, 0) + 1
                if piece.width != netlist.wires[piece.wire].width:
                    parted.add(piece.wire)
    return {wire: count for wire, count in reads.items() if wire not in parted}


def _all_values(netlist: Netlist) -> Iterator[Sig]:
    for driver in netlist.drivers.values():
        if not isinstance(driver, Instance):
            yield from sigs(driver)
    for instance in netlist.instances:
        yield from sigs(instance)
    for writes in netlist.writes.values():
        for write in writes:
            # Counted twice: a port that enables parts of a word names its operands for each part.
            yield from (*write_sigs(write), *(write_sigs(write) if parts(write) > 1 else ()))


def parts(write: Write) -> int:
    """How many parts of a word a port enables apart."""
    return len(list(runs(write.enable)))


def runs(enable: Sig) -> Iterator[tuple[Sig, int, int]]:
    """Runs of equal enable bits: the bit, the lowest position, the number."""
    low = 0
    bits = (bit for piece in enable for bit in _single(piece))
    for bit, same in groupby(bits):
        count = len(list(same))
        yield bit, low, count
        low += count


def _single(piece: Bits | Slice) -> Iterator[Sig]:
    """The bits of a piece, the lowest first."""
    if isinstance(piece, Bits):
        yield from ((Bits(bit),) for bit in reversed(piece.text))
    else:
        yield from ((Slice(piece.wire, piece.low + k, 1),) for k in range(piece.width))
