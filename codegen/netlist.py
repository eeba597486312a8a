"""A module's netlist between RTLIL and Verilog, in which every width is explicit.

Each operand of a `Node` has exactly the width at which the operator works, and each result exactly
the node's width.  So an expression means the same alone and inside another one, whatever Verilog's
rules would do to operands of unequal widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from . import rtlil
from .rtlil import Bits, Cell, RtlilError, Sig, Slice, Switch, Wire

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


# --- from RTLIL ---------------------------------------------------------------------------------

ROM = "\\bitwright.rom"
"""The kind of cell that is a constant memory; its parameter ROM is the number of its contents."""

_BINARY = {
    "$add": "+", "$sub": "-", "$and": "&", "$or": "|", "$xor": "^", "$eq": "==", "$ne": "!=",
}  # fmt: skip
_OUTPUT = {"$dff": "Q", "$adff": "Q", "$memrd_v2": "DATA", ROM: "DATA"}
_ORDER = {"$lt": "<", "$le": "<=", "$gt": ">", "$ge": ">="}
_REDUCE = {
    "$reduce_and": "all", "$reduce_or": "any", "$reduce_bool": "any", "$reduce_xor": "odd",
}  # fmt: skip


def lower(
    module: rtlil.Module, modules: Mapping[str, rtlil.Module], keep: frozenset[str],
    roms: Sequence[Sequence[int]] = (),
) -> Netlist:  # fmt: skip
    """Return a module's netlist; `modules` are all by name, `keep` wires keep their names.

    roms: contents of the constant memories that are cells of kind `ROM`.
    """
    return _Lowering(module, modules, keep, roms).run()


class _Lowering:
    def __init__(
        self, module: rtlil.Module, modules: Mapping[str, rtlil.Module], keep: frozenset[str],
        roms: Sequence[Sequence[int]],
    ) -> None:  # fmt: skip
        self.module, self.modules, self.keep, self.roms = module, modules, keep, roms
        self.memories = dict(module.memories)
        self.wires = {name: wire for name, wire in module.wires.items() if wire.width}
        self.renamed: dict[str, str] = {}
        self.drivers: dict[str, Driver] = {}
        self.driven: dict[str, int] = {}
        self.contents: dict[str, Sequence[int]] = {}
        self.writes: dict[str, dict[int, Write]] = {name: {} for name in module.memories}
        self.instances: list[Instance] = []
        self.fresh = 0

    def run(self) -> Netlist:
        module = self.module
        copies = self._aliases()
        bodies = {self._target(body): body for body in module.processes}
        registered = self._registered(bodies)
        for cell in sorted(module.cells, key=lambda cell: cell.kind in ("$memrd_v2", ROM)):
            self._cell(cell, registered, bodies)
        for wire, body in bodies.items():
            if wire not in registered:
                self._drive(wire, self._process(wire, body))
        for wire, value in copies:
            self._drive(wire, Node("copy", (self.sig(value),), self.wires[wire].width))
        writes = {name: tuple(ports.values()) for name, ports in self.writes.items()}
        return Netlist(
            module.name, self.wires, self.memories, self.contents, writes,
            tuple(self.instances), self.drivers,
        )  # fmt: skip

    # Names

    def _aliases(self) -> list[tuple[str, Sig]]:
        """Let a wire with a second, better name go by that one; return the other connections."""
        copies: list[tuple[str, Sig]] = []
        for wire, value in self.module.connects:
            if wire not in self.wires:
                continue
            first = value[0]
            if (
                isinstance(first, Slice)
                and value == self._whole(first.wire)
                and first.wire not in self.renamed
                and self._rank(wire) > self._rank(first.wire)
            ):
                self.renamed[first.wire] = wire
                old, new = self.wires[first.wire], self.wires[wire]
                self.wires[wire] = replace(new, init=old.init or new.init)
            else:
                copies.append((wire, value))
        return copies

    def _rank(self, wire: str) -> int:
        return 2 if self.wires[wire].port else int(wire.removeprefix("\\") in self.keep)

    def _whole(self, wire: str) -> Sig:
        return (Slice(wire, 0, self.wires[wire].width),)

    def sig(self, value: Sig) -> Sig:
        """A value of the RTLIL under the names used here."""
        if not self.renamed:
            return value
        return tuple(
            replace(piece, wire=self.renamed[piece.wire])
            if isinstance(piece, Slice) and piece.wire in self.renamed
            else piece
            for piece in value
        )

    def _drive(self, wire: str, driver: Driver) -> None:
        self._claim(self._whole(wire))
        self.drivers[wire] = driver

    def _claim(self, value: Sig) -> None:
        """Refuse bits that two drivers drive."""
        for piece in value:
            if isinstance(piece, Bits):
                raise RtlilError(f"module {self.module.name!r}: an output drives a constant")
            mask = ((1 << piece.width) - 1) << piece.low
            if self.driven.get(piece.wire, 0) & mask:
                raise RtlilError(f"module {self.module.name!r}: two drivers of {piece.wire!r}")
            self.driven[piece.wire] = self.driven.get(piece.wire, 0) | mask

    def make(self, op: str, args: tuple[Sig, ...], size: int) -> Sig:
        """Add a node under a fresh anonymous wire and return its value."""
        self.fresh += 1
        name = f"$:{self.fresh}"
        self.wires[name] = Wire(name, size)
        self._drive(name, Node(op, args, size))
        return (Slice(name, 0, size),)

    # Cells

    def _cell(self, cell: Cell, registered: dict[str, Cell], bodies: dict[str, rtlil.Body]) -> None:
        if cell.kind.startswith("\\") and cell.kind != ROM:
            self._instance(cell)
        elif cell.kind == "$meminit_v2":
            self.contents[_memory(cell)] = _initial(cell)
        elif cell.kind == "$memwr_v2":
            write = Write(self._clock(cell), *(self._port(cell, p) for p in ("ADDR", "DATA", "EN")))
            self.writes[_memory(cell)][cell.number("PORTID")] = write
        else:
            output = _OUTPUT.get(cell.kind, "Y")
            if output not in cell.ports:
                raise _unknown(cell, self.module.name)
            target = self._port(cell, output)
            if not target:
                return
            piece = target[0]
            if not isinstance(piece, Slice) or target != self._whole(piece.wire):
                raise RtlilError(f"cell {cell.kind} {cell.name} does not drive one whole wire")
            if cell.kind in ("$dff", "$adff"):
                driver: Driver = self._register(cell, piece.wire, registered, bodies)
            elif cell.kind == "$memrd_v2":
                driver = self._read(cell)
            elif cell.kind == ROM:
                driver = self._rom(cell)
            else:
                driver = self._operator(cell)
            self._drive(piece.wire, driver)

    def _port(self, cell: Cell, name: str) -> Sig:
        return self.sig(cell.ports[name])

    def _operator(self, cell: Cell) -> Node:
        kind = cell.kind
        size = cell.number("WIDTH" if kind == "$mux" else "Y_WIDTH")
        if kind == "$mux":
            return Node("mux", tuple(self._port(cell, name) for name in "SBA"), size)
        a, signed = self._port(cell, "A"), "A_SIGNED" in cell.parameters and cell.number("A_SIGNED")
        if kind in ("$not", "$neg", "$pos"):
            op = {"$not": "~", "$neg": "neg", "$pos": "copy"}[kind]
            return Node(op, (resize(a, size, bool(signed)),), size)
        if kind in _REDUCE:
            return Node(_REDUCE[kind], (a or bits(int(kind == "$reduce_and"), 1),), size)
        if kind == "$logic_not":
            return Node("==", (a or bits(0, 1), bits(0, max(1, width(a)))), size)
        if "B" in cell.ports:
            return self._binary(cell, a, self._port(cell, "B"), bool(signed), size)
        raise _unknown(cell, self.module.name)

    def _binary(self, cell: Cell, a: Sig, b: Sig, signed: bool, size: int) -> Node:
        kind = cell.kind
        largest = max(1, width(a), width(b))

        def both(to: int) -> tuple[Sig, Sig]:
            return resize(a, to, signed), resize(b, to, signed)

        if kind in ("$eq", "$ne"):
            return Node(_BINARY[kind], both(largest), size)
        if kind in _BINARY:
            return Node(_BINARY[kind], both(size), size)
        if kind == "$mul":
            # A signed product of sign-extended operands: synthesis finds the narrow multiplier.
            operands = both(size)
            negative = any((constant(operand) or 0) >> (size - 1) for operand in operands)
            return Node("s*" if signed or negative else "*", operands, size)
        if kind in _ORDER:
            return Node("s" * signed + _ORDER[kind], both(largest), size)
        if kind in ("$shl", "$shr", "$sshr", "$shift"):
            return self._shift(kind, a, b, signed, size)
        if kind in ("$divfloor", "$modfloor"):
            return self._divide(
                kind == "$divfloor", both(max(largest, size) + signed), size, signed
            )
        raise _unknown(cell, self.module.name)

    def _shift(self, kind: str, a: Sig, b: Sig, signed: bool, size: int) -> Node:
        b = b or bits(0, 1)
        if kind == "$shl":
            return Node("<<", (resize(a, size, signed), b), size)
        inner = max(size, width(a))
        wide = self.make("s>>" if signed else ">>", (resize(a, inner, signed), b), inner)
        return Node("copy", (cut(wide, 0, size),), size)

    def _divide(self, quotient: bool, args: tuple[Sig, Sig], size: int, signed: bool) -> Node:
        """Floor division: Verilog's truncates towards zero, one too high where signs differ."""
        inner = width(args[0])
        if not signed:
            result = self.make("/" if quotient else "%", args, inner)
            return Node("copy", (cut(result, 0, size),), size)
        rest = self.make("s%", args, inner)
        differ = self.make("^", (cut(rest, inner - 1, 1), cut(args[1], inner - 1, 1)), 1)
        adjust = self.make("&", (self.make("any", (rest,), 1), differ), 1)
        if quotient:
            result = self.make("s/", args, inner)
            step = self.make("-", (result, resize(adjust, inner, False)), inner)
        else:
            more = self.make("+", (rest, args[1]), inner)
            step = self.make("mux", (adjust, more, rest), inner)
        return Node("copy", (cut(step, 0, size),), size)

    def _clock(self, cell: Cell) -> Clock:
        reset = self._port(cell, "ARST") if cell.kind == "$adff" else ()
        return Clock(self._port(cell, "CLK"), bool(cell.number("CLK_POLARITY")), reset)

    def _read(self, cell: Cell) -> Read:
        memory = _memory(cell)
        mask = cell.number("TRANSPARENCY_MASK")
        seen = tuple(write for k, write in self.writes[memory].items() if mask >> k & 1)
        clock = self._clock(cell) if cell.number("CLK_ENABLE") else None
        return Read(memory, clock, self._port(cell, "ADDR"), self._port(cell, "EN"), seen)

    def _rom(self, cell: Cell) -> Read:
        """A memory of its own, with contents that the RTLIL does not hold, and its read port."""
        words, clock = self.roms[cell.number("ROM")], Clock(self._port(cell, "CLK"), True)
        self.memories[cell.name] = rtlil.Memory(
            cell.name, cell.number("WIDTH"), len(words), cell.attributes
        )
        self.contents[cell.name], self.writes[cell.name] = words, {}
        return Read(cell.name, clock, self._port(cell, "ADDR"), self._port(cell, "EN"), ())

    def _instance(self, cell: Cell) -> None:
        module = self.modules.get(cell.kind[1:])
        if module is None:
            raise RtlilError(
                f"module {self.module.name!r} holds {cell.name[1:]!r}, an instance of "
                f"{cell.kind[1:]!r}, which is not in the design; describe it in Amaranth"
            )
        inputs: dict[str, Sig] = {}
        outputs: dict[str, Sig] = {}
        for port in cell.ports:
            value, kind = self._port(cell, port), module.wires[f"\\{port}"].port
            if value:
                (outputs if kind == "output" else inputs)[port] = value
        instance = Instance(module.name, cell.name, inputs, outputs)
        self.instances.append(instance)
        for value in outputs.values():
            self._claim(value)
            for piece in value:
                if isinstance(piece, Slice):
                    self.drivers[piece.wire] = instance

    # Processes

    def _target(self, body: rtlil.Body) -> str:
        """The one wire that a process drives: its first statement assigns every bit of it."""
        first = body[0]
        piece = first.to[0] if isinstance(first, rtlil.Assign) and len(first.to) == 1 else None
        if not isinstance(piece, Slice) or (piece,) != self._whole(piece.wire):
            raise RtlilError(f"module {self.module.name!r}: a process without a default assignment")
        return self.renamed.get(piece.wire, piece.wire)

    def _registered(self, bodies: dict[str, rtlil.Body]) -> dict[str, Cell]:
        """The process wires that nothing reads but one register, and that register."""
        reads: dict[str, int] = {}
        sources: dict[str, Cell] = {}
        for value in self._values():
            for piece in self.sig(value):
                if isinstance(piece, Slice) and piece.wire in bodies:
                    reads[piece.wire] = reads.get(piece.wire, 0) + 1
        for cell in self.module.cells:
            data = self._port(cell, "D") if cell.kind in ("$dff", "$adff") else ()
            piece = data[0] if data else None
            if (
                isinstance(piece, Slice)
                and piece.wire in bodies
                and data == self._whole(piece.wire)
            ):
                sources[piece.wire] = cell
        return {
            wire: cell
            for wire, cell in sources.items()
            if reads.get(wire) == 1 and not self.wires[wire].port
        }

    def _values(self) -> Iterator[Sig]:
        """Every value that the RTLIL reads."""
        for cell in self.module.cells:
            yield from cell.ports.values() if cell.kind != "$meminit_v2" else ()
        for body in self.module.processes:
            yield from _process_values(body)
        for _, value in self.module.connects:
            yield value

    def _register(
        self, cell: Cell, wire: str, registered: dict[str, Cell], bodies: dict[str, rtlil.Body]
    ) -> Register:
        data = self._port(cell, "D")
        piece = data[0]
        if isinstance(piece, Slice) and registered.get(piece.wire) is cell:
            body = self._statements(bodies[piece.wire])
        else:
            body = (Set(0, data),)
        hold = Set(0, self._whole(wire))
        if body[0] == hold:
            body = body[1:]
        init = self.wires[wire].init
        return Register(self._clock(cell), _reset_first(body, width(data)), init)

    def _statements(self, body: rtlil.Body) -> tuple[Set | If, ...]:
        made: list[Set | If] = []
        for statement in body:
            if isinstance(statement, Switch):
                made += self._chain(statement)
            else:
                for low, value in _targets(statement):
                    made.append(Set(low, self.sig(value)))
        return tuple(made)

    def _chain(self, switch: Switch) -> tuple[Set | If, ...]:
        chain: tuple[Set | If, ...] = ()
        for case in reversed(switch.cases):
            then = self._statements(case.body)
            condition = self._condition(switch.on, case.patterns)
            if constant(condition) == 1:
                chain = then
            elif constant(condition) != 0 and then:
                chain = (If(condition, then, chain),)
            elif constant(condition) != 0 and chain:
                chain = (If(self.make("~", (condition,), 1), chain, ()),)
        return chain

    def _condition(self, on: Sig, patterns: tuple[str, ...]) -> Sig:
        """Whether a value matches one of the patterns; none of them means always."""
        if not patterns:
            return bits(1, 1)
        return self._reduce("|", [self._match(self.sig(on), pattern) for pattern in patterns], 0)

    def _match(self, on: Sig, pattern: str) -> Sig:
        tests: list[Sig] = []
        end = len(pattern)
        for piece in on:
            part, end = pattern[end - piece.width : end], end - piece.width
            tests += self._piece_tests(piece, part)
        return self._reduce("&", tests, 1)

    def _piece_tests(self, piece: Bits | Slice, pattern: str) -> Iterator[Sig]:
        """Tests of the runs of bits that the pattern cares about."""
        high = len(pattern)
        for run in pattern.replace("-", " - ").split():
            if run != "-":
                part = cut((piece,), high - len(run), len(run))
                yield self._equal(part, run)
            high -= len(run)

    def _equal(self, value: Sig, wanted: str) -> Sig:
        if constant(value) is not None:
            return bits(int(constant(value) == int(wanted, 2)), 1)
        if wanted == "1":
            return value
        if wanted == "0":
            return self.make("~", (value,), 1)
        return self.make("==", (value, (Bits(wanted),)), 1)

    def _reduce(self, op: str, tests: list[Sig], neutral: int) -> Sig:
        if bits(1 - neutral, 1) in tests:
            return bits(1 - neutral, 1)
        open_tests = [test for test in tests if constant(test) is None]
        if not open_tests:
            return bits(neutral, 1)
        result = open_tests[0]
        for test in open_tests[1:]:
            result = self.make(op, (result, test), 1)
        return result

    def _process(self, wire: str, body: rtlil.Body) -> Node:
        """A combinational process as multiplexers, one tree for each part assigned as a whole.

        Expressions instead of an `always @*` block: such a block of constants alone would never
        run, and every simulator runs assignments at time 0.
        """
        size = self.wires[wire].width
        edges = sorted({0, size, *_edges(body)})
        conditions: dict[int, list[Sig]] = {}
        parts: list[Bits | Slice] = []
        for low, high in pairwise(edges):
            parts += self._evaluate(body, low, high - low, (), conditions)
        return Node("copy", (join(parts),), size)

    def _evaluate(
        self, body: rtlil.Body, low: int, size: int, current: Sig, conditions: dict[int, list[Sig]]
    ) -> Sig:
        """The value of bits `low` .. `low + size` after `body`, given theirs before it."""
        for statement in body:
            if isinstance(statement, Switch):
                current = self._select(statement, low, size, current, conditions)
                continue
            for start, value in _targets(statement):
                if start <= low < start + width(value):
                    current = cut(self.sig(value), low - start, size)
        return current

    def _select(
        self, switch: Switch, low: int, size: int, current: Sig, conditions: dict[int, list[Sig]]
    ) -> Sig:
        values = [self._evaluate(c.body, low, size, current, conditions) for c in switch.cases]
        if all(value == current for value in values):
            return current
        if id(switch) not in conditions:
            tests = [self._condition(switch.on, case.patterns) for case in switch.cases]
            conditions[id(switch)] = tests
        result = current
        for condition, value in zip(
            reversed(conditions[id(switch)]), reversed(values), strict=True
        ):
            if constant(condition) == 1:
                result = value
            elif constant(condition) != 0 and value != result:
                result = self.make("mux", (condition, value, result), size)
        return result


def _unknown(cell: Cell, module: str) -> RtlilError:
    return RtlilError(
        f"module {module!r}: cell {cell.name!r} is a {cell.kind}, which has no Verilog here"
    )


def _initial(cell: Cell) -> list[int]:
    """The words that a memory begins with; word 0 is the last of the bits."""
    text = "".join(p.text for p in reversed(cell.ports["DATA"]) if isinstance(p, Bits))
    size = cell.number("WIDTH")
    return [int(text[k - size : k], 2) for k in range(len(text), 0, -size)]


def _memory(cell: Cell) -> str:
    """The name of a memory port's memory; the parameter is a quoted, escaped string."""
    return cell.parameters["MEMID"].strip('"').replace("\\\\", "\\")


def _targets(assign: rtlil.Assign) -> Iterator[tuple[int, Sig]]:
    """Each piece of the left side: its lowest bit and its value."""
    low = 0
    for piece in assign.to:
        if isinstance(piece, Slice):
            yield piece.low, cut(assign.value, low, piece.width)
        low += piece.width


def _edges(body: rtlil.Body) -> Iterator[int]:
    for statement in body:
        if isinstance(statement, Switch):
            for case in statement.cases:
                yield from _edges(case.body)
        else:
            for low, value in _targets(statement):
                yield from (low, low + width(value))


def _process_values(body: rtlil.Body) -> Iterator[Sig]:
    for statement in body:
        if isinstance(statement, Switch):
            yield statement.on
            for case in statement.cases:
                yield from _process_values(case.body)
        else:
            yield statement.value


def _reset_first(body: tuple[Set | If, ...], size: int) -> tuple[Set | If, ...]:
    """A last statement that overrides all others becomes the first choice."""
    last = body[-1] if len(body) > 1 else None
    if not isinstance(last, If) or last.otherwise:
        return body
    first = last.then[0] if len(last.then) == 1 else None
    if isinstance(first, Set) and width(first.value) == size:
        return (If(last.condition, last.then, body[:-1]),)
    return body
