"""The exact search: the folding of least price that meets a target and stays within limits.

Price is a sum over units and links, and links make it depend on neighbours.  Without limits it is
found by dynamic programming along the data: the state is the lanes of the layers that are still to
be read, so chains and residual branches take milliseconds.  With limits, or where too many branches
are open at once, it is an integer program (`milp.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..hw.cost import RESOURCES
from ..hw.unit import Fold
from ..models.fixed import Ints
from ..models.program import INPUT
from . import milp
from .choices import Choice, Choices, Wire

STATES = 20_000
"""Combinations of open lanes up to which dynamic programming is used."""
_NEVER = np.int64(1) << 60


@dataclass(frozen=True, eq=False)
class Optimum:
    """A folding of every layer: its area by `choices.Choices`, its price, the border's cycles."""

    chosen: Mapping[str, Choice]
    area: Mapping[str, int]
    price: int
    border: int = 1

    @property
    def folds(self) -> dict[str, Fold]:
        """The folding of each layer."""
        return {layer: choice.fold for layer, choice in self.chosen.items()}

    @property
    def cycles(self) -> int:
        """Cycles per frame: those of the slowest layer."""
        return max((choice.cycles for choice in self.chosen.values()), default=self.border)


def least(
    choices: Choices, target: int, price: Ints, limits: Mapping[str, int] | None = None
) -> Optimum | None:
    """The least `price` (per one of each resource) with at most `target` cycles a frame.

    limits: most of a resource; None: no folding meets them, or none the target.
    """
    fast = {
        layer: tuple(choice for choice in every if choice.cycles <= target)
        for layer, every in choices.layers.items()
    }
    if not all(fast.values()) or target < choices.border:
        return None
    if not fast:
        only = _settle(choices, {}, price)
        return only if _keeps(only, limits or {}) else None
    if not limits and _open_states(choices, fast) <= STATES:
        return _settle(choices, _Sweep(choices, fast, price).run(), price)
    for tolerance in milp.TOLERANCES:
        found = milp.solve(choices, fast, price, limits or {}, tolerance)
        if found is None:
            return None
        settled = _settle(choices, found.chosen, price)
        # Sums of whole numbers judge what a solver of floats has found.
        if _keeps(settled, limits or {}) and abs(settled.price - found.objective) < milp.GAP:
            return settled
    raise RuntimeError(
        f"HiGHS found a folding of {choices.program.name!r} that breaks its limits or has another "
        "price than it says; this is a bug, please report it"
    )


def _keeps(found: Optimum, limits: Mapping[str, int]) -> bool:
    return all(found.area[name] <= most for name, most in limits.items())


def area_of(choices: Choices, chosen: Mapping[str, Choice]) -> Ints:
    """Area of a whole folding."""
    area = sum(
        (choices.alone(layer, choice) for layer, choice in chosen.items()),
        np.zeros(len(RESOURCES), np.int64),
    )
    entries = choices.from_source(INPUT)
    shared = max((_wanted(chosen, wire) for wire in entries), default=1)
    if len(entries) > 1 or not chosen:
        area = area + choices.leaving(INPUT, shared)
    for wire in choices.wires:
        if wire.reader is None or (wire.source == INPUT and len(entries) == 1):
            continue
        have = shared if wire.source == INPUT else chosen[wire.source].output
        area = area + choices.link(wire, have, _wanted(chosen, wire))
    return area


def _wanted(chosen: Mapping[str, Choice], wire: Wire) -> int:
    return chosen[wire.reader].inputs[wire.port] if wire.reader else 1


def _settle(choices: Choices, chosen: Mapping[str, Choice], price: Ints) -> Optimum:
    area = area_of(choices, chosen)
    named = {name: int(value) for name, value in zip(RESOURCES, area, strict=True)}
    return Optimum(chosen, named, int(area @ price), choices.border)


def _lanes(every: Sequence[Choice]) -> list[int]:
    """Different lanes of a layer's output, rising."""
    return sorted({choice.output for choice in every})


# --- dynamic programming ------------------------------------------------------------------------


def _open_states(choices: Choices, fast: Mapping[str, Sequence[Choice]]) -> int:
    """Most combinations of lanes between layers; without end where several layers read the input.

    The source takes the lanes of its widest reader then, which no state knows before the last.
    """
    if len(choices.from_source(INPUT)) > 1:
        return STATES + 1
    most, unread = 1, dict[str, int]()
    for layer, every in fast.items():
        # A layer's own lanes stand beside those that it reads until they are done with.
        sizes = [len(_lanes(fast[source])) for source in unread]
        most = max(most, prod(sizes) * len(_lanes(every)))
        for wire in choices.to_reader(layer):
            if wire.source in unread:
                unread[wire.source] -= 1
                if not unread[wire.source]:
                    del unread[wire.source]
        unread[layer] = len(choices.from_source(layer))
    return most


class _Sweep:
    """One pass over the layers; `cost` holds the least price of each combination of open lanes."""

    def __init__(self, choices: Choices, fast: Mapping[str, Sequence[Choice]], price: Ints) -> None:
        self.choices, self.fast, self.price = choices, fast, price
        self.open: list[str] = []
        self.unread = {layer: len(choices.from_source(layer)) for layer in fast}
        self.cost = np.zeros((), np.int64)
        self.steps: list[tuple[str, list[str], list[str], Ints, Ints]] = []

    def run(self) -> dict[str, Choice]:
        for layer in self.fast:
            self._take(layer)
        return self._trace()

    def _take(self, layer: str) -> None:
        every, lanes = self.fast[layer], _lanes(self.fast[layer])
        wires = [wire for wire in self.choices.to_reader(layer) if wire.source != INPUT]
        for wire in wires:
            self.unread[wire.source] -= 1
        kept = [source for source in self.open if self.unread[source]]
        gone = [source for source in self.open if not self.unread[source]]
        order = [self.open.index(source) for source in (*kept, *gone)]
        shape = [len(_lanes(self.fast[source])) for source in kept]
        cost = np.full((*shape, len(lanes)), _NEVER)
        which, where = np.zeros(cost.shape, np.int64), np.zeros(cost.shape, np.int64)
        linked = {wire: self._links(wire) for wire in wires}
        for number, choice in enumerate(every):
            total = self.cost + self.choices.alone(layer, choice) @ self.price
            for wire in wires:
                total = total + linked[wire][choice.inputs[wire.port]]
            total = total.transpose(order).reshape(*shape, -1)
            at, best = lanes.index(choice.output), total.argmin(-1)
            total = total.min(-1)
            better = total < cost[..., at]
            for array, value in ((cost, total), (which, number), (where, best)):
                array[..., at] = np.where(better, value, array[..., at])
        self.steps.append((layer, kept, gone, which, where))
        self.open, self.cost = [*kept, layer], cost

    def _links(self, wire: Wire) -> dict[int, Ints]:
        """Price of a wire by the lanes wanted, along the axis of its source."""
        have = _lanes(self.fast[wire.source])
        shape = [len(have) if source == wire.source else 1 for source in self.open]
        wants = {choice.inputs[wire.port] for choice in self.fast[wire.reader or ""]}
        link, price = self.choices.link, self.price
        return {
            want: np.array([link(wire, lanes, want) @ price for lanes in have]).reshape(shape)
            for want in wants
        }

    def _trace(self) -> dict[str, Choice]:
        """Follow the best choices back from the output."""
        chosen: dict[str, Choice] = {}
        at = dict(
            zip(self.open, np.unravel_index(self.cost.argmin(), self.cost.shape), strict=True)
        )
        for layer, kept, gone, which, where in reversed(self.steps):
            state = (*(at[source] for source in kept), at[layer])
            chosen[layer] = self.fast[layer][which[state]]
            sizes = tuple(len(_lanes(self.fast[source])) for source in gone)
            if gone:
                at |= dict(zip(gone, np.unravel_index(where[state], sizes), strict=True))
        return {layer: chosen[layer] for layer in self.fast}
