"""Four factors: 1 x 1, depthwise K x 1, depthwise 1 x K, 1 x 1 (CP decomposition).

Lebedev et al., arXiv 1412.6553: w[n, ky, kx, c] = sum_r b[n, r] x[r, kx] y[r, ky] a[r, c].  From
singular vectors and fixed random kernels, alternating least squares find the factors of the weights
first, and those of the responses from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..layers import Slide
from ..ops import DepthwiseDot
from .lowrank import Factors, LowRank, alternate
from .method import Method, Site, Sums
from .problem import Floats, LayerProblem
from .spatial import columns_of, rows_of

WEIGHT_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Canonical(Factors):
    """Factors a (r, C), y (r, kh), x (r, kw), b (N, r).

    The kernels of one tap hold ones: their part of the work is done by `a`.
    """

    form: ClassVar[str] = "rc,ry,rx,nr->nyxc"

    @property
    def bits(self) -> int:
        """Kernels of one tap are not stored."""
        kernels = [one for one in self.integers[1:3] if one.shape[1] > 1]
        stored = [self.integers[0], *kernels, self.integers[3]]
        return sum(one.size for one in stored) * self.grid.bits

    def lower(self, site: Site) -> Sums:
        edge, scale = self.rounded(site, 0, self.dot(0), site.source, site.scale)
        edge, scale = self._depthwise(site, 1, columns_of(site.slide), edge, scale)
        edge, scale = self._depthwise(site, 2, rows_of(site.slide), edge, scale)
        return self.last(site, edge, scale)

    def _depthwise(
        self, site: Site, number: int, slide: Slide, source: str, scale: float
    ) -> tuple[str, float]:
        windows = site.window(f"window{number}", source, slide)
        if slide.kernel == (1, 1):
            return windows, scale
        op = DepthwiseDot(self.integers[number], self.grid)
        return self.rounded(site, number, op, windows, scale)


@dataclass(frozen=True)
class Cp(LowRank):
    """`rank` * max(N, C) terms; between four factors flow more bits than between two."""

    rank: float = 1.0
    middle_bits: int = 10
    weight: ClassVar[type[Factors]] = Canonical

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"cp": cls()}

    def factors(self, problem: LayerProblem, weights: Floats) -> list[Floats]:
        rank = self.ranks(max(len(weights), problem.channels))
        rng = np.random.default_rng(0)
        found = [
            rng.normal(size=(rank, problem.channels)),
            *(
                np.ones((rank, 1)) if taps == 1 else rng.normal(size=(rank, taps))
                for taps in problem.kernel
            ),
            rng.normal(size=(len(weights), rank)),
        ]
        free = [0, *(1 + axis for axis in (0, 1) if problem.kernel[axis] > 1), 3]
        data_free = LayerProblem.data_free(weights, problem.kernel)
        alternate(data_free, self.weight.form, found, free, WEIGHT_ROUNDS)
        _balance(found, free)
        alternate(problem, self.weight.form, found, free)
        _balance(found, free)
        return found


def _balance(factors: list[Floats], free: list[int]) -> None:
    """Give the factors of each term one length, in place; their product stays."""
    axes = [1 if number == 3 else 0 for number in free]
    lengths = np.stack(
        [
            np.linalg.norm(factors[number], axis=1 - axis)
            for number, axis in zip(free, axes, strict=True)
        ]
    )
    lengths = np.where(lengths > 0, lengths, 1)
    common = np.prod(lengths, axis=0) ** (1 / len(free))
    for number, axis, own in zip(free, axes, lengths, strict=True):
        share = common / own
        factors[number] = factors[number] * (share if axis else share[:, None])
