"""A product with a constant matrix as a graph of two-operand adders, shifts being wires.

The weights become canonical signed digits; sums that several rows need are made once
(`adder_search.py`); what is left of each row is summed in a tree.  The number of adders behind one
another is the least that single adders allow, by a formula that needs no search (`depth_of`).

Many rows of signs may be summed by halves: the inputs whose weight is +1, twice, less the sum of
all, which all rows share.  Half of the terms fall away for one subtraction behind each row; random
signs take a sixth to a quarter fewer adders so (`benchmarks/bench_half_add.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..models.fixed import Grid, Ints
from .adder_search import adder_bits, nearest, pairing, share

TASTES = ((0.1, 0.01), (0.03, 0.03), (0.1, 0.1))
"""What is tried for `adder_search.share`: each was the best for some matrix of 16 to 64 rows."""
MANY_DIGITS = 4_000
"""Beyond so many digits only the first taste is tried: a search takes a second and more."""
HALVED_ROWS, HALVED_COLUMNS = 8, 12
"""Signs of so many rows and columns are tried by halves, too; fewer rows seldom gain by it."""
PLUS, MINUS, REVERSED = 0, 1, 2
"""How an adder joins a and b << shift: a + b, a - b, or b - a."""


@dataclass(frozen=True, slots=True)
class Adder:
    """One sum of the nodes a and b << shift; nodes count the inputs first, then the adders."""

    a: int
    b: int
    shift: int
    kind: int

    def __call__(self, a: Ints, b: Ints) -> Ints:
        shifted = b << self.shift
        if self.kind == PLUS:
            return a + shifted
        return a - shifted if self.kind == MINUS else shifted - a


@dataclass(frozen=True, slots=True)
class Output:
    """A row: a node << shift, or its negative; `node` is -1 for a row of zeros."""

    node: int
    shift: int = 0
    negative: bool = False


@dataclass(frozen=True, eq=False)
class Graph:
    """Adders in an order in which each reads earlier nodes only, over inputs of known ranges."""

    lo: Ints
    hi: Ints
    adders: tuple[Adder, ...]
    outputs: tuple[Output, ...]

    def nodes(self, x: Ints) -> list[Ints]:
        """Every node's value for inputs (..., S)."""
        values = [x[..., k] for k in range(len(self.lo))]
        for adder in self.adders:
            values.append(adder(values[adder.a], values[adder.b]))
        return values

    def __call__(self, x: Ints) -> Ints:
        """The product of the matrix with inputs (..., S): (..., N)."""
        values = self.nodes(x)
        zero = np.zeros(x.shape[:-1], np.int64)
        rows = [zero if o.node < 0 else values[o.node] << o.shift for o in self.outputs]
        signs = [-1 if o.negative else 1 for o in self.outputs]
        return np.stack([sign * row for sign, row in zip(signs, rows, strict=True)], axis=-1)

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """The least and greatest value of each node, attained: from its weight of each input."""
        lo, hi = self.lo.tolist(), self.hi.tolist()
        # Most nodes see few of the inputs.
        weights = [{k: 1} for k in range(len(lo))]
        for adder in self.adders:
            weights.append(_combined(weights[adder.a], weights[adder.b], adder))
        return tuple(
            Grid(
                sum(w * (lo[k] if w > 0 else hi[k]) for k, w in node.items()),
                sum(w * (hi[k] if w > 0 else lo[k]) for k, w in node.items()),
            )
            for node in weights
        )

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """How many adders stand behind one another up to each node."""
        depths = [0] * len(self.lo)
        for adder in self.adders:
            depths.append(max(depths[adder.a], depths[adder.b]) + 1)
        return tuple(depths)

    @cached_property
    def bits(self) -> int:
        """Bits of all carry chains: about the LUTs that the graph takes."""
        total = 0
        for adder in self.adders:
            a, b = self.grids[adder.a], self.grids[adder.b]
            full = adder.kind == REVERSED
            total += adder_bits(a.lo, a.hi, b.lo, b.hi, adder.shift, adder.kind != PLUS, full)
        return total + sum(self.grids[o.node].bits for o in self.outputs if o.negative)


def _combined(a: Mapping[int, int], b: Mapping[int, int], adder: Adder) -> dict[int, int]:
    """The weights of the inputs in a sum."""
    first, second = (-1 if adder.kind == REVERSED else 1), (-1 if adder.kind == MINUS else 1)
    made = {k: first * w for k, w in a.items()}
    for k, w in b.items():
        made[k] = made.get(k, 0) + (second * w << adder.shift)
    return made


def digits(weights: Ints) -> tuple[Ints, Ints]:
    """Canonical signed digits: words whose bit s says that 2**s is added, and is subtracted.

    No two digits stand side by side, so no other signed digits are fewer (Reitwiesner, 1960).
    """
    plus, minus, rest, at = np.zeros_like(weights), np.zeros_like(weights), weights, 0
    while bool(rest.any()):
        digit = np.where(rest & 1, 2 - (rest & 3), 0)
        plus = plus | (digit == 1).astype(np.int64) << at
        minus = minus | (digit == -1).astype(np.int64) << at
        rest, at = (rest - digit) >> 1, at + 1
    return plus, minus


def digit_counts(weights: Ints) -> Ints:
    """Digits in each row (N, S) of weights."""
    plus, minus = digits(weights)
    return np.bitwise_count(plus | minus).sum(axis=1, dtype=np.int64)


def depth_of(weights: Ints) -> int:
    """Adders behind one another: k terms take ceil(log2 k), a row of minuses one more.

    Where halves are tried, they are those of the sum of all inputs, and one.
    """
    if by_halves(weights):
        return depth_of(ones_of(weights)[0]) + 1
    plus, _ = digits(weights)
    counts = digit_counts(weights).tolist()
    only_minus = ((plus == 0).all(axis=1) & (weights != 0).any(axis=1)).tolist()
    return max(max(k - 1, 0).bit_length() + m for k, m in zip(counts, only_minus, strict=True))


def by_halves(weights: Ints) -> bool:
    """Whether these weights are signs, and enough of them to try sums by halves."""
    rows, columns = weights.shape
    signs = bool((np.abs(weights) == 1).all() and (weights < 0).any())
    return signs and rows >= HALVED_ROWS and columns >= HALVED_COLUMNS


def ones_of(signs: Ints) -> tuple[Ints, Ints]:
    """Which inputs each row of signs (N, S) adds, and a row of all, (N + 1, S); turns (N,) of rows.

    A row is turned where that leaves fewer to add, so that a row and its negative are one.
    """
    excess = signs.sum(axis=1)
    turns = np.where((excess > 0) | ((excess == 0) & (signs[:, 0] > 0)), -1, 1)
    return np.vstack([turns[:, None] * signs > 0, np.ones_like(signs[:1])]).astype(np.int64), turns


def adder_graph(weights: Ints, lo: Ints, hi: Ints) -> Graph:
    """The smallest graph found for weights (N, S) and inputs lo..hi (S,), `depth_of` deep.

    The same matrix and ranges give the same graph.
    """
    if not lo.shape == hi.shape == weights.shape[1:]:
        raise ValueError(f"ranges of {lo.shape} and {hi.shape} inputs for {weights.shape} weights")
    key = (a.astype(np.int64).tobytes() for a in (weights, lo, hi))
    return _graph(*key, len(weights))


@lru_cache(maxsize=32)
def _graph(weights: bytes, lo: bytes, hi: bytes, rows: int) -> Graph:
    # Timing, component and area of one place all ask for its graph.
    matrix = np.frombuffer(weights, np.int64).reshape(rows, -1)
    ends = np.frombuffer(lo, np.int64), np.frombuffer(hi, np.int64)
    plain = plain_graph(matrix, *ends)
    if not by_halves(matrix):
        return plain
    ones, turns = ones_of(matrix)
    # Rows that are equal would be looked for several times, and count as so many.
    distinct, places = np.unique(ones[:-1], axis=0, return_inverse=True)
    graph = plain_graph(np.vstack([distinct, ones[-1:]]), *ends)
    halved = _doubled(graph, places.ravel().tolist(), turns.tolist())
    # Rows that have much in common, as those of a Hadamard matrix, are smaller as they are.
    return min(plain, halved, key=lambda found: found.bits)


def plain_graph(weights: Ints, lo: Ints, hi: Ints) -> Graph:
    """The smallest graph found that sums each row by itself, `depth_of` deep at most."""
    many = int(digit_counts(weights).sum()) > MANY_DIGITS
    found = [_search(weights, lo, hi, taste) for taste in TASTES[: 1 if many else None]]
    return min(found, key=lambda graph: graph.bits)


def _doubled(ones: Graph, places: Sequence[int], turns: Sequence[int]) -> Graph:
    """A graph of turn * (2 * row - total) for rows of another by place; its last is the total."""
    total = ones.outputs[-1]
    made: dict[Adder, int] = {}
    outputs: list[Output] = []
    for place, turn in zip(places, turns, strict=True):
        row = ones.outputs[place]
        if row.node < 0:
            outputs.append(Output(total.node, total.shift, turn > 0))
            continue
        adder = Adder(total.node, row.node, row.shift + 1, REVERSED if turn > 0 else MINUS)
        outputs.append(Output(made.setdefault(adder, len(ones.grids) + len(made))))
    return Graph(ones.lo, ones.hi, (*ones.adders, *made), tuple(outputs))


def _search(weights: Ints, lo: Ints, hi: Ints, taste: tuple[float, float]) -> Graph:
    plus, minus = digits(weights)
    limit = 1 << depth_of(weights)
    only_minus = (plus == 0).all(axis=1)
    limits = np.where(only_minus, max(limit >> 1, 1), limit)
    most = weights.shape[1] + int(digit_counts(weights).sum())
    turned = (np.ascontiguousarray(words.T) for words in (plus, minus))
    sums, added, less, depth, low, high = share(*turned, lo, hi, limits, most, taste)
    builder = _Builder(len(lo), sums.tolist())
    outputs: list[Output] = []
    for row, most_terms in enumerate(limits.tolist()):
        terms = _terms(added[:, row], less[:, row])
        if not terms:
            outputs.append(Output(-1))
            continue
        node, shift, sign = (np.array(column) for column in zip(*terms, strict=True))
        deep = depth[node]
        order = nearest(shift, deep)
        trees = [
            pairing(low[node], high[node], shift, sign, deep, order, most_terms, rule)
            for rule in range(3)
        ]
        pairs = min(trees, key=lambda tree: tree[1])[0]
        outputs.append(builder.row(terms, pairs.tolist()))
    return builder.graph(lo, hi, outputs)


def _terms(added: Ints, less: Ints) -> list[tuple[int, int, int]]:
    """The (node, shift, sign) of a row."""
    terms: list[tuple[int, int, int]] = []
    for node in np.flatnonzero(added | less).tolist():
        for words, sign in ((added, 1), (less, -1)):
            word = int(words[node])
            terms += [(node, s, sign) for s in range(word.bit_length()) if word >> s & 1]
    return terms


class _Builder:
    """Adders made one after another, none twice."""

    def __init__(self, inputs: int, sums: Sequence[Sequence[int]]) -> None:
        self.inputs = inputs
        self.adders: list[Adder] = []
        self.made: dict[Adder, int] = {}
        self.flipped: dict[int, int | None] = {}
        # Two sums of the search may be the same sum: number them again.
        self.place = list(range(inputs))
        for a, b, shift, minus in sums[inputs:]:
            self.place.append(
                self.add(Adder(self.place[a], self.place[b], shift, MINUS if minus else PLUS))
            )

    def add(self, adder: Adder) -> int:
        """The node of an adder."""
        if adder not in self.made:
            self.made[adder] = self.inputs + len(self.adders)
            self.adders.append(adder)
        return self.made[adder]

    def row(self, terms: list[tuple[int, int, int]], pairs: list[list[int]]) -> Output:
        """Sum the terms of a row pair by pair."""
        terms = [(self.place[node], shift, sign) for node, shift, sign in terms]
        for x, y in pairs:
            (a, at, sign), (b, other, opposite) = terms[x], terms[y]
            shift, kind = other - at, PLUS
            if sign != opposite:
                # The subtrahend should be what is shifted, whose chain is shorter; else it is free.
                kind = REVERSED if shift == 0 and sign < 0 else MINUS
                sign = 1 if shift == 0 else sign
            terms.append((self.add(Adder(a, b, shift, kind)), at, sign))
        node, shift, sign = terms[-1]
        if sign > 0:
            return Output(node, shift)
        flipped = self.negative(node)
        return Output(node, shift, True) if flipped is None else Output(flipped, shift)

    def negative(self, node: int) -> int | None:
        """A node of the opposite value, no deeper; None where there are only pluses in it."""
        if node < self.inputs:
            return None
        if node not in self.flipped:
            self.flipped[node] = self._negative(self.adders[node - self.inputs])
        return self.flipped[node]

    def _negative(self, adder: Adder) -> int | None:
        a, b, shift = adder.a, adder.b, adder.shift
        if adder.kind != PLUS:
            return self.add(Adder(a, b, shift, MINUS + REVERSED - adder.kind))
        if (flipped := self.negative(a)) is not None:
            return self.add(Adder(flipped, b, shift, MINUS))
        if (flipped := self.negative(b)) is not None:
            # -a - b = (-b) - a
            return self.add(Adder(a, flipped, shift, REVERSED))
        return None

    def graph(self, lo: Ints, hi: Ints, outputs: list[Output]) -> Graph:
        """The graph, without the adders that nothing reads."""
        read = {output.node for output in outputs}
        for index in range(len(self.adders) - 1, -1, -1):
            if index + self.inputs in read:
                read |= {self.adders[index].a, self.adders[index].b}
        number = {node: node for node in range(-1, self.inputs)}
        kept: list[Adder] = []
        for index, adder in enumerate(self.adders):
            if index + self.inputs in read:
                number[index + self.inputs] = self.inputs + len(kept)
                kept.append(Adder(number[adder.a], number[adder.b], adder.shift, adder.kind))
        return Graph(
            lo, hi, tuple(kept), tuple(Output(number[o.node], o.shift, o.negative) for o in outputs)
        )
