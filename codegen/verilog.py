"""Verilog text: the only place where any is made.

Amaranth elaborates the design to RTLIL, `netlist` and `simplify` turn that into operators of
explicit widths, and here these are written as plain Verilog-2005 that Verilator, Icarus and Yosys
read alike.  Contents of constant memories go to `$readmemh` files, so that the text does not depend
on weights; memories that are written start undefined, as nothing reads a word before it is written.
"""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from amaranth import hdl
from amaranth.back import rtlil as amaranth_rtlil
from amaranth.lib.memory import Memory

from ..hw.design import Design
from ..hw.elastic import Rom
from ..hw.naming import identifier
from . import rtlil
from .cones import arguments, cones
from .expressions import HINTS, Expressions, bounds, number, parts, runs
from .from_rtlil import ROM, lower
from .netlist import (
    COMPARISONS,
    Clock,
    If,
    Instance,
    Netlist,
    Node,
    Read,
    Register,
    Set,
    Write,
    cut,
    width,
)
from .rtlil import Bits, RtlilError, Sig, Slice, Wire
from .simplify import simplify
from .top import Accelerator


@dataclass(frozen=True)
class Rtl:
    """A design as text: the module `top`, its Verilog, and its memory files by file name."""

    top: str
    verilog: str
    memories: dict[str, str]


def write_rtl(design: Design) -> Rtl:
    """Return the design's Verilog (2005) and `$readmemh` files; the same design, the same bytes.

    The top module keeps the three wires of each stream, `NAME_valid`, `NAME_ready`, `NAME_data`.
    """
    taps = (f"{s.name}_{part}" for s in design.streams for part in ("valid", "ready", "data"))
    return write_component(Accelerator(design), identifier(design.program.name), taps)


@contextmanager
def _no_collection() -> Generator[None]:
    """Let Python not look for garbage in graphs that all live: it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_collection()
def write_component(elaboratable: Any, name: str, keep: Iterable[str] = ()) -> Rtl:
    """Return the Verilog of any component that has a signature; its top module is `name`.

    keep: signals of the top module that stay under their names even if nothing reads them.
    Raises `RtlilError` for what has no plain Verilog-2005 (`Print`, `Assert`, foreign instances).
    """
    roms = Roms()
    with warnings.catch_warnings():
        # Amaranth truncates a constant or memory word that does not fit, with a warning only.
        warnings.simplefilter("error")
        text = amaranth_rtlil.convert(elaboratable, name=name, platform=roms, emit_src=False)
        modules = {module.name: module for module in rtlil.parse(text)}
    names = _Names()
    # Two underscores, which no name holds, keep the designs of one bench apart.
    plain = {path: names(path, path.replace(".", "__", 1)) for path in modules}
    ports = {path: _ports(module) for path, module in modules.items()}
    kept = frozenset(keep)
    written: list[str] = []
    memories: dict[str, str] = {}
    for module in modules.values():
        top = kept if module is next(iter(modules.values())) else frozenset[str]()
        netlist = simplify(lower(module, modules, top, roms.contents), top)
        writer = _Writer(netlist, plain, ports)
        written.append(writer.text())
        memories |= writer.files
    return Rtl(name, "\n".join(written), memories)


class Roms:
    """The platform of an elaboration for Verilog: keeps the contents of constant memories.

    Amaranth would write them into the RTLIL bit by bit; instead a cell there has their number.
    """

    def __init__(self) -> None:
        self.contents: list[Sequence[int]] = []

    def get_memory(self, made: Memory) -> Any:
        """What Amaranth takes for a memory, asked for each one."""
        if not isinstance(made, Rom):
            return made.elaborate(None)
        self.contents.append(made.words)
        port: Any = made.port
        return hdl.Instance(
            ROM.removeprefix("\\"), *(("a", *item) for item in made.attrs.items()),
            p_ROM=len(self.contents) - 1, p_WIDTH=len(port.data), i_CLK=hdl.ClockSignal("sync"),
            i_EN=port.en, i_ADDR=port.addr, o_DATA=port.data,
        )  # fmt: skip


class _Names:
    """Identifiers of one scope: plain, none a Verilog word, none twice."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        self.used: set[str] = set()
        self.count: dict[str, int] = {}

    def __call__(self, key: str, wish: str) -> str:
        """Return the identifier of `key`, the first time one like `wish`."""
        if key not in self.taken:
            self.taken[key] = self._free(_plain(wish))
        return self.taken[key]

    def fresh(self, wish: str) -> str:
        """Return `wish` with the next free number."""
        while True:
            self.count[wish] = self.count.get(wish, 0) + 1
            name = f"{wish}{self.count[wish]}"
            if name not in self.used:
                self.used.add(name)
                return name

    def _free(self, name: str) -> str:
        if name in self.used:
            return self.fresh(f"{name}_")
        self.used.add(name)
        return name


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name.lstrip("\\$"))
    if not re.match(r"[A-Za-z]", plain):
        plain = f"n{plain}"
    reserved = re.fullmatch(r"[a-z]{1,48}", plain) and identifier(plain) != plain
    return f"{plain}_" if reserved else plain


def _ports(module: rtlil.Module) -> dict[str, str]:
    """Identifiers of a module's ports; what Amaranth made of parts of a signal gets a number."""
    names = _Names()
    made: dict[str, str] = {}
    for wire in module.wires.values():
        if wire.port and wire.width:
            unnamed = re.match(r"\\port\$\d", wire.name)
            made[wire.name] = names.fresh("part") if unnamed else names(wire.name, wire.name)
    return made


# --- modules ------------------------------------------------------------------------------------


class _Writer:
    """Writes one module; `files` holds its memory files afterwards."""

    def __init__(
        self, netlist: Netlist, modules: dict[str, str], ports: dict[str, dict[str, str]]
    ) -> None:
        self.netlist, self.modules, self.ports = netlist, modules, ports
        self.module = modules[netlist.name]
        self.names = _Names()
        for wire, plain in ports[netlist.name].items():
            self.names(wire, plain)
        for name in (*netlist.wires, *netlist.memories, *(i.name for i in netlist.instances)):
            # Amaranth calls a signal `$signal` whose name it cannot find out.
            if not name.startswith(("$", "\\$signal")):
                self.names(name, name)
        self.expressions = Expressions(netlist, self.name)
        self.cones = cones(netlist)
        self.files: dict[str, str] = {}

    def name(self, wire: str) -> str:
        """The identifier of a wire."""
        if wire not in self.names.taken:
            driver = self.netlist.drivers.get(wire)
            op = driver.op if isinstance(driver, Node) else ""
            hint = "test" if op in COMPARISONS else HINTS.get(op, "n")
            self.names.taken[wire] = self.names.fresh(hint)
        return self.names.taken[wire]

    def text(self) -> str:
        """The whole module."""
        # In this order, as an expression read once is taken up where its wire would stand.
        parts = [
            [*self._declarations(), *self._memories()],
            list(self._assignments()),
            [line for block in self._clocked() for line in block],
            [line for instance in self.netlist.instances for line in self._instance(instance)],
        ]
        body = "\n\n".join("\n".join(f"  {line}" for line in part) for part in parts if part)
        return f"{self._header()}\n{body}\n\nendmodule\n"

    def _header(self) -> str:
        lines = [
            f"  {wire.port}{' reg' if self._is_register(name) else ''} "
            f"{bounds(wire.width)}{self.name(name)}"
            for name, wire in self.netlist.wires.items()
            if wire.port
        ]
        return f"module {self.module} (\n" + ",\n".join(lines) + "\n);\n"

    def _is_register(self, wire: str) -> bool:
        driver = self.netlist.drivers.get(wire)
        return isinstance(driver, Register) or (isinstance(driver, Read) and bool(driver.clock))

    def _declarations(self) -> Iterator[str]:
        """Wires that are read before their drivers stand, and registers."""
        for name, driver in self.netlist.drivers.items():
            wire = self.netlist.wires[name]
            kind = "reg" if self._is_register(name) else "wire"
            early = isinstance(driver, Instance) or name in self.netlist.early
            if not wire.port and (early or kind == "reg"):
                yield f"{_attributes(wire)}{kind} {bounds(wire.width)}{self.name(name)};"
            if isinstance(driver, Register) and driver.init is not None:
                yield f"initial {self.name(name)} = {number(driver.init)};"

    def _memories(self) -> Iterator[str]:
        for name, memory in self.netlist.memories.items():
            plain = self.name(name)
            yield f"{_attributes(memory)}reg {bounds(memory.width)}{plain} [0:{memory.depth - 1}];"
            if not self.netlist.writes[name]:
                file = f"{self.module}_{plain}.hex"
                self.files[file] = words(self.netlist.contents[name], memory.width)
                yield f'initial $readmemh("{file}", {plain});'

    def _assignments(self) -> Iterator[str]:
        inner = {wire for root, cone in self.cones.items() for wire in cone if wire != root}
        for name in self.netlist.order:
            if name in inner:
                continue
            driver, wire = self.netlist.drivers[name], self.netlist.wires[name]
            if name in self.cones:
                yield from self._function(name, self.cones[name])
                continue
            if isinstance(driver, Read):
                text = self._read_value(driver)
            elif isinstance(driver, Node):
                made = self.expressions.node(driver)
                if self.expressions.offer(name, driver, made):
                    continue
                text = made.text
            else:
                raise TypeError(f"{name} is not combinational")
            yield self._assignment(name, wire, text)

    def _assignment(self, name: str, wire: Wire, text: str) -> str:
        if wire.port or name in self.netlist.early:
            return f"assign {self.name(name)} = {text};"
        return f"wire {bounds(wire.width)}{self.name(name)} = {text};"

    def _function(self, root: str, cone: tuple[str, ...]) -> Iterator[str]:
        """A large cone as a function: simulators run it once per change, not gate by gate."""
        wires, name = self.netlist.wires, self.name(root)
        inputs = arguments(self.netlist, cone)
        names = {wire: self.names.fresh(f"{self.name(wire)}_a") for wire in inputs}
        actual = [self.expressions.text((Slice(w, 0, wires[w].width),)) for w in inputs]
        function = self.names.fresh(f"{name}_of")
        locals_, lines = [], []
        with self.expressions.inside(names):
            for wire in cone:
                driver = self.netlist.drivers[wire]
                assert isinstance(driver, Node)
                made = self.expressions.node(driver)
                if wire == root:
                    lines.append(f"{function} = {made.text};")
                elif not self.expressions.offer(wire, driver, made):
                    locals_.append(f"reg {bounds(wires[wire].width)}{self.name(wire)};")
                    lines.append(f"{self.name(wire)} = {made.text};")
        declared = [f"input {bounds(wires[w].width)}{names[w]};" for w in inputs]
        yield f"function {bounds(wires[root].width)}{function};"
        yield from (f"  {line}" for line in [*declared, *locals_, "begin"])
        yield from (f"    {line}" for line in lines)
        yield "  end"
        yield "endfunction"
        yield self._assignment(root, wires[root], f"{function}({', '.join(actual)})")

    # Clocked logic

    def _clocked(self) -> Iterator[list[str]]:
        for name, driver in self.netlist.drivers.items():
            if isinstance(driver, Register):
                yield self._register(name, driver)
            elif isinstance(driver, Read) and driver.clock:
                read = f"{self.name(name)} <= {self._read_value(driver)};"
                yield _under(self._at(driver.clock), [self._guard(driver.enable, read)])
        for name, writes in self.netlist.writes.items():
            for write in writes:
                yield self._write(name, write)

    def _at(self, clock: Clock) -> str:
        edge = "posedge" if clock.rising else "negedge"
        reset = f" or posedge {self.expressions.text(clock.reset)}" if clock.reset else ""
        return f"always @({edge} {self.expressions.text(clock.signal)}{reset})"

    def _register(self, name: str, register: Register) -> list[str]:
        body = register.body
        if register.clock.reset:
            start = Set(0, (Bits(register.init or "0"),))
            body = (If(register.clock.reset, (start,), body),)
        return _under(self._at(register.clock), self._statements(name, body)) if body else []

    def _statements(self, name: str, body: tuple[Set | If, ...]) -> list[list[str]]:
        """The lines of each statement."""
        return [
            self._if(name, statement)
            if isinstance(statement, If)
            else [f"{self._target(name, statement)} <= {self.expressions.text(statement.value)};"]
            for statement in body
        ]

    def _target(self, name: str, statement: Set) -> str:
        return self.expressions.text((Slice(name, statement.low, width(statement.value)),))

    def _if(self, name: str, branch: If) -> list[str]:
        head = f"if ({self.expressions.text(branch.condition)})"
        # A lone `if` inside takes begin and end, so that no `else` goes astray.
        nested = isinstance(branch.then[0], If)
        lines = _under(head, self._statements(name, branch.then), nested)
        otherwise = self._statements(name, branch.otherwise)
        if len(branch.otherwise) == 1 and isinstance(branch.otherwise[0], If):
            first, *rest = otherwise[0]
            return [*lines, f"else {first}", *rest]
        return [*lines, *_under("else", otherwise)] if otherwise else lines

    def _guard(self, enable: Sig, line: str) -> list[str]:
        """A statement under an enable."""
        if enable == (Bits("1"),):
            return [line]
        return [f"if ({self.expressions.text(enable)})", f"  {line}"]

    # Memories

    def _word(self, memory: str, address: Sig) -> str:
        return f"{self.name(memory)}[{self.expressions.text(address) if address else 0}]"

    def _read_value(self, read: Read) -> str:
        value = self._word(read.memory, read.address)
        for write in read.seen:
            if parts(write) > 1:
                raise RtlilError(
                    f"memory {read.memory!r}: a read port that sees writes of parts of a word at "
                    "once has no Verilog here; write whole words"
                )
            hit = self.expressions.operand(cut(write.enable, 0, 1))
            if write.address:
                same = (self.expressions.operand(sig) for sig in (write.address, read.address))
                hit = f"({hit} & ({' == '.join(same)}))"
            value = f"{hit} ? {self.expressions.operand(write.data)} : {value}"
        return value

    def _write(self, memory: str, write: Write) -> list[str]:
        word, spans = self._word(memory, write.address), list(runs(write.enable))
        statements: list[list[str]] = []
        for enable, low, size in spans:
            part = f"[{low + size - 1}:{low}]" if len(spans) > 1 else ""
            data = self.expressions.text(cut(write.data, low, size))
            statements.append(self._guard(enable, f"{word}{part} <= {data};"))
        return _under(self._at(write.clock), statements)

    def _instance(self, instance: Instance) -> list[str]:
        ports = self.ports[instance.module]
        connected = instance.inputs | instance.outputs
        lines = [
            f"  .{plain}({self.expressions.text(connected[port[1:]])})"
            for port, plain in ports.items()
            if port[1:] in connected
        ]
        head = f"{self.modules[instance.module]} {self.name(instance.name)} ("
        return [head, *(f"{line}," for line in lines[:-1]), lines[-1], ");"]


def _attributes(item: Wire | rtlil.Memory) -> str:
    """What the tools were told of a wire or memory, without what concerns RTLIL alone."""
    return "".join(
        f"(* {name} = {value.partition(chr(39))[0] if value[0] != chr(34) else value} *) "
        for name, value in item.attributes.items()
        if not name.startswith(("enum_", "init", "generator", "src"))
    )


def words(contents: Sequence[int], size: int) -> str:
    """Memory contents as `$readmemh` text: a word to a line, word 0 first."""
    digits = (size + 3) // 4
    return "".join(f"{word:0{digits}x}\n" for word in contents)


def _under(head: str, statements: list[list[str]], always: bool = False) -> list[str]:
    """Statements under a head, between begin and end where they are several or must be one."""
    lines = [f"  {line}" for statement in statements for line in statement]
    block = always or len(statements) > 1
    return [f"{head} begin", *lines, "end"] if block else [head, *lines]
