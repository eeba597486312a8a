"""Inner products with the words of codebooks: the tables of product quantisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fixed import TERNARY, Grid, Ints, ProgramError
from ..program import Edge, Op
from .dot import Dot, check_weights, dot_range


@dataclass(frozen=True, eq=False)
class Tables(Op):
    """y[..., m*K + k] = sum_j codebooks[m, k, j] * x[..., m*Cs + j].

    `codebooks` has shape (M, K, Cs), M sub-spaces of Cs channels with K words each, on a `grid` as
    for `Dot`.  A dot product with the block-diagonal matrix of the M codebooks: the tables that
    Quantized CNN builds once for each position (arXiv 1512.06473) and `Lookup` reads.
    """

    codebooks: Ints
    grid: Grid

    def check(self) -> None:
        if self.codebooks.ndim != 3 or self.codebooks.size == 0:
            raise ProgramError(
                f"Tables codebooks have shape (M, K, Cs), not {self.codebooks.shape}"
            )
        check_weights("Tables", self.codebooks, self.grid)

    def infer(self, *edges: Edge) -> Edge:
        (x,) = edges
        spaces, words, size = self.codebooks.shape
        if x.channels != spaces * size:
            raise ProgramError(
                f"Tables has codebooks for {spaces} sub-spaces of {size} channels, "
                f"{spaces * size} values, and the last axis of {x.shape} is {x.channels}; reshape "
                "first"
            )
        ends = zip(x.lo.reshape(spaces, size), x.hi.reshape(spaces, size), strict=True)
        ranges = [
            dot_range(book, lo, hi) for book, (lo, hi) in zip(self.codebooks, ends, strict=True)
        ]
        lo, hi = (np.concatenate(bounds) for bounds in zip(*ranges, strict=True))
        return Edge((*x.shape[:-1], spaces * words), lo, hi)

    @property
    def dot(self) -> Dot:
        """The same as a product with the block-diagonal matrix, (M*K, M*Cs)."""
        spaces, words, size = self.codebooks.shape
        blocks = np.zeros((spaces, words, spaces, size), np.int64)
        blocks[np.arange(spaces), :, np.arange(spaces)] = self.codebooks
        # Between the blocks stand zeros.
        least, most = min(0, int(blocks.min())), max(0, int(blocks.max()))
        grid = TERNARY if least >= -1 and most <= 1 else Grid(least, most)
        return Dot(blocks.reshape(spaces * words, spaces * size), grid)

    def __call__(self, *xs: Ints) -> Ints:
        (x,) = xs
        spaces, words, size = self.codebooks.shape
        parts = x.reshape(*x.shape[:-1], spaces, 1, size)
        products = parts @ self.codebooks.transpose(0, 2, 1)
        return products.reshape(*x.shape[:-1], spaces * words)
