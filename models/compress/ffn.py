"""Fixed-point factorized networks: Wang and Cheng, CVPR 2017, arXiv 1611.01972.

The weights (N, S) of a layer become U D V^T: U (N, K) and V (S, K) in {-1, 0, 1}, D diagonal.  In
the program: a ternary product with V^T, K multiplications by the integers d of D with a rounding
behind them, a ternary product with U.

Start: semi-discrete decomposition, one rank after another on what is left of the weights R:

    u = solve(R v),  v = solve(R^T u)  by turns,   d = u^T R v / (|u|^2 |v|^2),

where solve(s) keeps the signs of the J largest |s| with J for which (sum of them)^2 / J is largest.
Then each rank is put back and done again until the residual stops falling.

Response recovery minimises the layer problem of `problem.py` rank by rank, reading only G and c.
With R = c - What G, the own part put back, and q = v^T G v, the error of a rank is

    |u|^2 d^2 q - 2 d u^T R v + const

so u = solve(R v), d is in closed form, and v is descended one coordinate at a time.  Once D is
rounded to its levels, u, v and d are each the best for the other two.  No step can raise the error.

Beyond the paper every filter has a real scale, which the rounding that follows the layer absorbs
(as it does that of a batch normalisation): W is replaced by diag(scale) U D V^T, and u^T R v and
|u|^2 above are weighted by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from ..fixed import TERNARY, Ints, ProgramError, signed
from ..ops import Dot, Requantise, Scale
from .method import Method, Product, Site, Sums, Weight, best_whole, check_limits
from .problem import Floats, LayerProblem
from .uniform import Uniform

TURNS = 10
"""How often u and v of one rank take turns at most."""
BOX = 0.5 - 2.0**-10
"""How far a recovered entry may be from its ternary one."""
LEAST_FALL = 1e-3
"""Sweeps end where one lowers the error by a smaller share."""


@dataclass(frozen=True, eq=False)
class Factorised(Product):
    """W is replaced by scale[n] * sum_k left[n, k] * factors[k] * right[k, s].

    left (N, K) and right (K, S) in {-1, 0, 1}; factors (K,) >= 0, integers of `factor_bits`;
    products with `right`, times factors, are rounded to `middle_bits`.
    """

    exact: ClassVar[bool] = False

    left: Ints
    factors: Ints
    right: Ints
    scale: Floats
    factor_bits: int
    middle_bits: int

    def dense(self) -> Floats:
        return self.scale[:, None] * ((self.left * self.factors) @ self.right)

    @property
    def bits(self) -> int:
        ternary = TERNARY.bits * (self.left.size + self.right.size)
        return ternary + self.factor_bits * self.factors.size

    def lower(self, site: Site) -> Sums:
        inner = site.emit("right", Dot(self.right, TERNARY), site.windows)
        edge = site.edge(inner)
        ends = np.maximum(np.abs(edge.lo), np.abs(edge.hi)).tolist()
        shift = self.shift(max(a * b for a, b in zip(ends, self.factors.tolist(), strict=True)))
        none, grid = np.zeros_like(self.factors), signed(self.middle_bits)
        op = Scale(self.factors, none)
        if shift:
            op = Requantise(self.factors, none, shift, grid.lo, grid.hi)
        middle = site.emit("middle", op, inner)
        outer = site.emit("left", Dot(self.left, TERNARY), middle)
        return Sums(outer, site.scale * self.scale * 2.0**shift)

    def shift(self, largest: int) -> int:
        """The least shift, 0 where none is needed, after which products up to `largest` fit."""
        shift = 0
        while (largest + (1 << shift >> 1)) >> shift > signed(self.middle_bits).hi:
            shift += 1
        return shift


@dataclass(frozen=True)
class Ffn(Method):
    """Rank K = `rank` * min(S, N); D in `factor_bits` bits, or in that many powers of two.

    `middle_bits` holds the largest product that can occur, which few inputs come near.
    """

    rank: float = 1.0
    factor_bits: int = 8
    powers: bool = False
    middle_bits: int = 12
    sweeps: int = 20
    recover: bool = True

    def __post_init__(self) -> None:
        check_limits(self, "ffn", factor_bits=(1, 16), middle_bits=(2, 24), sweeps=(0, 1000))
        if not 0 < self.rank <= 4:
            raise ProgramError(
                f"ffn has a rank above 0 and up to 4 times min(S, N), not {self.rank}"
            )

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"ffn": cls(), "ffn-sdd": cls(recover=False)}

    @property
    def depthwise(self) -> Method:
        # One filter has no two factors; its weights become integers.
        return Uniform(8)

    @property
    def levels(self) -> Floats:
        """The integers that D may hold, rising from 0."""
        if self.powers:
            return np.append(0.0, 2.0 ** np.arange(self.factor_bits))
        return np.arange(float(1 << self.factor_bits))

    def start(self, problem: LayerProblem, weights: Floats) -> Weight:
        return self._solve(LayerProblem.data_free(weights), weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Weight:
        start = self.start(problem, weights)
        return best_whole(problem, start, self._solve(problem, weights)) if self.recover else start

    def _solve(self, problem: LayerProblem, weights: Floats) -> Factorised:
        ranks = max(1, round(self.rank * min(weights.shape)))
        lengths = np.sqrt((weights**2).mean(1))
        scale = np.where(lengths > 0, lengths, 1)
        terms = Terms(problem, *decompose(weights / scale[:, None], ranks, self.sweeps), scale)
        if self.recover:
            terms.descend(None, self.sweeps)
        unit = float(terms.d.max()) / float(self.levels[-1]) or 1.0
        terms.round(self.levels * unit)
        terms.fit_scale()
        if self.recover:
            terms.descend(self.levels * unit, self.sweeps)
        return Factorised(
            _integers(terms.left.T),
            _integers(terms.d / unit),
            _integers(terms.right),
            terms.scale * unit,
            self.factor_bits,
            self.middle_bits,
        )


def solve(s: Floats, weights: Floats) -> Floats:
    """The u in {-1, 0, 1} that maximises (sum_i w_i u_i s_i)^2 / sum_i (w_i u_i)^2."""
    order = np.argsort(-np.abs(s) / weights, kind="stable")
    sums, sizes = np.cumsum((np.abs(s) * weights)[order]), np.cumsum(weights[order] ** 2)
    kept = order[: int(np.argmax(sums**2 / sizes)) + 1]
    found = np.zeros_like(s)
    found[kept] = np.sign(s[kept])
    return found


def decompose(weights: Floats, ranks: int, sweeps: int) -> tuple[Floats, Floats, Floats]:
    """The semi-discrete decomposition of weights (N, S): left (K, N), d (K,), right (K, S)."""
    count, size = weights.shape
    left, d, right = np.zeros((ranks, count)), np.zeros(ranks), np.ones((ranks, size))
    rest, before = weights.copy(), np.inf
    for sweep in range(sweeps + 1):
        for k in range(ranks):
            if sweep:
                rest += d[k] * np.outer(left[k], right[k])
            left[k], d[k], right[k] = _rank_one(rest, right[k])
            rest -= d[k] * np.outer(left[k], right[k])
        error = float((rest**2).sum())
        if error >= before * (1 - LEAST_FALL):
            break
        before = error
    return left, d, right


def _rank_one(rest: Floats, v: Floats) -> tuple[Floats, float, Floats]:
    """The best u, d, v for what is left, by turns from v."""
    ones = np.ones(len(rest)), np.ones(len(v))
    u = np.zeros(len(rest))
    for _ in range(TURNS):
        found = solve(rest @ v, ones[0])
        if np.array_equal(found, u):
            break
        u, v = found, solve(found @ rest, ones[1])
    size = float((u**2).sum() * (v**2).sum())
    return u, float(u @ rest @ v) / size if size else 0.0, v


class Terms:
    """diag(scale) U D V^T of a problem: left (K, N), d (K,) >= 0, right (K, S), scale (N,) > 0.

    rest = c - What G (N, S) and products = right @ G are kept up to date; `descend` asserts that no
    sweep raises the error.
    """

    def __init__(
        self, problem: LayerProblem, left: Floats, d: Floats, right: Floats, scale: Floats
    ):
        self.problem, self.scale = problem, scale
        self.left, self.d, self.right = left, d, right
        self.products = right @ problem.gram
        self.rest = self._rest()

    def dense(self) -> Floats:
        """The weights (N, S) that the terms stand for."""
        return self.scale[:, None] * ((self.left.T * self.d) @ self.right)

    def _rest(self) -> Floats:
        return self.problem.cross - self.scale[:, None] * ((self.left.T * self.d) @ self.products)

    def error(self) -> float:
        """The squared response error over all filters."""
        return float(self.problem.error(self.dense()).sum())

    def descend(self, levels: Floats | None, sweeps: int) -> None:
        """Improve every rank in turn, d free or on rising `levels`, until the error rests."""
        before = self.error()
        for _ in range(sweeps):
            for k in range(len(self.d)):
                self._improve(k, levels)
            self.fit_scale()
            error = self.error()
            assert error <= before + 1e-9 * float(self.problem.energy.sum()), "a sweep raised it"
            if error >= before * (1 - LEAST_FALL):
                break
            before = error

    def _improve(self, k: int, levels: Floats | None) -> None:
        """The best u, then v, then d of rank k."""
        v, product = self.right[k], self.products[k]
        self.rest += np.outer(self.scale * (self.d[k] * self.left[k]), product)
        wish, quadratic = self.rest @ v, float(v @ product)
        u, d = self.left[k], float(self.d[k])
        if levels is None:
            u = solve(wish, self.scale)
            d = _quotient(
                float((self.scale * u) @ wish), float(((self.scale * u) ** 2).sum()) * quadratic
            )
        elif d:
            # An entry is worth having where its gain 2 d |s| is above its cost d^2 scale q.
            u = np.where(2 * np.abs(wish) > d * self.scale * quadratic, np.sign(wish), 0.0)
        weighted = self.scale * u
        size = float((weighted**2).sum())
        linear = weighted @ self.rest
        if d:
            _coordinates(self.problem.gram, linear, v, product, d * size)
        best = max(_quotient(float(linear @ v), size * float(v @ product)), 0.0)
        self.d[k] = best if levels is None else _nearest(levels, best)
        self.left[k] = u
        self.rest -= np.outer(self.d[k] * weighted, product)

    def round(self, levels: Floats) -> None:
        """Round every d to its nearest level."""
        self.d = np.array([_nearest(levels, one) for one in self.d.tolist()])
        self.rest = self._rest()

    def fit_scale(self) -> None:
        """The best scale of each filter; one that would not be positive stays."""
        own = (self.left.T * self.d) @ self.right
        quadratic = (own @ self.problem.gram * own).sum(1)
        linear = (own * self.problem.cross).sum(1)
        fits = (quadratic > 0) & (linear > 0)
        self.scale = np.where(fits, linear / np.where(fits, quadratic, 1), self.scale)
        self.rest = self._rest()


def _quotient(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


def _nearest(levels: Floats, value: float) -> float:
    return float(levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, value)])


def _integers(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Latent:
    """Full-precision factors to train: scale[n] * sum_k left[n, k] * d[k] * right[k, s].

    left / left_step and right / right_step round to the ternary factors they belong to.
    """

    left: Floats
    d: Floats
    right: Floats
    scale: Floats
    left_step: float
    right_step: float

    def dense(self) -> Floats:
        """The weights (N, S) that the factors stand for."""
        return self.scale[:, None] * ((self.left * self.d) @ self.right)


def recover(found: Factorised, weights: Floats, sweeps: int = 10) -> Latent:
    """Factors as near to weights (N, S) as can be, less than 1/2 from the ternary ones.

    Each column of one factor is the best for all others, clipped to its box; neither can raise the
    Frobenius distance.  Then the factors are balanced: steps are chosen so that left, d and right
    have one root mean square, for gradients of like size.
    """
    scale = np.where(found.scale > 0, found.scale, 1)
    target = np.where(found.scale[:, None] > 0, weights / scale[:, None], 0)
    left, right = found.left.astype(np.float64), found.right.astype(np.float64)
    d, squares = found.factors.astype(np.float64), found.scale**2
    rest = target - (left * d) @ right
    for _ in range(sweeps):
        for k in np.flatnonzero(d):
            rest += d[k] * np.outer(left[:, k], right[k])
            size = float((right[k] ** 2).sum())
            if size:
                left[:, k] = _boxed(rest @ right[k] / (d[k] * size), found.left[:, k])
            weighted = squares * left[:, k]
            size = float((weighted * left[:, k]).sum())
            if size:
                right[k] = _boxed(weighted @ rest / (d[k] * size), found.right[k])
            rest -= d[k] * np.outer(left[:, k], right[k])
    lengths = [float(np.sqrt((one**2).mean())) or 1.0 for one in (left, d, right)]
    common = float(np.prod(lengths)) ** (1 / 3)
    left_step, right_step = common / lengths[0], common / lengths[2]
    return Latent(
        left * left_step,
        d / (left_step * right_step),
        right * right_step,
        found.scale,
        left_step,
        right_step,
    )


def _boxed(values: Floats, ternary: Ints) -> Floats:
    return np.clip(values, ternary - BOX, ternary + BOX)


@njit(cache=True, nogil=True)
def _coordinates(gram: Floats, linear: Floats, v: Floats, product: Floats, strength: float) -> None:
    """Lower strength * v^T G v - 2 linear^T v, v in {-1, 0, 1}, in place, with product = G v."""
    for j in range(len(v)):
        wish = linear[j] - strength * (product[j] - gram[j, j] * v[j])
        cost = strength * gram[j, j]
        new = 0.0
        if 2 * abs(wish) > cost:
            new = np.sign(wish)
        elif 2 * abs(wish) == cost:
            new = v[j]
        if new != v[j]:
            change = new - v[j]
            for i in range(len(v)):
                product[i] += change * gram[j, i]
            v[j] = new
