"""Which method compresses which layer: the least cost at an accuracy, or the best within a cost.

Every method is tried on every layer alone, the others compressed by the first method: that gives
its own cost, and its own loss in the network's outputs.  Both are taken to add up over layers
(HAWQ-V3, arXiv 2011.10680, section 3.4, adds up its sensitivities so), which makes the front of all
mixtures exact and quick: what fewer layers have no use for, more have none for either.  That they
add up is only an assumption, so mixtures of the front are then compressed and measured, and what is
chosen was measured.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ..models.fixed import ProgramError
from ..models.program import Program

BITS = "bits"
NEAR = 3
"""Mixtures that are measured beside the one that the front points to."""
TRIES = 12
"""Mixtures that are measured at most to find some within a cost."""


@dataclass(frozen=True)
class Option:
    """A method for a layer, and what it alone adds to cost and loss."""

    layer: str
    method: str
    cost: float
    loss: float


@dataclass(frozen=True)
class Mixture:
    """A method for each layer, with the sums of their costs and losses."""

    methods: tuple[tuple[str, str], ...]
    cost: float
    loss: float

    def with_(self, option: Option) -> Mixture:
        """The mixture with one layer more."""
        methods = (*self.methods, (option.layer, option.method))
        return Mixture(methods, self.cost + option.cost, self.loss + option.loss)


@dataclass(frozen=True, eq=False)
class Measured:
    """A mixture that was compressed: its cost, loss, and accuracy on the data.

    Its program is not kept: as many as are measured would not fit in memory.
    """

    methods: Mapping[str, str]
    cost: int
    loss: float
    accuracy: float

    def describe(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "methods": dict(self.methods),
            "cost": self.cost,
            "loss": self.loss,
            "accuracy": self.accuracy,
        }


@dataclass(frozen=True, eq=False)
class Search:
    """What is searched: `layers` by `methods`, the first of which compresses all the others.

    compress: a program by the method of each layer; cost: of a program, None where it has none;
    scores: outputs (N, C) of a program on the data, in the units of `wanted`, the float network's;
    right: the share of scores whose class is right.
    """

    layers: Sequence[str]
    methods: Sequence[str]
    compress: Callable[[Mapping[str, str]], Program]
    cost: Callable[[Program], int | None]
    scores: Callable[[Program], NDArray[Any]]
    wanted: NDArray[Any]
    right: Callable[[NDArray[Any]], float]
    tell: Callable[[str], None] = lambda _: None
    _known: dict[tuple[str, ...], Measured | None] = field(
        default_factory=dict[tuple[str, ...], Measured | None], init=False
    )

    def measure(self, methods: Mapping[str, str]) -> Measured | None:
        """Compress and measure a mixture, once; None where it has no cost."""
        key = tuple(methods[layer] for layer in self.layers)
        if key not in self._known:
            self.tell("compressing " + ", ".join(f"{k} {v}" for k, v in methods.items()))
            program = self.compress(methods)
            cost, scores = self.cost(program), self.scores(program)
            found = (self._loss(scores), self.right(scores))
            self._known[key] = None if cost is None else Measured(methods, cost, *found)
        return self._known[key]

    def _loss(self, scores: NDArray[Any]) -> float:
        """Squared error of the scores relative to their spread; of classes, the share missed."""
        if scores.shape[1] == 1:
            return float((scores != self.wanted).mean())
        return float(((scores - self.wanted) ** 2).mean() / (self.wanted.var() or 1.0))

    @cached_property
    def base(self) -> Measured:
        """All layers by the first method."""
        found = self.measure(dict.fromkeys(self.layers, self.methods[0]))
        if found is None:
            raise ProgramError(
                f"method {self.methods[0]!r} on all layers has no folding of so few cycles a "
                "frame; ask for more cycles, or name another method first"
            )
        return found

    @cached_property
    def options(self) -> list[list[Option]]:
        """What each method adds on each layer, the first method's adding nothing."""
        every: list[list[Option]] = []
        for layer in self.layers:
            own = [Option(layer, self.methods[0], 0, 0.0)]
            for method in self.methods[1:]:
                found = self.measure({**self.base.methods, layer: method})
                if found is not None:
                    extra = found.cost - self.base.cost, found.loss - self.base.loss
                    own.append(Option(layer, method, *extra))
            every.append(own)
        return every

    @cached_property
    def front(self) -> list[Mixture]:
        """The mixtures that none beats in both, by rising cost and falling loss."""
        mixtures = [Mixture((), self.base.cost, self.base.loss)]
        for own in self.options:
            mixtures = undominated(old.with_(option) for old in mixtures for option in own)
        return mixtures

    def least(self, accuracy: float) -> Measured:
        """The measured mixture of least cost with at least this accuracy."""
        front = self.front
        at = bisect_left(front, True, key=lambda one: self._reaches(one, accuracy))
        for mixture in front[max(0, at - NEAR) : at]:
            self.measure(dict(mixture.methods))
        enough = [one for one in self.measured if one.accuracy >= accuracy]
        if not enough:
            best = max(self.measured, key=lambda one: one.accuracy)
            raise ProgramError(
                f"no mixture of {', '.join(self.methods)} reached an accuracy of {accuracy:.2%}, "
                f"the best {best.accuracy:.2%}; ask for less, or name methods of more bits"
            )
        return min(enough, key=lambda one: (one.cost, -one.accuracy, one.loss))

    def _reaches(self, mixture: Mixture, accuracy: float) -> bool:
        found = self.measure(dict(mixture.methods))
        return found is not None and found.accuracy >= accuracy

    def best(self, most: int) -> Measured:
        """The measured mixture of highest accuracy that costs at most so much."""
        within = [mixture for mixture in self.front if mixture.cost <= most]
        # Sums of costs may be too low by a little: of the dearest, some that are really within.
        inside = 0
        for mixture in within[: -TRIES - 1 : -1]:
            found = self.measure(dict(mixture.methods))
            inside += found is not None and found.cost <= most
            if inside == NEAR:
                break
        affordable = [one for one in self.measured if one.cost <= most]
        if not affordable:
            least = min(self.measured, key=lambda one: one.cost)
            raise ProgramError(
                f"no mixture of {', '.join(self.methods)} costs at most {most:,}, the cheapest "
                f"found {least.cost:,}; allow more, or name methods of fewer bits"
            )
        return max(affordable, key=lambda one: (one.accuracy, -one.loss, -one.cost))

    @property
    def measured(self) -> list[Measured]:
        """All mixtures measured so far, by rising cost."""
        known = [one for one in self._known.values() if one is not None]
        return sorted(known, key=lambda one: (one.cost, -one.accuracy))


def undominated(mixtures: Iterable[Mixture]) -> list[Mixture]:
    """Those than which no other is cheaper and better, by rising cost and falling loss."""
    kept: list[Mixture] = []
    for one in sorted(mixtures, key=lambda one: (one.cost, one.loss)):
        if not kept or one.loss < kept[-1].loss:
            kept.append(one)
    return kept
