"""Units alone under random back-pressure: nothing lost, reordered, repeated or taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from agree import refused, samples, sign
from amaranth.hdl import Cat, Const, Fragment, Module
from amaranth.sim import Simulator

from bitwright.hw.beats import from_beats, to_beats
from bitwright.hw.convert import Narrow, Widen
from bitwright.hw.elastic import rom
from bitwright.hw.fifo import Fifo
from bitwright.hw.fork import Fork
from bitwright.hw.unit import Fold, Place, Port, Unit, component, input_names, output_names
from bitwright.models.fixed import BINARY, TERNARY, Grid, signed, unsigned
from bitwright.models.ops import (
    Add,
    Concatenate,
    Dot,
    MaxPool,
    Requantise,
    Scale,
    Select,
    Table,
    TopK,
    Window,
)
from bitwright.models.program import Edge, Op

FRAMES = 4
EDGE = Edge.of((4, 6), signed(5))

Patterns = dict[str, Callable[[np.random.Generator], bool]]


def drive(
    unit: Unit, words: dict[str, list[int]], wanted: dict[str, int], chance: dict[str, float],
    seed: int,
) -> dict[str, list[int]]:  # fmt: skip
    """Feed words to the inputs and collect outputs; each port idles with its own chance.

    An output that is valid and not taken must stay valid and keep its payload.
    """
    rng = np.random.default_rng(seed)
    got: dict[str, list[int]] = {name: [] for name in wanted}
    ports = {name: unit.stream(name) for name in (*words, *wanted)}
    width = {name: len(port.payload) for name, port in ports.items()}
    # Few values, written and read at once: each access costs the simulator as much as a step.
    driven = Cat(
        *(Cat(ports[name].valid, ports[name].payload) for name in words),
        *(ports[name].ready for name in wanted),
    )
    seen = Cat(Cat(port.valid, port.ready, port.payload) for port in ports.values())

    async def bench(ctx: Any) -> None:
        sent, offered = dict.fromkeys(words, 0), dict.fromkeys(words, False)
        waiting: dict[str, int] = {}
        for _ in range(40_000):
            taken = all(sent[name] == len(queue) for name, queue in words.items())
            if taken and all(len(got[name]) >= wanted[name] for name in wanted):
                break
            pins = at = 0
            for name, queue in words.items():
                idle = rng.random() < chance[name]
                offered[name] = sent[name] < len(queue) and (offered[name] or not idle)
                # What is not offered is noise, which nobody may read.
                noise = int(rng.integers(1 << min(width[name], 30)))
                payload = queue[sent[name]] if offered[name] else noise
                pins |= (payload << 1 | offered[name]) << at
                at += 1 + width[name]
            for name in wanted:
                pins |= int(rng.random() >= chance[name]) << at
                at += 1
            ctx.set(driven, pins)
            _, _, values = await ctx.tick().sample(seen)
            for name in ports:
                valid, ready = values & 1, values >> 1 & 1
                payload = values >> 2 & (1 << width[name]) - 1
                values >>= 2 + width[name]
                if name in words:
                    if valid and ready:
                        sent[name], offered[name] = sent[name] + 1, False
                    continue
                if name in waiting:
                    assert (valid, payload) == (1, waiting.pop(name)), f"{name} was taken back"
                if valid and ready:
                    got[name].append(payload)
                elif valid:
                    waiting[name] = payload
        for name in words:
            ctx.set(ports[name].valid, 0)
        for _ in range(20):
            for name in wanted:
                ctx.set(ports[name].ready, 1)
            await ctx.tick()
            for name in wanted:
                assert not ctx.get(ports[name].valid), f"{name} gives more than there is"

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got


def check(op: Any, inputs: tuple[Edge, ...], output: Edge, fold: Fold, seed: int) -> None:
    """Drive the unit with all its ports idling at random, and compare with the definition.

    Links have no definition: what they give is what they were given.
    """
    unit = component(op, Place(inputs, output, fold))
    ins, outs = input_names(unit.ports), output_names(unit.ports)
    xs = [samples(edge, FRAMES, seed + k) for k, edge in enumerate(inputs)]
    y = op(*xs) if isinstance(op, Op) else xs[0]
    words = {
        name: to_beats(x, port) for name, x, port in zip(ins, xs, unit.ports.inputs, strict=True)
    }
    right = {name: to_beats(y, port) for name, port in zip(outs, unit.ports.outputs, strict=True)}
    rng = np.random.default_rng(seed)
    chance = {name: float(rng.choice([0, 0.2, 0.5, 0.9])) for name in (*ins, *outs)}
    got = drive(unit, words, {name: len(beats) for name, beats in right.items()}, chance, seed)
    assert got == right


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("depth", [2, 3, 8, 32, 33, 40])
def test_a_fifo(depth: int, seed: int):
    check(Fifo(depth), (EDGE,), EDGE, Fold(2), seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("narrow", "wide"), [(1, 2), (1, 24), (2, 6), (3, 12), (4, 8)])
@pytest.mark.parametrize("grid", [BINARY, signed(5)], ids=str)
def test_width_converters(narrow: int, wide: int, grid: Grid, seed: int):
    edge = Edge.of((4, 6), grid)
    check(Widen(), (edge,), edge, Fold(wide, narrow), seed)
    check(Narrow(), (edge,), edge, Fold(narrow, wide), seed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("branches", [2, 3, 5])
def test_an_eager_fork(branches: int, seed: int):
    check(Fork(branches), (EDGE,), EDGE, Fold(3), seed)


RNG = np.random.default_rng(0)
SIGNS = Edge.of((4, 6), BINARY)
OPERATORS: dict[str, tuple[Op, tuple[Edge, ...], Fold]] = {
    "add": (Add(), (EDGE, SIGNS), Fold(2)),
    "concatenate": (Concatenate(), (EDGE, Edge.of((4, 2), TERNARY), EDGE), Fold(2)),
    "dot": (Dot(RNG.integers(-8, 8, (4, 6)), signed(4)), (EDGE,), Fold(2, 3)),
    "xnor dot": (Dot(RNG.choice([-1, 1], (3, 6)), BINARY), (SIGNS,), Fold(1, 2)),
    "max pool": (MaxPool(3), (EDGE,), Fold(1)),
    "requantise": (Requantise(np.arange(6), np.arange(6), 2, -8, 7), (EDGE,), Fold(3)),
    "scale": (Scale(np.arange(6) - 3, np.arange(6)), (EDGE,), Fold(3)),
    "select": (Select(np.array([2, 3])), (EDGE,), Fold(1, 1)),
    "sign": (sign(6), (EDGE,), Fold(2)),
    "table": (Table(RNG.integers(-8, 8, (6, 64)), -32), (EDGE,), Fold(2)),
    "top": (TopK(2), (Edge.of((4, 6), unsigned(2)),), Fold(2, 3)),
    "window": (
        Window((2, 2), (1, 2), (1, 1, 0, 1)), (Edge.of((3, 4, 2), signed(3)),), Fold(1, 1)
    ),
    "window, cropped": (
        Window((2, 1), padding=(-1, 1, 0, -2)), (Edge.of((4, 4, 2), signed(3)),), Fold(1, 1)
    ),
    "window, repeated": (
        Window((1, 1), repeat=(3, 2)), (Edge.of((3, 2, 2), signed(3)),), Fold(1, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str, seed: int):
    op, edges, fold = OPERATORS[name]
    check(op, edges, op.infer(*edges), fold, seed)


def test_a_buffer_has_two_entries_or_more():
    with refused("a buffer has 2 entries or more, not 1"):
        Fifo(1)


@pytest.mark.parametrize("grid", [BINARY, TERNARY, signed(7), unsigned(3), Grid(5, 5)], ids=str)
@pytest.mark.parametrize("lanes", [1, 3, 24])
def test_beats_hold_lane_0_in_the_low_bits(grid: Grid, lanes: int):
    edge = Edge.of((24,), grid)
    x, port = samples(edge, 5), Port.of(edge, lanes)
    words = to_beats(x, port)
    codes = grid.encode(x).reshape(-1, lanes).tolist()
    assert words == [sum(c << k * grid.bits for k, c in enumerate(row)) for row in codes]
    assert from_beats(words, port).ravel().tolist() == x.ravel().tolist()


def test_a_constant_memory_takes_words_that_fit():
    m, one = Module(), Const(1, 1)
    assert len(rom(m, "fits", [0, 7], 3, one, one)) == 3
    for words in ([0, 8], [-1, 0]):
        with pytest.raises(ValueError, match="a word of a memory does not fit 3 bits"):
            rom(m, "not", words, 3, one, one)
    Fragment.get(m, None)
