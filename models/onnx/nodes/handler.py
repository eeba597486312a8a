"""The table of operators: each ONNX operator's handler turns its inputs into what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc

from ..graph import ONNX, Node
from ..importer import Importer
from ..parameters import Attributes
from ..streams import Value

Run = Callable[[Importer, Node, Attributes], Value | tuple[Value, ...]]


@dataclass(frozen=True)
class Handler:
    """How nodes of one operator are taken; `accepted` says in a sentence in which forms."""

    domain: str
    op: str
    run: Run
    accepted: str


HANDLERS: dict[tuple[str, str], Handler] = {}


def handles(*names: str, domain: str = ONNX) -> Callable[[Run], Run]:
    """Enter a function as the handler of operators.

    The second paragraph of its docstring says what is accepted, for docs/onnx.md.
    """

    def enter(run: Run) -> Run:
        accepted = " ".join((getdoc(run) or "").partition("\n\n")[2].split())
        for name in names:
            HANDLERS[domain, name] = Handler(domain, name, run, accepted)
        return run

    return enter
