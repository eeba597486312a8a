"""The Pareto front of foldings: cycles per frame against area, or against one resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..hw import cost
from ..hw.design import Design
from .choices import Choices, Total
from .folding import breakpoints, cheapest
from .optimum import Optimum
from .price import AREA, price_of


def front(
    choices: Choices,
    points: int | None = None,
    minimise: str = AREA,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Optimum]:
    """Foldings that no other beats in both, from the fastest to the smallest.

    Complete without `points`; else the least area at so many targets, evenly spaced by ratio over
    the range, each with the fewest cycles that its area allows.
    """
    steps = breakpoints(choices)
    return _Front(choices, steps, minimise, tell).run(points)


def describe(
    choices: Choices, points: int | None, minimise: str, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The front as data: {"model", "family", "minimise", "points", "error"}.

    Each of the points: "cycles" (the closed formula's interval), "limiting", the estimated "lut",
    "ff", "bram" and "dsp" of all units and links with buffers at their least, "beyond", the units
    whose estimate is none, being beyond the calibration, and "folding".  "error": how far
    estimates are off, as `cost.error` states it.
    """
    found = front(choices, points, minimise, tell)
    return {
        "model": choices.program.name,
        "family": choices.family,
        "minimise": minimise,
        "points": [_point(choices, optimum) for optimum in found],
        "error": cost.error(choices.family),
    }


def _point(choices: Choices, optimum: Optimum) -> dict[str, Any]:
    design = Design(choices.program, optimum.folds, {})
    return {
        "cycles": design.interval,
        "limiting": design.limiting,
        **optimum.area,
        "beyond": list(Total.of(design, choices.family).beyond),
        "folding": {name: {"pe": f.pe, "simd": f.simd} for name, f in optimum.folds.items()},
    }


class _Front:
    """The least area at each number of cycles that occurs, worked out where it is needed."""

    def __init__(
        self, choices: Choices, steps: list[int], minimise: str, tell: Callable[[str], None]
    ) -> None:
        self.choices, self.steps, self.minimise, self.tell = choices, steps, minimise, tell
        self.price = price_of(minimise, choices.family)
        self.known: dict[int, Optimum] = {}

    def run(self, points: int | None) -> list[Optimum]:
        last = len(self.steps) - 1
        if points is None:
            self._between(0, last)
            found = set(self.known)
        else:
            found = {self._first(at) for at in self._spread(points)}
        return self._not_beaten(sorted(found))

    def _at(self, step: int) -> Optimum:
        if step not in self.known:
            self.tell(f"folding to {self.steps[step]} cycles a frame")
            self.known[step] = cheapest(self.choices, self.steps[step], self.minimise)
        return self.known[step]

    def _measure(self, step: int) -> int:
        area = self._at(step).area
        return int(sum(area[name] * each for name, each in zip(area, self.price, strict=True)))

    def _between(self, first: int, last: int) -> None:
        """Work out all steps between two; none, where these cost the same, for costs only fall."""
        if self._measure(first) == self._measure(last) or last - first < 2:
            return
        middle = (first + last) // 2
        self._between(first, middle)
        self._between(middle, last)

    def _spread(self, points: int) -> list[int]:
        """Steps nearest below so many targets that grow by the same ratio."""
        fewest, most = self.steps[0], self.steps[-1]
        ratio = (most / fewest) ** (1 / max(1, points - 1))
        targets = [fewest * ratio**k for k in range(points - 1)] + [most]
        return [max(k for k, s in enumerate(self.steps) if s <= max(t, fewest)) for t in targets]

    def _first(self, step: int) -> int:
        """The first step that costs no more than this one."""
        low, high = 0, step
        while low < high:
            middle = (low + high) // 2
            if self._measure(middle) > self._measure(step):
                low = middle + 1
            else:
                high = middle
        return high

    def _not_beaten(self, steps: list[int]) -> list[Optimum]:
        kept: list[int] = []
        for step in steps:
            if not kept or self._measure(step) < self._measure(kept[-1]):
                kept.append(step)
        return [self._at(step) for step in kept]
