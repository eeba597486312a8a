"""Why a design deadlocks: which stages wait for one another, which buffers are full, what helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..models.fixed import Ints
from .compose import Composer
from .schedule import Progress


@dataclass(frozen=True, eq=False)
class Deadlock:
    """A design that stops, for ever, in its first frame.

    cycle: the last in which a beat moves in any stream, counted from reset's end.  circle: stages,
    each of which waits for the one before it, the first for the last.  full: depths of the buffers
    whose lack of room is part of the circle.  remedy: depths with which the design goes on, each
    the least while the others are as deep as it says.  transfers: the cycle of every transfer that
    happens, by stream.
    """

    cycle: int
    circle: tuple[str, ...]
    full: Mapping[str, int]
    remedy: Mapping[str, int]
    transfers: Mapping[str, Ints]

    def __str__(self) -> str:
        full = " and ".join(
            f"buffer {name!r} is full with {depth} entries" for name, depth in self.full.items()
        )
        units = dict.fromkeys(stage.partition(".")[0] for stage in self.circle)
        remedy = " and ".join(f"{name!r} {depth}" for name, depth in self.remedy.items())
        return (
            f"the design deadlocks after cycle {self.cycle}: {full}, and {', '.join(units)} "
            f"wait for one another; give {remedy} entries or more"
        )


def diagnose(composer: Composer, progress: Progress, frames: int) -> Deadlock:
    """Explain the deadlock of a design whose graph came as far as `progress`."""
    full = _full(composer, progress)
    transfers = composer.transfers(progress.times, frames)
    return Deadlock(
        max((int(cycles[-1]) for cycles in transfers.values() if len(cycles)), default=-1),
        tuple(arc.dst for arc in progress.circle),
        {name: composer.instances[name].depth for name in full},
        _remedy(composer, full),
        transfers,
    )


def _full(composer: Composer, progress: Progress) -> list[str]:
    """Buffers in the circle whose writing waits for their own reading."""
    return [
        arc.owner
        for arc in progress.circle
        if arc.dst == f"{arc.owner}.write" and composer.instances[arc.owner].is_buffer
    ]


def _remedy(composer: Composer, full: list[str]) -> dict[str, int]:
    """Deepen what is full until nothing is, then take back, one by one, what is not needed."""
    depths: dict[str, int] = {}
    while full:
        for name in full:
            # A whole frame, and the entry that the form of deep buffers may take.
            depths[name] = composer.stages[f"{name}.write"] + 1
        deepened = composer.deepened(depths)
        full = _full(deepened, deepened.graph({}).run(1))
    for name in depths:
        have = composer.instances[name].depth

        def moves(depth: int, name: str = name) -> bool:
            return not composer.deepened({**depths, name: depth}).graph({}).run(1).circle

        depths[name] = least(moves, have, depths[name])
    return {name: n for name, n in depths.items() if n > composer.instances[name].depth}


def least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number from low to high for which something holds that holds from there on."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high
