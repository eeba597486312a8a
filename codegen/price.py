"""One number for an area: what LUTs, registers, block RAMs and multipliers weigh on each family.

A block RAM weighs as many LUTs as a device of the family has for each of its block RAMs, and so
does a multiplier: then an area that is small by this number leaves the most copies room on the
device.  A register weighs a sixteenth of a LUT: it stands beside a LUT that is there in any case,
but of foldings with equal LUTs the one with fewer registers is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..hw.cost import RESOURCES
from ..models.fixed import Ints, ProgramError
from . import devices

UNIT = 16
"""Of a price: a LUT."""

_XC7A100T = {"lut": 63_400, "ff": 126_800, "bram": 270, "dsp": 240}
"""Of the vendor's data sheet (DS180), in the units of `codegen.synth.Area`; nobody places on it."""

DEVICES: Mapping[str, Mapping[str, int]] = {
    "ecp5": devices.DEVICES["85k"].room,
    "ice40": devices.DEVICES["up5k"].room,
    "gowin": devices.DEVICES["gw2a-18"].room,
    "xc7": _XC7A100T,
}
"""What the device of each family has by which its resources are weighed against one another."""

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
    room = DEVICES[family]
    whole = UNIT * room["lut"]
    each = {"lut": UNIT, "ff": 1, "bram": whole // room["bram"], "dsp": whole // room["dsp"]}
    return np.array([each[name] for name in RESOURCES])
