"""Weights as products of small factors: what `svd`, `spatial`, `tucker` and `cp` share.

A form is an einsum of factors in the order of computation, each with its outputs on the first axis:
"rs,nr->ns" is B (r, s), then A (n, r).  The layer problem of `problem.py` is quadratic in any one
factor: alternating least squares fits each by conjugate gradients, which read G and c alone and
cannot raise the error; the last factor is a small layer problem of its own.  Then factors become
integers from the first to the last, and those behind are fitted again to what rounding did; the
last one is rounded second-order.

In the program each factor is an integer product, and what flows between two is rounded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, prod
from typing import Any, ClassVar

import numpy as np

from ..fixed import Grid, Ints, ProgramError, signed
from ..ops import Dot
from ..program import Op
from .method import Method, Product, Site, Sums, Weight, best_whole, check_limits
from .problem import Floats, LayerProblem
from .rounding import round_second_order
from .uniform import Uniform

ROUNDS = 10
GRADIENTS = 8
"""Steps of conjugate gradients for one factor."""
LEAST_FALL = 1e-3
"""Rounds end where one lowers the error by a smaller share."""
DAMPING = 1e-6
NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class Factors(Product):
    """Integers and one scale per output of every factor of an einsum `form`; abstract.

    What flows between two factors takes `middle_bits`.
    """

    exact: ClassVar[bool] = False
    form: ClassVar[str]

    integers: tuple[Ints, ...]
    scales: tuple[Floats, ...]
    grid: Grid
    middle_bits: int

    def dense(self) -> Floats:
        whole = contract(self.form, list(map(_scaled, self.integers, self.scales)))
        return whole.reshape(len(whole), -1)

    @property
    def bits(self) -> int:
        return self.grid.bits * sum(one.size for one in self.integers)

    def dot(self, number: int) -> Dot:
        """Factor `number` as a matrix of its outputs and the windows that it reads."""
        one = self.integers[number]
        return Dot(one.reshape(len(one), -1), self.grid)

    def rounded(
        self, site: Site, number: int, op: Op, source: str, scale: float
    ) -> tuple[str, float]:
        """Append a factor that is not the last, and the rounding behind it."""
        sums = site.emit(f"factor{number}", op, source)
        return site.rounded(
            f"middle{number}", Sums(sums, scale * self.scales[number]), self.middle_bits
        )

    def last(self, site: Site, source: str, scale: float) -> Sums:
        """Append the last factor."""
        number = len(self.integers) - 1
        sums = site.emit(f"factor{number}", self.dot(number), source)
        return Sums(sums, scale * self.scales[number])


@dataclass(frozen=True)
class LowRank(Method):
    """Factors of integers of `weight_bits`; abstract.  `rank` says how many, each class of what."""

    rank: float = 0.75
    weight_bits: int = 8
    middle_bits: int = 8

    weight: ClassVar[type[Factors]]

    def __post_init__(self) -> None:
        check_limits(self, "low rank", weight_bits=(2, 16), middle_bits=(2, 16))
        if not 0 < self.rank <= 4:
            raise ProgramError(f"low rank has a rank above 0 and up to 4, not {self.rank}")

    @property
    def depthwise(self) -> Method:
        # One filter of one channel has no rank to lower; its weights become integers.
        return Uniform(8)

    def start(self, problem: LayerProblem, weights: Floats) -> Weight:
        free = LayerProblem.data_free(weights, problem.kernel)
        return self._solve(free, weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Weight:
        found = self._solve(problem, weights)
        return best_whole(problem, self.start(problem, weights), found)

    def _solve(self, problem: LayerProblem, weights: Floats) -> Weight:
        grid = signed(self.weight_bits)
        factors = self.factors(problem, weights)
        integers, scales = quantised(problem, self.weight.form, factors, grid)
        return self.weight(integers, scales, grid, self.middle_bits)

    @abstractmethod
    def factors(self, problem: LayerProblem, weights: Floats) -> list[Floats]:
        """The real factors that are best for the problem, or nearly so."""

    def ranks(self, full: int) -> int:
        """The share `rank` of a full rank, rounded up: small first layers lose most."""
        return max(1, ceil(self.rank * full - 1e-9))


def contract(form: str, factors: Sequence[Floats]) -> Floats:
    """The weights that factors stand for, outputs first."""
    path = _path(form, tuple(one.shape for one in factors))
    found: Floats = np.einsum(form, *factors, optimize=path)
    return found


@cache
def _path(form: str, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    """The order in which an einsum is computed, which takes longer to find than many a product."""
    # Only shapes are read of the operands.
    operands = [np.broadcast_to(0.0, shape) for shape in shapes]
    return list(np.einsum_path(form, *operands, optimize="greedy")[0])


def alternate(
    problem: LayerProblem,
    form: str,
    factors: list[Floats],
    free: Sequence[int],
    rounds: int = ROUNDS,
) -> None:
    """Fit the factors that are `free` in turn, in place, until the error rests."""
    before = _error(problem, form, factors)
    for _ in range(rounds):
        for number in free:
            factors[number] = _fitted(problem, form, factors, number)
        error = _error(problem, form, factors)
        assert error <= before + 1e-9 * float(problem.energy.sum()), "a round raised the error"
        if error >= before * (1 - LEAST_FALL):
            break
        before = error


def _error(problem: LayerProblem, form: str, factors: Sequence[Floats]) -> float:
    whole = contract(form, factors)
    return float(problem.error(whole.reshape(len(whole), -1)).sum())


def _fitted(problem: LayerProblem, form: str, factors: Sequence[Floats], number: int) -> Floats:
    """The best of one factor for all others, or as near to it as a few gradients come."""
    if number == len(factors) - 1:
        return _fitted_last(problem, form, factors)
    inputs, output = form.split("->")
    names = inputs.split(",")
    others = [one for place, one in enumerate(factors) if place != number]
    back = ",".join([output, *names[:number], *names[number + 1 :]]) + f"->{names[number]}"
    shape = contract(form, factors).shape

    def weights(x: Floats) -> Floats:
        whole = contract(form, [*factors[:number], x, *factors[number + 1 :]])
        return whole.reshape(len(whole), -1)

    def gradient(rest: Floats) -> Floats:
        return contract(back, [rest.reshape(shape), *others])

    x = factors[number]
    rest = gradient(problem.cross - weights(x) @ problem.gram)
    step, length = rest, float((rest**2).sum())
    least = 1e-16 * length
    for _ in range(GRADIENTS):
        image = gradient(weights(step) @ problem.gram)
        curve = float((step * image).sum())
        if curve <= 0 or length <= least:
            break
        x = x + (length / curve) * step
        rest = rest - (length / curve) * image
        before, length = length, float((rest**2).sum())
        step = rest + (length / before) * step
    return x


def _fitted_last(problem: LayerProblem, form: str, factors: Sequence[Floats]) -> Floats:
    last = factors[-1]
    own, flat = reaching(problem, form, factors), last.reshape(len(last), -1)
    # A weak pull towards no change: what reaches the factor may be of less than full rank.
    pull = 1e-9 * float(np.trace(own.gram)) / len(own.gram) or 1.0
    rest = own.cross - flat @ own.gram
    change = np.linalg.solve(own.gram + pull * np.eye(len(own.gram)), rest.T).T
    return (flat + change).reshape(last.shape)


def reaching(problem: LayerProblem, form: str, factors: Sequence[Floats]) -> LayerProblem:
    """The problem of the last factor alone, behind the others as they are."""
    inner = factors[-1].shape[1:]
    size = prod(inner)
    # With a unit matrix in place of the last factor: its inputs, (size, S).
    unit = np.eye(size).reshape(size, *inner)
    reach = contract(form, [*factors[:-1], unit]).reshape(size, -1)
    return LayerProblem(reach @ problem.gram @ reach.T, problem.cross @ reach.T, problem.energy)


def quantised(
    problem: LayerProblem, form: str, factors: list[Floats], grid: Grid
) -> tuple[tuple[Ints, ...], tuple[Floats, ...]]:
    """Integers and scales of every factor, the later ones fitted to the roundings before them."""
    factors, last = list(factors), len(factors) - 1
    integers, scales = list[Ints](), list[Floats]()
    for number in range(last):
        whole, scale = _nearest(factors[number], grid)
        factors[number] = _scaled(whole, scale)
        integers.append(whole)
        scales.append(scale)
        behind = [k for k in range(number + 1, last + 1) if factors[k].size > len(factors[k])]
        alternate(problem, form, factors, behind, 2)
    one = factors[last]
    own = reaching(problem, form, factors)
    flat = one.reshape(len(one), -1)
    # What gradients leave of a filter without weights is 0, and no step to round by.
    flat = np.where(np.abs(flat) > NOTHING * np.abs(flat).max(), flat, 0)
    found = round_second_order(_definite(own, flat), flat, grid)
    return (*integers, found.weights.reshape(one.shape)), (*scales, found.scale)


def _definite(problem: LayerProblem, weights: Floats) -> LayerProblem:
    """The problem damped a little; the data-free one where nothing reaches the weights."""
    if not problem.gram.any():
        return LayerProblem.data_free(weights)
    return problem.damped(weights, DAMPING)


def _nearest(factor: Floats, grid: Grid) -> tuple[Ints, Floats]:
    """The nearest integers, and the scale of each output that just holds its largest entry."""
    rows = factor.reshape(len(factor), -1)
    largest = np.abs(rows).max(1)
    scale = np.where(largest > 0, largest, 1) / grid.hi
    return np.rint(rows / scale[:, None]).astype(np.int64).reshape(factor.shape), scale


def _scaled(integers: Ints, scale: Floats) -> Floats:
    return integers * scale.reshape(-1, *[1] * (integers.ndim - 1))


def leading(matrix: Floats, rank: int) -> Floats:
    """The first left singular vectors, (rows, rank)."""
    left, _, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank]
