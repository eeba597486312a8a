"""Static sparsity: groups of weights that are 0, the others int8 and fitted to the responses.

The five patterns of the survey arXiv 1802.00939, section 3.1: single weights, vectors, kernels,
groups (columns of the layer's matrix, the same for all filters) and whole filters.  A pattern says
which columns go together and which filters lose the same ones; of all groups of a layer the
fraction `density` stays, those with the highest score:

    magnitude:  the sum of their squared weights
    response:   what taking them away adds to the layer's error, the weights that stay fitted anew,
                in the order of optimal brain surgeon (`surgeon.py`)

Filter by filter the weights K that stay are then those of the layer problem restricted to them,
G_KK and c_K, rounded second-order (`rounding.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ..fixed import Grid, Ints, ProgramError, signed
from ..ops import Dot, Select, SparseDot
from .method import Method, Product, Site, Sums, Weight, best_whole
from .problem import Floats, LayerProblem
from .rounding import round_second_order
from .surgeon import removals
from .uniform import Uniform

Mask = NDArray[np.bool_]


class By(Enum):
    """What decides which weights stay."""

    MAGNITUDE = "magnitude"
    RESPONSE = "response"

    @classmethod
    def _missing_(cls, value: object) -> By:
        raise ProgramError(
            f"weights are pruned by {' or '.join(one.value for one in cls)}, not {value!r}; "
            "name one of them"
        )


@dataclass(frozen=True, eq=False)
class Sparse(Product):
    """scale[n] * weights[n, s]: integers (N, S) on `grid`, of which `mask` (N, S) are stored.

    groups: bits that say which ones; shared: whether all filters lose the same columns, which then
    are not computed; else the unit of the product skips the tiles that are 0.
    """

    weights: Ints
    grid: Grid
    scale: Floats
    mask: Mask
    groups: int
    shared: bool = False

    def dense(self) -> Floats:
        return self.scale[:, None] * self.weights

    @property
    def bits(self) -> int:
        return int(self.mask.sum()) * self.grid.bits + self.groups

    def lower(self, site: Site) -> Sums:
        if not self.shared:
            op, source = SparseDot(self.weights, self.grid), site.windows
        else:
            kept = np.flatnonzero(self.mask.any(0))
            op, source = Dot(self.weights[:, kept], self.grid), site.windows
            if len(kept) < self.weights.shape[1]:
                source = site.emit("kept", Select(kept), source)
        return Sums(site.emit("dot", op, source), site.scale * self.scale)


@dataclass(frozen=True)
class Pruning(Method):
    """A pattern of zeros: of all its groups in a layer the part `density` stays, in `bits` bits."""

    density: float = 0.5
    by: By = By.RESPONSE
    bits: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ProgramError(
                f"pruning keeps a density above 0 and up to 1, not {self.density}; choose one"
            )
        if not 2 <= self.bits <= 16:
            raise ProgramError(f"pruned weights take 2 to 16 bits, not {self.bits}")
        for name in ("tile", "rows"):
            if getattr(self, name, 1) < 1:
                raise ProgramError(f"pruning has {name} from 1, not {getattr(self, name)}")

    @abstractmethod
    def filters(self, count: int) -> int:
        """How many neighbouring filters of so many lose the same columns."""

    @abstractmethod
    def labels(self, problem: LayerProblem) -> Ints:
        """The group of each column, (S,), from 0."""

    @property
    def depthwise(self) -> Method:
        return Uniform(self.bits)

    def start(self, problem: LayerProblem, weights: Floats) -> Sparse:
        return self._fitted(LayerProblem.data_free(weights, problem.kernel), weights)

    def compress(self, problem: LayerProblem, weights: Floats) -> Weight:
        found, start = self._fitted(problem, weights), self.start(problem, weights)
        return best_whole(problem, found, start)

    def _fitted(self, problem: LayerProblem, weights: Floats) -> Sparse:
        labels, mask = self.labels(problem), self.mask(problem, weights)
        grid = signed(self.bits)
        integers, scale = np.zeros(weights.shape, np.int64), np.ones(len(weights))
        bands = self._bands(len(weights))
        for band in bands:
            kept = np.flatnonzero(mask[band.start])
            if len(kept):
                part, start = _restricted(problem, band, kept), weights[band][:, kept]
                _check_refit(part, start)
                rounded = round_second_order(part, start, grid)
                integers[band, kept], scale[band] = rounded.weights, rounded.scale
        groups = len(bands) * (int(labels.max()) + 1)
        return Sparse(integers, grid, scale, mask, groups, len(bands) == 1)

    def mask(self, problem: LayerProblem, weights: Floats) -> Mask:
        """The weights (N, S) that stay."""
        labels, bands = self.labels(problem), self._bands(len(weights))
        groups = int(labels.max()) + 1
        scores, ranks = np.empty((len(bands), groups)), np.empty((len(bands), groups))
        for number, band in enumerate(bands):
            if self.by is By.MAGNITUDE:
                order, costs = np.arange(groups), _magnitudes(weights[band], labels)
            else:
                order, costs = removals(problem.gram, problem.cross[band], labels)
                # What goes later stays longer, though it may cost less by then.
                costs = np.maximum.accumulate(costs)
            scores[number, order], ranks[number, order] = costs, np.arange(groups)
        kept = np.zeros(scores.size, bool)
        most = max(1, round(self.density * scores.size))
        kept[np.lexsort((ranks.ravel(), scores.ravel()))[-most:]] = True
        rows = kept.reshape(scores.shape)[:, labels]
        return np.repeat(rows, [band.stop - band.start for band in bands], axis=0)

    def _bands(self, count: int) -> list[slice]:
        """The filters that lose the same columns."""
        size = self.filters(count)
        return [slice(low, min(low + size, count)) for low in range(0, count, size)]


def _magnitudes(weights: Floats, labels: Ints) -> Floats:
    return np.bincount(labels, (weights**2).sum(0)).astype(np.float64)


def _restricted(problem: LayerProblem, filters: slice, kept: Ints) -> LayerProblem:
    """The problem of some filters whose weights are 0 but for some columns."""
    return LayerProblem(
        problem.gram[np.ix_(kept, kept)], problem.cross[filters, kept], problem.energy[filters]
    )


def _check_refit(part: LayerProblem, weights: Floats) -> None:
    """The best weights where some stay are no worse than those weights as they were."""
    best = np.linalg.solve(part.gram, part.cross.T).T.astype(np.float64)
    slack = 1e-9 * (part.energy + part.error(weights))
    raised = part.error(best) > part.error(weights) + slack
    assert not raised.any(), "fitting the weights that stay raised the error of a filter"


def _runs(problem: LayerProblem, length: int) -> Ints:
    """Runs of neighbouring channels at one tap of the kernel; the last of a tap may be shorter."""
    tap, channel = np.divmod(np.arange(len(problem.gram)), problem.channels)
    return tap * -(-problem.channels // length) + channel // length


@dataclass(frozen=True)
class Fine(Pruning):
    """Single weights."""

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"prune-fine": cls()}

    def filters(self, count: int) -> int:
        return 1

    def labels(self, problem: LayerProblem) -> Ints:
        return np.arange(len(problem.gram))


@dataclass(frozen=True)
class Vector(Pruning):
    """Runs of `tile` channels at one tap, of `rows` filters: a tile of hardware folded so."""

    tile: int = 4
    rows: int = 1

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"prune-vector": cls()}

    def filters(self, count: int) -> int:
        return self.rows

    def labels(self, problem: LayerProblem) -> Ints:
        return _runs(problem, self.tile)


@dataclass(frozen=True)
class Kernel(Pruning):
    """All taps of `tile` channels in `rows` filters."""

    tile: int = 1
    rows: int = 1

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"prune-kernel": cls()}

    def filters(self, count: int) -> int:
        return self.rows

    def labels(self, problem: LayerProblem) -> Ints:
        return np.arange(len(problem.gram)) % problem.channels // self.tile


@dataclass(frozen=True)
class Group(Pruning):
    """Runs of `tile` channels at one tap, of all filters: inputs that nothing reads."""

    tile: int = 1

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"prune-group": cls()}

    def filters(self, count: int) -> int:
        return count

    def labels(self, problem: LayerProblem) -> Ints:
        return _runs(problem, self.tile)


@dataclass(frozen=True)
class Filter(Pruning):
    """Whole filters, `rows` at a time: outputs that are their bias alone; not of the last layer."""

    rows: int = 1

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"prune-filter": cls()}

    def filters(self, count: int) -> int:
        return self.rows

    def labels(self, problem: LayerProblem) -> Ints:
        return np.zeros(len(problem.gram), np.int64)

    @property
    def answers(self) -> Method:
        return Uniform(self.bits)
