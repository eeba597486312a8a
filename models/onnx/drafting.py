"""The program that an import writes: its nodes and edges so far, and what stands in the way."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .. import ops
from ..fixed import ProgramError
from ..program import INPUT, Edge, Op
from ..program import Node as ProgramNode
from .budget import CHANNEL, CHANNELS_MAX, Budget
from .graph import Graph, Node
from .streams import RAW, Stream

LABEL_MAX = 100
QUANTISING = {
    "QuantizeLinear", "Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "QLinearConv",
    "QLinearMatMul", "QGemm", "QLinearAdd", "ConvInteger", "MatMulInteger", "DequantizeLinear",
    "DynamicQuantizeLinear",
}  # fmt: skip
"""Operators of which a quantised model has at least one."""


@dataclass(frozen=True)
class Join:
    """factors[0] * branches[0] + factors[1] * branches[1], which waits for its rounding."""

    label: str
    branches: tuple[str, str]
    factors: tuple[int, int]


@dataclass(eq=False)
class Drafting:
    """Nodes and edges of the program so far, what its work has cost, and the obstacles."""

    graph: Graph
    batch: int
    nodes: dict[str, ProgramNode] = field(default_factory=dict[str, ProgramNode])
    edges: dict[str, Edge] = field(default_factory=dict[str, Edge])
    obstacles: list[str] = field(default_factory=list[str])
    joins: dict[str, Join] = field(default_factory=dict[str, Join])
    sums: dict[str, str] = field(default_factory=dict[str, str])
    """The nodes of those joins that were added with their exact factors."""
    taken: Node | None = None
    """The node of the graph that is being looked at."""
    budget: Budget = field(default_factory=Budget)

    def emit(self, label: str, op: Op, *sources: str) -> str:
        """Add an operator; return the name of its node."""
        sources = tuple(self.realised(source) for source in sources)
        name = self._name(label)
        try:
            edge = op.infer(*(self.edges[source] for source in sources))
        except ProgramError as error:
            raise ProgramError(f"{self._owner(label)}: {error}") from None
        self.check_channels(str(self.taken or self._owner(label)), edge.channels)
        self.spend(CHANNEL * edge.channels)
        self.edges[name] = edge
        self.nodes[name] = ProgramNode(name, op, sources)
        return name

    def _owner(self, label: str) -> str:
        """The graph's node for which an operator is emitted, which it names or begins with."""
        for name in (label, label.rpartition("_")[0]):
            if name in self._graph_nodes:
                return str(self._graph_nodes[name])
        return str(self.taken or f"node {label!r}")

    @cached_property
    def _graph_nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.graph.nodes}

    def spend(self, units: int) -> None:
        """Count work for the node that is being looked at."""
        self.budget.spend(str(self.taken or "the graph"), units)

    @staticmethod
    def check_channels(what: str, channels: int) -> None:
        """Refuse an edge of too many channels."""
        if channels > CHANNELS_MAX:
            raise ProgramError(
                f"{what}: it makes {channels} channels, above the limit of {CHANNELS_MAX}; use a "
                "smaller tensor"
            )

    def _name(self, label: str) -> str:
        plain = label if label.isprintable() and 0 < len(label) <= LABEL_MAX else ""
        if not plain:
            plain = "node_" + hashlib.sha256(label.encode()).hexdigest()[:8]
        name, number = plain, 2
        while name in self.edges or name == INPUT:
            name, number = f"{plain}_{number}", number + 1
        return name

    @cached_property
    def readers(self) -> Counter[str]:
        """How many nodes read each tensor."""
        return Counter(name for node in self.graph.nodes for name in {*node.inputs})

    def edge(self, stream: Stream) -> Edge:
        """The integers of a stream."""
        return self.edges[self.realised(stream.source)]

    def joined(self, join: Join) -> str:
        """A sum that waits to see how it is rounded; return the name that stands for it."""
        name = f"{RAW}+{len(self.joins)}"
        self.joins[name] = join
        return name

    def realised(self, source: str) -> str:
        """The node that a source is: a sum that waits is added with its exact factors."""
        join = self.joins.get(source)
        if join is None:
            return source
        if source not in self.sums:
            self.sums[source] = self._sum(join, join.factors)
        return self.sums[source]

    def _sum(self, join: Join, factors: tuple[int, int]) -> str:
        scaled = [
            self.scaled(f"{join.label}_scale{number}", branch, factor)
            for number, (branch, factor) in enumerate(zip(join.branches, factors, strict=True))
        ]
        return self.emit(f"{join.label}_sum", ops.Add(), *scaled)

    def scaled(self, label: str, source: str, factor: int) -> str:
        """The integers of an edge times a factor."""
        if factor == 1:
            return source
        factors = np.full(self.edges[source].channels, factor)
        return self.emit(label, ops.Scale(factors, 0 * factors), source)

    def obstacle(self, sentence: str) -> None:
        """Note why the graph cannot be taken."""
        if sentence not in self.obstacles:
            self.obstacles.append(sentence)

    def unquantised(self, sentence: str) -> None:
        """Note that real numbers meet an operator on integers: once, where all of them do."""
        if any(node.op in QUANTISING for node in self.graph.nodes):
            self.obstacle(sentence)
        else:
            self.obstacle(
                "the model is a float one: no node of it quantises; quantise it with `bitwright "
                "compress MODEL --data INPUTS.npy`, or with the tools that it was made with"
            )
