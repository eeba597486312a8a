"""The integer program: a graph of few operators, each edge with a shape and a proven range.

Calling a program on integers *is* the reference: kernels and hardware are witnesses to it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .border import IDENTITY
from .border import Border as Border
from .fixed import INT64_MAX, Grid, Ints, ProgramError, frozen

INPUT = "input"
Execute = Callable[..., Ints]
"""execute(op, inputs, output, *xs): computes an operator between its edges."""

MAX_ELEMENTS = 1 << 28
LEAST = Fraction(1, 1 << 900)
"""The least scale at the input: doubles hold it, and its inverse, with all their digits."""


@dataclass(frozen=True, eq=False)
class Edge:
    """What flows between two nodes: `shape` (channels last, no batch) and bounds per channel.

    `lo` and `hi` have shape (C,): every value of channel c lies in lo[c]..hi[c].  `step` is 2 only
    for values in {-1, +1}, which hardware stores in one bit.
    """

    shape: tuple[int, ...]
    lo: Ints
    hi: Ints
    step: int = 1

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise ProgramError(f"a shape has positive sizes, not {self.shape}")
        if prod(self.shape) > MAX_ELEMENTS:
            raise ProgramError(
                f"shape {self.shape} has {prod(self.shape)} elements, above the limit of "
                f"{MAX_ELEMENTS}; split the network"
            )
        for name in ("lo", "hi"):
            bound = np.broadcast_to(frozen(getattr(self, name)), (self.channels,))
            object.__setattr__(self, name, frozen(bound))
        if bool((self.lo > self.hi).any()):
            raise ProgramError("a range needs lo <= hi in every channel")
        _ = self.grid

    @classmethod
    def of(cls, shape: tuple[int, ...], grid: Grid) -> Edge:
        """An edge whose channels all have the range of `grid`."""
        return cls(shape, np.array([grid.lo]), np.array([grid.hi]), grid.step)

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.shape[-1]

    @property
    def elements(self) -> int:
        """Values in one frame."""
        return prod(self.shape)

    @cached_property
    def grid(self) -> Grid:
        """The type of one element in hardware: it holds every channel."""
        return Grid(int(self.lo.min()), int(self.hi.max()), self.step)

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{shape} in {self.grid.lo}..{self.grid.hi}" + (" step 2" if self.step == 2 else "")


def storage(edge: Edge) -> type[np.signedinteger[Any] | np.unsignedinteger[Any]]:
    """The narrowest integer type that holds an edge."""
    for kind in (np.int8, np.uint8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= edge.grid.lo and edge.grid.hi <= limits.max:
            return kind
    return np.int64


class Op(ABC):
    """One integer operation.  A subclass is its parameters, its output edge and its meaning.

    Subclasses are `@dataclass(frozen=True, eq=False)`; integer arrays among their fields are copied
    and set read-only here, so that an operator never changes once built.
    """

    inputs: ClassVar[tuple[int, int]] = (1, 1)
    """Fewest and most inputs."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, item.name, frozen(value))
        self.check()

    def check(self) -> None:
        """Raise `ProgramError` where the parameters alone break a rule."""

    @abstractmethod
    def infer(self, *edges: Edge) -> Edge:
        """Return the output edge; raise `ProgramError` where the inputs do not fit."""

    @abstractmethod
    def __call__(self, *xs: Ints) -> Ints:
        """Compute on arrays of shape (N, *edge.shape): the definition, slow and exact."""

    @cached_property
    def digest(self) -> str:
        """A hash of the operator's class and parameters."""
        h = hashlib.sha256(type(self).__name__.encode())
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            h.update(item.name.encode())
            if isinstance(value, np.ndarray):
                h.update(repr((value.shape, value.dtype.str)).encode() + value.tobytes())
            else:
                h.update(repr(value).encode())
        return h.hexdigest()


@dataclass(frozen=True)
class Node:
    """An operator with a name; `inputs` name earlier nodes or the program's "input"."""

    name: str
    op: Op
    inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """One input, a sequence of nodes in the order of computation, one output (the last node).

    Call it on integers of shape (N, *input.shape) to get (N, *output.shape).
    """

    name: str
    input: Edge
    nodes: tuple[Node, ...]
    input_border: Border = IDENTITY
    output_border: Border = IDENTITY
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        _ = self.edges
        if not self.nodes:
            raise ProgramError(f"program {self.name!r} has no nodes; give it at least one")
        open_ends = [n.name for n in self.nodes if not self.consumers[n.name]]
        if len(open_ends) > 1:
            raise ProgramError(
                f"program {self.name!r} has {len(open_ends)} outputs ({', '.join(open_ends)}); an "
                "accelerator has exactly one: concatenate them or drop the others"
            )
        if min(self.input_border.scale) <= 0:
            raise ProgramError("scales at the input are positive fractions")
        if not all(LEAST <= scale <= 1 / LEAST for scale in self.input_border.scale):
            raise ProgramError(
                f"a scale at the input is {float(LEAST):.3g} to {float(1 / LEAST):.3g}, and this "
                "one is beyond; rescale the inputs"
            )
        self.input_border.check(self.input)
        self.output_border.check(self.output)
        if not self.consumers[INPUT]:
            raise ProgramError(f"no node of program {self.name!r} reads its input; connect one")

    @cached_property
    def edges(self) -> dict[str, Edge]:
        """The edge that each node feeds, by name, the program's input first."""
        edges = {INPUT: self.input}
        for node in self.nodes:
            edges[node.name] = self._infer(node, edges)
        return edges

    @staticmethod
    def _infer(node: Node, edges: dict[str, Edge]) -> Edge:
        if node.name in edges:
            raise ProgramError(f"two nodes are called {node.name!r}; names must differ")
        fewest, most = node.op.inputs
        if not fewest <= len(node.inputs) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise ProgramError(
                f"node {node.name!r}: {type(node.op).__name__} takes {wanted} inputs, "
                f"not {len(node.inputs)}"
            )
        for name in node.inputs:
            if name not in edges:
                raise ProgramError(
                    f"node {node.name!r} reads {name!r}, which no earlier node feeds; "
                    "list nodes in the order of computation"
                )
        try:
            return node.op.infer(*(edges[name] for name in node.inputs))
        except ProgramError as error:
            raise ProgramError(f"node {node.name!r}: {error}") from None

    @cached_property
    def consumers(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """For each edge the (node, input number) pairs that read it."""
        readers: dict[str, list[tuple[str, int]]] = {name: [] for name in self.edges}
        for node in self.nodes:
            for number, name in enumerate(node.inputs):
                readers[name].append((node.name, number))
        return {name: tuple(pairs) for name, pairs in readers.items()}

    @property
    def output(self) -> Edge:
        """The edge of the last node."""
        return self.edges[self.nodes[-1].name]

    def accept(self, frames: NDArray[Any]) -> Ints:
        """Frames as the model's users hold them (its own layout, real or integer) as integers."""
        own = self.input_border.own_shape(self.input)
        if frames.shape[1:] == own:
            return self.check_input(self.input_border.inward(frames, self.input))
        if own != self.input.shape:
            raise ProgramError(
                f"program {self.name!r} takes inputs of shape {_with_batch(own)}, not "
                f"{frames.shape}; reshape them"
            )
        return self.check_input(frames)

    def answer(self, outputs: Ints) -> NDArray[Any]:
        """Outputs (N, *output.shape) as the model's users expect them: own scale and layout."""
        return self.output_border.answer(outputs, self.output)

    def check_input(self, x: NDArray[Any]) -> Ints:
        """Return x as integers of the input's shape and range, or raise a `ProgramError`."""
        if x.shape[1:] != self.input.shape:
            raise ProgramError(
                f"program {self.name!r} takes inputs of shape {_with_batch(self.input.shape)}, "
                f"not {x.shape}; "
                "reshape them (channels last)"
            )
        if x.dtype.kind == "f":
            return self.input_border.quantise(x, self.input)
        if x.dtype.kind not in "iub":
            raise ProgramError(f"inputs are integers or floats, not {x.dtype}")
        integers = frozen(x)
        outside = (integers < self.input.lo) | (integers > self.input.hi)
        if self.input.step == 2:
            outside |= integers == 0
        if bool(outside.any()):
            first = tuple(int(k) for k in np.argwhere(outside)[0])
            raise ProgramError(
                f"input {first} is {int(integers[first])}, and program {self.name!r} takes "
                f"{self.input}; clamp or rescale the inputs"
            )
        return integers

    def run(self, x: NDArray[Any], execute: Execute | None = None) -> dict[str, Ints]:
        """Compute every edge by the definitions, or by what is passed in (fast kernels)."""
        execute = execute or define
        values = {INPUT: self.check_input(x)}
        for node in self.nodes:
            edges = tuple(self.edges[name] for name in node.inputs)
            xs = (values[name] for name in node.inputs)
            values[node.name] = execute(node.op, edges, self.edges[node.name], *xs)
        return values

    def __call__(self, x: NDArray[Any]) -> Ints:
        """Compute the output by the definitions."""
        return self.run(x)[self.nodes[-1].name]

    @cached_property
    def digest(self) -> str:
        """A hash of everything that decides the outputs."""
        h = hashlib.sha256(f"{self.input.shape}{self.input.step}".encode())
        h.update(self.input.lo.tobytes() + self.input.hi.tobytes())
        for node in self.nodes:
            h.update(repr((node.name, node.inputs, node.op.digest)).encode())
        return h.hexdigest()


def _with_batch(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('N', *shape)))})"


def define(op: Op, inputs: tuple[Edge, ...], output: Edge, *xs: Ints) -> Ints:
    """Compute by the definition: what `Program.run` does unless told otherwise."""
    return op(*xs)


def fits(what: str, bounds: Iterable[int]) -> None:
    """Raise unless each Python integer of `bounds` fits signed 64 bits."""
    for bound in bounds:
        if not -INT64_MAX - 1 <= bound <= INT64_MAX:
            raise ProgramError(
                f"{what} reaches {bound}, beyond signed 64 bits; use narrower weights or inputs"
            )
