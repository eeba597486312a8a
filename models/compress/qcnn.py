"""Quantized CNN: Wu, Leng, Wang, Hu and Cheng, CVPR 2016, arXiv 1512.06473.

Product quantisation along the input channels: the Cs weights of a filter at one kernel position and
in one sub-space m are one of K words, and sub-space m has one codebook D_m for all positions and
filters.  What a layer sums up then are entries of tables <x_m, D_m[k]>, built once for each input
pixel (`Tables`) and read by all positions and filters (`Lookup`).

k-means of the weights is the start.  Error correction minimises the layer problem of `problem.py`,
one sub-space after another.  With G_st the block of G between the inputs of taps s and t in the
sub-space, w_s what stands there now and R = c - What G:

    word:     d over all k at least  d^T G_ss d - 2 d^T (R_s + G_ss w_s)
    codebook: (sum_n P_n^T G P_n) D = sum_n P_n^T (c_n - G what_rest),  P_n the choice of filter n

Codebooks are integers of `word_bits` with one real step for the whole layer: rounded one entry at a
time, each to the best integer for all others, while the choice of words goes on.  Neither step can
raise the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import numpy as np
from numba import njit

from ..fixed import Grid, Ints, signed
from ..ops import Lookup, Tables
from .method import Method, Product, Site, Sums, Weight, best_whole, check_limits
from .problem import Floats, LayerProblem
from .uniform import Uniform

LLOYD_TURNS = 30
# Few bits lose less where the largest entries are clipped.
CLIPPINGS = (1.0, 0.85, 0.7, 0.55)
"""Steps that are tried, as shares of the one that reaches the largest entry of any word."""
ROUND_TURNS = 4


@dataclass(frozen=True, eq=False)
class Quantised(Product):
    """Weights at (n, t, m) are scale * codebooks[m, indices[n, t, m]].

    codebooks (M, K, Cs) on `grid`; indices (N, T, M); the input of weight s is (t*M + m)*Cs + j.
    """

    codebooks: Ints
    grid: Grid
    indices: Ints
    scale: float

    def integers(self) -> Ints:
        """The weights (N, S) in steps of `scale`."""
        spaces = np.arange(len(self.codebooks))
        return self.codebooks[spaces, self.indices].reshape(len(self.indices), -1)

    def dense(self) -> Floats:
        return np.float64(self.scale) * self.integers()

    @property
    def bits(self) -> int:
        words = self.codebooks.shape[1]
        return self.codebooks.size * self.grid.bits + self.indices.size * (words - 1).bit_length()

    def lower(self, site: Site) -> Sums:
        tables = site.emit("tables", Tables(self.codebooks, self.grid), site.source)
        windows = site.window("tables_window", tables, site.slide)
        sums = site.emit("lookup", Lookup(self.indices, self.codebooks.shape[1]), windows)
        return Sums(sums, np.full(len(self.indices), site.scale * self.scale))


@dataclass(frozen=True)
class Qcnn(Method):
    """Codebooks of `words` words for sub-spaces of `space` channels.

    Where `space` does not divide the channels, the largest divisor below it takes its place; where
    a layer has fewer vectors than words, it gets as many words as vectors.  With `power` the step
    is a power of two.  Without `correct` the weights alone decide, by k-means.
    """

    words: int = 16
    space: int = 4
    word_bits: int = 8
    sweeps: int = 6
    power: bool = False
    correct: bool = True

    def __post_init__(self) -> None:
        check_limits(self, "qcnn", words=(1, 1 << 16), space=(1, 256), word_bits=(2, 16))
        check_limits(self, "qcnn", sweeps=(0, 1000))

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"qcnn": cls(), "qcnn-kmeans": cls(correct=False)}

    @property
    def depthwise(self) -> Method:
        # A filter of one channel has no sub-spaces; its weights become integers.
        return Uniform(8)

    def start(self, problem: LayerProblem, weights: Floats) -> Weight:
        free = LayerProblem.data_free(weights, problem.kernel)
        return self._solve(free, weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Weight:
        start = self.start(problem, weights)
        return best_whole(problem, start, self._solve(problem, weights)) if self.correct else start

    def space_of(self, channels: int) -> int:
        """The size of the sub-spaces of so many channels."""
        return max(size for size in range(1, min(self.space, channels) + 1) if not channels % size)

    def _solve(self, problem: LayerProblem, weights: Floats) -> Quantised:
        books = Books(problem, *self._start(problem, weights))
        if self.correct:
            books.descend(None, self.sweeps)
        grid = signed(self.word_bits)
        largest = float(np.abs(books.words).max()) / grid.hi or 1.0
        steps = sorted({self._step(share * largest) for share in CLIPPINGS})
        tries = [books.copy() for _ in steps]
        for one, step in zip(tries, steps, strict=True):
            one.round(step, grid)
            one.descend((step, grid), ROUND_TURNS)
        step, best = min(zip(steps, tries, strict=True), key=lambda pair: pair[1].error())
        integers = np.rint(best.words / step).astype(np.int64)
        found = Quantised(integers, grid, best.indices, step)
        return found if self.power else _fitted(problem, found)

    def _step(self, step: float) -> float:
        return float(2.0 ** np.ceil(np.log2(step))) if self.power else step

    def _start(self, problem: LayerProblem, weights: Floats) -> tuple[Floats, Ints]:
        """K-means of every sub-space: words (M, K, Cs) and indices (N, T, M)."""
        size = self.space_of(problem.channels)
        vectors = weights.reshape(len(weights) * problem.taps, -1, size)
        count = min(self.words, len(vectors))
        found = [kmeans(vectors[:, m], count) for m in range(vectors.shape[1])]
        indices = np.stack([chosen for _, chosen in found], 1)
        words = np.stack([words for words, _ in found])
        return words, indices.reshape(len(weights), problem.taps, -1)


def _fitted(problem: LayerProblem, found: Quantised) -> Quantised:
    """The same with the best step for the whole layer."""
    whole = found.integers().astype(np.float64)
    quadratic = float((whole @ problem.gram * whole).sum())
    linear = float((whole * problem.cross).sum())
    if quadratic <= 0 or linear <= 0:
        return found
    return Quantised(found.codebooks, found.grid, found.indices, linear / quadratic)


def kmeans(vectors: Floats, count: int) -> tuple[Floats, Ints]:
    """Lloyd's algorithm from farthest-in-proportion seeds (k-means++), the same at every call.

    Return words (count, Cs) and the word of each vector.  A word that loses all its vectors moves
    to the vector that is farthest from its own word.
    """
    words, chosen = _seeds(vectors, count), np.full(len(vectors), -1)
    for _ in range(LLOYD_TURNS):
        distances = _distances(vectors, words)
        nearest = distances.argmin(1)
        if np.array_equal(nearest, chosen):
            break
        chosen = nearest
        far = np.argsort(-distances[np.arange(len(vectors)), chosen], kind="stable")
        sizes = np.bincount(chosen, minlength=count)
        sums = np.zeros_like(words)
        np.add.at(sums, chosen, vectors)
        words = sums / np.maximum(sizes, 1)[:, None]
        empty = np.flatnonzero(sizes == 0)
        words[empty] = vectors[far[: len(empty)]]
    return words, _distances(vectors, words).argmin(1)


def _seeds(vectors: Floats, count: int) -> Floats:
    rng = np.random.default_rng(0)
    chosen = [0]
    distances = ((vectors - vectors[0]) ** 2).sum(1)
    for _ in range(count - 1):
        total = np.cumsum(distances)
        place = np.searchsorted(total, rng.random() * total[-1], "right") if total[-1] > 0 else 0
        chosen.append(min(int(place), len(vectors) - 1))
        distances = np.minimum(distances, ((vectors - vectors[chosen[-1]]) ** 2).sum(1))
    return vectors[chosen].copy()


def _distances(vectors: Floats, words: Floats) -> Floats:
    """Squared distances (V, K), up to a term of each vector."""
    return (words**2).sum(1) - 2 * vectors @ words.T + (vectors**2).sum(1)[:, None]


@dataclass(frozen=True)
class Shape:
    """What decides the cost of a layer; a fully connected one has 1 x 1 pixels and kernels.

    pixels: input positions, and output positions; kernel: taps; channels: inputs and outputs, of
    all `groups`, which share their codebooks.
    """

    pixels: tuple[int, int]
    kernel: int
    channels: tuple[int, int]
    groups: int = 1

    @property
    def weights(self) -> int:
        """Float weights of the layer."""
        return self.kernel * self.channels[0] // self.groups * self.channels[1]

    def spaces(self, space: int) -> int:
        """Sub-spaces of `space` channels, the last one smaller where it does not divide them."""
        return -(-self.channels[0] // self.groups // space)


@dataclass(frozen=True)
class Cost:
    """Multiply-adds, table look-ups, and bytes of weights, as section 3.3 of the paper counts."""

    multiply_adds: int
    lookups: int
    bytes: float

    @property
    def operations(self) -> int:
        """Multiply-adds and look-ups, one and the same to the paper."""
        return self.multiply_adds + self.lookups


def dense_cost(shape: Shape) -> Cost:
    """One multiply-add per weight and output position; four bytes a weight."""
    return Cost(shape.pixels[1] * shape.weights, 0, 4 * shape.weights)


def cost(shape: Shape, space: int, words: int) -> Cost:
    """Tables of all words at every input pixel, and a look-up per output, tap and sub-space.

    Codebooks take 4 bytes an entry, an index log2(words) bits.
    """
    entries = words * shape.channels[0]
    indices = shape.kernel * shape.spaces(space) * shape.channels[1]
    return Cost(
        shape.pixels[0] * entries,
        shape.pixels[1] * indices,
        4 * entries / shape.groups + indices * log2(words) / 8,
    )


class Books:
    """words (M, K, Cs) and indices (N, T, M) of a problem; rest = c - What G (N, S) is kept."""

    def __init__(self, problem: LayerProblem, words: Floats, indices: Ints):
        self.problem, self.words, self.indices = problem, words, indices
        self.rest = problem.cross - self.dense() @ problem.gram

    def copy(self) -> Books:
        """Another one, to change by itself."""
        return Books(self.problem, self.words.copy(), self.indices.copy())

    def dense(self) -> Floats:
        """The weights (N, S)."""
        spaces = np.arange(len(self.words))
        return self.words[spaces, self.indices].reshape(len(self.indices), -1)

    def error(self) -> float:
        """The squared response error over all filters."""
        return float(self.problem.error(self.dense()).sum())

    def round(self, step: float, grid: Grid) -> None:
        """Round every word to its nearest integers times `step`."""
        self.words = step * np.clip(np.rint(self.words / step), grid.lo, grid.hi)
        self.rest = self.problem.cross - self.dense() @ self.problem.gram

    def descend(self, integers: tuple[float, Grid] | None, sweeps: int) -> None:
        """Choose words and refit them, free or as integers of a step, until no choice changes."""
        before = self.error()
        for _ in range(sweeps):
            moves = 0
            for m in range(len(self.words)):
                moves += self._choose(m)
                self._refit(m, integers)
            after = self.error()
            assert after <= before + 1e-9 * float(self.problem.energy.sum()), "a sweep raised it"
            before = after
            if not moves:
                break

    def _columns(self, m: int) -> Ints:
        """The inputs (T, Cs) of a sub-space at all taps."""
        size = self.words.shape[2]
        taps = np.arange(self.problem.taps)[:, None] * self.problem.channels
        return taps + m * size + np.arange(size)

    def _choose(self, m: int) -> int:
        """The best word for each filter, tap by tap; return how many changed."""
        words, gram, moves = self.words[m], self.problem.gram, 0
        filters = np.arange(len(self.indices))
        for t, columns in enumerate(self._columns(m)):
            block, old = gram[np.ix_(columns, columns)], self.indices[:, t, m]
            products = words @ block
            wish = self.rest[:, columns] + products[old]
            costs = (products * words).sum(1) - 2 * wish @ words.T
            new = costs.argmin(1)
            # The old word where it is as good, so that equal words end the search.
            new = np.where(costs[filters, new] < costs[filters, old], new, old)
            moved = np.flatnonzero(new != old)
            self.rest[moved] -= (words[new[moved]] - words[old[moved]]) @ gram[columns]
            self.indices[:, t, m] = new
            moves += len(moved)
        return moves

    def _refit(self, m: int, integers: tuple[float, Grid] | None) -> None:
        """The best codebook of a sub-space for the choices as they are."""
        columns, words = self._columns(m), self.words[m]
        taps, size = columns.shape
        chosen = np.eye(len(words))[self.indices[:, :, m]]
        counts = np.tensordot(chosen, chosen, (0, 0))
        blocks = self.problem.gram[columns[:, :, None, None], columns]
        quadratic = np.tensordot(counts, blocks, ((0, 2), (0, 2))).transpose(0, 2, 1, 3)
        quadratic = quadratic.reshape(words.size, words.size)
        rest = self.rest[:, columns.ravel()].reshape(-1, taps, size)
        linear = np.tensordot(chosen, rest, ((0, 1), (0, 1))).ravel()
        if integers is None:
            # Words that no filter chose stay: the pull is weak, and towards no change.
            pull = 1e-9 * float(np.trace(quadratic)) / words.size or 1.0
            change = np.linalg.solve(quadratic + pull * np.eye(words.size), linear)
            new = words + change.reshape(words.shape)
        else:
            step, grid = integers
            whole = np.rint(words.ravel() / step)
            _round_entries(quadratic, linear, whole, step, grid.lo, grid.hi)
            new = step * whole.reshape(words.shape)
        moved = (chosen @ (new - words)).reshape(-1, taps * size)
        self.rest -= moved @ self.problem.gram[columns.ravel()]
        self.words[m] = new


@njit(cache=True, nogil=True)
def _round_entries(
    quadratic: Floats, linear: Floats, whole: Floats, step: float, lo: int, hi: int
) -> None:
    """Visit each integer once, in place: the best for all others; `linear` is what is left."""
    for j in range(len(whole)):
        if quadratic[j, j] > 0:
            wish = whole[j] + linear[j] / (quadratic[j, j] * step)
            change = min(max(np.rint(wish), lo), hi) - whole[j]
            if change != 0:
                whole[j] += change
                for i in range(len(whole)):
                    linear[i] -= step * change * quadratic[j, i]
