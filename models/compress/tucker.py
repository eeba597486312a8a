"""Three factors: 1 x 1 to fewer channels, a small convolution, 1 x 1 back (Tucker-2).

Kim et al., arXiv 1511.06530: w[n, ky, kx, c] = sum_oi b[n, o] core[o, ky, kx, i] a[i, c].  The
leading singular vectors of both unfoldings are the start (higher-order SVD); alternating least
squares for the responses follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .lowrank import Factors, LowRank, alternate, contract, leading
from .method import Method, Site, Sums
from .problem import Floats, LayerProblem


@dataclass(frozen=True, eq=False)
class Core(Factors):
    """Factors a (i, C), core (o, kh, kw, i), b (N, o)."""

    form: ClassVar[str] = "ic,oyxi,no->nyxc"

    def lower(self, site: Site) -> Sums:
        few, scale = self.rounded(site, 0, self.dot(0), site.source, site.scale)
        windows = site.window("core", few, site.slide)
        middle, scale = self.rounded(site, 1, self.dot(1), windows, scale)
        return self.last(site, middle, scale)


@dataclass(frozen=True)
class Tucker(LowRank):
    """`rank` * C channels before the small convolution, `rank` * N behind it."""

    weight: ClassVar[type[Factors]] = Core

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"tucker": cls()}

    def factors(self, problem: LayerProblem, weights: Floats) -> list[Floats]:
        whole = weights.reshape(-1, *problem.kernel, problem.channels)
        by_input = whole.reshape(-1, problem.channels).T
        inputs = leading(by_input, self.ranks(problem.channels))
        outputs = leading(weights, self.ranks(len(weights)))
        core = contract("nyxc,ci,no->oyxi", [whole, inputs, outputs])
        found = [inputs.T.copy(), core, outputs]
        alternate(problem, self.weight.form, found, (0, 1, 2))
        return found
