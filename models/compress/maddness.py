"""MADDNESS: Blalock and Guttag, Multiplying Matrices Without Multiplying, arXiv 2106.10860.

The inputs of a layer are cut into C runs of a few neighbours, and of each run a balanced decision
tree finds one of 2**L leaves by L comparisons (`Tree`).  A result is the sum of C table entries,
one for the leaf of each run (`TableSum`): no multiplication is left.

Trees (sections 4.1 and 4.2, algorithm 2) grow level by level over sampled inputs Xq: each level
compares one input, and each node of it has the threshold with which the two sums of squares around
the means of its children are least; the input whose thresholds do best is taken.  Beyond the paper
distances are those of the responses: x is measured by | W_c x |, W_c the weights of the run.

Tables (section 4.3) are a ridge regression on the leaves of all runs at once.  With one row of the
0/1 matrix H for each sample, which names its C leaves,

    least  || T - H V ||^2 + lambda || V - V0 ||^2,   V0[c, k] = W_c * mean of Xq in leaf k of c

V0 is plain product quantisation.  The paper fits the inputs and multiplies by W then; to fit the
targets T is the same where T = Xq^T W, and else repairs what earlier layers have lost.  Lambda is
the one that predicts the last quarter of the samples best from the others.  Tables become integers
with a step per result.

Without data (G = I) the samples are the unit vectors, and the targets the columns of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from ..fixed import Grid, Ints, signed
from ..ops import TableSum, Tree
from ..ops.tree import LEVELS_MAX
from .method import Method, Site, Sums, Weight, best_whole, check_limits
from .problem import Floats, LayerProblem
from .uniform import Uniform

THRESHOLD_BITS = 8
"""Stored bits of a threshold: it is compared with an activation of at most so many."""
PULLS = (1.0, 10.0, 100.0, 1000.0)
"""Lambdas that are tried: how many samples in a leaf weigh as much as the entry of V0."""


@dataclass(frozen=True, eq=False)
class Hashed(Weight):
    """Results scale[n] * sum_c tables[n, c, leaf of run c]: tables (N, C, 2**L) on `grid`.

    Tree c has order[c] (L,) and thresholds[c] (2**L - 1,), as in `Tree`, but of real numbers, and
    reads inputs c*I to (c+1)*I - 1.
    """

    order: Ints
    thresholds: Floats
    inputs: int
    tables: Ints
    grid: Grid
    scale: Floats

    def response(self, inputs: Floats) -> Floats:
        found = np.zeros((len(inputs), len(self.tables)))
        for c, entries in enumerate(self.tables.transpose(1, 2, 0)):
            own = inputs[:, c * self.inputs : (c + 1) * self.inputs]
            found += entries[leaves(self.order[c], self.thresholds[c], own)]
        return self.scale * found

    def error(self, problem: LayerProblem) -> Floats:
        samples = problem.drawn
        rest = samples.targets - self.response(samples.inputs)
        return samples.share * (rest**2).sum(0)

    @property
    def bits(self) -> int:
        trees = self.thresholds.size * THRESHOLD_BITS
        trees += self.order.size * (self.inputs - 1).bit_length()
        return self.tables.size * self.grid.bits + trees

    def lower(self, site: Site) -> Sums:
        x = site.edge(site.windows).grid
        # The least integer that reaches a threshold; one above the range is never reached.
        cuts = np.clip(np.ceil(self.thresholds / site.scale), x.lo, x.hi + 1)
        tree = site.emit("tree", Tree(self.order, cuts.astype(np.int64)), site.windows)
        sums = site.emit("table_sum", TableSum(self.tables, self.grid), tree)
        return Sums(sums, self.scale)


@dataclass(frozen=True)
class Maddness(Method):
    """Trees of `levels` over runs of `space` inputs, tables of `table_bits`.

    Where `space` does not divide the inputs, the largest divisor below it takes its place.
    """

    space: int = 4
    levels: int = 4
    table_bits: int = 8

    samples: ClassVar[int] = 1 << 14

    def __post_init__(self) -> None:
        check_limits(self, "maddness", space=(1, 256), levels=(1, LEVELS_MAX), table_bits=(2, 16))

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"maddness": cls()}

    @property
    def depthwise(self) -> Method:
        # Few inputs and one result: a table for each filter costs more than its weights.
        return Uniform(8)

    def start(self, problem: LayerProblem, weights: Floats) -> Weight:
        return self._solve(LayerProblem.data_free(weights, problem.kernel), weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Weight:
        return best_whole(problem, self.start(problem, weights), self._solve(problem, weights))

    def space_of(self, size: int) -> int:
        """The length of the runs of so many inputs."""
        return max(space for space in range(1, min(self.space, size) + 1) if not size % space)

    def _solve(self, problem: LayerProblem, weights: Floats) -> Hashed:
        samples, size = problem.drawn, self.space_of(weights.shape[1])
        runs = [slice(low, low + size) for low in range(0, weights.shape[1], size)]
        trees = [grow(samples.inputs[:, run], weights[:, run], self.levels) for run in runs]
        order, thresholds, found = (np.stack(part) for part in zip(*trees, strict=True))
        codes = found.T + np.arange(len(runs)) * (1 << self.levels)
        means = [
            _means(samples.inputs[:, run], own, 1 << self.levels) @ weights[:, run].T
            for run, own in zip(runs, found, strict=True)
        ]
        entries = regressed(codes, samples.targets, np.concatenate(means))
        grid = signed(self.table_bits)
        largest = np.abs(entries).max(0)
        scale = np.where(largest > 0, largest, 1) / grid.hi
        tables = np.rint(entries / scale).astype(np.int64).T.reshape(len(weights), len(runs), -1)
        return Hashed(order, thresholds, size, tables, grid, scale)


def leaves(order: Ints, thresholds: Floats, inputs: Floats) -> Ints:
    """The leaf of each of inputs (R, I) in one tree: (R,)."""
    path = np.zeros(len(inputs), np.int64)
    for level, read in enumerate(order.tolist()):
        path = 2 * path + (inputs[:, read] >= thresholds[(1 << level) - 1 + path])
    return path


def grow(inputs: Floats, weights: Floats, levels: int) -> tuple[Ints, Floats, Ints]:
    """The tree of a run: inputs (R, I), weights (N, I).  Its order, thresholds, and leaves (R,)."""
    measured = np.ascontiguousarray(inputs @ _root(weights.T @ weights))
    columns = np.ascontiguousarray(inputs.T)
    sorts = np.argsort(columns, axis=1, kind="stable")
    order, thresholds, path = list[int](), list[Floats](), np.zeros(len(inputs), np.int64)
    for level in range(levels):
        tries = [
            _split(column, sort, measured, path, 1 << level)
            for column, sort in zip(columns, sorts, strict=True)
        ]
        read = int(np.argmax([gains.sum() for gains, _ in tries]))
        cuts = tries[read][1]
        path = 2 * path + (columns[read] >= cuts[path])
        order.append(read)
        thresholds.append(cuts)
    return np.array(order), np.concatenate(thresholds), path


def _root(metric: Floats) -> Floats:
    """A square root B of a positive semi-definite matrix: metric = B B^T."""
    values, vectors = np.linalg.eigh(metric)
    return (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float64)


@njit(cache=True, nogil=True)
def _split(
    column: Floats, sort: Ints, measured: Floats, path: Ints, nodes: int
) -> tuple[Floats, Floats]:
    """The best threshold of each node on one input, and by how much it lowers the squares.

    column (R,) with its sorting, measured (R, D), and the node of each row.  With n rows below the
    threshold that sum to s, of m that sum to t: |s|^2 / n + |t - s|^2 / (m - n) - |t|^2 / m.
    """
    total, count = np.zeros((nodes, measured.shape[1])), np.zeros(nodes)
    for row in range(len(path)):
        total[path[row]] += measured[row]
        count[path[row]] += 1
    below, passed, last = np.zeros_like(total), np.zeros(nodes), np.zeros(nodes)
    gains, cuts = np.zeros(nodes), np.full(nodes, np.inf)
    for row in sort:
        node = path[row]
        if passed[node] > 0 and column[row] > last[node]:
            n, m, gain = passed[node], count[node], 0.0
            for d in range(measured.shape[1]):
                s, t = below[node, d], total[node, d]
                gain += s * s / n + (t - s) ** 2 / (m - n) - t * t / m
            if gain > gains[node]:
                gains[node], cuts[node] = gain, (last[node] + column[row]) / 2
        below[node] += measured[row]
        passed[node] += 1
        last[node] = column[row]
    return gains, cuts


def _means(inputs: Floats, found: Ints, count: int) -> Floats:
    """The mean of inputs (R, I) in each of `count` leaves; 0 where there are none."""
    sizes = np.maximum(np.bincount(found, minlength=count), 1)
    sums = [np.bincount(found, column, minlength=count) for column in inputs.T]
    return (np.stack(sums, 1) / sizes[:, None]).astype(np.float64)


def regressed(codes: Ints, targets: Floats, prior: Floats) -> Floats:
    """V (C*K, N) for rows that name the entries codes (R, C), drawn towards `prior`."""
    cut = len(codes) * 3 // 4
    moments = _moments(codes[:cut], targets[:cut], prior)
    tries = [prior + _ridge(*moments, pull) for pull in PULLS]
    losses = [float(((targets[cut:] - _sums(codes[cut:], one)) ** 2).sum()) for one in tries]
    pull = PULLS[int(np.argmin(losses))]
    return prior + _ridge(*_moments(codes, targets, prior), pull)


def _ridge(gram: Floats, cross: Floats, pull: float) -> Floats:
    return np.linalg.solve(gram + pull * np.eye(len(gram)), cross).astype(np.float64)


def _moments(codes: Ints, targets: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """H^T H and H^T (T - H V0)."""
    gram, cross = np.zeros((len(prior), len(prior))), np.zeros_like(prior)
    _add_moments(codes, targets - _sums(codes, prior), gram, cross)
    return gram, cross


@njit(cache=True, nogil=True)
def _add_moments(codes: Ints, rest: Floats, gram: Floats, cross: Floats) -> None:
    for row in range(len(codes)):
        for one in codes[row]:
            cross[one] += rest[row]
            for other in codes[row]:
                gram[one, other] += 1


def _sums(codes: Ints, entries: Floats) -> Floats:
    """H V, (R, N)."""
    found = np.zeros((len(codes), entries.shape[1]))
    for own in codes.T:
        found += entries[own]
    return found
