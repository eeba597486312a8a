"""Names that came from a model, made safe for every tool they reach."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

_SAFE = re.compile(r"(?!n_.*_[0-9a-f]{8}$)[a-z][a-z0-9_]{0,47}")
_RESERVED = frozenset((
    "always", "and", "assign", "begin", "buf", "bufif0", "bufif1", "case", "casex", "casez",
    "cmos", "deassign", "default", "defparam", "disable", "edge", "else", "end", "endcase",
    "endfunction", "endmodule", "endprimitive", "endspecify", "endtable", "endtask", "event",
    "for", "force", "forever", "fork", "function", "highz0", "highz1", "if", "ifnone",
    "initial", "inout", "input", "integer", "join", "large", "macromodule", "medium", "module",
    "nand", "negedge", "nmos", "nor", "not", "notif0", "notif1", "or", "output", "parameter",
    "pmos", "posedge", "primitive", "pull0", "pull1", "pulldown", "pullup", "rcmos", "real",
    "realtime", "reg", "release", "repeat", "rnmos", "rpmos", "rtran", "rtranif0", "rtranif1",
    "scalared", "signed", "small", "specify", "specparam", "strong0", "strong1", "supply0",
    "supply1", "table", "task", "time", "tran", "tranif0", "tranif1", "tri", "tri0", "tri1",
    "triand", "trior", "trireg", "unsigned", "vectored", "wait", "wand", "weak0", "weak1",
    "while", "wire", "wor", "xnor", "xor", "logic", "bit", "byte", "int", "generate", "genvar",
    "localparam", "design", "config", "cell", "library", "instance", "use", "uwire", "top", "bench",
    "source", "sink", "do", "enum", "class", "this", "super", "new", "null", "static", "var",
    "void", "with",
))  # fmt: skip


def identifier(name: str) -> str:
    """Return an identifier for `name`: the name itself where it is safe, else rewritten.

    A rewritten name keeps its safe characters and ends in a hash of the original, so that two
    names never meet.  The result matches [a-z][a-z0-9_]{0,47} and is no Verilog word.
    """
    if _SAFE.fullmatch(name) and name not in _RESERVED and "__" not in name:
        return name
    kept = re.sub(r"_+", "_", re.sub(r"[^a-z0-9]", "_", name.lower())).strip("_")[:32]
    return f"n_{kept}_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Identifiers of all `names`, all different."""
    return {name: identifier(name) for name in names}
