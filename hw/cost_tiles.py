"""Features of the units of tiles: transforms of taps, and blocks that become pixels."""

from __future__ import annotations

from ..models.ops import DepthToSpace, TapTransform
from .constant_dot import adders_in_stage
from .cost_families import Family
from .cost_matrix import graph_registers
from .cost_memory import ram
from .cost_parts import Features, Parts, count_bits, counting, features, gates, together
from .depth_to_space import Lines
from .tap_transform import Banks, banks, graph_of
from .unit import Place, ports


@features.register
def _(op: TapTransform, place: Place, family: Family) -> Features:
    of, graph, pe = banks(op, place), graph_of(op, place), place.fold.pe
    word, result = (
        port.width for port in (ports(op, place).inputs[0], ports(op, place).outputs[0])
    )
    held = pe * graph_registers(graph, adders_in_stage(place), of.stages - 2)
    there = 4 * of.groups.bit_length()
    parts = together(
        gates(of.stages, constant=1, stages=of.stages),
        counting(of.groups, of.taps, of.groups, of.groups, of.results, of.groups),
        # Groups that have begun to come, are there, are done, and wait to leave.
        gates(there, count=there),
        _bank(word, of, family, clocked=True) * of.taps,
        _bank(result, of, family, clocked=False) * of.results,
        gates(held, chains=pe * graph.bits, sums=pe * len(graph.adders)),
        gates(result, choose=result * (of.results - 1)),
    )
    return Features("TapTransform", parts)


def _bank(width: int, of: Banks, family: Family, clocked: bool) -> Parts:
    """The memory of a tap; of one word it is a register."""
    if of.groups > 1:
        return ram(width, of.groups, family, clocked=clocked)
    return Parts(ff=width * (2 if clocked else 1))


@features.register
def _(op: DepthToSpace, place: Place, family: Family) -> Features:
    lines, width = Lines.of(op, place), ports(op, place).inputs[0].width
    address = count_bits(lines.depth)
    balance = lines.ahead_bits + lines.depth.bit_length()
    parts = together(
        gates(1, constant=1),
        counting(*lines.levels.values()),
        ram(width, lines.depth, family),
        gates(2 * address, address=address),
        gates(balance, balance=balance),
    )
    return Features("DepthToSpace", parts)
