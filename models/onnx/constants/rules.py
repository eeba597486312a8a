"""How operators on constants are written: a function for each, which is given a `Call`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Node
from ..parameters import Attributes
from .constant import Constant, Refused, check_count, exactly

Results = Constant | Sequence[Constant]
MANY = 1 << 16
"""As many inputs or outputs as a file may have."""


@dataclass(frozen=True, eq=False)
class Call:
    """A node that is being evaluated, its attributes and its inputs."""

    node: Node
    attributes: Attributes
    inputs: tuple[Constant | None, ...]

    def __getitem__(self, place: int) -> Constant:
        """A required input."""
        constant = self.optional(place)
        if constant is None:
            raise Refused(f"input {place} is missing; export the model again")
        return constant

    @property
    def all(self) -> list[Constant]:
        """The inputs, all required."""
        return [self[place] for place in range(len(self.inputs))]

    def optional(self, place: int) -> Constant | None:
        """An input, or None where it is omitted."""
        return self.inputs[place] if place < len(self.inputs) else None

    def integers(self, name: str, place: int) -> tuple[int, ...] | None:
        """Integers that are an attribute in old versions and an input in new ones, or None."""
        constant = self.optional(place)
        if constant is None:
            return self.attributes.integers(name) if name in self.attributes else None
        self._check_once(name, place)
        if len(constant.shape) > 1:
            raise Refused(
                f"{name} is a list of integers, not a tensor of shape {constant.shape}; export the "
                "model again"
            )
        return tuple(constant.integers().reshape(-1).tolist())

    def number(self, name: str, place: int) -> Constant | None:
        """A number that is an attribute in old versions and an input in new ones, or None."""
        constant = self.optional(place)
        if constant is None:
            if name not in self.attributes:
                return None
            return Constant(exactly(self.attributes.number(name)), "float32")
        self._check_once(name, place)
        if constant.size != 1:
            raise Refused(f"{name} is one number, not {constant.size}; export the model again")
        return Constant(constant.values.reshape(()), constant.dtype, constant.scale)

    def _check_once(self, name: str, place: int) -> None:
        if name in self.attributes:
            raise Refused(f"{name} is given by an attribute and by input {place}; keep one")


@dataclass(frozen=True)
class Rule:
    """An operator: what it does, its fewest and most inputs, and its most outputs."""

    function: Callable[[Call], Results]
    least: int
    most: int
    outputs: int

    def __call__(self, node: Node, inputs: Sequence[Constant | None]) -> tuple[Constant, ...]:
        """Evaluate; one result for each output of the node."""
        check_count("inputs", len(inputs), self.least, self.most)
        check_count("outputs", len(node.outputs), 1, self.outputs)
        attributes = Attributes(node)
        results = self.function(Call(node, attributes, tuple(inputs)))
        attributes.done()
        return (results,) if isinstance(results, Constant) else tuple(results)


Rules = dict[str, Rule]
Function = Callable[[Call], Results]


def enter(
    rules: Rules, *names: str, least: int = 1, most: int | None = None, outputs: int = 1
) -> Callable[[Function], Function]:
    """Enter a function as the rule of operators with `least` to `most` inputs."""

    def entered(function: Function) -> Function:
        for name in names:
            rules[name] = Rule(function, least, least if most is None else most, outputs)
        return function

    return entered


def from_front(axis: int, rank: int) -> int:
    """An axis that may count from the back, counted from the front."""
    if not -rank <= axis < rank:
        raise Refused(f"an axis is in {-rank}..{rank - 1}, not {axis}; export the model again")
    return axis % rank


def distinct_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, each named once."""
    found = tuple(from_front(axis, rank) for axis in axes)
    if len(set(found)) < len(found):
        raise Refused(f"axes are named once each, not {axes}; export the model again")
    return found


def whole_numbers(values: Sequence[int]) -> Constant:
    """An int64 list, as shapes are."""
    return Constant(np.array(values, np.int64), "int64")
