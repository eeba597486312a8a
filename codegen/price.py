"""One number for an area: what LUTs, registers, block RAMs and multipliers weigh on each family.

A block RAM weighs as many LUTs as a device of the family has for each of its block RAMs, and so
does a multiplier: then an area that is small by this number leaves the most copies room on the
device.  A register weighs a sixteenth of a LUT: it stands beside a LUT that is there in any case,
but of foldings with equal LUTs the one with fewer registers is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..hw.cost import RESOURCES
from ..models.fixed import Ints, ProgramError

UNIT = 16
"""Of a price: a LUT."""


@dataclass(frozen=True)
class Device:
    """What a device of a family has; `bram` in the blocks that `hw.cost` counts."""

    name: str
    lut: int
    bram: int
    dsp: int


DEVICES: Mapping[str, Device] = {
    "ecp5": Device("LFE5U-85F", 83_640, 208, 156),
    "ice40": Device("iCE40UP5K", 5_280, 30, 8),
    "gowin": Device("GW2A-18", 20_736, 46, 48),
    "xc7": Device("XC7A100T", 63_400, 270, 240),
}
"""Figures of the vendors' data sheets; block RAMs of 18 kbit, of 4 kbit on iCE40."""

AREA = "area"
MEASURES = (AREA, *RESOURCES)


def price_of(measure: str, family: str) -> Ints:
    """The price of one of each resource, by area or by one resource alone."""
    if measure not in MEASURES:
        raise ProgramError(
            f"what is minimised is one of {', '.join(MEASURES)}, not {measure!r}; choose one"
        )
    if measure != AREA:
        return np.array([int(name == measure) for name in RESOURCES])
    if family not in DEVICES:
        raise ProgramError(
            f"no device is known for the family {family!r}; it is one of {', '.join(DEVICES)}"
        )
    device, whole = DEVICES[family], UNIT * DEVICES[family].lut
    each = {"lut": UNIT, "ff": 1, "bram": whole // device.bram, "dsp": whole // device.dsp}
    return np.array([each[name] for name in RESOURCES])
