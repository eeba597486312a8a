"""What folding may choose from: cycles, lanes and area of each folding of each layer, and links.

Area is `hw.cost`'s estimate, and beyond its calibration what `cost.area` says instead.  Links
(width converters, forks and buffers) depend on the lanes at both ends, so they belong to a pair of
choices.  Buffers and rings count at the least depth that works: how deep they become is known only
from the schedule of a folding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import lcm
from typing import Any

import numpy as np

from ..hw import cost
from ..hw.convert import Narrow, Widen
from ..hw.design import LEAST_BUFFER, Design, folding_choices
from ..hw.fifo import Fifo
from ..hw.fork import Fork
from ..hw.unit import DEFAULT_LEVELS, Fold, Place, check_fold, cycles, ports
from ..models.fixed import Ints
from ..models.program import INPUT, Edge, Node, Program


@dataclass(frozen=True)
class Choice:
    """A folding of a layer: cycles per frame, lanes of each input and of the output."""

    fold: Fold
    cycles: int
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True)
class Wire:
    """A stream from a layer (or `INPUT`) to input `port` of a layer (None: the design's output)."""

    source: str
    reader: str | None
    port: int


@dataclass(frozen=True, eq=False)
class Choices:
    """All foldings of a program's layers; areas are worked out once, when asked for.

    given: layers that have one folding only.  levels: of logic that a stage may hold.
    """

    program: Program
    family: str = "ecp5"
    given: Mapping[str, Fold] = field(default_factory=dict[str, Fold])
    levels: int = DEFAULT_LEVELS
    _areas: dict[Any, Ints] = field(default_factory=dict[Any, Ints], init=False)

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The nodes of the program by name."""
        return {node.name: node for node in self.program.nodes}

    @cached_property
    def layers(self) -> dict[str, tuple[Choice, ...]]:
        """The choices of each layer, in the order of the data."""
        found: dict[str, tuple[Choice, ...]] = {}
        for name, folds in folding_choices(self.program).items():
            if name in self.given:
                folds = (self.given[name],)
                check_fold(name, self.nodes[name].op, self._place(name, folds[0]))
            found[name] = tuple(self._choice(name, fold) for fold in folds)
        return found

    @cached_property
    def wires(self) -> tuple[Wire, ...]:
        """Every stream between layers; reshapes are none."""
        sources = (INPUT, *self.layers)
        return tuple(Wire(s, *reader) for s in sources for reader in self._readers(s))

    def _readers(self, edge: str) -> list[tuple[str | None, int]]:
        found: list[tuple[str | None, int]] = []
        for reader, number in self.program.consumers[edge]:
            found += [(reader, number)] if reader in self.layers else self._readers(reader)
        return found or [(None, 0)]

    def from_source(self, source: str) -> tuple[Wire, ...]:
        """The streams that leave a layer, or the input."""
        return tuple(wire for wire in self.wires if wire.source == source)

    def to_reader(self, layer: str) -> tuple[Wire, ...]:
        """The streams that a layer reads."""
        return tuple(wire for wire in self.wires if wire.reader == layer)

    @property
    def border(self) -> int:
        """Cycles per frame that no folding goes below.

        Without layers the input passes by a value a cycle; a layer takes no less than its streams.
        """
        return 1 if self.layers else self.program.input.elements

    def _place(self, layer: str, fold: Fold) -> Place:
        edges = self.program.edges
        inputs = tuple(edges[source] for source in self.nodes[layer].inputs)
        return Place(inputs, edges[layer], fold, self.levels)

    def _choice(self, layer: str, fold: Fold) -> Choice:
        op, place = self.nodes[layer].op, self._place(layer, fold)
        of = ports(op, place)
        lanes = tuple(port.lanes for port in of.inputs)
        return Choice(fold, cycles(op, place), lanes, of.outputs[0].lanes)

    # Areas, as integers in the order of `cost.RESOURCES`.

    def alone(self, layer: str, choice: Choice) -> Ints:
        """Area of a unit and of the links that its own folding decides.

        These are its fork, and the buffers to the design's output and from the input where no
        other layer reads that.
        """
        key = (layer, choice.fold)
        if key not in self._areas:
            area = self._unit(self.nodes[layer].op, self._place(layer, choice.fold))
            area = area + self.leaving(layer, choice.output)
            entries = self.from_source(INPUT)
            if len(entries) == 1 and entries[0].reader == layer:
                lanes = choice.inputs[entries[0].port]
                area = area + self.link(entries[0], lanes, lanes)
            self._areas[key] = area
        return self._areas[key]

    def leaving(self, source: str, lanes: int) -> Ints:
        """Area of the fork behind `lanes`, and of the buffer to the design's output."""
        wires = self.from_source(source)
        area = np.zeros(len(cost.RESOURCES), np.int64)
        if len(wires) > 1:
            area = area + self._link(Fork(len(wires)), source, Fold(lanes))
        for wire in wires:
            if wire.reader is None:
                area = area + self.link(wire, lanes, lanes)
        return area

    def link(self, wire: Wire, have: int, want: int) -> Ints:
        """Area of the converters and the buffer of a wire between so many lanes."""
        key = (wire.source, have, want)
        if key not in self._areas:
            meeting = lcm(have, want)
            area = self._link(Fifo(LEAST_BUFFER), wire.source, Fold(meeting))
            if meeting > have:
                area = area + self._link(Widen(), wire.source, Fold(meeting, have))
            if meeting > want:
                area = area + self._link(Narrow(), wire.source, Fold(want, meeting))
            self._areas[key] = area
        return self._areas[key]

    def _link(self, op: Any, source: str, fold: Fold) -> Ints:
        edge: Edge = self.program.edges[source]
        key = (type(op), getattr(op, "branches", 0), edge.grid, edge.elements, fold)
        if key not in self._areas:
            self._areas[key] = self._unit(op, Place((edge,), edge, fold))
        return self._areas[key]

    def _unit(self, op: Any, place: Place) -> Ints:
        found, _ = cost.area(op, place, self.family)
        return np.array([getattr(found, name) for name in cost.RESOURCES], np.int64)


@dataclass(frozen=True)
class Total:
    """Area of a design, and the units whose estimate lies beyond the calibration."""

    area: cost.Estimate
    beyond: tuple[str, ...]

    @classmethod
    def of(cls, design: Design, family: str = "ecp5") -> Total:
        """Sum over all units of a design, links included, at the depths that it has."""
        found = {i.name: cost.area(i.op, i.place, family) for i in design.instances}
        area = sum((estimate for estimate, _ in found.values()), cost.Estimate(0, 0, 0, 0))
        return cls(area, tuple(name for name, (_, known) in found.items() if not known))
