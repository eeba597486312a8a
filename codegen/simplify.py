"""Make a netlist small before it is written: constants folded, unused logic and bits dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from .netlist import (
    ARITHMETIC,
    BITWISE,
    COMPARISONS,
    SHIFTS,
    Driver,
    If,
    Instance,
    Netlist,
    Node,
    Read,
    Register,
    Set,
    Write,
    anonymous,
    bits,
    constant,
    cut,
    join,
    resize,
    sigs,
    width,
    write_sigs,
)
from .rtlil import Bits, Sig, Slice


def simplify(netlist: Netlist, keep: frozenset[str] = frozenset()) -> Netlist:
    """Return the netlist that drives the same outputs, instances and `keep` wires, in order."""
    order, early = _sort(netlist.drivers)
    netlist = _fold(netlist, order, early)
    netlist = _prune(netlist, keep)
    order, early = _sort(netlist.drivers)
    return replace(_narrow(netlist, order, early), order=tuple(order), early=early)


def _wires(values: Iterable[Sig]) -> Iterator[str]:
    for value in values:
        for piece in value:
            if isinstance(piece, Slice):
                yield piece.wire


def _at_once(driver: Driver | None) -> bool:
    """Whether a driver's result depends on its operands in the same cycle, within this module."""
    return isinstance(driver, Node) or (isinstance(driver, Read) and driver.clock is None)


def _sort(drivers: dict[str, Driver]) -> tuple[list[str], frozenset[str]]:
    """Combinational wires after those they depend on, and those that close a loop of wires."""
    order: list[str] = []
    early: set[str] = set()
    state: dict[str, bool] = {}
    for root in drivers:
        if root in state or not _at_once(drivers[root]):
            continue
        state[root] = False
        stack = [(root, _wires(sigs(drivers[root])))]
        while stack:
            wire, reads = stack[-1]
            for read in reads:
                done = state.get(read)
                if done is False:
                    early.add(read)
                if done is None and _at_once(drivers.get(read)):
                    state[read] = False
                    stack.append((read, _wires(sigs(drivers[read]))))
                    break
            else:
                state[wire] = True
                order.append(wire)
                stack.pop()
    return order, frozenset(early)


# --- constants ----------------------------------------------------------------------------------


@dataclass
class _Folding:
    """Values that stand for wires: constants, and copies of other values."""

    known: dict[str, Sig] = field(default_factory=dict[str, Sig])

    def sig(self, value: Sig) -> Sig:
        """Return a value with known wires replaced."""
        if not any(isinstance(piece, Slice) and piece.wire in self.known for piece in value):
            return value
        pieces: list[Bits | Slice] = []
        for piece in value:
            if isinstance(piece, Slice) and piece.wire in self.known:
                pieces += cut(self.known[piece.wire], piece.low, piece.width)
            else:
                pieces.append(piece)
        return join(pieces)

    def body(self, body: tuple[Set | If, ...]) -> tuple[Set | If, ...]:
        """Return statements with known values, without branches that are never taken."""
        made: list[Set | If] = []
        for statement in body:
            if isinstance(statement, Set):
                made.append(Set(statement.low, self.sig(statement.value)))
                continue
            condition = self.sig(statement.condition)
            then, otherwise = self.body(statement.then), self.body(statement.otherwise)
            if constant(condition) is not None:
                made += then if constant(condition) else otherwise
            elif then or otherwise:
                made.append(If(condition, then, otherwise))
        return tuple(made)

    def write(self, write: Write) -> Write:
        """Return a write port with known values."""
        return replace(
            write,
            address=self.sig(write.address),
            data=self.sig(write.data),
            enable=self.sig(write.enable),
        )

    def driver(self, driver: Driver) -> Driver:
        """Return a driver with known values."""
        if isinstance(driver, Node):
            return _simpler(replace(driver, args=tuple(self.sig(arg) for arg in driver.args)))
        if isinstance(driver, Register):
            return replace(driver, body=self.body(driver.body))
        if isinstance(driver, Read):
            return replace(
                driver,
                address=self.sig(driver.address),
                enable=self.sig(driver.enable),
                seen=tuple(self.write(write) for write in driver.seen),
            )
        return replace(
            driver, inputs={port: self.sig(value) for port, value in driver.inputs.items()}
        )


def _fold(netlist: Netlist, order: list[str], early: frozenset[str]) -> Netlist:
    folding = _Folding()
    drivers = dict(netlist.drivers)
    same: dict[Node, Sig] = {}
    for wire in order:
        driver = drivers[wire] = folding.driver(drivers[wire])
        if not isinstance(driver, Node) or wire in early:
            continue
        driver = drivers[wire] = _without_double(driver, drivers)
        whole: Sig = (Slice(wire, 0, driver.width),)
        value = driver.args[0] if driver.op == "copy" else same.setdefault(driver, whole)
        if value != whole and (anonymous(wire) or constant(value) is not None):
            folding.known[wire] = value
    instances = {id(old): folding.driver(old) for old in netlist.instances}
    for wire, driver in drivers.items():
        if isinstance(driver, Instance):
            drivers[wire] = instances[id(driver)]
        elif not _at_once(driver):
            drivers[wire] = folding.driver(driver)
    return replace(
        netlist,
        drivers=drivers,
        instances=tuple(i for i in instances.values() if isinstance(i, Instance)),
        writes={
            name: tuple(folding.write(write) for write in writes)
            for name, writes in netlist.writes.items()
        },
    )


def _without_double(node: Node, drivers: dict[str, Driver]) -> Node:
    """Not of not is a copy."""
    piece = node.args[0][0] if node.op == "~" and len(node.args[0]) == 1 else None
    inner = drivers.get(piece.wire) if isinstance(piece, Slice) else None
    if isinstance(inner, Node) and inner.op == "~" and inner.width == node.width:
        return Node("copy", inner.args, node.width)
    return node


def _simpler(node: Node) -> Node:
    """An equal node, as a copy where that is possible."""
    values = [constant(arg) for arg in node.args]
    value = _copied(node, values)
    return node if value is None else Node("copy", (value,), node.width)


def _copied(node: Node, values: list[int | None]) -> Sig | None:
    """The value that a node always has, or None if it must be computed."""
    op, args = node.op, node.args
    if op == "copy":
        return None
    if op in SHIFTS:
        return None if values[1] is None else _shifted(op, args[0], values[1])
    if all(value is not None for value in values):
        return _computed(node, [value for value in values if value is not None])
    if op == "mux":
        if values[0] is not None:
            return args[1] if values[0] else args[2]
        if node.width == 1 and (values[1], values[2]) == (1, 0):
            return args[0]
        return args[1] if args[1] == args[2] else None
    if op in BITWISE or op in ("+", "-"):
        return _absorbed(op, args, values, node.width)
    if op in ("==", "!=") and width(args[0]) == 1 and values[1] == int(op == "=="):
        return args[0]
    return _certain(op, args) if op in COMPARISONS else None


def _shifted(op: str, value: Sig, by: int) -> Sig:
    size = width(value)
    if op == "<<":
        return cut((Bits("0" * min(by, size)), *value), 0, size) if by else value
    kept = cut(value, min(by, size - 1), size) if op == "s>>" else cut(value, by, size)
    return resize(kept, size, op == "s>>")


def _absorbed(op: str, args: tuple[Sig, ...], values: list[int | None], size: int) -> Sig | None:
    """Operands that leave the other unchanged, or decide alone."""
    ones = (1 << size) - 1
    for k, value in enumerate(values):
        if value == (ones if op == "&" else 0) and (op != "-" or k == 1):
            return args[1 - k]
        if (op, value) in (("&", 0), ("|", ones)):
            return bits(value or 0, size)
    return None


def _certain(op: str, args: tuple[Sig, ...]) -> Sig | None:
    """Comparisons that the known bits of both sides decide."""
    order = op.removeprefix("s")
    flip = 1 << (width(args[0]) - 1) if op != order else 0
    (a_lo, a_hi), (b_lo, b_hi) = (_bounds(arg, flip) for arg in args)
    if order in (">", ">="):
        (a_lo, a_hi), (b_lo, b_hi) = (b_lo, b_hi), (a_lo, a_hi)
    always = {"<": a_hi < b_lo, ">": a_hi < b_lo, "<=": a_hi <= b_lo, ">=": a_hi <= b_lo}
    never = {"<": a_lo >= b_hi, ">": a_lo >= b_hi, "<=": a_lo > b_hi, ">=": a_lo > b_hi}
    apart = a_hi < b_lo or b_hi < a_lo
    if always.get(order, order == "!=" and apart):
        return bits(1, 1)
    return bits(0, 1) if never.get(order, order == "==" and apart) else None


def _bounds(value: Sig, flip: int) -> tuple[int, int]:
    """Least and largest number that a value can be; `flip` turns signed order into unsigned."""
    lo = hi = low = 0
    for piece in value:
        known = int(piece.text, 2) if isinstance(piece, Bits) else 0
        lo |= known << low
        hi |= (known if isinstance(piece, Bits) else (1 << piece.width) - 1) << low
        low += piece.width
    known_sign = bool(value) and isinstance(value[-1], Bits)
    return (lo ^ flip, hi ^ flip) if known_sign else (lo, hi)


def _computed(node: Node, values: list[int]) -> Sig | None:
    """The result on constants, or None for operators that are left to the tools."""
    a, b = values[0], values[-1]
    size = width(node.args[0])
    if node.op.startswith("s") and node.op[1:] in ("<", "<=", ">", ">=", "*"):
        half = 1 << (size - 1)
        a, b = (a ^ half) - half, (b ^ half) - half
    results = {
        "&": a & b, "|": a | b, "^": a ^ b, "~": ~a, "neg": -a, "+": a + b, "-": a - b,
        "*": a * b, "==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b,
        ">=": a >= b, "any": a != 0, "all": a == (1 << size) - 1, "odd": a.bit_count() & 1,
    }  # fmt: skip
    if node.op == "mux":
        return node.args[1] if a else node.args[2]
    op = node.op[1:] if node.op.startswith("s") else node.op
    if op not in results:
        return None
    return bits(int(results[op]), node.width)


# --- unused logic -------------------------------------------------------------------------------


def _prune(netlist: Netlist, keep: frozenset[str]) -> Netlist:
    """Drop drivers and memories that no output, instance or kept wire depends on."""
    live: set[str] = set()
    memories: set[str] = set()
    todo = [
        name for name, wire in netlist.wires.items() if wire.port == "output" or name[1:] in keep
    ]
    for instance in netlist.instances:
        todo += _wires(instance.inputs.values())
    while todo:
        wire = todo.pop()
        if wire in live:
            continue
        live.add(wire)
        driver = netlist.drivers.get(wire)
        if driver is None or isinstance(driver, Instance):
            continue
        todo += _wires(sigs(driver))
        if isinstance(driver, Read) and driver.memory not in memories:
            memories.add(driver.memory)
            for write in netlist.writes[driver.memory]:
                todo += _wires(write_sigs(write))
    return replace(
        netlist,
        drivers={
            wire: driver
            for wire, driver in netlist.drivers.items()
            if wire in live or isinstance(driver, Instance)
        },
        memories={name: m for name, m in netlist.memories.items() if name in memories},
        writes={name: writes for name, writes in netlist.writes.items() if name in memories},
    )


def _narrow(netlist: Netlist, order: list[str], early: frozenset[str]) -> Netlist:
    """Cut anonymous results to the bits that are used, in operators that allow it."""
    used: dict[str, int] = {}
    drivers = dict(netlist.drivers)
    wires = dict(netlist.wires)

    def use(values: Iterable[Sig]) -> None:
        for value in values:
            for piece in value:
                if isinstance(piece, Slice):
                    used[piece.wire] = max(used.get(piece.wire, 0), piece.low + piece.width)

    for driver in drivers.values():
        if not isinstance(driver, Node):
            use(sigs(driver))
    for instance in netlist.instances:
        use(instance.inputs.values())
    for writes in netlist.writes.values():
        for write in writes:
            use(write_sigs(write))
    for wire in reversed(order):
        driver = drivers[wire]
        if not isinstance(driver, Node):
            continue
        size = used.get(wire, 0)
        if anonymous(wire) and wire not in early and 0 < size < driver.width:
            driver = _cut_node(driver, size)
            wires[wire] = replace(wires[wire], width=driver.width)
            drivers[wire] = driver
        use(driver.args)
    return replace(netlist, drivers=drivers, wires=wires)


def _cut_node(node: Node, size: int) -> Node:
    """The node with its low `size` bits alone, where their operands suffice."""
    if node.op in ARITHMETIC or node.op in BITWISE or node.op in ("~", "neg", "copy"):
        return Node(node.op, tuple(cut(arg, 0, size) for arg in node.args), size)
    if node.op == "mux":
        condition, *choices = node.args
        return Node("mux", (condition, *(cut(choice, 0, size) for choice in choices)), size)
    if node.op == "<<":
        return Node("<<", (cut(node.args[0], 0, size), node.args[1]), size)
    return node
