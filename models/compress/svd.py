"""Two factors by singular values: a convolution with few filters, then one of 1 x 1.

Denton et al., arXiv 1404.0736, with the responses in place of the weights as in Zhang et al., arXiv
1505.06798: with G = L L^T and the best real weights V* = c^T G^-1, the error of A B is

    || V* L - A B L ||_F^2 + const

whose least is the truncated singular value decomposition of V* L, in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .lowrank import Factors, LowRank
from .method import Method, Site, Sums
from .problem import Floats, LayerProblem


@dataclass(frozen=True, eq=False)
class Pair(Factors):
    """B (r, S), then A (N, r)."""

    form: ClassVar[str] = "rs,nr->ns"

    def lower(self, site: Site) -> Sums:
        middle, scale = self.rounded(site, 0, self.dot(0), site.windows, site.scale)
        return self.last(site, middle, scale)


@dataclass(frozen=True)
class Svd(LowRank):
    """`rank` * min(S, N) singular values."""

    weight: ClassVar[type[Factors]] = Pair

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"svd": cls()}

    def factors(self, problem: LayerProblem, weights: Floats) -> list[Floats]:
        rank = min(self.ranks(min(weights.shape)), *weights.shape)
        root = np.linalg.cholesky(problem.gram)
        # V* L = c^T L^-T.
        left, values, right = np.linalg.svd(
            np.linalg.solve(root, problem.cross.T).T, full_matrices=False
        )
        half: Floats = np.sqrt(values[:rank]).astype(np.float64)
        inner: Floats = np.linalg.solve(root.T, right[:rank].T).T.astype(np.float64)
        return [half[:, None] * inner, left[:, :rank].astype(np.float64) * half]
