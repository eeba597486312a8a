"""Binary weights via hashing: Hu, Wang and Cheng, AAAI 2018, arXiv 1802.02733.

The weights of filter n become alpha * b, b in {-1, +1}^S, and the layer problem of `problem.py`

    f(alpha, b) = alpha^2 b^T G b - 2 alpha c^T b + t

is minimised by turns (inner-product-preserving hashing with h(x) = x on the data):

    scale:  alpha = (c^T b) / (b^T G b); where it is negative, b changes its sign.
    code:   discrete cyclic coordinate descent, b_j = sign(c_j - alpha * sum_{l != j} G_jl b_l),
            keeping the old bit on zero.

g = G b is kept up to date, so that a flip costs one column of G.  Neither step can raise f.  The
start is BWN: b = sign(w), alpha = mean |w|.

With M bases the weights become sum_m alpha_m b_m.  Each base starts as the signs of what those
before it leave of w; then the scales of a filter are fitted together, and the same sweeps visit the
bits of all bases.  In the program alpha_m is s * a_m: integers a_m of few bits, or powers of two,
and a real s per filter, which waits for the rounding to come; sweeps follow the choice of the a_m.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import numpy as np
from numba import njit

from ..fixed import BINARY, Ints, ProgramError, unsigned
from ..ops import Add, Dot, Scale
from .method import Compressed, Method, Product, Site, Sums, Weight, best_whole
from .problem import Floats, LayerProblem
from .sign import nearest_signs
from .uniform import Uniform


@dataclass(frozen=True, eq=False)
class Bases(Product):
    """W is replaced by scale[n] * sum_m factors[n, m] * signs[n, m, s].

    signs (N, M, S) in {-1, +1}; factors (N, M) integers of `factor_bits` >= 0; scale (N,) >= 0.
    """

    signs: Ints
    factors: Ints
    factor_bits: int
    scale: Floats

    def dense(self) -> Floats:
        return self.scale[:, None] * (self.factors[:, :, None] * self.signs).sum(1)

    @property
    def bits(self) -> int:
        return self.signs.size + self.factors.size * self.factor_bits

    def lower(self, site: Site) -> Sums:
        parts = [self._part(site, base) for base in range(self.signs.shape[1])]
        total = parts[0]
        for base, part in enumerate(parts[1:], 1):
            total = site.emit(f"sum{base}", Add(), total, part)
        return Sums(total, site.scale * self.scale)

    def _part(self, site: Site, base: int) -> str:
        dot = site.emit(f"dot{base}", Dot(self.signs[:, base], BINARY), site.windows)
        factors = self.factors[:, base]
        return site.emit(f"scale{base}", Scale(factors, np.zeros_like(factors)), dot)


@dataclass(frozen=True)
class Bwnh(Method):
    """`bases` bits per weight; `sweeps` bounds the passes over the bits of a filter.

    Where there are several bases, the scales of a filter are integers of `factor_bits` bits times
    one real number; with `shift_add` they are powers of two below 2**factor_bits, and the
    multipliers of the program nothing but shifts.
    """

    sweeps: int = 20
    bases: int = 1
    factor_bits: int = 5
    shift_add: bool = False
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.sweeps < 0:
            raise ProgramError(f"passes over the bits are counted from 0, not {self.sweeps}")
        if not 1 <= self.bases <= 8 or not 1 <= self.factor_bits <= 8:
            raise ProgramError(
                "binary weights have 1 to 8 bases and factors of 1 to 8 bits, not "
                f"{self.bases} and {self.factor_bits}"
            )

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {
            "bwnh": cls(),
            "bwnh-symmetric": cls(symmetric=True),
            "bwnh2": cls(bases=2),
            "bwnh3": cls(bases=3),
        }

    @property
    def depthwise(self) -> Method:
        # Depthwise products take one integer per weight: where one bit is not enough, eight.
        return self if self.bases == 1 else Uniform(8)

    def start(self, problem: LayerProblem, weights: Floats) -> Weight:
        if self.bases == 1:
            return nearest_signs(weights)
        return self._solve(LayerProblem.data_free(weights), weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Weight:
        found = self._solve(problem, weights)
        return best_whole(problem, self.start(problem, weights), found)

    def _solve(self, problem: LayerProblem, weights: Floats) -> Weight:
        codes = Codes(problem, _residual_signs(weights, self.bases))
        codes.scale[:] = 0
        codes.scale[:, 0] = np.abs(weights).mean(1)
        for _ in range(self.sweeps):
            codes.fit()
            if not codes.sweep():
                break
        codes.fit()
        if self.bases == 1:
            return Compressed(_integers(codes.signs[:, 0]), BINARY, codes.scale[:, 0])
        return self._with_integer_factors(codes)

    def _with_integer_factors(self, codes: Codes) -> Bases:
        factors = self._factors(codes)
        scale = codes.fit_common(factors)
        for _ in range(self.sweeps):
            if not codes.sweep():
                break
            scale = codes.fit_common(factors)
        return Bases(_integers(codes.signs), _integers(factors), self.factor_bits, scale)

    def _factors(self, codes: Codes) -> Floats:
        """The integers for which each filter's error is least, over all that its largest may be."""
        largest = codes.scale.max(1, keepdims=True)
        shares = codes.scale / np.where(largest > 0, largest, 1)
        most = unsigned(self.factor_bits).hi
        if self.shift_add:
            exponents = np.rint(np.log2(np.maximum(shares, 2.0**-60))) + self.factor_bits - 1
            return np.exp2(np.maximum(exponents, 0))
        tries = [np.rint(shares * top) for top in range(1, most + 1)]
        errors = np.stack([codes.common_error(factors) for factors in tries])
        return np.stack(tries)[errors.argmin(0), np.arange(len(shares))]


class Codes:
    """signs (N, M, S) and scale (N, M) of a problem, with products[n, m] = signs[n, m] @ G.

    No step raises the error of a filter: each asserts it.
    """

    def __init__(self, problem: LayerProblem, signs: Floats):
        self.problem, self.signs = problem, signs
        count, bases, size = signs.shape
        flat = signs.reshape(-1, size) @ problem.gram
        self.products = np.ascontiguousarray(flat.reshape(count, bases, size))
        self.scale = np.zeros((count, bases))

    def moments(self) -> tuple[Floats, Floats]:
        """B^T G B (N, M, M) and B^T c (N, M) of each filter."""
        quadratic = np.einsum("nms,nks->nmk", self.products, self.signs)
        return quadratic, np.einsum("nms,ns->nm", self.signs, self.problem.cross)

    def error(self) -> Floats:
        """The squared response error of each filter, (N,)."""
        quadratic, linear = self.moments()
        whole = np.einsum("nm,nmk,nk->n", self.scale, quadratic, self.scale)
        return whole - 2 * (linear * self.scale).sum(1) + self.problem.energy

    def fit(self) -> None:
        """The best scales for these signs; where one is negative, its signs turn instead."""
        before = self.error()
        quadratic, linear = self.moments()
        inverse = np.linalg.pinv(quadratic, rcond=1e-10, hermitian=True)
        self.scale = np.einsum("nmk,nk->nm", inverse, linear)
        turned = np.where(self.scale < 0, -1.0, 1.0)
        self.scale *= turned
        self.signs *= turned[:, :, None]
        self.products *= turned[:, :, None]
        self._fell(before, "a new scale")

    def fit_common(self, factors: Floats) -> Floats:
        """Scales are `factors` (N, M) times one number per filter, the best: return it (N,)."""
        quadratic, linear = self.moments()
        whole = np.einsum("nm,nmk,nk->n", factors, quadratic, factors)
        found = _ratio((linear * factors).sum(1), whole)
        self.scale = found[:, None] * factors
        return found

    def common_error(self, factors: Floats) -> Floats:
        """The error of each filter, energy left out, after `fit_common`."""
        quadratic, linear = self.moments()
        whole = np.einsum("nm,nmk,nk->n", factors, quadratic, factors)
        share = (linear * factors).sum(1)
        return -_ratio(share, whole) * share

    def sweep(self) -> int:
        """Visit every bit once; return how many were flipped."""
        before = self.error()
        workers = cpu_count() or 1
        runs = np.array_split(np.arange(len(self.signs)), workers)

        def run(part: Ints) -> int:
            rows = slice(part[0], part[-1] + 1)
            return _sweep(
                self.problem.gram,
                self.problem.cross[rows],
                self.signs[rows],
                self.products[rows],
                self.scale[rows],
            )

        with ThreadPoolExecutor(workers) as pool:
            flips = sum(pool.map(run, (part for part in runs if len(part))))
        self._fell(before, "a flipped bit")
        return flips

    def _fell(self, before: Floats, what: str) -> None:
        slack = 1e-9 * (self.problem.energy + before)
        assert (self.error() <= before + slack).all(), f"{what} raised the error of a filter"


def _residual_signs(weights: Floats, bases: int) -> Floats:
    """For each base the signs of what the ones before it leave of the weights: (N, M, S)."""
    rest, found = weights, list[Floats]()
    for _ in range(bases):
        one = nearest_signs(rest)
        found.append(one.weights.astype(np.float64))
        rest = rest - one.dense()
    return np.stack(found, 1)


def _integers(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)


def _ratio(a: Floats, b: Floats) -> Floats:
    """The quotients a / b, not below 0; 0 where b is."""
    return np.maximum(np.divide(a, b, out=np.zeros_like(a), where=b > 0), 0)


@njit(cache=True, nogil=True)
def _sweep(gram: Floats, cross: Floats, signs: Floats, products: Floats, scale: Floats) -> int:
    """Visit every bit of signs (N, M, S) once, in place, with `products`; count flips."""
    flips = 0
    bases = signs.shape[1]
    for n in range(signs.shape[0]):
        for m in range(bases):
            for j in range(signs.shape[2]):
                total = 0.0
                for k in range(bases):
                    total += scale[n, k] * products[n, k, j]
                own = scale[n, m] * signs[n, m, j]
                # What the bit should be, from everything but itself.
                wish = cross[n, j] - total + gram[j, j] * own
                if wish * own < 0:
                    signs[n, m, j] = -signs[n, m, j]
                    change = 2 * signs[n, m, j]
                    for i in range(signs.shape[2]):
                        products[n, m, i] += change * gram[j, i]
                    flips += 1
    return flips
