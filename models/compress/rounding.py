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
KEPT = 6
"""Of each filter so many of its first steps are improved on, those with the smallest error."""
BLOCK = 64
SWEEPS = 20


def round_second_order(problem: LayerProblem, weights: Floats, grid: Grid) -> Compressed:
    """Round weights (N, S) to step[n] * integers of the grid."""
    count = len(weights)
    largest = np.abs(weights).max(1)
    steps = np.outer(CLIPPINGS, np.where(largest > 0, largest, 1) / grid.hi)
    integers = _rounded(problem, steps, grid)
    first = np.argsort(_errors(problem, steps, integers), axis=0, kind="stable")[:KEPT]
    own = np.arange(count)
    steps, integers = steps[first, own], integers[first, own]
    for step, q in zip(steps, integers, strict=True):
        _polish(problem.gram, problem.cross, q, q @ problem.gram, step, grid.lo, grid.hi, SWEEPS)
    best = _errors(problem, steps, integers).argmin(0)
    return Compressed(_ints(integers[best, own]), grid, steps[best, own])


def _errors(problem: LayerProblem, steps: Floats, integers: Floats) -> Floats:
    """The errors (K, N) of steps (K, N) and integers (K, N, S)."""
    pairs = zip(steps, integers, strict=True)
    return np.stack([problem.error(step[:, None] * q) for step, q in pairs])


def _ints(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)


def _best_real(problem: LayerProblem) -> Floats:
    """v* = G^-1 c for each filter, (N, S)."""
    return np.linalg.solve(problem.gram, problem.cross.T).T.astype(np.float64)


def _rounded(problem: LayerProblem, steps: Floats, grid: Grid) -> Floats:
    """Round v* by steps (K, N) in the order of falling G_jj: what matters least comes last."""
    order = np.argsort(-np.diag(problem.gram), kind="stable")
    gram = problem.gram[np.ix_(order, order)]
    # The Cholesky factor of the reversed matrix gives M^T sqrt(D), upper triangular.
    upper = np.linalg.cholesky(gram[::-1, ::-1])[::-1, ::-1]
    pushes = np.ascontiguousarray(upper / np.diag(upper))
    best = _best_real(problem)[:, order]
    integers = np.empty((*steps.shape, len(order)))
    for number, step in enumerate(steps):
        integers[number][:, order] = _push_errors(pushes, best, step[:, None], grid)
    return integers


def _push_errors(pushes: Floats, best: Floats, steps: Floats, grid: Grid) -> Floats:
    """Round best (N, S) from the first input to the last; pushes[l, j] = M_jl.

    Within a block errors are pushed one by one, and behind it those of the whole block at once.
    """
    wishes, errors, integers = best.copy(), np.empty_like(best), np.empty_like(best)
    for start in range(0, best.shape[1], BLOCK):
        block = slice(start, min(start + BLOCK, best.shape[1]))
        for j in range(block.start, block.stop):
            q = np.clip(np.rint(wishes[:, j : j + 1] / steps), grid.lo, grid.hi)
            integers[:, j : j + 1] = q
            errors[:, j : j + 1] = steps * q - best[:, j : j + 1]
            wishes[:, j + 1 : block.stop] -= errors[:, j : j + 1] * pushes[j, j + 1 : block.stop]
        wishes[:, block.stop :] -= errors[:, block] @ pushes[block, block.stop :]
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
