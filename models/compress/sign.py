"""Sign-only binary weights: BWN of XNOR-Net (arXiv 1603.05279), which knows no data.

what = alpha * sign(w) with alpha = mean |w| is nearest to w in squared distance.  It is here for
contrast and as the start of `bwnh`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..fixed import BINARY
from .method import Compressed, Method
from .problem import Floats, LayerProblem


def nearest_signs(weights: Floats) -> Compressed:
    """sign(w), sign(0) = +1, and the mean |w| of each filter."""
    signs = np.where(weights >= 0, 1, -1)
    return Compressed(signs, BINARY, np.abs(weights).mean(1))


@dataclass(frozen=True)
class Sign(Method):
    """One bit per weight, from the weights alone."""

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"sign": cls()}

    def start(self, problem: LayerProblem, weights: Floats) -> Compressed:
        return nearest_signs(weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Compressed:
        return nearest_signs(weights)
