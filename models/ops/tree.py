"""Binary decision trees over few inputs: sub-vectors become the numbers of leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import Ints, ProgramError
from ..program import Edge, Op

LEVELS_MAX = 8
"""Levels of a tree: 256 leaves."""


@dataclass(frozen=True, eq=False)
class Tree(Op):
    """(..., C*I) -> (..., C): the leaf, 0 to 2**L - 1, that each of C trees of L levels leads to.

    Tree c reads x[..., c*I : (c+1)*I].  At level l it compares input order[c, l] of these with a
    threshold that depends on the decisions before, `p` the number that they make, the first most
    significant: p = 2*p + (input >= thresholds[c, 2**l - 1 + p]).  `order` has shape (C, L),
    `thresholds` (C, 2**L - 1).  MADDNESS's hash, which needs no multiplication (arXiv 2106.10860,
    algorithm 1).
    """

    order: Ints
    thresholds: Ints

    def check(self) -> None:
        if self.order.ndim != 2 or self.order.size == 0:
            raise ProgramError(f"Tree order has shape (C, L), not {self.order.shape}")
        trees, levels = self.order.shape
        if levels > LEVELS_MAX:
            raise ProgramError(
                f"Tree has at most {LEVELS_MAX} levels, not {levels}; use more trees of fewer"
            )
        if int(self.order.min()) < 0:
            raise ProgramError(
                f"Tree order names inputs from 0, not {self.order.min()}; count each tree's own"
            )
        wanted = (trees, (1 << levels) - 1)
        if self.thresholds.shape != wanted:
            raise ProgramError(
                f"Tree thresholds of {levels} levels have shape {wanted}, not "
                f"{self.thresholds.shape}"
            )

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        trees, inputs = len(self.order), self.inputs_of(x)
        if x.channels % trees:
            raise ProgramError(
                f"Tree gives each of {trees} trees as many inputs, and the last axis of {x.shape} "
                f"is {x.channels}; select channels first"
            )
        if int(self.order.max()) >= inputs:
            raise ProgramError(
                f"Tree order spans {self.order.min()}..{self.order.max()}, outside "
                f"0..{inputs - 1}; name the tree's own inputs"
            )
        reached = [self._reached(c, x) for c in range(trees)]
        lo, hi = (np.array([end(leaves) for leaves in reached]) for end in (min, max))
        return Edge((*x.shape[:-1], trees), lo, hi)

    def inputs_of(self, x: Edge) -> int:
        """How many inputs each tree has, I, on an edge."""
        return x.channels // len(self.order)

    def _reached(self, tree: int, x: Edge) -> list[int]:
        """The leaves that some input leads to, by the ranges that decisions leave to each input."""
        inputs = self.inputs_of(x)
        here = slice(tree * inputs, (tree + 1) * inputs)
        ways = [(0, x.lo[here].tolist(), x.hi[here].tolist())]
        for level, read in enumerate(self.order[tree].tolist()):
            further: list[tuple[int, list[int], list[int]]] = []
            for path, lo, hi in ways:
                cut = int(self.thresholds[tree, (1 << level) - 1 + path])
                below, above = min(hi[read], cut - 1), max(lo[read], cut)
                if x.step == 2:
                    # Of signs, 0 is none.
                    below, above = below - (below == 0), above + (above == 0)
                if lo[read] <= below:
                    further.append((2 * path, lo, _with(hi, read, below)))
                if above <= hi[read]:
                    further.append((2 * path + 1, _with(lo, read, above), hi))
            ways = further
        return [path for path, _, _ in ways]

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        trees, levels = self.order.shape
        own = np.arange(trees)
        inputs = x.reshape(*x.shape[:-1], trees, x.shape[-1] // trees)
        path = np.zeros((*x.shape[:-1], trees), np.int64)
        for level in range(levels):
            cut = self.thresholds[own, (1 << level) - 1 + path]
            path = 2 * path + (inputs[..., own, self.order[:, level]] >= cut)
        return path


def _with(values: list[int], at: int, value: int) -> list[int]:
    return [*values[:at], value, *values[at + 1 :]]
