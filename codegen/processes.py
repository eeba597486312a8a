"""Processes of RTLIL as statements of a register, or as multiplexers where they are wires."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from . import rtlil
from .netlist import If, Node, Set, bits, constant, cut, join, width
from .rtlil import Bits, Sig, Slice, Switch


@dataclass(frozen=True)
class Processes:
    """The processes of a module.

    sig: a value of the RTLIL under the netlist's names; make: adds a node of an operator, operands
    and width, and returns its value.
    """

    sig: Callable[[Sig], Sig]
    make: Callable[[str, tuple[Sig, ...], int], Sig]

    def statements(self, body: rtlil.Body) -> tuple[Set | If, ...]:
        """The statements of a register's process."""
        made: list[Set | If] = []
        for statement in body:
            if isinstance(statement, Switch):
                made += self._chain(statement)
            else:
                for low, value in _targets(statement):
                    made.append(Set(low, self.sig(value)))
        return tuple(made)

    def _chain(self, switch: Switch) -> tuple[Set | If, ...]:
        chain: tuple[Set | If, ...] = ()
        for case in reversed(switch.cases):
            then = self.statements(case.body)
            condition = self._condition(switch.on, case.patterns)
            if constant(condition) == 1:
                chain = then
            elif constant(condition) != 0 and then:
                chain = (If(condition, then, chain),)
            elif constant(condition) != 0 and chain:
                chain = (If(self.make("~", (condition,), 1), chain, ()),)
        return chain

    def _condition(self, on: Sig, patterns: tuple[str, ...]) -> Sig:
        """Whether a value matches one of the patterns; none of them means always."""
        if not patterns:
            return bits(1, 1)
        return self._reduce("|", [self._match(self.sig(on), pattern) for pattern in patterns], 0)

    def _match(self, on: Sig, pattern: str) -> Sig:
        tests: list[Sig] = []
        end = len(pattern)
        for piece in on:
            part, end = pattern[end - piece.width : end], end - piece.width
            tests += self._piece_tests(piece, part)
        return self._reduce("&", tests, 1)

    def _piece_tests(self, piece: Bits | Slice, pattern: str) -> Iterator[Sig]:
        """Tests of the runs of bits that the pattern cares about."""
        high = len(pattern)
        for run in pattern.replace("-", " - ").split():
            if run != "-":
                part = cut((piece,), high - len(run), len(run))
                yield self._equal(part, run)
            high -= len(run)

    def _equal(self, value: Sig, wanted: str) -> Sig:
        if constant(value) is not None:
            return bits(int(constant(value) == int(wanted, 2)), 1)
        if wanted == "1":
            return value
        if wanted == "0":
            return self.make("~", (value,), 1)
        return self.make("==", (value, (Bits(wanted),)), 1)

    def _reduce(self, op: str, tests: list[Sig], neutral: int) -> Sig:
        if bits(1 - neutral, 1) in tests:
            return bits(1 - neutral, 1)
        open_tests = [test for test in tests if constant(test) is None]
        if not open_tests:
            return bits(neutral, 1)
        result = open_tests[0]
        for test in open_tests[1:]:
            result = self.make(op, (result, test), 1)
        return result

    def node(self, size: int, body: rtlil.Body) -> Node:
        """A combinational process of `size` bits: multiplexers, one tree for each part set whole.

        Expressions instead of an `always @*` block: such a block of constants alone would never
        run, and every simulator runs assignments at time 0.
        """
        edges = sorted({0, size, *_edges(body)})
        conditions: dict[int, list[Sig]] = {}
        parts: list[Bits | Slice] = []
        for low, high in pairwise(edges):
            parts += self._evaluate(body, low, high - low, (), conditions)
        return Node("copy", (join(parts),), size)

    def _evaluate(
        self, body: rtlil.Body, low: int, size: int, current: Sig, conditions: dict[int, list[Sig]]
    ) -> Sig:
        """The value of bits `low` .. `low + size` after `body`, given theirs before it."""
        for statement in body:
            if isinstance(statement, Switch):
                current = self._select(statement, low, size, current, conditions)
                continue
            for start, value in _targets(statement):
                if start <= low < start + width(value):
                    current = cut(self.sig(value), low - start, size)
        return current

    def _select(
        self, switch: Switch, low: int, size: int, current: Sig, conditions: dict[int, list[Sig]]
    ) -> Sig:
        values = [self._evaluate(c.body, low, size, current, conditions) for c in switch.cases]
        if all(value == current for value in values):
            return current
        if id(switch) not in conditions:
            tests = [self._condition(switch.on, case.patterns) for case in switch.cases]
            conditions[id(switch)] = tests
        result = current
        for condition, value in zip(
            reversed(conditions[id(switch)]), reversed(values), strict=True
        ):
            if constant(condition) == 1:
                result = value
            elif constant(condition) != 0 and value != result:
                result = self.make("mux", (condition, value, result), size)
        return result


def _targets(assign: rtlil.Assign) -> Iterator[tuple[int, Sig]]:
    """Each piece of the left side: its lowest bit and its value."""
    low = 0
    for piece in assign.to:
        if isinstance(piece, Slice):
            yield piece.low, cut(assign.value, low, piece.width)
        low += piece.width


def _edges(body: rtlil.Body) -> Iterator[int]:
    for statement in body:
        if isinstance(statement, Switch):
            for case in statement.cases:
                yield from _edges(case.body)
        else:
            for low, value in _targets(statement):
                yield from (low, low + width(value))


def process_values(body: rtlil.Body) -> Iterator[Sig]:
    """Every value that a process reads."""
    for statement in body:
        if isinstance(statement, Switch):
            yield statement.on
            for case in statement.cases:
                yield from process_values(case.body)
        else:
            yield statement.value


def reset_first(body: tuple[Set | If, ...], size: int) -> tuple[Set | If, ...]:
    """A last statement that overrides all others becomes the first choice."""
    last = body[-1] if len(body) > 1 else None
    if not isinstance(last, If) or last.otherwise:
        return body
    first = last.then[0] if len(last.then) == 1 else None
    if isinstance(first, Set) and width(first.value) == size:
        return (If(last.condition, last.then, body[:-1]),)
    return body
