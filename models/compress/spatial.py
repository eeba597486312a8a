"""Separable kernels: K x 1 with few filters, then 1 x K (Jaderberg et al., arXiv 1405.3866, 2.2).

w[n, ky, kx, c] = sum_r h[n, kx, r] v[r, ky, c] is a matrix of (n, kx) and (ky, c) of low rank; its
singular value decomposition is the start of alternating least squares for the responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..layers import Slide
from .lowrank import Factors, LowRank, alternate
from .method import Method, Site, Sums
from .problem import Floats, LayerProblem


def columns_of(slide: Slide) -> Slide:
    """The vertical part of a walk: K x 1."""
    top, _, bottom, _ = slide.padding
    return Slide(
        (slide.kernel[0], 1), (slide.stride[0], 1), (top, 0, bottom, 0), (slide.dilation[0], 1)
    )


def rows_of(slide: Slide) -> Slide:
    """The horizontal part of a walk: 1 x K."""
    _, left, _, right = slide.padding
    return Slide(
        (1, slide.kernel[1]), (1, slide.stride[1]), (0, left, 0, right), (1, slide.dilation[1])
    )


@dataclass(frozen=True, eq=False)
class Separable(Factors):
    """Kernels v (r, kh, C), then h (N, kw, r)."""

    form: ClassVar[str] = "ryc,nxr->nyxc"

    def lower(self, site: Site) -> Sums:
        columns = site.window("columns", site.source, columns_of(site.slide))
        middle, scale = self.rounded(site, 0, self.dot(0), columns, site.scale)
        return self.last(site, site.window("rows", middle, rows_of(site.slide)), scale)


@dataclass(frozen=True)
class Spatial(LowRank):
    """`rank` * min(N * kw, C * kh) filters in the middle."""

    rank: float = 0.75
    weight: ClassVar[type[Factors]] = Separable

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"spatial": cls()}

    def factors(self, problem: LayerProblem, weights: Floats) -> list[Floats]:
        (height, width), channels = problem.kernel, problem.channels
        whole = weights.reshape(-1, height, width, channels).transpose(0, 2, 1, 3)
        matrix = whole.reshape(-1, height * channels)
        rank = min(self.ranks(min(matrix.shape)), *matrix.shape)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        half = np.sqrt(values[:rank])
        found = [
            (half[:, None] * right[:rank]).reshape(rank, height, channels),
            (left[:, :rank] * half).reshape(-1, width, rank),
        ]
        alternate(problem, self.weight.form, found, (0, 1))
        return found
