"""Sizes that are drawn evenly: what the units of `area_units` take instead of a random generator.

Each unit of a kind takes a point of a Sobol sequence, whose coordinates decide its sizes one after
the other, so that a dozen units cover the combinations of many sizes evenly.  Arrays of constants
are drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy.stats import qmc

from bitwright.hw.unit import Fold, Place
from bitwright.models.fixed import Grid
from bitwright.models.program import Edge

T = TypeVar("T")
COORDINATES = 12
"""Sizes of a unit that are spread; further ones are drawn at random."""


class Spread:
    """One point, taken coordinate by coordinate."""

    def __init__(self, point: np.ndarray, rng: np.random.Generator) -> None:
        self._left = list(point)
        self.rng = rng

    @classmethod
    def points(cls, count: int, seed: tuple[int, int]) -> Iterator[Spread]:
        """So many points that lie evenly."""
        rng = np.random.default_rng(seed)
        power = max(1, (count - 1).bit_length())
        for point in qmc.Sobol(COORDINATES, rng=rng).random_base2(power)[:count]:
            yield cls(point, rng)

    def random(self) -> float:
        """A number of [0, 1)."""
        return float(self._left.pop(0)) if self._left else float(self.rng.random())

    def uniform(self, low: float, high: float) -> float:
        """A number of [low, high)."""
        return low + self.random() * (high - low)

    def integer(self, low: int, high: int) -> int:
        """An integer of low .. high - 1."""
        return low + min(int(self.random() * (high - low)), high - low - 1)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.integer(0, len(options))]


def placed(op: Any, fold: Fold, *edges: Edge) -> tuple[Any, Place]:
    """An operator at a place."""
    return op, Place(edges, op.infer(*edges), fold)


def weights_of(draw: Spread, grid: Grid, shape: tuple[int, ...]) -> Any:
    """Random numbers of a grid."""
    if grid.bipolar:
        return draw.rng.choice([-1, 1], shape)
    return draw.rng.integers(grid.lo, grid.hi, shape, endpoint=True)


def nearest(options: tuple[int, ...], wish: float) -> int:
    """The option that is nearest by ratio."""
    return min(options, key=lambda n: abs(np.log(n / wish)))
