"""Dot products whose hardware skips the weights that are zero."""

from __future__ import annotations

from dataclasses import dataclass

from .dot import Dot


@dataclass(frozen=True, eq=False)
class SparseDot(Dot):
    """y[..., n] = sum_s weights[n, s] * x[..., s], as `Dot`, of weights that are mostly 0.

    Folded PE x SIMD, its unit neither stores nor computes a tile of PE x SIMD weights all of which
    are 0.
    """
