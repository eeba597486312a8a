"""What units share that take `pe` lanes a beat and give `pe` lanes a beat, channel by channel."""

from __future__ import annotations

from ..models.fixed import Ints
from .unit import Fold, Place, Port, Ports, divisors


def channel_foldings(place: Place) -> tuple[Fold, ...]:
    """Lanes divide the channels, so that a lane always sees the same residue of channels."""
    return tuple(Fold(pe) for pe in divisors(place.output.channels))


def same_lanes(place: Place) -> Ports:
    """Every input and the output carry `pe` lanes."""
    lanes = place.fold.pe
    return Ports(
        tuple(Port.of(edge, lanes) for edge in place.inputs), (Port.of(place.output, lanes),)
    )


def by_beat(values: Ints, lanes: int) -> Ints:
    """Per-channel values (C, ...) as rows (C/lanes, lanes * ...), in the order of the beats."""
    return values.reshape(len(values) // lanes, -1)
