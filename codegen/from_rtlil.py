"""The netlist of a module of RTLIL: cells become nodes, registers, reads, writes and instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from . import rtlil
from .netlist import (
    Clock,
    Driver,
    Instance,
    Netlist,
    Node,
    Read,
    Register,
    Set,
    Write,
    bits,
    constant,
    cut,
    resize,
    width,
)
from .processes import Processes, process_values, reset_first
from .rtlil import Bits, Cell, RtlilError, Sig, Slice, Wire

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
        self.processes = Processes(self.sig, self.make)

    def run(self) -> Netlist:
        module = self.module
        copies = self._aliases()
        bodies = {self._target(body): body for body in module.processes}
        registered = self._registered(bodies)
        for cell in sorted(module.cells, key=lambda cell: cell.kind in ("$memrd_v2", ROM)):
            self._cell(cell, registered, bodies)
        for wire, body in bodies.items():
            if wire not in registered:
                self._drive(wire, self.processes.node(self.wires[wire].width, body))
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
            yield from process_values(body)
        for _, value in self.module.connects:
            yield value

    def _register(
        self, cell: Cell, wire: str, registered: dict[str, Cell], bodies: dict[str, rtlil.Body]
    ) -> Register:
        data = self._port(cell, "D")
        piece = data[0]
        if isinstance(piece, Slice) and registered.get(piece.wire) is cell:
            body = self.processes.statements(bodies[piece.wire])
        else:
            body = (Set(0, data),)
        hold = Set(0, self._whole(wire))
        if body[0] == hold:
            body = body[1:]
        init = self.wires[wire].init
        return Register(self._clock(cell), reset_first(body, width(data)), init)


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
