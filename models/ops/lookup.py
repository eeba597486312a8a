"""Sums of chosen entries of tables: a matrix product whose weights are words of codebooks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import TERNARY, Ints, ProgramError
from ..program import Edge, Op, fits
from .dot import Dot


@dataclass(frozen=True, eq=False)
class Lookup(Op):
    """y[..., n] = sum_{t, m} x[..., t*M*K + m*K + indices[n, t, m]], K = `words`.

    `indices` has shape (N, T, M): N results, each of T taps of M sub-spaces, of which it takes one
    of the K entries.  The last axis of x holds T taps of M*K entries each, as `Window` emits them
    behind `Tables` (Quantized CNN, arXiv 1512.06473): `Tables`, `Window` and `Lookup` equal
    `Window` and a `Dot` whose weights at (n, t, m) are the word `indices[n, t, m]` of codebook m.
    """

    indices: Ints
    words: int

    def check(self) -> None:
        if self.indices.ndim != 3 or self.indices.size == 0:
            raise ProgramError(f"Lookup indices have shape (N, T, M), not {self.indices.shape}")
        if self.words < 1:
            raise ProgramError(f"Lookup takes tables of 1 or more words, not {self.words}")
        lo, hi = int(self.indices.min()), int(self.indices.max())
        if lo < 0 or hi >= self.words:
            raise ProgramError(
                f"Lookup indices span {lo}..{hi}, outside 0..{self.words - 1}; name existing words"
            )

    @property
    def entries(self) -> Ints:
        """The channels (N, T*M) of x that each result adds up."""
        flat = self.indices.reshape(len(self.indices), -1)
        return flat + self.words * np.arange(flat.shape[1])

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        results, taps, spaces = self.indices.shape
        tables = taps * spaces
        if x.channels != tables * self.words:
            raise ProgramError(
                f"Lookup takes {taps} taps of {spaces} tables of {self.words} words, "
                f"{tables * self.words} values, and the last axis of {x.shape} is {x.channels}; "
                "put a Window over Tables before it"
            )
        largest = max(abs(int(x.lo.min())), abs(int(x.hi.max())))
        fits("a sum of table entries", [largest * tables])
        lo, hi = (bound[self.entries].sum(1) for bound in (x.lo, x.hi))
        return Edge((*x.shape[:-1], results), lo, hi)

    @property
    def dot(self) -> Dot:
        """The same as a product with a matrix of zeros and ones, (N, T*M*K)."""
        chosen = np.zeros((len(self.indices), self.indices[0].size * self.words), np.int64)
        np.put_along_axis(chosen, self.entries, 1, axis=1)
        return Dot(chosen, TERNARY)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        y = np.zeros((*x.shape[:-1], len(self.indices)), np.int64)
        for entries in self.entries.T:
            y += x[..., entries]
        return y
