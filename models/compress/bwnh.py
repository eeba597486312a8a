"""Binary weights via hashing: Hu, Wang and Cheng, AAAI 2018, arXiv 1802.02733.

The weights of filter n become alpha * b, b in {-1, +1}^S, and the layer problem of `problem.py`

    f(alpha, b) = alpha^2 b^T G b - 2 alpha c^T b + t

is minimised by turns (inner-product-preserving hashing with h(x) = x on the data):

    scale:  alpha = (c^T b) / (b^T G b); where it is negative, b changes its sign.
    code:   discrete cyclic coordinate descent, b_j = sign(c_j - alpha * sum_{l != j} G_jl b_l),
            keeping the old bit on zero.

g = G b is kept up to date, so that a flip costs one column of G.  Neither step can raise f.  The
start is BWN: b = sign(w), alpha = mean |w|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit

from ..fixed import BINARY, ProgramError
from .method import Compressed, Method
from .problem import Floats, LayerProblem
from .sign import nearest_signs


@dataclass(frozen=True)
class Bwnh(Method):
    """One bit per weight; `sweeps` bounds the passes over the bits of a filter."""

    sweeps: int = 20

    def __post_init__(self) -> None:
        if self.sweeps < 0:
            raise ProgramError(f"passes over the bits are counted from 0, not {self.sweeps}")

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"bwnh": cls()}

    def start(self, problem: LayerProblem, weights: Floats) -> Compressed:
        return nearest_signs(weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Compressed:
        current = nearest_signs(weights)
        error = problem.error(current.dense())
        slack = 1e-9 * (problem.energy + error)
        for _ in range(self.sweeps):
            current = fitted(problem, current)
            before, error = error, problem.error(current.dense())
            assert (error <= before + slack).all(), "a new scale raised the error of a filter"
            signs = current.weights.astype(np.float64)
            flips = _sweep(problem.gram, problem.cross, signs, signs @ problem.gram, current.scale)
            current = Compressed(signs.astype(np.int64), BINARY, current.scale)
            before, error = error, problem.error(current.dense())
            assert (error <= before + slack).all(), "a flipped bit raised the error of a filter"
            if not flips:
                break
        return fitted(problem, current)


def fitted(problem: LayerProblem, binary: Compressed) -> Compressed:
    """The best scale for these signs; where it is negative, the signs turn instead."""
    signs = binary.weights
    quadratic = (signs @ problem.gram * signs).sum(1)
    linear = (problem.cross * signs).sum(1)
    turned = np.where(linear[:, None] < 0, -signs, signs)
    scale = np.divide(np.abs(linear), quadratic, out=np.zeros(len(signs)), where=quadratic > 0)
    return Compressed(turned, BINARY, scale)


@njit(cache=True)
def _sweep(gram: Floats, cross: Floats, signs: Floats, products: Floats, scale: Floats) -> int:
    """Visit every bit of signs (N, S) once, in place; `products` is signs @ gram; count flips."""
    flips = 0
    for n in range(signs.shape[0]):
        b, g = signs[n], products[n]
        for j in range(len(b)):
            wish = cross[n, j] - scale[n] * (g[j] - gram[j, j] * b[j])
            if wish * b[j] < 0:
                b[j] = -b[j]
                g += (2 * b[j]) * gram[j]
                flips += 1
    return flips
