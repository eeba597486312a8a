"""Second-order rounding of weights to any integer grid, the solver of `uniform` and `ternary`.

Weights are rounded one input at a time, and the error of each is pushed onto the inputs not yet
rounded in the way that changes the layer's responses least: optimal brain surgeon in a fixed order
(Hassibi and Stork, 1993; GPTQ, arXiv 2210.17323).  With v* = G^-1 c, the best real weights, e = v -
v* and G = M^T D M, M unit lower triangular,

    error = e^T G e + const = sum_j D_j ( e_j + sum_{l < j} M_jl e_l )^2 + const

so v_j is the grid point nearest to v*_j - sum_{l < j} M_jl e_l.  Then coordinate descent and least
squares for the step take turns until nothing moves, which cannot raise the error.  All that is done
for several steps at once, and each filter keeps its best.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..fixed import Grid, Ints
from .method import Compressed
from .problem import Floats, LayerProblem

# The first steps that are tried, as shares of the one that just reaches the largest weight.
CLIPPINGS = np.linspace(0.2, 1, 17)
SWEEPS = 20


def round_second_order(problem: LayerProblem, weights: Floats, grid: Grid) -> Compressed:
    """Round weights (N, S) to step[n] * integers of the grid."""
    count, size = weights.shape
    largest = np.abs(weights).max(1)
    steps = np.outer(CLIPPINGS, np.where(largest > 0, largest, 1) / grid.hi).ravel()
    cross = np.tile(problem.cross, (len(CLIPPINGS), 1))
    integers = _rounded(problem, np.tile(_best_real(problem), (len(CLIPPINGS), 1)), steps, grid)
    _polish(problem.gram, cross, integers, integers @ problem.gram, steps, grid.lo, grid.hi, SWEEPS)
    errors = np.stack(
        [
            problem.error(step[:, None] * q)
            for step, q in zip(
                steps.reshape(-1, count), integers.reshape(-1, count, size), strict=True
            )
        ]
    )
    best = errors.argmin(0) * count + np.arange(count)
    return Compressed(_ints(integers[best]), grid, steps[best])


def _ints(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)


def _best_real(problem: LayerProblem) -> Floats:
    """v* = G^-1 c for each filter, (N, S)."""
    return np.linalg.solve(problem.gram, problem.cross.T).T.astype(np.float64)


def _rounded(problem: LayerProblem, best: Floats, steps: Floats, grid: Grid) -> Floats:
    """Round best (N, S) in the order of falling G_jj: the inputs that matter least come last."""
    order = np.argsort(-np.diag(problem.gram), kind="stable")
    gram = problem.gram[np.ix_(order, order)]
    # The Cholesky factor of the reversed matrix gives M^T sqrt(D), upper triangular.
    upper = np.linalg.cholesky(gram[::-1, ::-1])[::-1, ::-1]
    pushes = np.ascontiguousarray(upper / np.diag(upper))
    integers = np.empty_like(best)
    integers[:, order] = _push_errors(pushes, best[:, order], steps, grid.lo, grid.hi)
    return integers


@njit(cache=True)
def _push_errors(pushes: Floats, wishes: Floats, steps: Floats, lo: int, hi: int) -> Floats:
    """Round wishes (N, S) from the first input to the last; pushes[l, j] = M_jl."""
    integers = np.empty_like(wishes)
    for n in range(wishes.shape[0]):
        wish = wishes[n].copy()
        for j in range(len(wish)):
            q = min(max(np.rint(wish[j] / steps[n]), lo), hi)
            integers[n, j] = q
            error = steps[n] * q - wishes[n, j]
            wish[j + 1 :] -= error * pushes[j, j + 1 :]
    return integers


@njit(cache=True)
def _polish(
    gram: Floats,
    cross: Floats,
    integers: Floats,
    products: Floats,
    steps: Floats,
    lo: int,
    hi: int,
    sweeps: int,
) -> None:
    """Improve integers (N, S) and steps (N,) in place; `products` is integers @ gram."""
    for n in range(integers.shape[0]):
        q, g, c = integers[n], products[n], cross[n]
        for _ in range(sweeps):
            linear = (c * q).sum()
            quadratic = (g * q).sum()
            if linear > 0 and quadratic > 0:
                steps[n] = linear / quadratic
            moves = 0
            for j in range(len(q)):
                wish = (c[j] / steps[n] - (g[j] - gram[j, j] * q[j])) / gram[j, j]
                new = min(max(np.rint(wish), lo), hi)
                if new != q[j]:
                    g += (new - q[j]) * gram[j]
                    q[j] = new
                    moves += 1
            if moves == 0:
                break
