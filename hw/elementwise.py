"""What units share that take `pe` lanes a beat and give `pe` lanes a beat, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from amaranth.hdl import C, Module, Signal, Value

from ..models.fixed import Grid, Ints
from .elastic import counter, in_block, lane, number, rom, rom_words
from .sums import READ
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


@dataclass(frozen=True, eq=False)
class Field:
    """One constant per channel, as rows of lanes in the order of the beats (`by_beat`)."""

    rows: Ints

    @cached_property
    def grid(self) -> Grid:
        """What holds every value."""
        return Grid(int(self.rows.min()), int(self.rows.max()))

    @cached_property
    def fixed(self) -> bool:
        """True if every lane sees one value only, so that no memory is needed."""
        return bool((self.rows == self.rows[0]).all())


def read_levels(fields: Sequence[Field]) -> int:
    """Levels of the memory of the fields that vary."""
    bits = [field.grid.bits * field.rows.shape[1] for field in fields if not field.fixed]
    return READ if bits and in_block(sum(bits), len(fields[0].rows)) else 0


def read_fields(m: Module, fields: Sequence[Field], read: Value) -> dict[Field, Value]:
    """Read the fields that vary, of all lanes, side by side in one memory; there behind `read`.

    Every step with `read` takes one beat; fields that are fixed have no entry.
    """
    varying = [field for field in fields if not field.fixed]
    if not varying:
        return {}
    beats, ends = len(varying[0].rows), [0]
    words = [0] * beats
    for field in varying:
        packed = rom_words(field.rows, field.grid)
        words = [word | more << ends[-1] for word, more in zip(words, packed, strict=True)]
        ends.append(ends[-1] + field.grid.bits * field.rows.shape[1])
    beat, _ = counter(m, beats, read, "beat")
    data = rom(m, "constants", words, ends[-1], beat, read)
    return {field: data[a:b] for field, (a, b) in zip(varying, pairwise(ends), strict=True)}


def constants(field: Field, memory: Mapping[Field, Value]) -> list[Value]:
    """A field's value in each lane: what `memory` holds of it, or the lane's only value."""
    if field.fixed:
        return [C(value) for value in field.rows[0].tolist()]
    data, grid = memory[field], field.grid
    return [number(lane(data, k, grid), grid) for k in range(field.rows.shape[1])]


def held(m: Module, value: Value, enable: Value, name: str) -> Signal:
    """A register that takes `value` on `enable`."""
    register = Signal(value.shape(), name=name)
    with m.If(enable):
        m.d.sync += register.eq(value)
    return register
