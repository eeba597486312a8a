"""The roofline of a design: what bounds its multiply-adds in a cycle, and how near it comes.

Both axes are of the design itself, without a clock: multiply-adds per bit moved, and multiply-adds
per cycle.  The roof is its own arithmetic, PE * SIMD of all matrix units; the slopes are the bits
that its weight memories and its AXI streams can move in a cycle (Williams, Waterman and Patterson,
"Roofline", CACM 52(4), 2009).  Each memory and each stream has a slope of its own, since bits
cannot move between them; of the memories only the one that binds most is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..hw.design import Design
from ..hw.work import work
from ..models.ops import DepthwiseDot, Dot
from .systolic import multipliers
from .units import operator


@dataclass(frozen=True)
class Traffic:
    """Bits that something moves: at most in a cycle, and in a frame."""

    bits_per_cycle: int
    bits_per_frame: int

    @property
    def cycles(self) -> float:
        """The least cycles per frame that this allows."""
        return self.bits_per_frame / self.bits_per_cycle


@dataclass(frozen=True)
class Roofline:
    """Multiply-adds: at most in a cycle, in a frame, and the cycles between frames.

    traffic: "weights" of the memory that takes the most cycles for its bits of a frame, "input" and
    "output" of the streams; what moves nothing is absent.
    """

    peak: int
    per_frame: int
    interval: int
    traffic: Mapping[str, Traffic]

    @property
    def achieved(self) -> float:
        """Multiply-adds per cycle."""
        return self.per_frame / self.interval

    def intensity(self, name: str) -> float:
        """Multiply-adds per bit that is moved."""
        return self.per_frame / self.traffic[name].bits_per_frame

    def bound(self, name: str) -> float:
        """What roof and slope allow, in multiply-adds per cycle."""
        return min(self.peak, self.intensity(name) * self.traffic[name].bits_per_cycle)

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "peak": self.peak,
            "achieved": self.achieved,
            "traffic": {
                name: {
                    **asdict(moved),
                    "intensity": self.intensity(name),
                    "bound": self.bound(name),
                }
                for name, moved in self.traffic.items()
            },
        }


def roofline(design: Design, interval: int) -> Roofline | None:
    """The roofline of a design that takes a frame every `interval` cycles; None without products.

    Weights that are constants of the circuit are not moved.
    """
    per_frame = 0
    memories: list[Traffic] = []
    for unit in design.instances:
        op = operator(unit)
        if not isinstance(op, Dot | DepthwiseDot):
            continue
        done = work(op, unit.place)
        assert done is not None
        per_frame += done.multiply_adds
        if done.constant_reads:
            fold = unit.place.fold
            memories.append(Traffic(fold.pe * fold.simd * op.grid.bits, done.constant_reads))
    if not per_frame:
        return None
    traffic = {
        name: Traffic(port.width, port.width * port.beats)
        for name, port in (("input", design.input), ("output", design.output))
    }
    if memories:
        traffic = {"weights": max(memories, key=lambda moved: moved.cycles)} | traffic
    return Roofline(multipliers(design), per_frame, interval, traffic)
