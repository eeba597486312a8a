"""Optimal brain surgeon by groups: which weights a layer's responses need least.

Hassibi and Stork, 1993; by rows as in Optimal Brain Compression (arXiv 2208.11580).  With H = G^-1
and w = H c, the best weights of a filter, the error rises by

    w_Q^T (H_QQ)^-1 w_Q        where the weights Q are taken away and the others are fitted anew,
    w <- w - H_:Q (H_QQ)^-1 w_Q,   H <- H - H_:Q (H_QQ)^-1 H_Q:

Filters that lose the same columns share H.  The group that costs least goes first, until none is
left.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..fixed import Ints
from .problem import Floats


def removals(gram: Floats, cross: Floats, labels: Ints) -> tuple[Ints, Floats]:
    """The groups of columns in the order in which they go, and by how much each raises the error.

    gram (S, S), cross (N, S) of filters that lose the same columns; labels (S,): the group of each.
    """
    inverse = np.linalg.inv(gram).astype(np.float64)
    weights = cross @ inverse
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(int(labels.max()) + 2))
    return _removals(inverse, weights, order, bounds)


@njit(cache=True)
def _removals(inverse: Floats, weights: Floats, order: Ints, bounds: Ints) -> tuple[Ints, Floats]:
    """Group k is the columns order[bounds[k] : bounds[k + 1]]; changes its first two arguments."""
    groups = len(bounds) - 1
    there = np.ones(groups, np.bool_)
    gone, costs = np.empty(groups, np.int64), np.empty(groups)
    for number in range(groups):
        best, least = -1, np.inf
        for k in range(groups):
            if there[k]:
                cost = _cost(inverse, weights, order[bounds[k] : bounds[k + 1]])
                if best < 0 or cost < least:
                    best, least = k, cost
        there[best], gone[number], costs[number] = False, best, least
        # One column after another: the same as all at once.
        for j in order[bounds[best] : bounds[best + 1]]:
            row = inverse[j] / inverse[j, j]
            for n in range(len(weights)):
                weights[n] -= weights[n, j] * row
            for i in range(len(inverse)):
                if i != j and inverse[i, j] != 0:
                    inverse[i] -= inverse[i, j] * row
            inverse[j] = 0
            inverse[:, j] = 0
    return gone, costs


@njit(cache=True)
def _cost(inverse: Floats, weights: Floats, columns: Ints) -> float:
    """The sum over filters of w_Q^T (H_QQ)^-1 w_Q, by a Cholesky factor of H_QQ."""
    size = len(columns)
    factor = np.empty((size, size))
    for i in range(size):
        for j in range(i + 1):
            value = inverse[columns[i], columns[j]]
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            factor[i, j] = np.sqrt(value) if i == j else value / factor[j, j]
    total, solved = 0.0, np.empty(size)
    for n in range(len(weights)):
        for i in range(size):
            value = weights[n, columns[i]]
            for k in range(i):
                value -= factor[i, k] * solved[k]
            solved[i] = value / factor[i, i]
            total += solved[i] * solved[i]
    return total
