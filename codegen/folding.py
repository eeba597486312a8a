"""Choosing how far each layer is folded: least area for a target, or most speed for a budget.

Both are optimal over every folding of every layer (`optimum.py`), by the area of units and links
that `choices.py` counts and the price of it that `price.py` states.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from fractions import Fraction
from math import ulp
from typing import Any, TypedDict, Unpack

import numpy as np

from ..hw.buffers import Tell, buffered
from ..hw.buffers import least as least_depths
from ..hw.cost import RESOURCES
from ..hw.design import Design, with_depths
from ..hw.levels import levels_for
from ..hw.unit import DEFAULT_LEVELS, Fold
from ..models.fixed import ProgramError
from ..models.program import Program
from .choices import Choices
from .optimum import Optimum, least
from .price import AREA, price_of

DEFAULT_CYCLES = 1024
MEGA = 1_000_000
LEAST = 1e-9
"""Below this a clock or a rate is none, and its cycles would be too many to count."""


class Ends(TypedDict, total=False):
    """What a folding is judged by.

    clock: in MHz; family: the FPGA family whose area counts ("ecp5" without it); minimise: "area"
    (without it) or one of the four resources, before area.  least_buffers: take the least depths
    that keep the interval, which costs seconds, not depths that are enough (docs/buffers.md).
    """

    clock: float | None
    family: str
    minimise: str
    least_buffers: bool


class Wish(Ends, total=False):
    """What a folding is asked for, beside cycles per frame and a fold file.

    target_fps: frames per second at the clock; budget: most of some of "lut", "ff", "bram" and
    "dsp", within which the fewest cycles are sought.
    """

    target_fps: float | None
    budget: Mapping[str, int] | None


def build(
    program: Program,
    cycles_per_frame: int | None = None,
    fold: Mapping[str, Mapping[str, int]] | None = None,
    tell: Tell = lambda _: None,
    **wish: Unpack[Wish],
) -> Design:
    """Return the design of a program: folded as asked, buffered for its full throughput.

    One way to say how: `cycles_per_frame`, `fold` ({layer: {"pe": P, "simd": S}}, see `complete`),
    frames per second, or a budget; none of them: see `fold_for`.  Raises ProgramError where
    there is no such folding, with what is least possible.  A clock says how much logic a stage
    holds (`hw.levels`), whichever way is taken.
    """
    _check(wish)
    clock, family = wish.get("clock"), wish.get("family", "ecp5")
    levels = DEFAULT_LEVELS if clock is None else levels_for(clock, family)
    folds = _folds(program, cycles_per_frame, fold, wish, levels)
    design = Design(program, folds, {}, levels)
    if wish.get("least_buffers"):
        return with_depths(design, least_depths(design, tell).depths)
    return buffered(design)


def _check(wish: Wish) -> None:
    """Refuse numbers that mean nothing; whether they can be had is found out later."""
    for name, unit in (("clock", "MHz"), ("target_fps", "frames per second")):
        value: Any = wish.get(name)
        if value is not None and not _positive(value):
            raise ProgramError(f"{name} is a number of {unit} above 0, not {value!r}; give one")
    budget: Any = wish.get("budget")
    if budget is None:
        return
    if not isinstance(budget, Mapping):
        raise ProgramError(f'a budget is {{"lut": N, ...}}, not {budget!r}; name what it limits')
    for name, most in budget.items():
        if isinstance(most, bool) or not isinstance(most, (int, np.integer)) or most < 0:
            raise ProgramError(
                f"the budget of {name} is an integer that is not negative, not {most!r}; give one"
            )


def _positive(value: Any) -> bool:
    """Whether this is a usual number above 0: finite, and so large that its inverse is."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return bool(LEAST <= value < float("inf"))


def _folds(
    program: Program,
    cycles_per_frame: int | None,
    fold: Mapping[str, Mapping[str, int]] | None,
    wish: Wish,
    levels: int,
) -> dict[str, Fold]:
    fps, budget, clock = wish.get("target_fps"), wish.get("budget"), wish.get("clock")
    ways = sum(way is not None for way in (cycles_per_frame, fold, fps, budget))
    if ways > 1:
        raise ProgramError(
            "give one of cycles per frame, frames per second, a budget and a folding, "
            f"not {ways} of them"
        )
    family, minimise = wish.get("family", "ecp5"), wish.get("minimise", AREA)
    if fold is not None:
        return complete(program, read_folds(fold), family, minimise, levels)
    choices = Choices(program, family, levels=levels)
    if budget is not None:
        return quickest(choices, budget, minimise).folds
    if fps is None:
        return cheapest(choices, cycles_per_frame, minimise).folds
    if clock is None:
        raise ProgramError("a target of frames per second needs the clock in MHz; give one")
    limit = _cycles(float(clock), float(fps))
    layer, fewest = fastest(choices)
    if limit < fewest:
        raise ProgramError(
            f"{_named(layer)} takes {fewest} cycles a frame at its most parallel, which at "
            f"{clock:g} MHz is {clock * MEGA / fewest:.0f} frames per second, below the {fps:g} "
            "asked for; ask for fewer, or for a faster clock"
        )
    return cheapest(choices, limit, minimise).folds


def _cycles(clock: float, fps: float) -> int:
    """The cycles per frame that so many frames a second leave at a clock in MHz.

    A float stands for every number that it is the nearest to: of these the slowest rate and the
    fastest clock, as a quotient that should be whole would lose a cycle otherwise.
    """
    fastest_clock = Fraction(clock) + Fraction(ulp(clock)) / 2
    return int(fastest_clock * MEGA / (Fraction(fps) - Fraction(ulp(fps)) / 2))


def fold_for(
    program: Program, target: int | None = None, family: str = "ecp5", minimise: str = AREA
) -> dict[str, Fold]:
    """Return the folding of least area with at most `target` cycles a frame.

    None: `DEFAULT_CYCLES`, or the least that the layers allow where that is more.
    """
    return cheapest(Choices(program, family), target, minimise).folds


def complete(
    program: Program,
    given: Mapping[str, Fold],
    family: str = "ecp5",
    minimise: str = AREA,
    levels: int = DEFAULT_LEVELS,
) -> dict[str, Fold]:
    """Return foldings with those of layers that `given` leaves out.

    They are the cheapest that keep to the cycles of the slowest layer given, so that they do not
    limit it, or come as near as they can; where none is given, see `fold_for`.
    """
    choices = Choices(program, family, given, levels)
    if set(choices.layers) <= set(given):
        return dict(given)
    cycles = [choices.layers[layer][0].cycles for layer in given if layer in choices.layers]
    target = max(*cycles, fastest(choices)[1]) if cycles else None
    # Names that the program has not are kept: the design refuses them.
    return {**cheapest(choices, target, minimise).folds, **given}


def fastest(choices: Choices) -> tuple[str, int]:
    """The layer that limits the most parallel folding, and its cycles per frame.

    Without layers the input's own cycles, and "" for the layer.
    """
    fewest = {name: min(c.cycles for c in every) for name, every in choices.layers.items()}
    slowest = max(fewest, key=lambda name: fewest[name], default="")
    return slowest, fewest.get(slowest, choices.border)


def _named(layer: str) -> str:
    return f"layer {layer!r}" if layer else "the input"


def cheapest(choices: Choices, target: int | None, minimise: str = AREA) -> Optimum:
    """The least area, or least of a resource and then least area, for a target of cycles."""
    layer, fewest = fastest(choices)
    target = max(DEFAULT_CYCLES, fewest) if target is None else target
    if target < fewest:
        raise ProgramError(
            f"{_named(layer)} takes {fewest} cycles a frame at its most parallel, above the "
            f"{target} asked for; ask for {fewest} or more"
        )
    found = _cheapest(choices, target, minimise, {})
    assert found is not None
    return found


def _cheapest(
    choices: Choices, target: int, minimise: str, limits: Mapping[str, int]
) -> Optimum | None:
    found = least(choices, target, price_of(minimise, choices.family), limits)
    if minimise == AREA or found is None:
        return found
    limits = {**limits, minimise: found.area[minimise]}
    return least(choices, target, price_of(AREA, choices.family), limits)


def breakpoints(choices: Choices) -> list[int]:
    """Every number of cycles per frame that some folding of the program has, rising."""
    _, fewest = fastest(choices)
    counts = {choice.cycles for every in choices.layers.values() for choice in every}
    return sorted(count for count in counts if count >= fewest) or [choices.border]


def quickest(choices: Choices, budget: Mapping[str, int], minimise: str = AREA) -> Optimum:
    """The fewest cycles per frame within a budget; of such foldings the cheapest."""
    unknown = [name for name in budget if name not in RESOURCES]
    if unknown or not budget:
        raise ProgramError(
            f"a budget limits some of {', '.join(RESOURCES)}, not "
            f"{repr(unknown[0]) if unknown else 'nothing'}; name one of them"
        )
    steps = breakpoints(choices)
    if not _fits(choices, steps[-1], budget):
        raise ProgramError(_beyond(choices, steps[-1], budget))
    at = bisect_left(steps, True, key=lambda target: _fits(choices, target, budget))
    found = _cheapest(choices, steps[at], minimise, budget)
    assert found is not None
    return found


def _fits(choices: Choices, target: int, budget: Mapping[str, int]) -> bool:
    """Whether some folding of at most `target` cycles keeps to a budget."""
    for name, most in budget.items():
        found = least(choices, target, price_of(name, choices.family))
        if found is None or found.area[name] > most:
            return False
        if all(found.area[name] <= most for name, most in budget.items()):
            return True
    return least(choices, target, price_of(AREA, choices.family), budget) is not None


def _beyond(choices: Choices, target: int, budget: Mapping[str, int]) -> str:
    """The first limit that the ones before it leave no room for, and the layer that needs most."""
    met: dict[str, int] = {}
    for name, most in budget.items():
        found = least(choices, target, price_of(name, choices.family), met)
        assert found is not None
        if found.area[name] > most:
            break
        met[name] = most
    else:
        raise AssertionError("the budget is met")
    at = RESOURCES.index(name)
    areas = {layer: int(choices.alone(layer, c)[at]) for layer, c in found.chosen.items()}
    layer = max(areas, key=lambda layer: areas[layer], default="")
    largest = f", and {areas[layer]} of them in layer {layer!r}" if layer else ""
    rest = "".join(f", with at most {count} {each.upper()}" for each, count in met.items())
    return (
        f"program {choices.program.name!r} takes at least {found.area[name]} {name.upper()} of "
        f"{choices.family}{rest}, above the {budget[name]} of the budget{largest}; allow "
        f"{found.area[name]} or more"
    )


def read_folds(document: Any) -> dict[str, Fold]:
    """Read a fold file: {layer: {"pe": P, "simd": S}}; of the two, what is left out is 1."""
    if not isinstance(document, Mapping):
        raise ProgramError('a fold file holds {layer: {"pe": P, "simd": S}}, not a list or value')
    folds = {}
    for layer, entry in document.items():
        if not isinstance(entry, Mapping) or not set(entry) <= {"pe", "simd"}:
            raise ProgramError(
                f'layer {layer!r} of the fold file holds {{"pe": P, "simd": S}}, not {entry!r}'
            )
        for key, value in entry.items():
            if type(value) is not int or value < 1:
                raise ProgramError(
                    f"layer {layer!r} of the fold file: {key} is a positive integer, not {value!r}"
                )
        folds[str(layer)] = Fold(**entry)
    return folds
