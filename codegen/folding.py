"""Choosing how far each layer is folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from typing import Any

from ..hw.buffers import buffered
from ..hw.design import Design, folding_choices
from ..hw.unit import Fold, Place, Port, Ports, cycles, ports
from ..models.fixed import ProgramError
from ..models.ops import Dot
from ..models.program import INPUT, Node, Program

DEFAULT_CYCLES = 1024
_SPARE = 1.5
"""Lanes that may be spent beyond the fewest, where that spares width converters."""


def fold_for(program: Program, target: int | None = None) -> dict[str, Fold]:
    """Return a small folding of each layer with at most `target` cycles a frame.

    None: `DEFAULT_CYCLES`, or the least that the layers allow where that is more.  Smallest by
    `_size` of units and the width converters between them, found by dynamic programming along the
    edges; where an edge is read by several layers each counts its way there as if it were alone.
    """
    places = _places(program, target)
    best: dict[str, dict[int, _Choice]] = {}
    for name, options in places.items():
        node = options[0].node
        best[name] = {}
        for option in options:
            ways = [_way(best, program, source, option, k) for k, source in enumerate(node.inputs)]
            cost = option.size + sum(cost for cost, _ in ways)
            known = best[name].get(option.lanes_out)
            if known is None or cost < known.cost:
                chosen = tuple(lanes for _, lanes in ways)
                best[name][option.lanes_out] = _Choice(cost, option.place.fold, chosen)
    return _collect(program, best)


@dataclass(frozen=True)
class _Choice:
    """The cheapest folding of a layer for its lanes out, and the lanes out of those before it."""

    cost: float
    fold: Fold
    sources: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class _Option:
    """A folding of a layer that is fast enough."""

    node: Node
    place: Place

    @cached_property
    def ports(self) -> Ports:
        return ports(self.node.op, self.place)

    @property
    def lanes_out(self) -> int:
        return self.ports.outputs[0].lanes

    @property
    def size(self) -> float:
        """A rough size, in bits: lanes of arithmetic, operands held, accumulators."""
        inputs = sum(port.width for port in self.ports.inputs)
        output = self.ports.outputs[0].width
        if not isinstance(self.node.op, Dot):
            return inputs + output
        fold, x = self.place.fold, self.ports.inputs[0].grid.bits
        return fold.pe * fold.simd * (x + self.node.op.grid.bits) + inputs + 2 * output


def _places(program: Program, target: int | None) -> dict[str, list[_Option]]:
    """Options of each layer that meet the target, without those of needlessly many lanes."""
    found: dict[str, list[_Option]] = {}
    edges = program.edges
    every: dict[str, list[tuple[int, _Option]]] = {}
    nodes = {node.name: node for node in program.nodes}
    for name, folds in folding_choices(program).items():
        node = nodes[name]
        inputs = tuple(edges[source] for source in node.inputs)
        options = [_Option(node, Place(inputs, edges[name], fold)) for fold in folds]
        every[name] = [(cycles(node.op, option.place), option) for option in options]
    slowest = max(every, key=lambda name: min(count for count, _ in every[name]), default="")
    least = min(count for count, _ in every[slowest]) if slowest else 1
    target = max(DEFAULT_CYCLES, least) if target is None else target
    if target < least:
        raise ProgramError(
            f"layer {slowest!r} takes {least} cycles a frame at its most parallel, above the "
            f"{target} asked for; ask for {least} or more"
        )
    for name, counted in every.items():
        enough = [option for count, option in counted if count <= target]
        lanes = min(option.place.fold.pe * option.place.fold.simd for option in enough)
        found[name] = [o for o in enough if o.place.fold.pe * o.place.fold.simd <= _SPARE * lanes]
    return found


def _way(
    best: dict[str, dict[int, _Choice]], program: Program, source: str, option: _Option, number: int
) -> tuple[float, int | None]:
    """The cheapest way to an input: cost, and lanes of the layer it comes from (None: none)."""
    while source not in best:
        if source == INPUT:
            return 0.0, None
        (source,) = next(node.inputs for node in program.nodes if node.name == source)
    port = option.ports.inputs[number]
    return min(
        (choice.cost + _converter(lanes, port), lanes) for lanes, choice in best[source].items()
    )


def _converter(lanes: int, port: Port) -> float:
    """Bits that a width converter holds."""
    if lanes == port.lanes:
        return 0.0
    meeting = lcm(lanes, port.lanes)
    return port.grid.bits * meeting * (1 + (meeting not in (lanes, port.lanes)))


def _collect(program: Program, best: dict[str, dict[int, _Choice]]) -> dict[str, Fold]:
    """Follow the cheapest choice back from the output; the first reader of an edge decides."""
    folds: dict[str, Fold] = {}
    wanted: dict[str, int | None] = {}
    for node in reversed(program.nodes):
        lanes = wanted.get(node.name)
        if node.name not in best:
            wanted.setdefault(node.inputs[0], lanes)
            continue
        choices = best[node.name]
        choice = choices[lanes] if lanes else min(choices.values(), key=lambda c: c.cost)
        folds[node.name] = choice.fold
        for source, lanes_in in zip(node.inputs, choice.sources, strict=True):
            wanted.setdefault(source, lanes_in)
    return {node.name: folds[node.name] for node in program.nodes if node.name in folds}


def read_folds(document: Any) -> dict[str, Fold]:
    """Read a fold file: {layer: {"pe": P, "simd": S}}; what is left out is 1."""
    if not isinstance(document, Mapping):
        raise ProgramError('a fold file holds {layer: {"pe": P, "simd": S}}, not a list or value')
    folds = {}
    for layer, entry in document.items():
        if not isinstance(entry, Mapping) or not set(entry) <= {"pe", "simd"}:
            raise ProgramError(
                f'layer {layer!r} of the fold file holds {{"pe": P, "simd": S}}, not {entry!r}'
            )
        for key, value in entry.items():
            if type(value) is not int or value < 1:
                raise ProgramError(
                    f"layer {layer!r} of the fold file: {key} is a positive integer, not {value!r}"
                )
        folds[str(layer)] = Fold(**entry)
    return folds


def build(
    program: Program,
    cycles_per_frame: int | None = None,
    fold: Mapping[str, Mapping[str, int]] | None = None,
) -> Design:
    """Return the design of a program: folded as asked, buffered for its full throughput.

    fold: {layer: {"pe": P, "simd": S}}; layers that it leaves out are not parallel (1 and 1).
    """
    if fold is not None and cycles_per_frame is not None:
        raise ProgramError("give either cycles per frame or a folding, not both")
    folds = read_folds(fold) if fold is not None else fold_for(program, cycles_per_frame)
    return buffered(Design(program, folds, {}))
